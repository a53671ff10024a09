//! The table: what it is made of, and how connections come and go.

mod age;
mod evict;
mod find;
mod shares;
mod show;
mod track;

use sluice_packet::{ConnectionState, Descriptor, Family, Fragment, Quoted, TcpSegment, protocol};

use crate::clock::{Clock, elapsed};
use crate::half::{Half, HalfId, REPLY};
use crate::index::Index;
use crate::key::{self, Hasher, Key, Query};
use crate::limits::{Rates, Sources};
use crate::lists::Lists;
use crate::memory::{AllocationError, Pages};
use crate::phase::{Class, Phase};
use crate::state::{Count, State};
use crate::tcp::{self, Tcp};
use crate::timeouts::Timeouts;

pub use age::Fate;

/// The most connections of a table: their halves are numbered in 32 bits, and buckets in 24.
const MOST: u32 = 1 << 25;

/// How large a table is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Limits {
    /// Connections; at least 1 and no more than some 33 million.
    pub connections: u32,
    /// Source addresses that rules can count at once.
    pub sources: u32,
    /// Whether to ask for huge pages.
    pub huge_pages: bool,
}

/// Sources of a small table.
const FEWEST_SOURCES: u32 = 64;

impl Limits {
    /// So many connections, half as many sources, on huge pages.
    pub const fn connections(connections: u32) -> Limits {
        let half = connections / 2;
        let sources = if half < FEWEST_SOURCES { FEWEST_SOURCES } else { half };
        Limits { connections, sources, huge_pages: true }
    }

    /// Bytes that a table of this size takes, near enough.
    pub const fn bytes(&self) -> usize {
        const EACH: usize =
            2 * size_of::<Half>() + size_of::<State>() + size_of::<[Count; 2]>() + 32 + 4;
        const SOURCE: usize = 24 + 16 + 4;
        self.connections as usize * EACH + self.sources as usize * SOURCE
    }
}

/// Whether some rule looks at the state of packets.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Strictness {
    /// It does: what is out of window or out of order is [`ConnectionState::Invalid`].
    Strict,
    /// None does: connections are picked up wherever they are, and nothing is invalid.
    Loose,
}

/// What the table counts. All but the first two only grow.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Counters {
    /// Connections in the table.
    pub connections: u32,
    /// Those of them that nobody has answered, or whose handshake is not done.
    pub half_open: u32,
    /// Connections that were made.
    pub inserted: u64,
    /// Connections that were idle too long.
    pub aged: u64,
    /// Half-open connections that made room.
    pub evicted_half_open: u64,
    /// Closing connections that made room.
    pub evicted_closing: u64,
    /// Idle connections that made room.
    pub evicted_idle: u64,
    /// Closed TCP connections that a SYN opened again.
    pub reopened: u64,
    /// Connections that were ended from outside.
    pub removed: u64,
    /// Packets for whose connection there was no room.
    pub full: u64,
}

/// Connections of one worker.
pub struct Table {
    halves: Pages<Half>,
    states: Pages<State>,
    /// What overflowed the counters of halves, where [`Half::flags`] says so.
    totals: Pages<[Count; 2]>,
    index: Index,
    /// Numbers of connections that are not in use; those before `free` count.
    spare: Pages<u32>,
    free: usize,
    /// One bit for each connection in use.
    used: Pages<u64>,
    lists: Lists,
    rates: Rates,
    sources: Sources,
    hasher: Hasher,
    clock: Clock,
    timeouts: Timeouts,
    /// The timeouts in ticks, by phase, and the shortest of them.
    patience: [u32; Phase::COUNT],
    shortest: u32,
    hand: age::Hand,
    scratch: Box<find::Scratch>,
    counters: Counters,
}

/// A connection, for whoever wants to see it.
#[derive(Debug)]
pub struct Connection<'a> {
    /// The half of who began; [`HalfId::other`] is the answering one.
    pub id: HalfId,
    /// What it keeps.
    pub original: &'a Half,
    /// What the answering half keeps.
    pub reply: &'a Half,
    /// Where it stands.
    pub phase: Phase,
    /// Packets and bytes: of who began, and of the answers.
    pub counts: [Count; 2],
    /// Seconds since it began.
    pub age: f64,
    /// Seconds since its last packet.
    pub idle: f64,
}

