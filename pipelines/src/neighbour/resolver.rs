//! Address resolution and reachability: when to ask, what to believe, when to forget.
//!
//! One state machine serves ARP (RFC 826, RFC 1122 section 2.3.2) and neighbour discovery (RFC
//! 4861 section 7); they differ only in what a message proves. The [`Resolver`] belongs to the
//! agent and does no I/O: it is told what was asked for ([`Resolver::wanted`]), what was heard
//! ([`Resolver::heard`]) and what time it is ([`Resolver::tick`]; milliseconds on any monotonic
//! clock), changes the [table](super::table) and answers with [`Action`]s.
//!
//! | state | entered when | left for |
//! |---|---|---|
//! | Incomplete | a packet wants it | Reachable or Stale when something is heard, Failed after 3 s |
//! | Failed | it did not answer | forgotten after 3 s; as Incomplete if it speaks after all |
//! | Reachable | it answered us | Stale after 30 s, or with a new MAC address |
//! | Stale | it asked for us, or said that its MAC address is another | Delay when used; forgotten after 10 min without use |
//! | Delay | used while stale | Probe after 5 s |
//! | Probe | asked, by unicast | Reachable when it answers, else forgotten after 3 s |
//!
//! * An unresolved address is asked for three times, a second apart: the last answer may come a
//!   second after the third. Then it counts as unreachable for another three seconds, which bounds
//!   what packets to a mute neighbour can cost, and is forgotten.
//! * Only what someone asked for, or who asks for us, gets an entry: a gratuitous ARP or an
//!   unsolicited advertisement changes known entries alone.
//! * Only an answer to our own question proves that a neighbour is reachable. Anything else that
//!   names a new MAC address is used at once and verified on use ([`State::Stale`]).
//! * A multicast or all-zero MAC address is never believed (RFC 1812 section 3.3.2).
//! * Static entries change by [`Resolver::static_entry`] and [`Resolver::remove_static`] alone.
//!
//! Work per call is bounded: a message touches one entry, a tick at most [`TICK_BUDGET`] timers.

use std::collections::BTreeSet;
use std::hash::{BuildHasher, RandomState};

use sluice_packet::Family;
use sluice_policy::InterfaceId;

use super::table::{Entry, NeighbourKey, State, TableFull, TableWriter};

#[cfg(test)]
mod tests;

/// Timers that one tick handles at most; the others wait for the next one.
pub const TICK_BUDGET: usize = 4096;

/// Periods, in milliseconds, and counts; the defaults are those of RFC 4861 section 10.
#[derive(Clone, Copy, Debug)]
pub struct Timing {
    /// Between two solicitations of one neighbour (RETRANS_TIMER).
    pub retransmit: u64,
    /// Solicitations before giving up (MAX_MULTICAST_SOLICIT, MAX_UNICAST_SOLICIT).
    pub solicitations: u8,
    /// How long an unreachable neighbour is not asked for again.
    pub failed: u64,
    /// How long a confirmation lasts on average (REACHABLE_TIME); each one lasts between half and
    /// one and a half times this, so that neighbours are not probed in step.
    pub reachable: u64,
    /// Between the use of a stale entry and the first probe (DELAY_FIRST_PROBE_TIME).
    pub delay: u64,
    /// How often a stale entry is looked at for whether it is used.
    pub poll: u64,
    /// How long a stale entry that nobody uses is kept.
    pub unused: u64,
}

impl Default for Timing {
    fn default() -> Timing {
        Timing {
            retransmit: 1_000,
            solicitations: 3,
            failed: 3_000,
            reachable: 30_000,
            delay: 5_000,
            poll: 1_000,
            unused: 600_000,
        }
    }
}

/// The message that something was heard in.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum HeardKind {
    /// An ARP request for an own address: about its sender.
    ArpRequest,
    /// An ARP reply sent to us.
    ArpReply,
    /// Any other ARP packet: an announcement, or a request for somebody else.
    ArpGratuitous,
    /// A neighbour solicitation for an own address: about its sender, by the source link-layer
    /// address option.
    NdSolicitation,
    /// A neighbour advertisement: about its target, by the target link-layer address option.
    NdAdvertisement {
        /// It answers a solicitation.
        solicited: bool,
        /// It may replace a link address that is known.
        override_: bool,
        /// The neighbour is a router. A router has no use for this (RFC 4861 section 7.2.5 has
        /// hosts drop it from their default routers).
        router: bool,
    },
}

