//! What a hook is given beside the packets.

use sluice_channel::statistics::WorkerBlock;
use sluice_packet::Descriptor;
use sluice_policy::{DropReason, Event, Instance, Policy, Recorder, RuleSlot};

use crate::burst::Burst;
use crate::outbox::Outbox;
use crate::ports::Ports;

/// The surroundings of a hook's call: one instance, one event, one generation of the policy.
pub struct Context<'a> {
    /// The policy that this burst is handled by, from its first stage to its last.
    pub policy: &'a Policy,
    /// The instance that the packets belong to.
    pub instance: &'a Instance,
    /// The event that the hook runs at.
    pub event: Event,
    /// Link addresses and link state of the ports.
    pub ports: &'a Ports,
    /// This worker's counters.
    pub statistics: WorkerBlock<'a>,
    /// The time-stamp counter at the start of the burst, in cycles.
    pub now: u64,
    /// Packets that the hook makes, and reports to the agent.
    pub outbox: &'a mut Outbox,
}

impl Context<'_> {
    /// Drops a packet and counts it under `reason`.
    #[inline]
    pub fn drop(&mut self, burst: &mut Burst, slot: usize, reason: DropReason) {
        burst.end(slot);
        self.count_drop(reason);
    }

    /// Counts a drop of a packet that is no longer in the burst.
    #[inline]
    pub fn count_drop(&self, reason: DropReason) {
        count_drop(self.statistics, reason);
    }

    /// Ends a packet's way without calling it a drop: it did what it came for.
    #[inline]
    pub fn consume(&mut self, burst: &mut Burst, slot: usize) {
        burst.end(slot);
        self.statistics.core().consumed.add(1);
    }

    /// A recorder for the evaluator that counts the rules which matched.
    #[inline]
    pub fn rule_counters(&self) -> RuleCounters<'_> {
        RuleCounters(self.statistics)
    }
}

/// Counts each rule that matches a packet, in packets and bytes of the IP packet.
pub struct RuleCounters<'a>(WorkerBlock<'a>);

impl Recorder for RuleCounters<'_> {
    #[inline]
    fn rule(&mut self, slot: RuleSlot, descriptor: &Descriptor) {
        let counters = self.0.rule(slot);
        counters.packets.add(1);
        counters.bytes.add(u64::from(descriptor.l3_length));
    }
}

/// Counts one dropped packet: in the sum, under its reason, and at the reason's stage.
#[inline]
pub fn count_drop(statistics: WorkerBlock<'_>, reason: DropReason) {
    statistics.core().dropped.add(1);
    statistics.drops()[reason.index()].add(1);
    statistics.stage(reason.stage()).dropped.add(1);
}
