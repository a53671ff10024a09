//! A worker: one thread, pinned to one core, that polls its queues and runs the pipeline.

pub mod sleep;

use std::os::fd::AsFd;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use assert_no_alloc::{assert_no_alloc, permit_alloc};
use rtrb::{Consumer, Producer};
use sluice_channel::statistics::{Statistics, WorkerBlock};
use sluice_dpdk::{QueueDescriptor, RxQueue, pin_current_thread, register_thread, tsc};
use sluice_hooks::stack::Slot;
use sluice_hooks::{Burst, Hook};
use sluice_pipelines::flow::Errand;
use sluice_pipelines::neighbour::solicit::Solicit;
use sluice_pipelines::spread::Spread;
use sluice_pipelines::{Generation, Pipeline, tx};
use sluice_policy::PortId;
use sluice_quiescent::Reader;

use crate::crash;
use crate::doorbell::Doorbell;
use sleep::Sleeper;

/// Bursts that are taken from one queue before the other queues have their turn.
const BURSTS_PER_TURN: usize = 1;

/// A receive queue that a worker polls.
pub struct Polled {
    /// The port.
    pub port: PortId,
    /// Its queue.
    pub queue: RxQueue,
    /// What becomes readable when the queue has packets, where the device has such a thing.
    pub descriptor: Option<QueueDescriptor>,
    /// Whether its packets go to the worker that they belong to.
    pub spread: bool,
}

/// What the agent tells a worker to do.
pub enum Order {
    /// Poll these queues, and send to the port this way.
    Attach {
        /// The port.
        port: PortId,
        /// The queues to poll.
        queues: Vec<Polled>,
        /// The way to send.
        way: tx::Way,
    },
    /// Give everything of the port back.
    Detach(PortId),
    /// Run this object of an author's hook wherever the order names its slot.
    Hook {
        /// The slot; it is free.
        slot: Slot,
        /// The object.
        object: Box<dyn Hook>,
        /// Whether its panics are caught.
        guarded: bool,
    },
    /// Give the object of a hook back; no order names its slot any more.
    TakeHook(Slot),
    /// Do this at the flow table and give it back.
    Errand(Box<Errand>),
    /// Send this.
    Solicit(Solicit),
    /// Receive nothing more, take in what others have handed over, let go of what is held, and add
    /// one to the number. Once all have, nothing more is received; once all have a second time,
    /// nothing more goes to another worker.
    Drain(Arc<AtomicUsize>),
    /// Send what others have handed over, give everything back and end. They have all drained.
    Stop,
}

