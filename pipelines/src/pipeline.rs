//! A packet's way: the stages over one burst, from decode to the ports.

use std::sync::Arc;

use sluice_channel::statistics::WorkerBlock;
use sluice_dpdk::tsc;
use sluice_hooks::{
    Burst, Context, Direction, HookOrder, Injected, Originated, Outbox, Ports, Registry, Way,
    count_drop,
};
use sluice_packet::{ConnectionState, DescriptorFlags, Mask};
use sluice_policy::Policy;
use sluice_policy::{DropReason, Event, InstanceId, PortId, Stage};

use crate::agent::{AgentLink, Report};
use crate::flow::Flows;
use crate::fragments::Fragments;
use crate::inject::{self, Entrance, Injections};
use crate::neighbour::Neighbours;
use crate::neighbour::solicit::Solicit;
use crate::neighbour::table::NeighbourTable;
use crate::run::{Authors, Hooks, Run};
use crate::tx::Output;
use crate::{arp, decode, down, forward, local, loopback};

/// One generation as workers see it: the policy, the hooks' order resolved for it, and the facts
/// of the ports. Published as a whole; a burst is handled by one generation from end to end.
pub struct Generation {
    /// The policy.
    pub policy: Policy,
    /// In which order hooks run.
    pub order: HookOrder,
    /// The ports' link addresses and links.
    pub ports: Ports,
}

impl Generation {
    /// The generation that follows this one, of a policy that was made from its own. Flows are told
    /// anew where hooks have come or gone that they depend on.
    #[must_use]
    pub fn followed_by(&self, policy: Policy, order: HookOrder, ports: Ports) -> Generation {
        let moved = order.moves_flows_of(&self.order);
        let policy = if moved { policy.with_hooks_moved() } else { policy };
        Generation { policy, order, ports }
    }
}

/// The stages of one worker and all that they keep between bursts.
pub struct Pipeline {
    hooks: Hooks,
    outbox: Outbox,
    fragments: Fragments,
    neighbours: Neighbours,
    own: Burst,
    bursts: u32,
    /// The ports as this worker sends to them.
    pub output: Output,
    /// Reports to the agent.
    pub agent: AgentLink,
    /// What other threads inject, where some thread does.
    pub injections: Option<Injections>,
}

/// One burst in so many is timed: reading the clock at every stage of every burst would cost more
/// than some stages do.
const TIMED: u32 = 16;

/// What a burst is handled with.
struct Round<'a> {
    generation: &'a Generation,
    statistics: WorkerBlock<'a>,
    now: u64,
    stopwatch: Stopwatch,
}

/// Times the stages of some bursts, in cycles of the time-stamp counter.
#[derive(Clone, Copy)]
pub(crate) struct Stopwatch {
    runs: bool,
}

impl Stopwatch {
    /// For the burst of this number.
    #[inline]
    pub(crate) fn of(burst: u32) -> Stopwatch {
        Stopwatch { runs: burst.is_multiple_of(TIMED) }
    }

    #[inline]
    pub(crate) fn start(self) -> u64 {
        if self.runs { tsc() } else { 0 }
    }

    /// Whether this burst is timed.
    #[inline]
    pub(crate) fn runs(self) -> bool {
        self.runs
    }

    /// What a timed run stands for, in cycles.
    #[inline]
    pub(crate) fn estimate(self, cycles: u64) -> u64 {
        cycles * u64::from(TIMED)
    }

    /// Adds a run of a stage to its counters; a timed one stands for all of those that are not.
    #[inline]
    pub(crate) fn stop(
        self,
        statistics: WorkerBlock<'_>,
        stage: Stage,
        packets: usize,
        start: u64,
    ) {
        let counters = statistics.stage(stage);
        counters.bursts.add(1);
        counters.packets.add(packets as u64);
        if self.runs {
            counters.cycles.add(self.estimate(tsc().wrapping_sub(start)));
        }
    }
}

impl<'a> Round<'a> {
    fn context<'b>(&self, outbox: &'b mut Outbox, instance: InstanceId) -> Option<Context<'b>>
    where
        'a: 'b,
    {
        Some(Context {
            policy: &self.generation.policy,
            instance: self.generation.policy.instance(instance)?,
            event: Event::PhysicalIn,
            ports: &self.generation.ports,
            statistics: self.statistics,
            now: self.now,
            outbox,
            own: &[],
            running: None,
        })
    }
}