impl Table {
    /// A table of fixed size. The `seed` keys its hash and must come from the system's random
    /// source; `hertz` is the frequency of the counter that `now` is read from everywhere.
    ///
    /// # Errors
    /// The memory cannot be had.
    pub fn new(limits: Limits, seed: [u64; 2], hertz: u64) -> Result<Table, AllocationError> {
        let connections = limits.connections.clamp(1, MOST);
        let failed = |(bytes, source)| AllocationError { bytes, connections, source };
        let huge = limits.huge_pages;
        let count = connections as usize;
        let mut spare = Pages::new(count, 0, huge).map_err(failed)?;
        // The lowest numbers are used first.
        for (number, slot) in (0..connections).rev().zip(spare.iter_mut()) {
            *slot = number;
        }
        let clock = Clock::new(hertz);
        let mut table = Table {
            halves: Pages::new(2 * count, Half::EMPTY, huge).map_err(failed)?,
            states: Pages::new(count, State::EMPTY, huge).map_err(failed)?,
            totals: Pages::new(count, [Count::default(); 2], huge).map_err(failed)?,
            index: Index::new(2 * count, huge).map_err(failed)?,
            spare,
            free: count,
            used: Pages::new(count.div_ceil(64), 0, huge).map_err(failed)?,
            lists: Lists::new(),
            rates: Rates::new(hertz, huge).map_err(failed)?,
            sources: Sources::new(limits.sources.min(MOST), huge).map_err(failed)?,
            hasher: Hasher::new(seed),
            clock,
            timeouts: Timeouts::DEFAULT,
            patience: [0; Phase::COUNT],
            shortest: 0,
            hand: age::Hand::new(hertz),
            scratch: Box::default(),
            counters: Counters::default(),
        };
        table.set_timeouts(Timeouts::DEFAULT);
        Ok(table)
    }

    /// Sets how long connections may be idle, those that are there included.
    pub fn set_timeouts(&mut self, timeouts: Timeouts) {
        self.timeouts = timeouts;
        self.patience = timeouts.ticks(self.clock);
        self.shortest = self.patience.into_iter().min().unwrap_or(0);
    }

    /// How long connections may be idle.
    pub fn timeouts(&self) -> &Timeouts {
        &self.timeouts
    }

    /// How many connections it holds at most.
    pub fn capacity(&self) -> u32 {
        self.states.len() as u32
    }

    /// A half, as [`Table::find`] and [`Table::insert`] give it.
    ///
    /// # Panics
    /// For [`HalfId::NONE`].
    #[inline(always)]
    pub fn half(&self, id: HalfId) -> &Half {
        &self.halves[id.index()]
    }

    /// [`Table::half`], to decide about its packets.
    ///
    /// # Panics
    /// For [`HalfId::NONE`].
    #[inline(always)]
    pub fn half_mut(&mut self, id: HalfId) -> &mut Half {
        &mut self.halves[id.index()]
    }

    /// What a packet of no connection is. Loose, all that can have a connection is New.
    ///
    /// Strictly, TCP begins with a SYN alone, and ICMP with a query; ICMP errors that
    /// [`Table::related`] knows nothing of are Invalid, and so are later fragments whose first is not
    /// known. Untracked is what has no connections: neighbour discovery, multicast listeners and the
    /// like, and loose also these.
    #[inline]
    pub fn classify(d: &Descriptor, strictness: Strictness) -> ConnectionState {
        let strict = strictness == Strictness::Strict;
        if key::tail(d, 0).is_none() {
            let lost = d.fragment == Fragment::Later;
            return if strict && (lost || Quoted::may_quote(d)) {
                ConnectionState::Invalid
            } else {
                ConnectionState::Untracked
            };
        }
        let asks = |query| !matches!(query, Some(Query::Answers(_)));
        let begins = match (d.key.family, d.key.protocol) {
            (_, protocol::TCP) => tcp::opens(d.tcp_flags),
            (Family::Inet, protocol::ICMP) => asks(key::query(d.icmp_type)),
            (Family::Inet6, protocol::ICMPV6) => asks(key::query6(d.icmp_type)),
            _ => true,
        };
        if begins || !strict { ConnectionState::New } else { ConnectionState::Invalid }
    }

