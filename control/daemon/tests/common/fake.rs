//! A dataplane without packets: the real server end of the channel, and the real policy.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread::JoinHandle;
use std::time::Duration;

use sluice_channel::{
    Command, FlowFilter, FlowPage, FlowPlace, FlowStatus, HookOrigin, HookReport, HookState,
    HookStatus, Incoming, Limits, Neighbour, NeighbourState, Notice, PortStatus, Reply, RuleStatus,
    Server, Statistics, Status, WorkerStatus,
};
use sluice_policy::model::{Delta, State};
use sluice_policy::order::ForeignHook;
use sluice_policy::{Names, Policy, Table};

const LIMITS: Limits = Limits { workers: 2, ports: 8, rules: 64 };

/// How the fake behaves, and what it has seen.
#[derive(Debug)]
pub struct Behaviour {
    pub policy: Policy,
    /// The committed generation.
    pub generation: u64,
    /// Refuses every commit with these reasons.
    pub refuse: Vec<String>,
    /// Commits, and dies before it answers.
    pub die_after_commit: bool,
    /// Dies instead of committing.
    pub die_before_commit: bool,
    /// Does not answer `Commit`.
    pub silent_at_commit: bool,
    /// Pretends that another generation came in between.
    pub conflict_once: bool,
    /// The tables that were asked for.
    pub asked: Vec<Table>,
    /// Sizes of the transactions' parts, of all transactions.
    pub parts: Vec<usize>,
    /// Transactions that were to be compiled before their commit.
    pub prepared: usize,
    /// Transactions that a session left open.
    pub discarded: usize,
    /// Neighbour flushes.
    pub flushed: usize,
    /// Programs, and hooks that no configuration loads.
    pub hooks: HookReport,
    /// What its flow tables hold, in order.
    pub flows: Vec<FlowStatus>,
    /// Connections in one page.
    pub page: usize,
    pub attached: bool,
}

impl Behaviour {
    /// Looks at so many connections as a page has, and shows those that are meant.
    fn page(&self, from: FlowPlace, f: &FlowFilter) -> (Vec<FlowStatus>, Option<FlowPlace>) {
        let rest: Vec<_> = self.flows.iter().filter(|flow| flow.place >= from).collect();
        let next = rest.get(self.page).map(|flow| flow.place);
        let is_meant = |flow: &&&FlowStatus| {
            f.instance.as_ref().is_none_or(|instance| *instance == flow.instance)
                && f.means(&flow.tuple, flow.state)
        };
        (rest.iter().take(self.page).filter(is_meant).map(|f| (*f).clone()).collect(), next)
    }
}

/// A running fake. Dropping it is the dataplane's death.
#[derive(Debug)]
pub struct FakeDataplane {
    behaviour: Arc<Mutex<Behaviour>>,
    pub statistics: Arc<Statistics>,
    stop: Arc<AtomicBool>,
    notices: Arc<Mutex<Vec<Notice>>>,
    thread: Option<JoinHandle<()>>,
}

impl FakeDataplane {
    pub fn start(directory: &Path) -> FakeDataplane {
        let server = bind(directory);
        let statistics = server.statistics();
        let behaviour = Arc::new(Mutex::new(Behaviour {
            policy: Policy::empty(),
            generation: 0,
            refuse: Vec::new(),
            die_after_commit: false,
            die_before_commit: false,
            silent_at_commit: false,
            conflict_once: false,
            asked: Vec::new(),
            parts: Vec::new(),
            prepared: 0,
            discarded: 0,
            flushed: 0,
            hooks: HookReport::default(),
            flows: Vec::new(),
            page: 2,
            attached: false,
        }));
        let stop = Arc::new(AtomicBool::new(false));
        let notices = Arc::new(Mutex::new(Vec::new()));
        let agent = Agent {
            directory: directory.into(),
            server,
            behaviour: behaviour.clone(),
            stop: stop.clone(),
            notices: notices.clone(),
            open: None,
        };
        let thread = Some(std::thread::spawn(move || agent.run()));
        FakeDataplane { behaviour, statistics, stop, notices, thread }
    }

    pub fn behaviour(&self) -> MutexGuard<'_, Behaviour> {
        self.behaviour.lock().unwrap()
    }

    pub fn state(&self) -> State {
        self.behaviour().policy.state().clone()
    }

    pub fn generation(&self) -> u64 {
        self.behaviour().generation
    }

    pub fn notify(&self, notice: Notice) {
        self.notices.lock().unwrap().push(notice);
    }

    /// Whether its thread has ended by itself.
    pub fn dead(&self) -> bool {
        self.thread.as_ref().is_none_or(JoinHandle::is_finished)
    }
}