/// What a received ARP or neighbour discovery packet, already validated, says about a neighbour.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Heard {
    /// The interface it came in by.
    pub interface: InterfaceId,
    /// IP version.
    pub family: Family,
    /// The neighbour's address.
    pub addr: u128,
    /// Its link address; `None` if the message carries none.
    pub mac: Option<[u8; 6]>,
    /// The message.
    pub kind: HeardKind,
}

/// What the agent is to do.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Action {
    /// Send an ARP request or a neighbour solicitation for `addr`.
    Solicit {
        /// Out of this interface.
        interface: InterfaceId,
        /// ARP or neighbour discovery.
        family: Family,
        /// The address asked for.
        addr: u128,
        /// To this station alone; `None`: to all (broadcast, solicited-node multicast).
        unicast: Option<[u8; 6]>,
    },
    /// The neighbour has a usable entry now, or another link address: workers send what they hold
    /// for it.
    Resolved {
        /// Its interface.
        interface: InterfaceId,
        /// IP version.
        family: Family,
        /// Its address.
        addr: u128,
    },
    /// The neighbour is unreachable: workers drop what they hold for it, with an ICMP error.
    Failed {
        /// Its interface.
        interface: InterfaceId,
        /// IP version.
        family: Family,
        /// Its address.
        addr: u128,
    },
}

fn resolved(key: &NeighbourKey) -> Action {
    Action::Resolved { interface: key.interface, family: key.family, addr: key.address }
}

fn failed(key: &NeighbourKey) -> Action {
    Action::Failed { interface: key.interface, family: key.family, addr: key.address }
}

fn solicit(key: &NeighbourKey, unicast: Option<[u8; 6]>) -> Action {
    Action::Solicit { interface: key.interface, family: key.family, addr: key.address, unicast }
}

/// What is pending for a slot.
#[derive(Clone, Copy)]
struct Pending {
    deadline: u64,
    /// Solicitations sent in the present state.
    sent: u8,
}

const IDLE: Pending = Pending { deadline: u64::MAX, sent: 0 };

/// The neighbour state machine; see the module's documentation.
pub struct Resolver {
    writer: TableWriter,
    timing: Timing,
    /// By slot. A timer may outlive an entry that was evicted: it then finds the slot empty.
    pending: Box<[Pending]>,
    timers: BTreeSet<(u64, u32)>,
    random: u64,
}

impl Resolver {
    /// A resolver for the table that `writer` writes, with the periods of the RFCs.
    pub fn new(writer: TableWriter) -> Resolver {
        Resolver::with_timing(writer, Timing::default())
    }

    /// The same with other periods.
    pub fn with_timing(writer: TableWriter, timing: Timing) -> Resolver {
        let pending = vec![IDLE; writer.table().capacity()].into_boxed_slice();
        let random = RandomState::new().hash_one(0u8) | 1;
        Resolver { writer, timing, pending, timers: BTreeSet::new(), random }
    }

    /// The table's writer, for what only reports.
    pub fn table(&self) -> &TableWriter {
        &self.writer
    }