impl Pipeline {
    /// The pipeline of one worker: its own object of every hook in `registry`, and its connections;
    /// `hertz` is the frequency of the time-stamp counter.
    pub fn new(
        registry: &Registry,
        flows: Flows,
        outbox: Outbox,
        neighbours: Arc<NeighbourTable>,
        output: Output,
        agent: AgentLink,
        hertz: u64,
    ) -> Pipeline {
        Pipeline {
            hooks: Hooks::new(registry, flows),
            outbox,
            fragments: Fragments::new(hertz),
            neighbours: Neighbours::new(neighbours, hertz),
            own: Burst::new(),
            bursts: 0,
            output,
            agent,
            injections: None,
        }
    }

    /// Receives the burst that [`run`](Self::run) is given next; returns how many packets it has.
    #[inline]
    pub fn receive(&self, statistics: WorkerBlock<'_>, receive: impl FnOnce() -> usize) -> usize {
        let stopwatch = Stopwatch::of(self.bursts.wrapping_add(1));
        let start = stopwatch.start();
        let n = receive();
        if n > 0 {
            stopwatch.stop(statistics, Stage::Rx, n, start);
        }
        n
    }

    /// Takes a burst that was received from `port` all the way. The burst is empty afterwards.
    /// `now` is the time-stamp counter as the worker last read it.
    pub fn run(
        &mut self,
        generation: &Generation,
        statistics: WorkerBlock<'_>,
        port: PortId,
        burst: &mut Burst,
        now: u64,
    ) {
        let received = burst.live().len() as u64;
        let bytes = self.run_handed(generation, statistics, port, burst, now);
        statistics.core().rx.add(received);
        let counters = statistics.port(port);
        counters.rx_packets.add(received);
        counters.rx_bytes.add(bytes);
    }

    /// [`run`](Self::run) for a burst that another worker has received, counted and handed over.
    /// Says how many bytes it had.
    pub fn run_handed(
        &mut self,
        generation: &Generation,
        statistics: WorkerBlock<'_>,
        port: PortId,
        burst: &mut Burst,
        now: u64,
    ) -> u64 {
        self.bursts = self.bursts.wrapping_add(1);
        if generation.policy.has_down() && generation.policy.down().contains(&port) {
            return down::refuse(statistics, burst);
        }
        let stopwatch = Stopwatch::of(self.bursts);
        let round = Round { generation, statistics, now, stopwatch };
        let start = stopwatch.start();
        let received = burst.live().len();
        let facts = generation.ports.get(port);
        let bytes = decode::process(&generation.policy, port, facts, statistics, burst);
        stopwatch.stop(statistics, Stage::Decode, received, start);

        let mut rest = burst.live();
        while let Some((_, packets)) = burst.same_instance(rest) {
            rest &= !packets;
            self.walk(&round, burst, packets, Origin::Port);
        }
        burst.free_finished();
        self.send_own(&round);
        if self.fragments.due(now) {
            self.release_fragments(&round);
        }
        self.note_held(statistics);
        bytes
    }

    /// Takes a burst past the hooks of one event and no further: what the event costs
    /// (`bench/events`).
    #[inline(never)]
    pub fn pass_event(
        &mut self,
        generation: &Generation,
        statistics: WorkerBlock<'_>,
        burst: &mut Burst,
        event: Event,
    ) {
        let stopwatch = Stopwatch { runs: false };
        let round = Round { generation, statistics, now: 0, stopwatch };
        let packets = burst.live();
        let Some((instance, packets)) = burst.same_instance(packets) else { return };
        let Some(mut cx) = round.context(&mut self.outbox, instance) else { return };
        let mut hooks = Run { hooks: &mut self.hooks, order: &generation.order, stopwatch };
        hooks.run(&mut cx, burst, packets, event);
    }

    /// Sends what the agent asks for.
    pub fn solicit(
        &mut self,
        generation: &Generation,
        statistics: WorkerBlock<'_>,
        solicit: Solicit,
    ) {
        let Some(mbuf) = self.outbox.buffer() else { return };
        let Some(packet) = solicit.build(&generation.policy, &generation.ports, mbuf) else {
            return;
        };
        if self.outbox.originate(packet).is_ok() {
            statistics.core().generated.add(1);
        }
        let stopwatch = Stopwatch { runs: false };
        self.send_own(&Round { generation, statistics, now: tsc(), stopwatch });
        self.note_held(statistics);
    }

