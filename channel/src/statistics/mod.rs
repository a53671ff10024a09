//! The statistics segment: counters that the dataplane writes and the control process reads,
//! with no call between them.
//!
//! A [`Statistics`] is sized once, from [`Limits`], and never moves. Each worker has a
//! [`WorkerBlock`] on cache lines of its own and is its only writer; the agent is the only writer
//! of the rest. Readers add the workers up. Every value is read by itself: a reader can see a
//! packet in `rx` before it sees it in `tx`, so an equation over several counters holds exactly
//! only while the workers stand still.
//!
//! The dataplane never takes a decision from what it reads here, so that a control process that
//! writes to the segment spoils nothing but the numbers it shows.

mod counters;
mod layout;

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use sluice_policy::{DropReason, PortId, RuleSlot, Stage};

use self::counters::Row;
use crate::ChannelError;
use crate::mapping::Mapping;
use crate::message::Limits;

pub use self::counters::{
    AgentCounters, CoreCounters, Counter, FlowCounters, HookCounters, HookInstanceCounters,
    PortCounters, PortGauges, RuleCounters, StageCounters,
};
pub use self::layout::{HOOK_INSTANCES, Layout, MAX_HOOKS, OWN_COUNTERS};

/// The statistics segment. Keeps its memory mapped for as long as it lives.
pub struct Statistics {
    mapping: Arc<Mapping>,
    layout: Layout,
}

impl Statistics {
    /// A segment of this process alone: for tests and benchmarks.
    pub fn in_memory(limits: Limits) -> Result<Statistics, ChannelError> {
        let layout = Layout::new(limits);
        Ok(Statistics::create(Mapping::anonymous(layout.bytes)?, layout))
    }

    /// Lays counters, all zero, over fresh memory of at least the layout's size.
    pub(crate) fn create(mapping: Mapping, layout: Layout) -> Statistics {
        for (word, value) in mapping.words().iter().zip(layout.header()) {
            word.store(value, Ordering::Release);
        }
        Statistics { mapping: Arc::new(mapping), layout }
    }

    /// Opens what another process created; `None` if it is not what this program would create.
    pub(crate) fn open(mapping: Mapping) -> Option<Statistics> {
        let words = mapping.words();
        let layout = Layout::describe(words.iter().map(|word| word.load(Ordering::Acquire)))?;
        (layout.bytes <= size_of_val(words))
            .then_some(Statistics { mapping: Arc::new(mapping), layout })
    }

    /// Where everything lies.
    pub fn layout(&self) -> &Layout {
        &self.layout
    }

    /// What the segment was sized for.
    pub fn limits(&self) -> Limits {
        self.layout.limits
    }

    /// How many workers there are.
    pub fn workers(&self) -> usize {
        usize::from(self.layout.limits.workers)
    }

