//! The agent: everything in the dataplane that is not about one packet.
//!
//! It owns the channel's end, the ports, the neighbour resolver and the publisher of generations.
//! It sleeps in `poll`; while a worker is awake it looks at the workers' reports every millisecond,
//! so that no worker ever has to call the kernel to wake it.

mod answers;
mod captures;
mod commit;
mod flows;
mod hook_counts;
mod hooks;
mod modules;
mod neighbours;
mod orders;
mod ports;
mod presence;
mod rule_log;
mod start;
mod watchdog;

use std::collections::BTreeMap;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rtrb::Consumer;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use sluice_channel::statistics::Statistics;
use sluice_channel::{Command, CrashReport, Limits, Notice, Reply};
use sluice_channel::{Incoming, Server};
use sluice_hooks::stack::{NicWatch, Slot};
use sluice_hooks::{Loadable, Stack, TokenBucket};
use sluice_pipelines::flow::Errand;
use sluice_pipelines::{Generation, Injector, Report};
use sluice_policy::model::Delta;
use sluice_policy::{DropReason, Policy};
use sluice_quiescent::Publisher;

use crate::doorbell::Doorbell;
use crate::kernel::LinkWatch;
use crate::worker::{Order, Returned};

use captures::Captures;
use commit::Transaction;
use hook_counts::HookCounts;
use modules::LoadedModule;
use neighbours::Neighbours;
use orders::Orders;
use ports::PortTable;
use rule_log::RuleLogger;
use watchdog::Watchdog;

/// How often the agent looks around while workers are awake: at panics of hooks, at generations to be
/// freed. Workers ring when they have reported something.
const BUSY: Duration = Duration::from_millis(20);
/// How often it looks around when nothing happens: counters of devices, links without events.
const QUIET: Duration = Duration::from_millis(250);

/// How often the agent looks when it waits for workers.
const LOOK: Duration = Duration::from_micros(50);

/// How long a worker may take no orders.
const STUCK: Duration = Duration::from_secs(2);

/// A worker as the agent sees it.
struct WorkerHandle {
    core: u16,
    doorbell: Arc<Doorbell>,
    orders: Orders,
    injector: Injector,
    returns: Consumer<Returned>,
    errands: Consumer<Box<Errand>>,
    /// The worker's errand, while the worker does not have it.
    errand: Option<Box<Errand>>,
    reports: Consumer<Report>,
    thread: Option<JoinHandle<anyhow::Result<()>>>,
}

impl WorkerHandle {
    /// Whether its thread has ended.
    fn has_ended(&self) -> bool {
        self.thread.as_ref().is_none_or(JoinHandle::is_finished)
    }
}

/// The agent and all that it owns.
pub struct Agent {
    started: Instant,
    server: Server,
    statistics: Arc<Statistics>,
    limits: Limits,
    publisher: Publisher<Generation>,
    /// Modules, notifications, authors' hooks.
    stack: Stack,
    /// What operators can load.
    programs: Vec<Loadable>,
    /// Modules of the desired state.
    modules: Vec<LoadedModule>,
    /// What is about to be published, while a commit is under way.
    staged: Option<Policy>,
    /// Slots whose objects came back after they were waited for.
    late: Vec<Slot>,
    /// What was told of the interfaces.
    nics: NicWatch,
    /// What hooks had counted by instance before.
    hook_counts: HookCounts,
    /// Grants lines to each hook that logs.
    hook_log: BTreeMap<Slot, TokenBucket>,
    workers: Vec<WorkerHandle>,
    ports: PortTable,
    neighbours: Neighbours,
    links: LinkWatch,
    captures: Captures,
    transaction: Option<Transaction>,
    /// Of a transaction that has ended.
    spent: Delta,
    rule_log: RuleLogger,
    watchdog: Watchdog,
    doorbell: Arc<Doorbell>,
    signals: UnixStream,
    looked_around: Instant,
    told_of_super_packets: bool,
    /// How the last dataplane of this directory ended, if it crashed.
    crash: Option<CrashReport>,
    told_of_crash: bool,
}