    /// Looks after connections and held packets, as far as it is time for them: sends those whose next hop has answered, drops
    /// those whose next hop never will.
    pub fn tend(&mut self, generation: &Generation, statistics: WorkerBlock<'_>, now: u64) {
        let stopwatch = Stopwatch { runs: false };
        let round = Round { generation, statistics, now, stopwatch };
        self.hooks.flows.tend(&generation.policy, &generation.order, now);
        self.hooks.flows.report(statistics.flows());
        if self.fragments.due(now) {
            self.release_fragments(&round);
            self.note_held(statistics);
        }
        if !self.neighbours.due(now) {
            return;
        }
        let mut burst = std::mem::take(&mut self.own);
        loop {
            let current = generation.policy.edition();
            let out = self.neighbours.release(now, current, &mut burst, &mut self.agent);
            let released = burst.live();
            if released.is_empty() {
                break;
            }
            let mut rest = released;
            while let Some((instance, packets)) = burst.same_instance(rest) {
                rest &= !packets;
                if let Some(mut cx) = round.context(&mut self.outbox, instance) {
                    self.neighbours.give_up(&mut cx, &mut burst, packets & out.late);
                    let ready = packets & burst.live() & !out.stale;
                    let (output, agent) = (&mut self.output, &mut self.agent);
                    self.neighbours.process(&mut cx, &mut burst, ready, output, agent);
                    let (hooks, order) = (&mut self.hooks, &generation.order);
                    Run { hooks, order, stopwatch }.observe_dropped(&mut cx, &mut burst, packets);
                } else {
                    end_all(statistics, &mut burst, packets);
                }
                let stale = packets & burst.live() & out.stale;
                down::drop_received(&generation.policy, statistics, &mut burst, stale);
                let stale = stale & burst.live();
                self.walk(&round, &mut burst, stale, Origin::Own);
            }
            burst.free_finished();
            if released.len() < sluice_dpdk::BURST {
                break;
            }
        }
        self.own = burst;
        self.send_own(&round);
        self.note_held(statistics);
    }

    /// Whether packets wait to be injected.
    #[inline]
    pub fn has_injected(&self) -> bool {
        self.outbox.has_injected() || self.injections.as_ref().is_some_and(|ring| !ring.is_empty())
    }

    /// Puts injected packets on their way, those of the worker's own hooks first; at most a burst
    /// in all, so that they cannot keep out what is received. Returns how many.
    #[inline]
    pub fn inject(
        &mut self,
        generation: &Generation,
        statistics: WorkerBlock<'_>,
        now: u64,
    ) -> usize {
        if !self.has_injected() {
            return 0;
        }
        let stopwatch = Stopwatch { runs: false };
        self.send_injected(&Round { generation, statistics, now, stopwatch })
    }

    #[cold]
    fn send_injected(&mut self, round: &Round<'_>) -> usize {
        let Generation { policy, ports, .. } = round.generation;
        for _ in 0..self.outbox.take_looped() {
            round.statistics.core().generated.add(1);
            count_drop(round.statistics, DropReason::InjectLoop);
        }
        let mut taken = 0;
        let mut next = self.take_injected();
        while let Some(first) = next.take() {
            let entrance = Entrance::of(first.how);
            let mut burst = std::mem::take(&mut self.own);
            let mut depth = 0;
            next = Some(first);
            // In their order, as far as they go together.
            while let Some(injected) = next.take_if(|next| Entrance::of(next.how) == entrance) {
                depth = depth.max(injected.packet.metadata.injections());
                inject::admit(policy, ports, round.statistics, &mut burst, injected);
                taken += 1;
                next = (taken < sluice_dpdk::BURST).then(|| self.take_injected()).flatten();
            }
            self.outbox.set_injections_in_hand(depth);
            let mut rest = burst.live();
            while let Some((instance, packets)) = burst.same_instance(rest) {
                rest &= !packets;
                match entrance {
                    Entrance::In => self.walk(round, &mut burst, packets, Origin::Port),
                    Entrance::Out => self.walk(round, &mut burst, packets, Origin::Own),
                    Entrance::Direct => self.send_direct(round, &mut burst, instance, packets),
                }
            }
            burst.free_finished();
            self.own = burst;
            self.send_own(round);
            self.outbox.set_injections_in_hand(0);
        }
        self.note_held(round.statistics);
        taken
    }

    fn take_injected(&mut self) -> Option<Injected> {
        self.outbox.take_injected().or_else(|| self.injections.as_mut()?.take())
    }

    /// Hands packets to the neighbours that were said: no hook is asked.
    fn send_direct(
        &mut self,
        round: &Round<'_>,
        burst: &mut Burst,
        instance: InstanceId,
        packets: Mask,
    ) {
        match round.context(&mut self.outbox, instance) {
            Some(mut cx) => {
                let (output, agent) = (&mut self.output, &mut self.agent);
                self.neighbours.process(&mut cx, burst, packets, output, agent);
            }
            None => end_all(round.statistics, burst, packets),
        }
    }