impl Drop for FakeDataplane {
    fn drop(&mut self) {
        self.stop.store(true, SeqCst);
        if let Some(thread) = self.thread.take() {
            thread.join().unwrap();
        }
    }
}

/// Takes the directory. A process that another test is just starting may hold a copy of the last
/// one's lock for a moment, until it executes its program.
fn bind(directory: &Path) -> Server {
    super::eventually("the directory is free", || Server::bind(directory, LIMITS).ok())
}

struct Agent {
    directory: PathBuf,
    server: Server,
    behaviour: Arc<Mutex<Behaviour>>,
    stop: Arc<AtomicBool>,
    notices: Arc<Mutex<Vec<Notice>>>,
    /// The open transaction, and the generation that it makes.
    open: Option<(u64, Delta)>,
}

impl Agent {
    fn run(mut self) {
        while !self.stop.load(SeqCst) {
            let notices: Vec<_> = self.notices.lock().unwrap().drain(..).collect();
            notices.iter().for_each(|notice| self.server.event(notice));
            match self.server.service() {
                None => std::thread::sleep(Duration::from_millis(1)),
                Some(Incoming::Attached { .. }) => self.behaviour().attached = true,
                Some(Incoming::Detached { .. }) => {
                    let open = self.open.take().is_some();
                    let mut behaviour = self.behaviour();
                    behaviour.attached = false;
                    behaviour.discarded += usize::from(open);
                }
                Some(Incoming::Refused { .. }) => {}
                Some(Incoming::Command { sequence, command }) => match self.answer(command) {
                    Some(reply) => self.server.reply(sequence, &reply).unwrap(),
                    None if self.stop.load(SeqCst) => return,
                    None => {}
                },
            }
        }
    }