impl Agent {
    /// Runs until SIGTERM or SIGINT, then gives the ports back.
    ///
    /// # Errors
    /// When a worker ended by itself.
    pub fn run(mut self) -> anyhow::Result<()> {
        tracing::info!(
            workers = self.workers.len(),
            instructions = %sluice_policy::Level::used(),
            "dataplane is up"
        );
        let outcome = loop {
            self.wait();
            if self.stop_requested() {
                break Ok(());
            }
            if let Some(index) = self.ended_worker() {
                break Err(anyhow::anyhow!("worker {index} ended by itself"));
            }
            self.beat();
            self.serve();
            self.follow_links();
            self.find_lost();
            self.hear_workers();
            self.tick();
            self.publisher.reclaim();
        };
        self.server.event(&Notice::Stopping);
        self.end_captures();
        self.stop_modules();
        let failed = self.stop_workers();
        self.ports.close_all();
        tracing::info!("dataplane is down");
        match failed {
            Some(error) => Err(error),
            None => outcome,
        }
    }

    /// Sleeps until there is something to do.
    fn wait(&self) {
        self.doorbell.about_to_sleep();
        let awake = self.workers.iter().any(|worker| !worker.doorbell.is_asleep());
        let waiting = self.workers.iter().any(|worker| !worker.reports.is_empty());
        let longest = if awake { BUSY } else { QUIET };
        let limit = match waiting {
            true => Duration::ZERO,
            false => self.neighbours.until_deadline(self.now()).min(longest),
        };
        let limit = Timespec { tv_sec: 0, tv_nsec: i64::from(limit.subsec_nanos()) };
        let mut descriptors: Vec<PollFd<'_>> = self
            .server
            .poll_descriptors()
            .chain([self.doorbell.as_fd(), self.signals.as_fd(), self.links.as_fd()])
            .map(|descriptor| PollFd::from_borrowed_fd(descriptor, PollFlags::IN))
            .collect();
        // An interrupted wait is a short one.
        let _ = poll(&mut descriptors, Some(&limit));
        self.doorbell.awake();
    }

    /// Shows that the agent is alive, and looks whether the workers are. Whatever takes long calls
    /// it now and then.
    fn beat(&mut self) {
        self.statistics.agent().heartbeat.set(monotonic_ms());
        self.watch_workers();
    }

    fn stop_requested(&self) -> bool {
        let mut byte = [0];
        rustix::io::read(&self.signals, &mut byte).is_ok()
    }

    fn ended_worker(&self) -> Option<usize> {
        let ended =
            |worker: &WorkerHandle| worker.thread.as_ref().is_some_and(JoinHandle::is_finished);
        self.workers.iter().position(ended)
    }

    /// Milliseconds since the agent started.
    fn now(&self) -> u64 {
        self.started.elapsed().as_millis() as u64
    }

    /// Answers the control process.
    fn serve(&mut self) {
        while let Some(incoming) = self.server.service() {
            match incoming {
                Incoming::Attached { pid, .. } => {
                    tracing::info!(pid, "control process attached");
                    self.transaction = None;
                    self.end_captures();
                    if let Some(crash) = self.crash.clone().filter(|_| !self.told_of_crash) {
                        self.told_of_crash = true;
                        self.server.event(&Notice::Crashed(crash));
                    }
                }
                Incoming::Detached { reason } => {
                    tracing::info!("control process detached: {reason}");
                    self.transaction = None;
                    self.end_captures();
                }
                Incoming::Command { sequence, command } => {
                    let reply = self.answer(command);
                    if self.server.reply(sequence, &reply).is_err() {
                        tracing::warn!(
                            "the control process does not read its replies; one was lost"
                        );
                    }
                    // To free a million routes takes a while; nobody waits for it now.
                    self.spent = Delta::default();
                }
                other => tracing::info!(?other, "channel"),
            }
        }
    }

    fn answer(&mut self, command: Command) -> Reply {
        match command {
            Command::Begin { expected, generation } => self.begin(expected, generation),
            Command::Apply(part) => self.apply(part),
            Command::Prepare => self.compile(),
            Command::Commit => self.commit(),
            Command::Abort => {
                self.transaction = None;
                Reply::Done
            }
            Command::FlushNeighbours { interface, address } => {
                self.flush_neighbours(interface.as_deref(), address)
            }
            Command::Flows { from, filter } => self.flows(from, &filter),
            Command::Flow { instance, tuple } => self.flow(&instance, &tuple),
            Command::KillFlows { from, filter } => self.kill_flows(from, &filter),
            Command::Capture(request) => self.capture(request),
            Command::Captured { capture, stop } => self.captured(capture, stop),
            question => self.tell(&question),
        }
    }

