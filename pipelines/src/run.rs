//! Running the hooks of an event, in their order: the stages that ship with Sluice, and authors'
//! hooks, whose panics are caught.

use std::panic::{AssertUnwindSafe, catch_unwind};

use sluice_channel::statistics::{CoreCounters, MAX_HOOKS, WorkerBlock};
use sluice_dpdk::tsc;
use sluice_hooks::stack::Slot;
use sluice_hooks::{
    Burst, Context, Direction, Guard, Hook, HookIndex, HookOrder, Protocol, Registry, Wants,
};
use sluice_packet::{Family, Mask};
use sluice_policy::{DropReason, Event, Stage, by_level};

use crate::flow::Flows;
use crate::pipeline::Stopwatch;
use crate::redecode;

/// A worker's hooks.
pub(crate) struct Hooks {
    stages: Vec<(Stage, Box<dyn Hook>)>,
    pub(crate) flows: Flows,
    pub(crate) authors: Authors,
}

impl Hooks {
    /// An object of every stage in `registry`, and none of an author's.
    pub(crate) fn new(registry: &Registry, flows: Flows) -> Hooks {
        let stages = registry.stages().into_iter().zip(registry.instantiate()).collect();
        Hooks { stages, flows, authors: Authors::default() }
    }
}

/// An author's hook.
struct Author {
    object: Box<dyn Hook>,
    /// Whether its panics are caught.
    guarded: bool,
    /// Whether it is not shown packets for which their flow answers.
    first_of_flow: bool,
    /// Whether it is shown what is dropped.
    sees_drops: bool,
}

/// A worker's objects of the authors' hooks, by slot.
pub struct Authors {
    objects: [Option<Author>; MAX_HOOKS],
}

impl Default for Authors {
    fn default() -> Self {
        Authors { objects: [const { None }; MAX_HOOKS] }
    }
}

impl Authors {
    /// Panics of one hook on one worker; after so many it is passed over, until it is taken out.
    pub const PANICS: u64 = 3;

    /// Takes an object in; the slot is free.
    pub fn put(&mut self, slot: Slot, object: Box<dyn Hook>, guarded: bool) {
        let first_of_flow = object.wants() == Wants::FirstOfFlow;
        let sees_drops = object.sees_drops();
        self.objects[slot] = Some(Author { object, guarded, first_of_flow, sees_drops });
    }

    /// Gives an object back. The slot's counters are at 0 then, for whoever gets it next: the agent
    /// must not take the old ones for the next one's.
    pub fn take(&mut self, statistics: WorkerBlock<'_>, slot: Slot) -> Option<Box<dyn Hook>> {
        statistics.hook(slot).reset();
        statistics.hook_by_instance(slot).iter().for_each(|counters| counters.reset());
        statistics.own(slot).iter().for_each(|counter| counter.set(0));
        self.objects[slot].take().map(|author| author.object)
    }
}

/// The hooks, and the order to run them in.
pub(crate) struct Run<'a> {
    pub(crate) hooks: &'a mut Hooks,
    pub(crate) order: &'a HookOrder,
    pub(crate) stopwatch: Stopwatch,
}