    /// The block of one worker.
    ///
    /// # Panics
    ///
    /// If there is no such worker.
    #[inline]
    pub fn worker(&self, worker: usize) -> WorkerBlock<'_> {
        assert!(worker < self.workers(), "worker {worker} of {}", self.workers());
        let start = self.layout.workers + worker * self.layout.stride;
        let words = &self.mapping.words()[start / 8..][..self.layout.stride / 8];
        WorkerBlock { words, layout: &self.layout }
    }

    /// The blocks of all workers, in order.
    pub fn blocks(&self) -> impl Iterator<Item = WorkerBlock<'_>> {
        (0..self.workers()).map(|worker| self.worker(worker))
    }

    /// What the agent writes about the appliance.
    pub fn agent(&self) -> &AgentCounters {
        &rows(self.mapping.words(), self.layout.agent, 1)[0]
    }

    /// What the agent knows of each port, by [`PortId`].
    pub fn gauges(&self) -> &[PortGauges] {
        rows(self.mapping.words(), self.layout.gauges, self.layout.limits.ports.into())
    }

    /// What the agent knows of one port.
    ///
    /// # Panics
    ///
    /// If the port is beyond the limit.
    pub fn port_gauges(&self, port: PortId) -> &PortGauges {
        &self.gauges()[port.index()]
    }

    /// The sum over all workers of what `counter` finds in a block.
    pub fn sum(&self, counter: impl Fn(WorkerBlock<'_>) -> u64) -> u64 {
        self.blocks().fold(0, |sum, block| sum.wrapping_add(counter(block)))
    }

    /// Packets dropped for one reason, by all workers.
    pub fn drops(&self, reason: DropReason) -> u64 {
        self.sum(|block| block.drops()[reason.index()].get())
    }

    /// Packets and bytes that matched a rule, on all workers; zero for a slot beyond the limit.
    pub fn rule(&self, slot: RuleSlot) -> (u64, u64) {
        let sum = |field: fn(&RuleCounters) -> &Counter| {
            self.sum(|block| block.rules().get(slot.index()).map_or(0, |rule| field(rule).get()))
        };
        (sum(|rule| &rule.packets), sum(|rule| &rule.bytes))
    }

    /// One of a port's counters, over all workers; zero for a port beyond the limit.
    pub fn port(&self, port: PortId, counter: impl Fn(&PortCounters) -> &Counter) -> u64 {
        self.sum(|block| block.ports().get(port.index()).map_or(0, |port| counter(port).get()))
    }

    /// One of a stage's counters, over all workers.
    pub fn stage(&self, stage: Stage, counter: impl Fn(&StageCounters) -> &Counter) -> u64 {
        self.sum(|block| counter(block.stage(stage)).get())
    }
}

impl fmt::Debug for Statistics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Statistics").field("layout", &self.layout).finish_non_exhaustive()
    }
}

/// The counters of one worker, which is their only writer.
#[derive(Clone, Copy)]
pub struct WorkerBlock<'a> {
    words: &'a [AtomicU64],
    layout: &'a Layout,
}

impl<'a> WorkerBlock<'a> {
    /// The worker's account of its packets, and of itself.
    #[inline]
    pub fn core(self) -> &'a CoreCounters {
        &rows(self.words, 0, 1)[0]
    }

    /// The worker's flow table.
    #[inline]
    pub fn flows(self) -> &'a FlowCounters {
        &rows(self.words, self.layout.flows, 1)[0]
    }

    /// Packets dropped, by [`DropReason::index`].
    #[inline]
    pub fn drops(self) -> &'a [Counter] {
        rows(self.words, self.layout.drops, DropReason::COUNT)
    }

    /// The stages' counters, in the order of [`Stage::ALL`].
    #[inline]
    pub fn stages(self) -> &'a [StageCounters] {
        rows(self.words, self.layout.stages, Stage::ALL.len())
    }

    /// One stage's counters.
    #[inline]
    pub fn stage(self, stage: Stage) -> &'a StageCounters {
        &self.stages()[stage as usize]
    }

    /// The ports' counters, by [`PortId`].
    #[inline]
    pub fn ports(self) -> &'a [PortCounters] {
        rows(self.words, self.layout.ports, self.layout.limits.ports.into())
    }

    /// One port's counters.
    ///
    /// # Panics
    ///
    /// If the port is beyond the limit.
    #[inline]
    pub fn port(self, port: PortId) -> &'a PortCounters {
        &self.ports()[port.index()]
    }

    /// The rules' counters, by [`RuleSlot`].
    #[inline]
    pub fn rules(self) -> &'a [RuleCounters] {
        rows(self.words, self.layout.rules, self.layout.limits.rules as usize)
    }

    /// One rule's counters.
    ///
    /// # Panics
    ///
    /// If the slot is beyond the limit.
    #[inline]
    pub fn rule(self, slot: RuleSlot) -> &'a RuleCounters {
        &self.rules()[slot.index()]
    }

    /// The counters of one hook that does not ship with Sluice, by its slot.
    ///
    /// # Panics
    ///
    /// If there are not that many.
    #[inline]
    pub fn hook(self, slot: usize) -> &'a HookCounters {
        &rows::<HookCounters>(self.words, self.layout.hooks, MAX_HOOKS)[slot]
    }

    /// The [`OWN_COUNTERS`] that such a hook has of its own.
    ///
    /// # Panics
    ///
    /// If there are not that many hooks.
    #[inline]
    pub fn own(self, slot: usize) -> &'a [Counter] {
        let all = rows(self.words, self.layout.own, MAX_HOOKS * OWN_COUNTERS);
        &all[slot * OWN_COUNTERS..][..OWN_COUNTERS]
    }

    /// What such a hook did with packets of the instances of the [`HOOK_INSTANCES`] lowest numbers,
    /// by [`InstanceId`](sluice_policy::InstanceId).
    ///
    /// # Panics
    ///
    /// If there are not that many hooks.
    #[inline]
    pub fn hook_by_instance(self, slot: usize) -> &'a [HookInstanceCounters] {
        let all = rows(self.words, self.layout.by_instance, MAX_HOOKS * HOOK_INSTANCES);
        &all[slot * HOOK_INSTANCES..][..HOOK_INSTANCES]
    }
}