    fn behaviour(&self) -> MutexGuard<'_, Behaviour> {
        self.behaviour.lock().unwrap()
    }

    fn answer(&mut self, command: Command) -> Option<Reply> {
        Some(match command {
            Command::Begin { expected, generation: next } => {
                let mut behaviour = self.behaviour();
                if std::mem::take(&mut behaviour.conflict_once) {
                    behaviour.generation += 1;
                }
                let generation = behaviour.generation;
                drop(behaviour);
                if expected != generation {
                    return Some(Reply::Conflict { generation });
                }
                self.open = Some((next, Delta::default()));
                Reply::Done
            }
            Command::Apply(packed) => {
                self.behaviour().parts.push(packed.len());
                let operations = packed.unpack(&mut Names::default());
                self.open.as_mut().unwrap().1.operations.extend(operations);
                Reply::Done
            }
            Command::Prepare => {
                self.behaviour().prepared += 1;
                Reply::Done
            }
            Command::Commit => return self.commit(),
            Command::Abort => {
                self.open = None;
                Reply::Done
            }
            Command::Status => Reply::Status(self.status()),
            Command::State { tables } => {
                self.behaviour().asked.extend(&tables);
                Reply::State(self.behaviour().policy.state().only(&tables))
            }
            Command::Ports => Reply::Ports(self.ports()),
            Command::Rules => Reply::Rules(self.rules()),
            Command::Hooks => Reply::Hooks(self.hooks()),
            Command::Neighbours => Reply::Neighbours(vec![Neighbour {
                interface: "wan".into(),
                address: "10.0.2.2".parse().unwrap(),
                mac: Some("02:00:00:00:00:02".parse().unwrap()),
                state: NeighbourState::Reachable,
                age_seconds: 3,
            }]),
            Command::FlushNeighbours { interface, .. } => {
                if interface.is_some_and(|name| &*name != "wan") {
                    return Some(Reply::Refused(vec!["there is no such interface".into()]));
                }
                self.behaviour().flushed += 1;
                Reply::Done
            }
            Command::Flows { from, filter } => {
                let (flows, next) = self.behaviour().page(from, &filter);
                Reply::Flows(FlowPage { flows, next })
            }
            Command::Flow { instance, tuple } => {
                let behaviour = self.behaviour();
                let is = |flow: &&FlowStatus| flow.instance == instance && flow.tuple == tuple;
                let flows = behaviour.flows.iter().filter(is).cloned().collect();
                Reply::Flows(FlowPage { flows, next: None })
            }
            Command::KillFlows { from, filter } => {
                let mut behaviour = self.behaviour();
                let (flows, next) = behaviour.page(from, &filter);
                behaviour.flows.retain(|flow| !flows.contains(flow));
                Reply::FlowsKilled { killed: flows.len() as u32, next }
            }
            Command::Workers => Reply::Workers(vec![WorkerStatus {
                worker: 0,
                core: 0,
                generation: self.behaviour().generation,
                sleeping: true,
                loops: 1000,
                busy_loops: 10,
                stalled_ms: None,
                queues: vec![("lan".into(), 0), ("wan".into(), 0)],
            }]),
            other => panic!("the fake does not know {other:?}"),
        })
    }

    fn commit(&mut self) -> Option<Reply> {
        let (generation, delta) = self.open.take().unwrap();
        let mut behaviour = self.behaviour.lock().unwrap();
        if behaviour.silent_at_commit {
            self.open = Some((generation, delta));
            return None;
        }
        if behaviour.die_before_commit {
            self.stop.store(true, SeqCst);
            return None;
        }
        if !behaviour.refuse.is_empty() {
            return Some(Reply::Refused(behaviour.refuse.clone()));
        }
        match behaviour.policy.apply_as(generation, &delta) {
            Err(errors) => Some(Reply::Refused(errors.iter().map(ToString::to_string).collect())),
            Ok(policy) => {
                behaviour.policy = policy;
                behaviour.generation = generation;
                if std::mem::take(&mut behaviour.die_after_commit) {
                    // The session breaks off; the state stands.
                    drop(behaviour);
                    self.break_off();
                    return None;
                }
                Some(Reply::Committed { generation, waiting: vec![1] })
            }
        }
    }

    /// Ends the session and listens again, as a dataplane does whose answer got lost.
    fn break_off(&mut self) {
        // The old server's lock must be gone before the new one takes it.
        let spare = tempfile::tempdir().unwrap();
        let old = std::mem::replace(&mut self.server, bind(spare.path()));
        drop(old);
        self.server = bind(&self.directory);
    }

    fn status(&self) -> Status {
        let behaviour = self.behaviour();
        Status {
            generation: behaviour.generation,
            digests: behaviour.policy.digests(),
            version: "fake".into(),
            pid: std::process::id(),
            uptime_seconds: 1,
            hugepages: false,
            memory_mib: 64,
            mempools: Vec::new(),
            limits: LIMITS,
            max_neighbours: 16,
            crash: None,
        }
    }

    fn ports(&self) -> Vec<PortStatus> {
        let behaviour = self.behaviour();
        let ports = behaviour.policy.ports().map(|port| PortStatus {
            id: port.id,
            name: port.name.clone(),
            device: port.spec.device.clone(),
            driver: "net_null".into(),
            mac: port.spec.mac.unwrap_or_default(),
            link: true,
            speed_mbps: None,
            mtu: port.spec.mtu,
            rx_queues: port.spec.queues,
            tx_queues: 1,
            workers: vec![0],
            error: None,
        });
        ports.collect()
    }

    /// Counters that tell the rules apart: the slot's number.
    /// Its own, and those of its policy, each with as many packets as its place.
    fn hooks(&self) -> HookReport {
        let behaviour = self.behaviour();
        let mut report = behaviour.hooks.clone();
        for (packets, (name, loaded)) in (1..).zip(behaviour.policy.hooks()) {
            let Some(hook) = loaded.foreign(name) else { continue };
            let status = hook_status(hook, HookOrigin::Configured);
            let added_at = loaded.generation;
            report.hooks.push(HookStatus { packets, cycles: 10 * packets, added_at, ..status });
        }
        report
    }

    fn rules(&self) -> Vec<RuleStatus> {
        let behaviour = self.behaviour();
        let rules = behaviour.policy.rules().map(|rule| RuleStatus {
            instance: rule.instance.clone(),
            point: Some(rule.point),
            name: rule.name.into(),
            slot: rule.slot,
            packets: 100 + u64::from(rule.slot.0),
            bytes: 1000,
        });
        rules.collect()
    }
}

/// A hook that runs and has seen nothing.
pub fn hook_status(hook: ForeignHook, origin: HookOrigin) -> HookStatus {
    HookStatus {
        hook,
        slot: None,
        origin,
        version: 1,
        packets: 0,
        bursts: 0,
        drops: 0,
        cycles: 0,
        panics: 0,
        state: HookState::Running,
        counters: Vec::new(),
        instances: Vec::new(),
        added_at: 0,
    }
}