    /// Every neighbour and the milliseconds since its state was last confirmed or changed.
    pub fn entries(&self, now: u64) -> impl Iterator<Item = (Entry, u64)> + '_ {
        self.writer.entries().map(move |entry| (entry, now.saturating_sub(entry.since)))
    }

    /// When [`tick`](Self::tick) next has something to do.
    pub fn next_deadline(&self) -> Option<u64> {
        self.timers.first().map(|&(deadline, _)| deadline)
    }

    /// A worker holds a packet for a neighbour that it found nothing about.
    ///
    /// Each call is answered in the end with `Resolved` or `Failed`, at once if the answer is
    /// known by now or the table has no room.
    pub fn wanted(
        &mut self,
        interface: InterfaceId,
        family: Family,
        addr: u128,
        now: u64,
        out: &mut Vec<Action>,
    ) {
        let key = NeighbourKey { interface, family, address: addr };
        match self.find(&key).map(|entry| entry.state) {
            Some(State::Incomplete) => {}
            Some(State::Failed) => out.push(failed(&key)),
            Some(_) => out.push(resolved(&key)),
            None => match self.writer.insert(&key, [0; 6], State::Incomplete, now) {
                Ok(slot) => {
                    out.push(solicit(&key, None));
                    self.schedule(slot, now + self.timing.retransmit, 1);
                }
                Err(TableFull { .. }) => out.push(failed(&key)),
            },
        }
    }

    /// Something was heard about a neighbour.
    pub fn heard(&mut self, heard: &Heard, now: u64, out: &mut Vec<Action>) {
        let key =
            NeighbourKey { interface: heard.interface, family: heard.family, address: heard.addr };
        if heard.addr == 0 || heard.mac.is_some_and(|mac| mac[0] & 1 == 1 || mac == [0; 6]) {
            return;
        }
        let known = self.find(&key);
        if known.is_some_and(|entry| entry.state == State::Static) {
            return;
        }
        match (heard.kind, known, heard.mac) {
            (HeardKind::NdAdvertisement { solicited, override_, .. }, Some(entry), mac) => {
                self.advertised(entry, mac, solicited, override_, now, out);
            }
            (HeardKind::ArpReply, Some(entry), Some(mac)) => match entry.state {
                State::Incomplete | State::Failed | State::Probe => {
                    self.confirm(entry, mac, now, out);
                }
                _ => self.learn(entry, mac, now, out),
            },
            (
                HeardKind::ArpRequest | HeardKind::ArpGratuitous | HeardKind::NdSolicitation,
                Some(entry),
                Some(mac),
            ) => self.learn(entry, mac, now, out),
            // Whoever asks for us is about to be sent an answer: RFC 826 ("if I am the target:
            // add"), RFC 4861 section 7.2.3.
            (HeardKind::ArpRequest | HeardKind::NdSolicitation, None, Some(mac)) => {
                if let Ok(slot) = self.writer.insert(&key, mac, State::Stale, now) {
                    self.schedule(slot, now + self.timing.poll, 0);
                    out.push(resolved(&key));
                }
            }
            // Nobody asked for it (RFC 826's merge flag; RFC 4861 section 7.2.5), or it says
            // nothing that could be used.
            _ => {}
        }
    }

    /// The receipt of a neighbour advertisement: RFC 4861 section 7.2.5 and appendix C.
    fn advertised(
        &mut self,
        entry: Entry,
        mac: Option<[u8; 6]>,
        solicited: bool,
        override_: bool,
        now: u64,
        out: &mut Vec<Action>,
    ) {
        let Some(known) = entry.mac else {
            return match mac {
                Some(mac) if solicited => self.confirm(entry, mac, now, out),
                Some(mac) => self.learn(entry, mac, now, out),
                None => {}
            };
        };
        let mac = mac.unwrap_or(known);
        if mac != known && !override_ {
            if entry.state == State::Reachable {
                self.stale(entry.slot, known, now);
            }
        } else if solicited {
            self.confirm(entry, mac, now, out);
        } else {
            self.learn(entry, mac, now, out);
        }
    }

    /// The neighbour answered: it is reachable, at `mac`.
    fn confirm(&mut self, entry: Entry, mac: [u8; 6], now: u64, out: &mut Vec<Action>) {
        self.writer.set(entry.slot, mac, State::Reachable, now);
        let lifetime = self.jitter(self.timing.reachable);
        self.schedule(entry.slot, now + lifetime, 0);
        if entry.mac != Some(mac) {
            out.push(resolved(&entry.key));
        }
    }

    /// The neighbour says that it is at `mac`, but not in answer to us.
    fn learn(&mut self, entry: Entry, mac: [u8; 6], now: u64, out: &mut Vec<Action>) {
        if entry.mac != Some(mac) {
            self.stale(entry.slot, mac, now);
            out.push(resolved(&entry.key));
        }
    }

    fn stale(&mut self, slot: u32, mac: [u8; 6], now: u64) {
        self.writer.set(slot, mac, State::Stale, now);
        self.schedule(slot, now + self.timing.poll, 0);
    }

    /// Sets a static neighbour, in the place of whatever was known.
    ///
    /// # Errors
    ///
    /// [`TableFull`] if there is no room for it.
    pub fn static_entry(
        &mut self,
        interface: InterfaceId,
        family: Family,
        addr: u128,
        mac: [u8; 6],
        now: u64,
        out: &mut Vec<Action>,
    ) -> Result<(), TableFull> {
        let key = NeighbourKey { interface, family, address: addr };
        match self.find(&key) {
            // Keeps its age when a commit says it again.
            Some(entry) if (entry.state, entry.mac) == (State::Static, Some(mac)) => {}
            Some(entry) => {
                self.writer.set(entry.slot, mac, State::Static, now);
                self.cancel(entry.slot);
                if entry.mac.is_none() {
                    out.push(resolved(&key));
                }
            }
            None => {
                let slot = self.writer.insert(&key, mac, State::Static, now)?;
                self.cancel(slot);
            }
        }
        Ok(())
    }

    /// Takes a static neighbour away; the next packet to it asks for it anew.
    pub fn remove_static(&mut self, interface: InterfaceId, family: Family, addr: u128) {
        let key = NeighbourKey { interface, family, address: addr };
        if let Some(entry) = self.find(&key).filter(|entry| entry.state == State::Static) {
            self.forget(entry.slot);
        }
    }

    /// Forgets what was learnt about the neighbours of `interface` (all), at `address` (any), and
    /// says how many that were. Static entries stay, and so do incomplete ones: there is nothing
    /// in them to forget, and packets wait for them.
    pub fn flush(
        &mut self,
        interface: Option<InterfaceId>,
        address: Option<(Family, u128)>,
    ) -> usize {
        let matches = |entry: &Entry| {
            interface.is_none_or(|interface| entry.key.interface == interface)
                && address.is_none_or(|address| (entry.key.family, entry.key.address) == address)
                && !matches!(entry.state, State::Static | State::Incomplete)
        };
        let slots: Vec<u32> = self.writer.entries().filter(matches).map(|e| e.slot).collect();
        slots.iter().for_each(|&slot| self.forget(slot));
        slots.len()
    }

    /// Forgets everything about the neighbours of an interface that is no more, static ones
    /// included; what workers hold for them is to be dropped.
    pub fn remove_interface(&mut self, interface: InterfaceId, out: &mut Vec<Action>) {
        let here = |entry: &Entry| entry.key.interface == interface;
        let entries: Vec<Entry> = self.writer.entries().filter(here).collect();
        for entry in entries {
            if entry.state == State::Incomplete {
                out.push(failed(&entry.key));
            }
            self.forget(entry.slot);
        }
    }

    /// Does what is due: solicitations, probes, transitions, expiry.
    pub fn tick(&mut self, now: u64, out: &mut Vec<Action>) {
        for _ in 0..TICK_BUDGET {
            match self.timers.first() {
                Some(&(deadline, slot)) if deadline <= now => {
                    let sent = self.pending[slot as usize].sent;
                    self.cancel(slot);
                    if let Some(entry) = self.writer.entry(slot) {
                        self.expire(entry, sent, now, out);
                    }
                }
                _ => return,
            }
        }
    }

    /// The timer of an entry has run out.
    fn expire(&mut self, entry: Entry, sent: u8, now: u64, out: &mut Vec<Action>) {
        let Entry { slot, key, .. } = entry;
        let mac = entry.mac.unwrap_or_default();
        let again = sent < self.timing.solicitations;
        match entry.state {
            State::Incomplete if again => {
                out.push(solicit(&key, None));
                self.schedule(slot, now + self.timing.retransmit, sent + 1);
            }
            State::Incomplete => {
                self.writer.set(slot, [0; 6], State::Failed, now);
                self.schedule(slot, now + self.timing.failed, 0);
                out.push(failed(&key));
            }
            State::Reachable => self.stale(slot, mac, now),
            State::Stale if self.writer.take_used(slot) => {
                self.writer.set(slot, mac, State::Delay, now);
                self.schedule(slot, now + self.timing.delay, 0);
            }
            State::Stale if now.saturating_sub(entry.since) < self.timing.unused => {
                self.schedule(slot, now + self.timing.poll, 0);
            }
            State::Delay => {
                self.writer.set(slot, mac, State::Probe, now);
                out.push(solicit(&key, Some(mac)));
                self.schedule(slot, now + self.timing.retransmit, 1);
            }
            State::Probe if again => {
                out.push(solicit(&key, Some(mac)));
                self.schedule(slot, now + self.timing.retransmit, sent + 1);
            }
            State::Probe => {
                self.forget(slot);
                out.push(failed(&key));
            }
            State::Failed | State::Stale => self.forget(slot),
            State::Static => {}
        }
    }

    fn find(&self, key: &NeighbourKey) -> Option<Entry> {
        self.writer.find(key).and_then(|slot| self.writer.entry(slot))
    }

    fn forget(&mut self, slot: u32) {
        self.cancel(slot);
        self.writer.remove(slot);
    }

    fn schedule(&mut self, slot: u32, deadline: u64, sent: u8) {
        self.cancel(slot);
        self.timers.insert((deadline, slot));
        self.pending[slot as usize] = Pending { deadline, sent };
    }

    fn cancel(&mut self, slot: u32) {
        let pending = std::mem::replace(&mut self.pending[slot as usize], IDLE);
        self.timers.remove(&(pending.deadline, slot));
    }

    /// Evenly between half and one and a half times `period` (RFC 4861 section 6.3.2), by
    /// xorshift: it spreads load, no secret depends on it.
    fn jitter(&mut self, period: u64) -> u64 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        period / 2 + self.random % (period + 1)
    }
}