/// What a worker gives back when it has let go of it, to be dropped by the agent, which may take
/// the time for it.
pub enum Returned {
    /// A port: its queues, and how it was sent to.
    Port(PortId, #[expect(dead_code, reason = "it is sent to be dropped")] PortParts),
    /// A hook's object.
    Hook(Slot, #[expect(dead_code, reason = "it is sent to be dropped")] Option<Box<dyn Hook>>),
}

/// What a worker has of a port.
pub type PortParts = (Vec<Polled>, Option<tx::Way>);

/// Everything that a worker thread owns.
pub struct Worker {
    /// Its number.
    pub index: usize,
    /// The core it is pinned to.
    pub core: u16,
    /// The published generations.
    pub generations: Reader<Generation>,
    /// The statistics segment; this worker writes its own block.
    pub statistics: Arc<Statistics>,
    /// Its stages.
    pub pipeline: Pipeline,
    /// The way to and from the other workers, if there are any.
    pub spread: Option<Spread>,
    /// What the agent wants.
    pub orders: Consumer<Order>,
    /// What goes back to the agent.
    pub returns: Producer<Returned>,
    /// Errands that are done.
    pub errands: Producer<Box<Errand>>,
    /// This worker's doorbell.
    pub doorbell: Arc<Doorbell>,
    /// The agent's.
    pub agent: Arc<Doorbell>,
    /// Those of all workers, by number.
    pub peers: Vec<Arc<Doorbell>>,
    /// Frequency of the time-stamp counter.
    pub hertz: u64,
}

/// The state of the poll loop.
struct Polling {
    queues: Vec<Polled>,
    spread: Option<Spread>,
    sleeper: Sleeper,
    burst: Burst,
    blind: bool,
    draining: bool,
    stopping: bool,
}

impl Worker {
    /// The thread's body: runs until the agent says [`Order::Stop`].
    ///
    /// # Errors
    /// When the core does not exist or the thread cannot be made known to DPDK.
    pub fn run(mut self) -> anyhow::Result<()> {
        pin_current_thread(self.core)?;
        sleep::on_time();
        let _registered = register_thread()?;
        let mut polling = Polling {
            queues: Vec::with_capacity(tx::MAX_PORTS),
            spread: self.spread.take(),
            sleeper: Sleeper::new(self.doorbell.as_fd())?,
            burst: Burst::new(),
            blind: false,
            draining: false,
            stopping: false,
        };
        let statistics = Arc::clone(&self.statistics);
        let statistics = statistics.worker(self.index);
        crash::expect_worker();
        let ended = catch_unwind(AssertUnwindSafe(|| self.poll(&mut polling, statistics)));
        if ended.is_err() {
            let generation = statistics.core().generation.get();
            crash::of_worker(self.index, self.core, generation, &polling.burst);
        }
        Ok(())
    }

    /// Polls until the agent says [`Order::Stop`].
    fn poll(&mut self, polling: &mut Polling, statistics: WorkerBlock<'_>) {
        let patience = cycles(sleep::PATIENCE, self.hertz);
        let nap = cycles(sleep::NAP, self.hertz);
        let mut rang = 0;
        let mut now = tsc();
        let mut last_work = now;
        while !polling.stopping {
            // Before the policy is looked at: what others knew when they handed packets over is known
            // here, too, when these are handled.
            polling.look();
            self.generations.refresh();
            let began = now;
            let worked = assert_no_alloc(|| self.turn(polling, statistics, now));
            now = tsc();
            statistics.core().loops.add(1);
            if worked > 0 {
                statistics.core().busy_loops.add(1);
                statistics.core().busy_cycles.add(now.wrapping_sub(began));
                last_work = now;
                if now.wrapping_sub(rang) > nap && self.pipeline.agent.take_unread() {
                    self.agent.ring();
                    rang = now;
                }
            } else if now.wrapping_sub(last_work) > patience {
                self.sleep(polling, statistics, now.wrapping_sub(last_work));
                now = tsc();
            }
        }
        self.pipeline.clear(statistics);
        self.pipeline.output.flush(statistics);
    }

    /// Once around: orders, queues, other workers' packets, held packets, transmission. Returns
    /// how many packets there were. `now` is the time-stamp counter, read once a turn.
    #[inline]
    fn turn(&mut self, polling: &mut Polling, statistics: WorkerBlock<'_>, now: u64) -> usize {
        let generation = self.generations.get();
        statistics.core().generation.set(generation.policy.generation());
        let pipeline = &mut self.pipeline;
        let mut worked = 0;
        while let Ok(order) = self.orders.pop() {
            worked += 1;
            let Order::Errand(mut errand) = order else {
                // No packet's way: ports and hooks come and go with what they need.
                permit_alloc(|| {
                    follow(order, polling, pipeline, generation, statistics, &mut self.returns);
                });
                continue;
            };
            pipeline.flows().run(&mut errand, &generation.policy, now);
            // The ring has room for the one errand that there is.
            let _ = self.errands.push(errand);
        }
        for polled in &mut polling.queues {
            if polling.draining || generation.policy.port(polled.port).is_none() {
                continue;
            }
            for _ in 0..BURSTS_PER_TURN {
                let burst = &mut polling.burst;
                let n = pipeline.receive(statistics, || polled.queue.rx(burst.slots_mut()));
                if n == 0 {
                    break;
                }
                worked += n;
                let own = match &mut polling.spread {
                    Some(spread) if polled.spread => {
                        spread.hand_out(polled.port, polling.burst.slots_mut(), n, statistics)
                    }
                    _ => n,
                };
                if own == 0 {
                    continue;
                }
                polling.burst.received(own);
                pipeline.run(generation, statistics, polled.port, &mut polling.burst, now);
            }
        }
        worked += polling.receive(pipeline, generation, statistics, now);
        worked += pipeline.output.receive(statistics);
        worked += pipeline.inject(generation, statistics, now);
        pipeline.tend(generation, statistics, now);
        pipeline.output.flush(statistics);
        let spread = polling.spread.as_mut().map(Spread::take_handed_to).unwrap_or_default();
        for worker in pipeline.output.take_handed_to() | spread {
            if let Some(doorbell) = self.peers.get(worker) {
                doorbell.ring();
            }
        }
        worked
    }

    fn sleep(&mut self, polling: &mut Polling, statistics: WorkerBlock<'_>, idle: u64) {
        if self.pipeline.agent.take_unread() {
            self.agent.ring();
        }
        let idle = Duration::from_nanos(
            (u128::from(idle) * 1_000_000_000 / u128::from(self.hertz)) as u64,
        );
        let limit = sleep::limit(polling.blind, self.pipeline.holds(), idle);
        self.doorbell.about_to_sleep();
        let pipeline = &self.pipeline;
        let handed = pipeline.output.has_received()
            || polling.spread.as_ref().is_some_and(Spread::has_received);
        if self.orders.is_empty() && !handed && !pipeline.has_injected() {
            statistics.core().sleeps.add(1);
            let sleeper = &mut polling.sleeper;
            let failed = self.generations.offline(|| sleeper.sleep(limit));
            if failed {
                // An interface that goes down leaves an error on its socket, which wakes us until
                // it is read.
                for descriptor in polling.queues.iter().filter_map(|p| p.descriptor.as_ref()) {
                    let _ = rustix::net::sockopt::socket_error(descriptor);
                }
            }
        }
        self.doorbell.awake();
    }
}

impl Polling {
    /// Sees what other workers have handed over so far.
    #[inline]
    fn look(&mut self) {
        if let Some(spread) = &mut self.spread {
            spread.look();
        }
    }

    /// Takes in what other workers have received, at most a burst from each; returns how many packets
    /// that were.
    #[inline]
    fn receive(
        &mut self,
        pipeline: &mut Pipeline,
        generation: &Generation,
        statistics: WorkerBlock<'_>,
        now: u64,
    ) -> usize {
        let Some(spread) = &mut self.spread else { return 0 };
        let mut received = 0;
        for source in 0..spread.sources() {
            let handed = spread.receive(source, self.burst.slots_mut(), statistics);
            let Some((port, n)) = handed else { continue };
            received += n;
            self.burst.received(n);
            pipeline.run_handed(generation, statistics, port, &mut self.burst, now);
        }
        received
    }
}

/// Does what the agent says.
fn follow(
    order: Order,
    polling: &mut Polling,
    pipeline: &mut Pipeline,
    generation: &Generation,
    statistics: WorkerBlock<'_>,
    returns: &mut Producer<Returned>,
) {
    match order {
        Order::Attach { port, mut queues, way } => {
            for polled in &mut queues {
                let watch = |d: &QueueDescriptor| polling.sleeper.watch(d.as_fd()).is_ok();
                // One that cannot be watched is looked at instead.
                polled.descriptor = polled.descriptor.take().filter(watch);
            }
            polling.queues.extend(queues);
            polling.blind |= polling.queues.iter().any(|polled| polled.descriptor.is_none());
            pipeline.output.attach(port, way);
        }
        Order::Detach(port) => let_go(port, polling, pipeline, statistics, returns),
        Order::Hook { slot, object, guarded } => {
            pipeline.authors().put(slot, object, guarded);
        }
        Order::TakeHook(slot) => {
            let object = pipeline.authors().take(statistics, slot);
            // The ring has room for every hook.
            let _ = returns.push(Returned::Hook(slot, object));
        }
        // The turn has seen to it, which has the clock.
        Order::Errand(_) => {}
        Order::Solicit(solicit) => pipeline.solicit(generation, statistics, solicit),
        Order::Drain(drained) => {
            polling.draining = true;
            polling.look();
            while polling.receive(pipeline, generation, statistics, tsc()) > 0 {}
            pipeline.clear(statistics);
            pipeline.output.flush(statistics);
            drained.fetch_add(1, Ordering::Release);
        }
        Order::Stop => {
            polling.stopping = true;
            while pipeline.output.receive(statistics) > 0 {}
            for port in (0..tx::MAX_PORTS as u16).map(PortId) {
                let_go(port, polling, pipeline, statistics, returns);
            }
        }
    }
}

fn let_go(
    port: PortId,
    polling: &mut Polling,
    pipeline: &mut Pipeline,
    statistics: WorkerBlock<'_>,
    returns: &mut Producer<Returned>,
) {
    pipeline.output.flush(statistics);
    let (gone, kept) = polling.queues.drain(..).partition(|polled| polled.port == port);
    polling.queues = kept;
    let gone: Vec<Polled> = gone;
    for descriptor in gone.iter().filter_map(|polled| polled.descriptor.as_ref()) {
        polling.sleeper.forget(descriptor);
    }
    polling.blind = polling.queues.iter().any(|polled| polled.descriptor.is_none());
    let way = pipeline.output.detach(port);
    if !gone.is_empty() || way.is_some() {
        // The ring has room for every port; should it not, the queues are dropped here.
        let _ = returns.push(Returned::Port(port, (gone, way)));
    }
}

fn cycles(time: Duration, hertz: u64) -> u64 {
    (time.as_nanos() * u128::from(hertz) / 1_000_000_000) as u64
}