    /// Takes fragments that need not wait for their first any longer on from where they were taken.
    #[cold]
    fn release_fragments(&mut self, round: &Round<'_>) {
        let mut burst = std::mem::take(&mut self.own);
        for (early, origin) in [(true, Origin::EarlyFragments), (false, Origin::Fragments)] {
            loop {
                self.fragments.release(round.now, early, &mut burst);
                let released = burst.live();
                let policy = &round.generation.policy;
                down::drop_received(policy, round.statistics, &mut burst, released);
                let mut rest = burst.live();
                while let Some((_, packets)) = burst.same_instance(rest) {
                    rest &= !packets;
                    self.walk(round, &mut burst, packets, origin);
                }
                burst.free_finished();
                if released.len() < sluice_dpdk::BURST {
                    break;
                }
            }
        }
        self.own = burst;
        self.send_own(round);
    }

    /// The connections, for an errand of the agent's.
    pub fn flows(&mut self) -> &mut Flows {
        &mut self.hooks.flows
    }

    /// The authors' hooks, to be given and taken back.
    pub fn authors(&mut self) -> &mut Authors {
        &mut self.hooks.authors
    }

    /// Says how many packets wait here.
    #[inline]
    fn note_held(&self, statistics: WorkerBlock<'_>) {
        let held = self.neighbours.held() + self.fragments.held();
        statistics.core().held.set(held as u64);
    }

    /// Whether packets are held.
    pub fn holds(&self) -> bool {
        self.neighbours.held() + self.fragments.held() > 0
    }

    /// Drops what is held: the worker is stopping.
    pub fn clear(&mut self, statistics: WorkerBlock<'_>) {
        self.fragments.clear(|reason| count_drop(statistics, reason));
        self.neighbours.clear(|reason| count_drop(statistics, reason));
        self.outbox.clear_injected();
        while self.injections.as_mut().and_then(Injections::take).is_some() {}
        statistics.core().held.set(0);
    }

    /// Sends the packets that the router itself made, those that they give rise to included.
    fn send_own(&mut self, round: &Round<'_>) {
        while self.outbox.has_originated() {
            let mut burst = std::mem::take(&mut self.own);
            while burst.live() != Mask::ALL
                && let Some(packet) = self.outbox.take_originated()
            {
                let Originated { mbuf, descriptor, instance, way, arp } = packet;
                let Ok(slot) = burst.push(mbuf, descriptor, way) else { break };
                burst.set_instance(slot, instance);
                if let Way::Frame(egress) = way {
                    burst.set_way(slot, way, egress);
                }
                if arp {
                    burst.set_arp(slot);
                }
            }
            let mut rest = burst.live();
            while let Some((_, packets)) = burst.same_instance(rest) {
                rest &= !packets;
                self.walk(round, &mut burst, packets, Origin::Own);
            }
            burst.free_finished();
            self.own = burst;
        }
        for report in self.outbox.drain_reports() {
            self.agent.report(Report::Rule(report));
        }
        for note in self.outbox.drain_notes() {
            self.agent.report(Report::Hook(note));
        }
    }

