//! Packets that wait for their next hop to answer, held by the worker that has them.
//!
//! Bounded twice: [`PER_NEIGHBOUR`] packets for each next hop, of which the newest stay
//! (RFC 4861 section 7.2.2), and [`CAPACITY`] in all, of which the oldest gives way.

use std::collections::VecDeque;

use sluice_dpdk::Mbuf;
use sluice_hooks::{Metadata, Way};
use sluice_packet::Descriptor;
use sluice_policy::{InstanceId, InterfaceId};

use super::table::NeighbourKey;

/// Packets that one worker holds at most.
pub const CAPACITY: usize = 256;
/// Packets held at most for one next hop: a TCP connection's first flight is ten, traceroute's
/// probes are sixteen.
pub const PER_NEIGHBOUR: usize = 32;

/// A packet that waits.
pub struct Held {
    /// The packet, its link header not yet rewritten.
    pub mbuf: Mbuf,
    /// What decoding found.
    pub descriptor: Descriptor,
    /// What hooks have left on it.
    pub metadata: Metadata,
    /// The instance it is in.
    pub instance: InstanceId,
    /// The way that was decided for it.
    pub way: Way,
    /// The interface that it leaves by.
    pub egress: InterfaceId,
    /// The policy's edition that decided: its numbers mean nothing to another.
    pub edition: u64,
    /// Whom it waits for.
    pub neighbour: NeighbourKey,
    /// When it has waited long enough, in TSC cycles.
    pub deadline: u64,
}

/// What is to become of a held packet.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fate {
    /// It stays.
    Wait,
    /// Its next hop has answered, or has been given up.
    Leave,
}

/// The hold queue of one worker, oldest first.
pub struct HoldQueue {
    queue: VecDeque<Held>,
}

impl Default for HoldQueue {
    fn default() -> Self {
        HoldQueue { queue: VecDeque::with_capacity(CAPACITY) }
    }
}

impl HoldQueue {
    /// Packets held.
    pub fn len(&self) -> usize {
        self.queue.len()
    }

    /// Whether nothing is held.
    pub fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    /// Holds a packet. Returns the one that had to give way, if any.
    pub fn hold(&mut self, held: Held) -> Option<Held> {
        let same = |other: &Held| other.neighbour == held.neighbour;
        let evicted = if self.queue.iter().filter(|other| same(other)).count() >= PER_NEIGHBOUR {
            let oldest = self.queue.iter().position(same);
            oldest.and_then(|oldest| self.queue.remove(oldest))
        } else if self.queue.len() >= CAPACITY {
            self.queue.pop_front()
        } else {
            None
        };
        self.queue.push_back(held);
        evicted
    }

    /// Takes the oldest packet that `fate` lets go, looking at no packet twice: start with
    /// `from` 0 and pass what the last call returned.
    pub fn take_next(
        &mut self,
        from: &mut usize,
        mut fate: impl FnMut(&Held) -> Fate,
    ) -> Option<Held> {
        while *from < self.queue.len() {
            match fate(&self.queue[*from]) {
                Fate::Leave => return self.queue.remove(*from),
                Fate::Wait => *from += 1,
            }
        }
        None
    }
}