    /// Makes a connection of its first packet, and counts that. If the connection is there by now,
    /// because an earlier packet of the burst made it, its half is the answer, and nothing is
    /// counted: [`Table::track`] the packet. `None` for what has no connection, and when there is no
    /// room, which is counted.
    ///
    /// What a packet is when it has no connection, [`Table::classify`] says; whether it may have
    /// one, the filters do.
    pub fn insert(
        &mut self,
        d: &Descriptor,
        instance: u16,
        segment: Option<&TcpSegment>,
        now: u64,
    ) -> Option<Inserted> {
        let key = Key::of(d, instance)?;
        let tick = self.clock.tick(now);
        let hash = self.hasher.hash(&key);
        if let Some(id) = self.lookup(hash, &key) {
            if self.is_alive(id.connection(), tick) {
                return Some(Inserted { id, new: false });
            }
            self.remove_aged(id.connection());
        }
        let Some(connection) = self.take_spare(tick) else {
            self.counters.full += 1;
            return None;
        };
        let reply = key.reply();
        let id = HalfId(2 * connection);
        if !self.place(hash, id, tick) {
            return self.no_room(connection);
        }
        // A packet from a host to itself is its own answer: one key leads to both directions.
        if reply != key && !self.place(self.hasher.hash(&reply), id.other(), tick) {
            self.index.remove(hash, id.0);
            return self.no_room(connection);
        }
        self.halves[id.index()] = Half::new(key, 0, tick);
        self.halves[id.other().index()] = Half::new(reply, REPLY, tick);
        let tcp = match segment {
            Some(segment) if d.key.protocol == protocol::TCP => Tcp::begin(id.side(), segment),
            // Of a first fragment without a TCP header that could be read nothing is known.
            None if d.key.protocol == protocol::TCP => Tcp::other(Phase::PickedUp),
            _ => Tcp::other(Phase::first(d.key.protocol)),
        };
        let class = tcp.phase().class();
        self.states[connection as usize] = State::new(tcp, tick);
        self.lists.push(&mut self.states, class, connection);
        self.used[connection as usize / 64] |= 1 << (connection % 64);
        self.counters.inserted += 1;
        self.note(id, d.l3_length, tick);
        Some(Inserted { id, new: true })
    }

    /// The connection that the packet which an ICMP error quotes is of, by the half of that packet.
    /// `None` unless it is plausible (RFC 5927): the error goes to who sent the packet, and of TCP
    /// the sequence number is one that may be on its way.
    pub fn related(
        &self,
        error: &Descriptor,
        quoted: &Quoted,
        instance: u16,
        now: u64,
    ) -> Option<HalfId> {
        let d = &quoted.descriptor;
        if error.key.dst != d.key.src || error.key.family != d.key.family {
            return None;
        }
        let key = Key::of(d, instance)?;
        let id = self.lookup(self.hasher.hash(&key), &key)?;
        let tcp = &self.states[id.connection() as usize].tcp;
        let plausible =
            d.key.protocol != protocol::TCP || tcp.may_have_sent(id.side(), quoted.sequence);
        (plausible && self.is_alive(id.connection(), self.clock.tick(now))).then_some(id)
    }

    /// Ends a connection.
    ///
    /// # Panics
    /// For [`HalfId::NONE`].
    pub fn remove(&mut self, id: HalfId) {
        if self.is_used(id.connection()) {
            self.forget(id.connection());
            self.counters.removed += 1;
        }
    }

    /// Shows connections: those of `slots` slots from `from` on. Says where to go on, `None` at the
    /// end. What is asked for in pieces is no snapshot: connections may come and go in between.
    pub fn list<'a>(
        &'a self,
        from: u32,
        slots: u32,
        now: u64,
        mut show: impl FnMut(Connection<'a>),
    ) -> Option<u32> {
        let end = from.saturating_add(slots.max(1)).min(self.capacity());
        (from..end).filter(|&c| self.is_used(c)).for_each(|c| show(self.connection(c, now)));
        (end < self.capacity()).then_some(end)
    }