    /// The packets of one instance, to the ports: received ones from PHYSICAL_IN on, the router's
    /// own and fragments that had to wait from the route decision on.
    fn walk(&mut self, round: &Round<'_>, burst: &mut Burst, packets: Mask, origin: Origin) {
        let Pipeline { hooks, outbox, fragments, neighbours, output, agent, .. } = self;
        let statistics = round.statistics;
        let order = &round.generation.order;
        let Some(first) = packets.into_iter().next() else { return };
        let Some(mut cx) = round.context(outbox, burst.instance(first)) else {
            end_all(statistics, burst, packets);
            return;
        };
        let cx = &mut cx;
        let stopwatch = round.stopwatch;
        let mut hooks = Run { hooks, order, stopwatch };
        let mut own = packets;
        let tracks = cx.instance.tracks();
        hooks.hooks.flows.pass_over();

        if origin == Origin::Own {
            if tracks {
                answer_established(burst, packets);
            }
            let undecided = without_way(burst, packets);
            hooks.run(cx, burst, undecided, Event::RouteDecision);
            if order.is_asked_between_instances() {
                loopback::process(&mut hooks, cx, burst, undecided);
            }
        } else {
            let mut ip = packets;
            own = Mask::EMPTY;
            if origin == Origin::Port {
                hooks.observe(cx, burst, packets, Direction::Inbound);
                // No fragment is plain.
                let odd = packets & !burst.plain();
                if tracks && !odd.is_empty() {
                    fragments.process(cx, burst, odd, true);
                }
            }
            if origin != Origin::Fragments {
                hooks.run(cx, burst, packets & burst.live(), Event::PhysicalIn);
                let known = packets & burst.known();
                if known == packets & burst.live() && !order.has_authors(cx.instance.id) {
                    burst.set_to_lower(known);
                    hooks.leave(cx, burst, known, neighbours, output, agent);
                    return;
                }

                let arps = packets & burst.arp();
                if !arps.is_empty() {
                    let start = stopwatch.start();
                    arp::process(cx, burst, arps, agent);
                    stopwatch.stop(statistics, Stage::Arp, arps.len(), start);
                }

                ip = packets & burst.live() & !arps;
                let unknown = ip & !burst.known();
                let start = stopwatch.start();
                own = local::process(cx, burst, unknown, agent);
                if tracks {
                    answer_established(burst, own);
                }
                stopwatch.stop(statistics, Stage::Local, unknown.len(), start);

                let odd = unknown & burst.live() & !burst.plain() & !own;
                if !odd.is_empty() && !tracks && cx.instance.follows_fragments() {
                    fragments.process(cx, burst, odd, false);
                }
            }
            hooks.run(cx, burst, ip & burst.live(), Event::RouteDecision);
            if order.is_asked_between_instances() {
                loopback::process(&mut hooks, cx, burst, ip & !burst.known());
            }

            let forwarded = ip & burst.live() & !own;
            hooks.run(cx, burst, forwarded, Event::Forwarding);
            let forwarded = forwarded & burst.live();
            if !hooks.is_looked_at(cx) {
                burst.set_to_lower(forwarded);
            } else {
                forward::decrement(burst, forwarded);
            }
        }
        forward::fit_own(cx, burst, own & burst.live() & !burst.arp());
        if cx.policy.has_down() && order.has_authors(cx.instance.id) {
            down::drop_leaving(cx.policy, statistics, burst, packets);
        }

        hooks.run(cx, burst, packets & burst.live(), Event::PhysicalOut);
        let changed = packets & burst.changed();
        if !changed.is_empty() {
            forward::fit_own(cx, burst, changed & !burst.arp());
        }

        let leaving = packets & burst.live();
        hooks.observe(cx, burst, leaving, Direction::Outbound);
        hooks.leave(cx, burst, leaving, neighbours, output, agent);
        hooks.observe_dropped(cx, burst, packets);
    }
}

impl Run<'_> {
    /// Packets leave by their ports.
    #[inline]
    fn leave(
        &mut self,
        cx: &mut Context<'_>,
        burst: &mut Burst,
        leaving: Mask,
        neighbours: &mut Neighbours,
        output: &mut Output,
        agent: &mut AgentLink,
    ) {
        let over = self.hooks.flows.leave(cx, self.order, burst, leaving);
        let leaving = leaving & !over;
        for slot in over {
            cx.drop(burst, slot, DropReason::RuleLimit);
        }
        let start = self.stopwatch.start();
        neighbours.process(cx, burst, leaving, output, agent);
        self.stopwatch.stop(cx.statistics, Stage::Neighbour, leaving.len(), start);
    }
}

/// What the router itself sends counts as an answer to what it was sent.
#[cold]
fn answer_established(burst: &mut Burst, packets: Mask) {
    for slot in packets {
        if let Some(packet) = burst.parts(slot)
            && packet.descriptor.flags.contains(DescriptorFlags::LOCAL_ORIGIN)
        {
            packet.descriptor.state = ConnectionState::Established;
        }
    }
}

/// Where a burst comes from.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Origin {
    Port,
    Own,
    /// Fragments that waited ahead of PHYSICAL_IN.
    EarlyFragments,
    /// Those that waited ahead of the route decision.
    Fragments,
}

/// Those of `packets` that are to be routed.
fn without_way(burst: &Burst, packets: Mask) -> Mask {
    let mut undecided = Mask::EMPTY;
    for slot in packets {
        if burst.way(slot) == Way::Undecided {
            undecided.insert(slot);
        }
    }
    undecided
}

/// Drops packets of an instance that the policy does not have.
fn end_all(statistics: WorkerBlock<'_>, burst: &mut Burst, packets: Mask) {
    for slot in packets {
        burst.end(slot);
        count_drop(statistics, DropReason::InterfaceDown);
    }
}
