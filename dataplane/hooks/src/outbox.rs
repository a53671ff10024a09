//! What a burst gives rise to beside itself: packets that the router makes, and rule matches to
//! be logged. Both are bounded and allocated once.

use sluice_dpdk::{Mbuf, Mempool};
use sluice_packet::Descriptor;
use sluice_policy::{Event, InstanceId, InterfaceId, RuleSlot};

use crate::bucket::TokenBucket;
use crate::burst::Way;
use crate::inject::{InjectQueue, Injected};
use crate::stack::Slot;

/// Packets that one burst can give rise to; more are not made.
const ORIGINATED_PER_BURST: usize = 128;
/// ICMP errors and TCP resets a second, and how many at once (RFC 1812 section 4.3.2.8, RFC 4443
/// section 2.4(f)).
const ERRORS: (u64, u64) = (100, 50);
/// Echo replies a second, and how many at once.
const ECHOES: (u64, u64) = (20_000, 2_000);
/// Rule matches that one burst can report; more are counted by their rule but not logged.
const LOGGED_PER_BURST: usize = 64;

/// A packet that the router made.
pub struct Originated {
    /// The packet.
    pub mbuf: Mbuf,
    /// Its descriptor, with `LOCAL_ORIGIN` set.
    pub descriptor: Descriptor,
    /// The instance it is sent in.
    pub instance: InstanceId,
    /// [`Way::Undecided`] to be routed, or where it goes.
    pub way: Way,
    /// Whether it is ARP, which has no IP descriptor.
    pub arp: bool,
}

/// A match of a rule that says `log: true`.
#[derive(Clone, Copy, Debug)]
pub struct Report {
    /// The rule.
    pub rule: RuleSlot,
    /// The packet.
    pub descriptor: Descriptor,
    /// The interface that it was to leave by, where that was known.
    pub egress: Option<InterfaceId>,
}

/// A packet that a hook has logged.
#[derive(Clone, Copy, Debug)]
pub struct Note {
    /// The hook.
    pub hook: Slot,
    /// Where it ran.
    pub event: Event,
    /// The packet.
    pub descriptor: Descriptor,
}

/// Collects what a burst gives rise to.
pub struct Outbox {
    pool: Mempool,
    originated: Vec<Originated>,
    reports: Vec<Report>,
    notes: Vec<Note>,
    pub(crate) injected: InjectQueue,
    /// Grants ICMP errors and TCP resets.
    pub errors: TokenBucket,
    /// Grants echo replies.
    pub echoes: TokenBucket,
}

impl Outbox {
    /// An outbox whose packets come from `pool`; `hertz` is the frequency of the time-stamp
    /// counter.
    pub fn new(pool: Mempool, hertz: u64) -> Outbox {
        Outbox {
            pool,
            errors: TokenBucket::new(ERRORS.0, ERRORS.1, hertz),
            echoes: TokenBucket::new(ECHOES.0, ECHOES.1, hertz),
            originated: Vec::with_capacity(ORIGINATED_PER_BURST),
            reports: Vec::with_capacity(LOGGED_PER_BURST),
            notes: Vec::with_capacity(LOGGED_PER_BURST),
            injected: InjectQueue::new(),
        }
    }

    /// An empty buffer for a packet of the router's own; `None` when the pool is empty or this
    /// burst has given rise to as many packets as it may.
    pub fn buffer(&mut self) -> Option<Mbuf> {
        if self.originated.len() == self.originated.capacity() {
            return None;
        }
        self.pool.alloc()
    }

    /// The pool that packets of this worker's come from.
    pub fn pool(&self) -> &Mempool {
        &self.pool
    }

    /// Sends a packet of the router's own once the burst is done. The packet is given back when
    /// there is no room, which cannot happen to one made in a [`buffer`](Self::buffer).
    pub fn originate(&mut self, packet: Originated) -> Result<(), Originated> {
        if self.originated.len() == self.originated.capacity() {
            return Err(packet);
        }
        self.originated.push(packet);
        Ok(())
    }

    /// Takes the most recently originated packet.
    pub fn take_originated(&mut self) -> Option<Originated> {
        self.originated.pop()
    }

    /// Whether packets wait to be sent.
    #[inline]
    pub fn has_originated(&self) -> bool {
        !self.originated.is_empty()
    }

    /// Whether there is something to be done about packets that hooks have injected.
    #[inline]
    pub fn has_injected(&self) -> bool {
        !self.injected.is_empty()
    }

    /// Takes the packet that has waited longest to be injected.
    pub fn take_injected(&mut self) -> Option<Injected> {
        self.injected.take()
    }

    /// How many packets were refused since the last call because they go round.
    pub fn take_looped(&mut self) -> u64 {
        std::mem::take(&mut self.injected.looped)
    }

    /// Frees what waits to be injected.
    pub fn clear_injected(&mut self) {
        self.injected.clear();
    }

    /// Says how often the packets in hand have been injected, at most: what hooks inject meanwhile
    /// has been injected once more.
    pub fn set_injections_in_hand(&mut self, injections: u8) {
        self.injected.depth = injections;
    }

    /// Reports a match of a rule that is to be logged; beyond the bound of a burst it is left out.
    #[inline]
    pub fn report(&mut self, report: Report) {
        if self.reports.len() < self.reports.capacity() {
            self.reports.push(report);
        }
    }

    /// Notes a packet for the log; beyond the bound of a burst it is left out.
    #[inline]
    pub(crate) fn note(&mut self, note: Note) {
        if self.notes.len() < self.notes.capacity() {
            self.notes.push(note);
        }
    }

    /// Takes what hooks have noted, oldest first.
    #[inline]
    pub fn drain_notes(&mut self) -> impl Iterator<Item = Note> + '_ {
        self.notes.drain(..)
    }

    /// Takes the reports, oldest first.
    #[inline]
    pub fn drain_reports(&mut self) -> impl Iterator<Item = Report> + '_ {
        self.reports.drain(..)
    }
}