impl Run<'_> {
    /// Whether an author's hook looks at packets that leave: then their hop limit is lowered ahead
    /// of it. Hooks of our own do not look at it, so that without authors' it can be lowered behind
    /// them, when the packet's first bytes are written anyway.
    #[inline]
    pub(crate) fn is_looked_at(&self, cx: &Context<'_>) -> bool {
        let out = [Protocol::Inet, Protocol::Inet6].into_iter().any(|protocol| {
            let hooks = self.order.hooks(cx.instance.id, protocol, Event::PhysicalOut);
            hooks.iter().any(|hook| usize::from(hook.0) >= self.hooks.stages.len())
        });
        out || self.order.has(cx.instance.id, Event::Observing)
    }

    /// Shows packets to the hooks at OBSERVING, if there are any.
    #[inline]
    pub(crate) fn observe(
        &mut self,
        cx: &mut Context<'_>,
        burst: &mut Burst,
        packets: Mask,
        direction: Direction,
    ) {
        if self.order.has(cx.instance.id, Event::Observing) {
            burst.set_observed_as(direction);
            self.run(cx, burst, packets, Event::Observing);
        }
    }

    /// Shows those of `packets` that have been dropped to the hooks at OBSERVING that ask for them.
    #[inline]
    pub(crate) fn observe_dropped(
        &mut self,
        cx: &mut Context<'_>,
        burst: &mut Burst,
        packets: Mask,
    ) {
        let dropped = packets & burst.dropped();
        if !dropped.is_empty() && self.order.has(cx.instance.id, Event::Observing) {
            burst.set_observed_as(Direction::Dropped);
            burst.look_at_dropped(dropped, |burst| self.run(cx, burst, dropped, Event::Observing));
        }
    }

    /// Runs the hooks of an event over those of `packets` that are still live.
    #[inline]
    pub(crate) fn run(
        &mut self,
        cx: &mut Context<'_>,
        burst: &mut Burst,
        packets: Mask,
        event: Event,
    ) {
        cx.event = event;
        // A hook may make one of the other: no packet meets the same event twice.
        let inet = packets & burst.family(Family::Inet);
        let inet6 = packets & burst.family(Family::Inet6);
        let arp = packets & burst.arp();
        self.run_protocol(cx, burst, inet, Protocol::Inet);
        self.run_protocol(cx, burst, inet6, Protocol::Inet6);
        self.run_protocol(cx, burst, arp, Protocol::Arp);
    }

    #[inline]
    fn run_protocol(
        &mut self,
        cx: &mut Context<'_>,
        burst: &mut Burst,
        packets: Mask,
        protocol: Protocol,
    ) {
        if packets.is_empty() {
            return;
        }
        let mut selected = packets;
        for &HookIndex(index) in self.order.hooks(cx.instance.id, protocol, cx.event) {
            let index = usize::from(index);
            if let Some((stage, hook)) = self.hooks.stages.get_mut(index) {
                let asked = selected & !burst.known();
                if asked.is_empty() {
                    continue;
                }
                let start = self.stopwatch.start();
                if *stage == Stage::Flow {
                    find(&mut self.hooks.flows, cx, self.order, burst, asked);
                } else {
                    hook.process(cx, burst, asked);
                }
                self.stopwatch.stop(cx.statistics, *stage, asked.len(), start);
            } else {
                let slot = index - self.hooks.stages.len();
                run_author(&mut self.hooks.authors, slot, cx, burst, selected, self.stopwatch);
                if !burst.rewritten().is_empty() {
                    redecode::process(cx, burst);
                }
            }
            selected &= burst.live();
            if selected.is_empty() {
                return;
            }
        }
    }
}

by_level! {
    /// Looks the packets' connections up.
    fn find(flows: &mut Flows, cx: &Context<'_>, order: &HookOrder, burst: &mut Burst, packets: Mask) {
        flows.find(cx, order, burst, packets);
    }
}

/// Runs an author's hook, and keeps account of it.
#[inline(never)]
fn run_author(
    authors: &mut Authors,
    slot: Slot,
    cx: &mut Context<'_>,
    burst: &mut Burst,
    packets: Mask,
    stopwatch: Stopwatch,
) {
    let Some(Some(author)) = authors.objects.get_mut(slot) else { return };
    let Author { object, guarded, first_of_flow, sees_drops } = author;
    let gone_before = cx.event == Event::Observing && burst.observed_as() == Direction::Dropped;
    if gone_before && !*sees_drops {
        return;
    }
    let packets = if *first_of_flow { packets & !burst.known() } else { packets };
    if packets.is_empty() {
        return;
    }
    let statistics = cx.statistics;
    let counters = statistics.hook(slot);
    if counters.panics.get() >= Authors::PANICS {
        return;
    }
    let core = statistics.core();
    let ended = |core: &CoreCounters| core.dropped.get().wrapping_add(core.consumed.get());
    let (dropped, ended_before) = (core.dropped.get(), ended(core));
    (cx.own, cx.running) = (statistics.own(slot), Some(slot));
    core.in_hook.set(slot as u64 + 1);
    let start = stopwatch.start();
    let returned = if *guarded {
        let _guard = Guard::enter();
        catch_unwind(AssertUnwindSafe(|| object.process(cx, burst, packets))).is_ok()
    } else {
        object.process(cx, burst, packets);
        true
    };
    let cycles = if stopwatch.runs() { stopwatch.estimate(tsc().wrapping_sub(start)) } else { 0 };
    core.in_hook.set(0);
    (cx.own, cx.running) = (&[], None);
    if !returned && gone_before {
        // They have been counted, and are freed with their burst.
        counters.panics.add(1);
    } else if !returned {
        // What it had in hand when it panicked has been freed and not been counted.
        let gone = (packets & !burst.live()).len() as u64;
        let counted = ended(core).wrapping_sub(ended_before);
        for _ in counted..gone {
            cx.count_drop(DropReason::HookPanic);
        }
        for slot in packets & burst.live() {
            cx.drop(burst, slot, DropReason::HookPanic);
        }
        counters.panics.add(1);
    }
    counters.bursts.add(1);
    let (packets, dropped) = (packets.len() as u64, core.dropped.get().wrapping_sub(dropped));
    counters.packets.add(packets);
    counters.dropped.add(dropped);
    counters.cycles.add(cycles);
    if let Some(counters) = statistics.hook_by_instance(slot).get(cx.instance.id.index()) {
        counters.packets.add(packets);
        counters.dropped.add(dropped);
        counters.cycles.add(cycles);
    }
}
