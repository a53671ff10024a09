//! What a hook is given beside the packets.

use sluice_channel::statistics::{Counter, WorkerBlock};
use sluice_dpdk::Mbuf;
use sluice_packet::{Descriptor, Mask};
use sluice_policy::{DropReason, Event, Instance, Policy, Recorder, RuleSlot};

use crate::burst::Burst;
use crate::outbox::{Note, Outbox};
use crate::packet::{OwnedPacket, Packet};
use crate::ports::Ports;
use crate::stack::Slot;

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
    /// The counters that the running hook has of its own; none in a stage that ships with Sluice.
    pub own: &'a [Counter],
    /// The slot of the author's hook that runs.
    pub running: Option<Slot>,
}

impl<'a> Context<'a> {
    /// Drops a packet and counts it under `reason`.
    #[inline]
    pub fn drop(&mut self, burst: &mut Burst, slot: usize, reason: DropReason) {
        burst.end_dropped(slot, reason);
        self.count_drop(reason);
    }

    /// Drops packets and counts them under `reason`.
    #[inline]
    pub fn drop_all(&mut self, burst: &mut Burst, packets: Mask, reason: DropReason) {
        burst.end_all_dropped(packets, reason);
        count_drops(self.statistics, packets.len(), reason);
    }

    /// Drops a packet for a reason of the author's own, which a counter of the hook's names.
    #[inline]
    pub fn drop_as(&mut self, burst: &mut Burst, slot: usize, counter: usize) {
        self.count(counter, 1);
        self.drop(burst, slot, DropReason::HookDropped);
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

    /// A packet of `burst`, to be looked at and changed; `None` unless one is live in the slot.
    #[inline]
    pub fn packet<'b>(&self, burst: &'b mut Burst, slot: usize) -> Option<Packet<'b>> {
        Packet::new(burst, slot, self.event)
    }

    /// Takes a packet out of `burst`, counted as consumed: it is the caller's from now on.
    pub fn take(&mut self, burst: &mut Burst, slot: usize) -> Option<OwnedPacket> {
        let taken = self.packet(burst, slot)?.take()?;
        self.statistics.core().consumed.add(1);
        Some(taken)
    }

    /// An empty buffer for a packet of the author's own; `None` when the pool is empty.
    pub fn buffer(&self) -> Option<Mbuf> {
        self.outbox.pool().alloc()
    }

    /// Adds to a counter of the hook's own, by its place in
    /// [`Made::counters`](crate::Made::counters). It shows in `sluice show hooks`.
    #[inline]
    pub fn count(&self, counter: usize, n: u64) {
        if let Some(counter) = self.own.get(counter) {
            counter.add(n);
        }
    }

    /// Has the agent log the packet under the running hook's name: later, and no more than a few
    /// lines a second. The packet's path does not wait for it.
    #[inline]
    pub fn log(&mut self, descriptor: &Descriptor) {
        if let Some(hook) = self.running {
            self.outbox.note(Note { hook, descriptor: *descriptor, event: self.event });
        }
    }

    /// A recorder for the evaluator that counts the rules which match. One serves a whole burst.
    #[inline]
    pub fn rule_counters(&self) -> RuleCounters<'a> {
        RuleCounters {
            statistics: self.statistics,
            slot: RuleSlot::default(),
            packets: 0,
            bytes: 0,
        }
    }
}

/// Counts each rule that matches, in packets and bytes of the IP packet. Matches of one rule in a
/// row, as of the default action, are added up and counted together; all of them are counted when
/// the recorder is dropped.
pub struct RuleCounters<'a> {
    statistics: WorkerBlock<'a>,
    slot: RuleSlot,
    packets: u64,
    bytes: u64,
}

impl RuleCounters<'_> {
    #[inline]
    fn settle(&mut self) {
        if self.packets > 0 {
            let counters = self.statistics.rule(self.slot);
            counters.packets.add(self.packets);
            counters.bytes.add(self.bytes);
        }
        self.packets = 0;
        self.bytes = 0;
    }
}

impl Recorder for RuleCounters<'_> {
    #[inline]
    fn rule(&mut self, slot: RuleSlot, descriptor: &Descriptor) {
        if slot != self.slot {
            self.settle();
            self.slot = slot;
        }
        self.packets += 1;
        self.bytes += u64::from(descriptor.l3_length);
    }

    #[inline]
    fn rule_of_many(&mut self, slot: RuleSlot, packets: u64, bytes: u64) {
        let counters = self.statistics.rule(slot);
        counters.packets.add(packets);
        counters.bytes.add(bytes);
    }
}

impl Drop for RuleCounters<'_> {
    #[inline]
    fn drop(&mut self) {
        self.settle();
    }
}

/// Counts one dropped packet: in the sum, under its reason, and at the reason's stage.
#[inline]
pub fn count_drop(statistics: WorkerBlock<'_>, reason: DropReason) {
    count_drops(statistics, 1, reason);
}

/// Counts `n` packets that are dropped for one reason.
pub fn count_drops(statistics: WorkerBlock<'_>, n: usize, reason: DropReason) {
    statistics.core().dropped.add(n as u64);
    statistics.drops()[reason.index()].add(n as u64);
    statistics.stage(reason.stage()).dropped.add(n as u64);
}