    fn connection(&self, connection: u32, now: u64) -> Connection<'_> {
        let tick = self.clock.tick(now);
        let first = HalfId(2 * connection);
        let id = if self.half(first).is_reply() { first.other() } else { first };
        let state = &self.states[connection as usize];
        Connection {
            id,
            original: self.half(id),
            reply: self.half(id.other()),
            phase: state.tcp.phase(),
            counts: [self.count(id), self.count(id.other())],
            age: self.clock.seconds(elapsed(tick, state.created)),
            idle: self.clock.seconds(self.idle(connection, tick)),
        }
    }

    /// The buckets in which a packet's key may be: for tests of attacks by who knows the seed.
    #[doc(hidden)]
    pub fn buckets_of(&self, d: &Descriptor, instance: u16) -> Option<[usize; 2]> {
        Some(self.index.buckets(self.hasher.hash(&Key::of(d, instance)?)))
    }

    /// Packets and bytes of a direction.
    pub fn count(&self, id: HalfId) -> Count {
        let half = self.half(id);
        let mut count = Count { packets: half.packets.into(), bytes: half.bytes.into() };
        if half.has_totals() {
            let total = self.totals[id.connection() as usize][id.side()];
            count.packets = count.packets.wrapping_add(total.packets);
            count.bytes = count.bytes.wrapping_add(total.bytes);
        }
        count
    }

    /// What it counts.
    pub fn counters(&self) -> Counters {
        Counters {
            connections: (self.states.len() - self.free) as u32,
            half_open: self.lists.length(Class::HalfOpen),
            ..self.counters
        }
    }

    fn lookup(&self, hash: u64, key: &Key) -> Option<HalfId> {
        self.index.find(hash, |half| self.halves[half as usize].key == *key).map(HalfId)
    }

    /// Puts a half into the index; makes room in its buckets if they are full.
    fn place(&mut self, hash: u64, id: HalfId, tick: u32) -> bool {
        self.index.insert(hash, id.0)
            || self.evict_neighbour(hash, id.connection(), tick) && self.index.insert(hash, id.0)
    }

    #[cold]
    fn no_room(&mut self, connection: u32) -> Option<Inserted> {
        self.give_back(connection);
        self.counters.full += 1;
        None
    }

    /// A number for a new connection.
    fn take_spare(&mut self, tick: u32) -> Option<u32> {
        if self.free == 0 && !self.evict(tick) {
            return None;
        }
        self.free -= 1;
        Some(self.spare[self.free])
    }

    fn give_back(&mut self, connection: u32) {
        self.spare[self.free] = connection;
        self.free += 1;
    }

    /// Takes a connection out of all there is.
    fn forget(&mut self, connection: u32) {
        let id = HalfId(2 * connection);
        for id in [id, id.other()] {
            let hash = self.hasher.hash(&self.halves[id.index()].key);
            self.index.remove(hash, id.0);
        }
        self.release(connection);
        let class = self.states[connection as usize].tcp.phase().class();
        self.lists.take(&mut self.states, class, connection);
        self.used[connection as usize / 64] &= !(1 << (connection % 64));
        self.give_back(connection);
    }

    fn remove_aged(&mut self, connection: u32) {
        self.forget(connection);
        self.counters.aged += 1;
    }

    #[inline]
    fn is_used(&self, connection: u32) -> bool {
        self.used[connection as usize / 64] >> (connection % 64) & 1 != 0
    }

    /// Ticks since the last packet of either direction.
    fn idle(&self, connection: u32, tick: u32) -> u32 {
        let [a, b] = [0, 1].map(|side| self.halves[2 * connection as usize + side].seen);
        elapsed(tick, a).min(elapsed(tick, b))
    }

    /// Whether it has not been idle too long.
    fn is_alive(&self, connection: u32, tick: u32) -> bool {
        let phase = self.states[connection as usize].tcp.phase();
        self.idle(connection, tick) <= self.patience[phase as usize]
    }
}

/// What [`Table::insert`] made or found.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Inserted {
    /// The half of the packet.
    pub id: HalfId,
    /// Whether the connection is new, and the packet counted.
    pub new: bool,
}

#[cfg(test)]
mod model_tests;
#[cfg(test)]
mod tests;