    /// Takes in what the workers report.
    fn hear_workers(&mut self) {
        let now = self.now();
        for index in 0..self.workers.len() {
            // What comes in meanwhile is for the next round: a flood must not keep the agent here.
            for _ in 0..self.workers[index].reports.slots() {
                let Ok(report) = self.workers[index].reports.pop() else { break };
                match report {
                    Report::Wanted(key) => self.neighbours.wanted(&key, now),
                    Report::Heard(heard) => self.neighbours.heard(&heard, now),
                    Report::Rule(report) => {
                        let policy = &self.publisher.current().policy;
                        if let Some(line) = self.rule_log.admit(policy, &report, now) {
                            rule_log::write(&line);
                            self.server.event(&Notice::Log(line));
                        }
                    }
                    Report::Hook(note) => self.log_of_hook(&note, now),
                }
            }
        }
        self.solicit_neighbours();
    }

    /// What has to be done by the clock.
    fn tick(&mut self) {
        let now = self.now();
        self.neighbours.tick(now);
        self.watch_hooks();
        self.solicit_neighbours();
        if self.looked_around.elapsed() < QUIET {
            return;
        }
        self.looked_around = Instant::now();
        self.poll_links();
        self.ports.read_devices(&self.statistics);
        let cut = self.statistics.drops(DropReason::SuperPacket);
        if cut > 0 && !self.told_of_super_packets {
            self.told_of_super_packets = true;
            tracing::warn!(packets = cut, "super-packet: {}", DropReason::SuperPacket.help());
        }
    }

    /// Stops every worker and takes back what it has. Returns why one failed, if one did.
    ///
    /// In steps, so that no packet is lost on its way from one worker to another: first they all stop
    /// receiving, then each takes in what it was handed for its flows, then sends what it was handed
    /// for its ports.
    fn stop_workers(&mut self) -> Option<anyhow::Error> {
        for _ in 0..2 {
            let drained = Arc::new(AtomicUsize::new(0));
            for worker in &mut self.workers {
                worker.orders.give(Order::Drain(Arc::clone(&drained)));
            }
            let all = || drained.load(Ordering::Acquire) == self.workers.len();
            wait_until(all);
            if !all() {
                // One stands still, and is not waited for again.
                break;
            }
        }
        for worker in &mut self.workers {
            worker.orders.give(Order::Stop);
        }
        wait_until(|| self.workers.iter().all(WorkerHandle::has_ended));
        let mut failed = None;
        for (index, worker) in self.workers.iter_mut().enumerate() {
            if !worker.has_ended() {
                // What it holds stays with it until the process ends.
                failed = Some(anyhow::anyhow!("worker {index} does not stop"));
                continue;
            }
            match worker.thread.take().map(JoinHandle::join) {
                Some(Ok(Err(error))) => failed = Some(error.context(format!("worker {index}"))),
                Some(Err(_)) => failed = Some(anyhow::anyhow!("worker {index} panicked")),
                Some(Ok(Ok(()))) | None => {}
            }
            while worker.returns.pop().is_ok() {}
        }
        if failed.is_none() {
            self.check_accounts();
        }
        failed
    }

    /// Every packet has been accounted for, now that there are no more; anything else is a bug.
    fn check_accounts(&self) {
        for (index, block) in self.statistics.blocks().enumerate() {
            let packets = block.core().unaccounted();
            if packets != 0 {
                tracing::error!(worker = index, packets, "packets are not accounted for");
            }
        }
        let handed_out = self.statistics.sum(|block| block.core().handed_out.get());
        let handed_in = self.statistics.sum(|block| block.core().handed_in.get());
        if handed_out != handed_in {
            tracing::error!(handed_out, handed_in, "packets are lost between workers");
        }
    }
}

/// Waits for a condition, for as long as a worker may take to do what it is told.
fn wait_until(condition: impl Fn() -> bool) {
    let deadline = Instant::now() + STUCK;
    while !condition() && Instant::now() < deadline {
        std::thread::sleep(Duration::from_micros(100));
    }
}

/// Milliseconds of `CLOCK_MONOTONIC`, which another process reads alike.
fn monotonic_ms() -> u64 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    now.tv_sec as u64 * 1000 + now.tv_nsec as u64 / 1_000_000
}