/// `count` rows of counters from `offset` bytes on.
#[inline]
fn rows<T: Row>(words: &[AtomicU64], offset: usize, count: usize) -> &[T] {
    let words = &words[offset / 8..][..count * size_of::<T>() / 8];
    // SAFETY: `words` is initialised memory of exactly `count` times the size of `T`, aligned to
    // eight, borrowed for as long as the result. `T: Row` is counters only: every bit pattern is
    // valid, and memory that is shared as atomics stays shared as atomics of the same width.
    unsafe { std::slice::from_raw_parts(words.as_ptr().cast::<T>(), count) }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: Limits = Limits { workers: 3, ports: 5, rules: 100 };

    #[test]
    fn counters_of_different_writers_share_no_cache_line() {
        let statistics = Statistics::in_memory(LIMITS).unwrap();
        let start = |block: WorkerBlock<'_>| std::ptr::from_ref(block.core()).addr();
        for block in statistics.blocks() {
            assert_eq!(start(block) % 128, 0);
            assert!(block.rules().as_ptr_range().end.addr() <= start(block) + block.layout.stride);
        }
        let agent = std::ptr::from_ref(statistics.agent()).addr();
        assert_eq!(agent % 128, 0);
        assert!(statistics.gauges().as_ptr_range().end.addr() <= start(statistics.worker(0)));
    }

    #[test]
    fn every_counter_has_a_place_of_its_own() {
        let statistics = Statistics::in_memory(LIMITS).unwrap();
        for block in statistics.blocks() {
            block.core().generation.add(1);
            block.flows().full.add(1);
            block.drops().iter().for_each(|counter| counter.add(1));
            block.stages().iter().for_each(|stage| stage.cycles.add(1));
            block.ports().iter().for_each(|port| port.tx_refused.add(1));
            block.rules().iter().for_each(|rule| rule.bytes.add(1));
            for slot in 0..MAX_HOOKS {
                block.hook(slot).panics.add(1);
                block.own(slot).iter().for_each(|counter| counter.add(1));
                block.hook_by_instance(slot).iter().for_each(|row| row.cycles.add(1));
            }
        }
        statistics.agent().punted.add(1);
        statistics.gauges().iter().for_each(|port| port.no_buffers.add(1));
        for block in statistics.blocks() {
            assert!(block.core().values().all(|(name, n)| n == u64::from(name == "generation")));
            assert!(block.flows().values().all(|(name, n)| n == u64::from(name == "full")));
            assert!(block.drops().iter().all(|counter| counter.get() == 1));
            assert!(block.stages().iter().all(|s| (s.bursts.get(), s.cycles.get()) == (0, 1)));
            assert!(
                block.ports().iter().all(|p| (p.rx_packets.get(), p.tx_refused.get()) == (0, 1))
            );
            assert!(block.rules().iter().all(|r| (r.packets.get(), r.bytes.get()) == (0, 1)));
            for slot in 0..MAX_HOOKS {
                let hook = block.hook(slot);
                assert_eq!((hook.panics.get(), hook.cycles.get()), (1, 0));
                assert!(block.own(slot).iter().all(|counter| counter.get() == 1));
                let by_instance = block.hook_by_instance(slot);
                assert_eq!(by_instance.len(), HOOK_INSTANCES);
                assert!(by_instance.iter().all(|r| (r.dropped.get(), r.cycles.get()) == (0, 1)));
            }
        }
        assert_eq!(statistics.agent().values().filter(|&(_, n)| n == 1).count(), 1);
    }

    #[test]
    fn counters_wrap_and_accounts_hold_all_the_same() {
        let statistics = Statistics::in_memory(LIMITS).unwrap();
        let core = statistics.worker(0).core();
        for counter in [&core.rx, &core.tx, &core.generated] {
            counter.set(u64::MAX - 1);
        }
        core.dropped.set(u64::MAX - 1);
        assert_eq!(core.unaccounted(), 0);
        core.rx.add(70);
        assert_eq!((core.rx.get(), core.unaccounted()), (68, 70));
        core.tx.add(60);
        core.held.set(10);
        assert_eq!(core.unaccounted(), 0);
        core.tx.add(1);
        assert_eq!(core.unaccounted(), -1);
        for block in statistics.blocks() {
            block.port(PortId(0)).rx_packets.set(u64::MAX);
            block.rule(RuleSlot(1)).packets.set(u64::MAX);
        }
        assert_eq!(statistics.port(PortId(0), |port| &port.rx_packets), u64::MAX - 2);
        assert_eq!(statistics.rule(RuleSlot(1)).0, u64::MAX - 2);
    }

    #[test]
    fn sums_go_over_all_workers() {
        let statistics = Statistics::in_memory(LIMITS).unwrap();
        for (worker, block) in statistics.blocks().enumerate() {
            let n = worker as u64 + 1;
            block.drops()[DropReason::NoRoute.index()].add(n);
            block.rule(RuleSlot(99)).packets.add(n);
            block.rule(RuleSlot(99)).bytes.add(10 * n);
            block.port(PortId(4)).rx_bytes.add(n);
            block.stage(Stage::Tx).bursts.add(n);
        }
        assert_eq!(statistics.drops(DropReason::NoRoute), 6);
        assert_eq!(statistics.rule(RuleSlot(99)), (6, 60));
        assert_eq!(statistics.rule(RuleSlot(100)), (0, 0));
        assert_eq!(statistics.port(PortId(4), |port| &port.rx_bytes), 6);
        assert_eq!(statistics.port(PortId(5), |port| &port.rx_bytes), 0);
        assert_eq!(statistics.stage(Stage::Tx, |stage| &stage.bursts), 6);
    }

    #[test]
    fn a_header_that_describes_another_layout_is_not_opened() {
        let layout = Layout::new(LIMITS);
        let header = layout.header();
        assert_eq!(Layout::describe(header.into_iter()), Some(layout));
        for word in 0..header.len() {
            for bit in 0..64 {
                let mut wrong = header;
                wrong[word] ^= 1 << bit;
                // A port more or less can disappear in the rounding to whole lines.
                let described = Layout::describe(wrong.into_iter());
                let fits = described.is_none_or(|other| {
                    other.bytes == layout.bytes && other.stride == layout.stride
                });
                assert!(fits, "word {word}, bit {bit}: {described:?}");
            }
        }
        assert_eq!(Layout::describe(header.into_iter().take(15)), None);
    }

    #[test]
    fn a_segment_shorter_than_its_header_says_is_not_opened() {
        let layout = Layout::new(LIMITS);
        let mapping = Mapping::anonymous(4096).unwrap();
        let statistics = Statistics::create(mapping, layout);
        let mapping = Arc::into_inner(statistics.mapping).unwrap();
        assert!(Statistics::open(mapping).is_none());
    }
}
