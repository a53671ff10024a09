//! The neighbour table: which link address a next hop has, as every worker reads it.
//!
//! One writer (the agent, through the [`TableWriter`] that exists once), any number of readers
//! (the workers). Readers never wait, never retry and never write anything but a mark:
//!
//! * A slot's identity (interface, family, address) is guarded by a sequence number that is odd
//!   while the writer changes it (a seqlock). A reader that meets a change in progress reports
//!   "not there", which is true of the moment just before or just after, so no loop is needed.
//! * A slot's MAC and state are one `AtomicU64`, so they change together and without touching the
//!   identity: a gratuitous ARP reaches a flow that named the slot by number at its next packet.
//! * The sequence number doubles as a generation tag: whoever keeps a slot's number keeps its tag
//!   too and compares it at each [`NeighbourTable::read`], so a reused slot is never mistaken.
//!
//! **Bounds.** The table is sized at start and never grows. An address may stand in one of two
//! buckets of four slots, found by a keyed hash whose seed no remote sender knows; it goes to the
//! emptier one (balanced allocations, Azar et al., 1994), which at the half load that the limit
//! permits leaves next to no collisions. At the limit the oldest [`State::Failed`] entry goes,
//! then the oldest unused [`State::Stale`] one; a static entry or one in use never does, the
//! newcomer is refused and counted instead. Unresolved entries, which a scan of an attached
//! network creates at will, get at most half of the limit, so that neighbours that do speak are
//! always served.

use std::collections::BTreeSet;
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU16, AtomicU32, AtomicU64, Ordering, fence};

use sluice_packet::Family;
use sluice_policy::InterfaceId;

#[cfg(test)]
mod tests;

/// Slots in a bucket: two cache lines.
const BUCKET: usize = 4;
/// Where one address may stand: two buckets.
const WINDOW: usize = 2 * BUCKET;
/// How many evictable entries are looked at, oldest first, for one that is not in use.
const EVICTION_SCAN: usize = 64;

/// What is known of a neighbour (the states of RFC 4861 section 7.3.2, for ARP as well).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[repr(u8)]
pub enum State {
    /// Asked for, not answered yet: packets are held.
    Incomplete = 1,
    /// Confirmed within the last half minute or so.
    Reachable = 2,
    /// The MAC address was right once: used, and verified when it is used.
    Stale = 3,
    /// Used while stale; a probe follows unless something confirms it first.
    Delay = 4,
    /// Being asked, by unicast, whether it is still there.
    Probe = 5,
    /// Did not answer: packets to it are dropped until this entry expires.
    Failed = 6,
    /// Configured by the operator; never changes by itself.
    Static = 7,
}

impl State {
    /// Whether packets can be sent: there is a MAC address.
    #[inline]
    pub const fn usable(self) -> bool {
        !matches!(self, State::Incomplete | State::Failed)
    }

    #[inline]
    const fn from_bits(bits: u8) -> Option<State> {
        Some(match bits {
            1 => State::Incomplete,
            2 => State::Reachable,
            3 => State::Stale,
            4 => State::Delay,
            5 => State::Probe,
            6 => State::Failed,
            7 => State::Static,
            _ => return None,
        })
    }
}

/// A neighbour as a packet needs it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Adjacency {
    /// Its slot in the table, for [`NeighbourTable::read`].
    pub slot: u32,
    /// Generation of the slot: differs once the slot holds another neighbour.
    pub tag: u32,
    /// Link address; all zero unless the state is [usable](State::usable).
    pub mac: [u8; 6],
    /// What is known of it.
    pub state: State,
}

/// Who a neighbour is.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct NeighbourKey {
    /// The interface it is attached to.
    pub interface: InterfaceId,
    /// IP version of the address.
    pub family: Family,
    /// Its address, an IPv4 one in the low 32 bits.
    pub address: u128,
}

/// There is no room for a neighbour: neither limit nor window has an entry that may go.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error(
    "the neighbour table is full ({limit} entries, none of them failed or unused); raise \
     `dataplane.limits.neighbours` and restart"
)]
pub struct TableFull {
    /// The limit that was given at start.
    pub limit: u32,
}

#[derive(Default)]
#[repr(C, align(32))]
struct Slot {
    /// Odd while the identity changes.
    sequence: AtomicU32,
    interface: AtomicU16,
    /// 4 or 6; 0 in an empty slot, so that no lookup matches one.
    family: AtomicU8,
    /// Set by workers, cleared by the writer.
    used: AtomicBool,
    /// MAC in the low 48 bits, state above; 0 in an empty slot.
    binding: AtomicU64,
    high: AtomicU64,
    low: AtomicU64,
}

const _: () = assert!(size_of::<Slot>() == 32, "two slots a cache line");

#[derive(Default)]
#[repr(align(64))]
struct Bucket([Slot; BUCKET]);

fn pack(mac: [u8; 6], state: State) -> u64 {
    let [a, b, c, d, e, f] = mac;
    u64::from_be_bytes([0, state as u8, a, b, c, d, e, f])
}

#[inline]
fn unpack(binding: u64) -> Option<([u8; 6], State)> {
    let [_, state, a, b, c, d, e, f] = binding.to_be_bytes();
    Some(([a, b, c, d, e, f], State::from_bits(state)?))
}

impl Slot {
    #[inline]
    fn is(&self, key: &NeighbourKey) -> bool {
        self.low.load(Ordering::Relaxed) == key.address as u64
            && self.high.load(Ordering::Relaxed) == (key.address >> 64) as u64
            && self.interface.load(Ordering::Relaxed) == key.interface.0
            && self.family.load(Ordering::Relaxed) == key.family as u8
    }

    /// Tag, MAC and state, if `matches` held of the identity that they belong to.
    #[inline]
    fn snapshot(&self, matches: impl FnOnce(&Slot) -> bool) -> Option<(u32, [u8; 6], State)> {
        let tag = self.sequence.load(Ordering::Acquire);
        if !matches(self) {
            return None;
        }
        let binding = self.binding.load(Ordering::Relaxed);
        fence(Ordering::Acquire);
        if tag & 1 != 0 || self.sequence.load(Ordering::Relaxed) != tag {
            return None;
        }
        let (mac, state) = unpack(binding)?;
        if !self.used.load(Ordering::Relaxed) {
            self.used.store(true, Ordering::Relaxed);
        }
        Some((tag, mac, state))
    }

    fn state(&self) -> Option<State> {
        unpack(self.binding.load(Ordering::Relaxed)).map(|(_, state)| state)
    }

    /// Changes who the slot is about; `None` empties it. The writer only.
    fn identify(&self, key: Option<&NeighbourKey>, binding: u64) {
        let sequence = self.sequence.load(Ordering::Relaxed);
        self.sequence.store(sequence.wrapping_add(1), Ordering::Relaxed);
        fence(Ordering::Release);
        let address = key.map_or(0, |k| k.address);
        self.low.store(address as u64, Ordering::Relaxed);
        self.high.store((address >> 64) as u64, Ordering::Relaxed);
        self.interface.store(key.map_or(0, |k| k.interface.0), Ordering::Relaxed);
        self.family.store(key.map_or(0, |k| k.family as u8), Ordering::Relaxed);
        self.binding.store(binding, Ordering::Relaxed);
        self.used.store(false, Ordering::Relaxed);
        self.sequence.store(sequence.wrapping_add(2), Ordering::Release);
    }

    /// The identity, as its writer sees it.
    fn key(&self) -> Option<NeighbourKey> {
        let family = match self.family.load(Ordering::Relaxed) {
            4 => Family::Inet,
            6 => Family::Inet6,
            _ => return None,
        };
        let high = u128::from(self.high.load(Ordering::Relaxed));
        Some(NeighbourKey {
            interface: InterfaceId(self.interface.load(Ordering::Relaxed)),
            family,
            address: high << 64 | u128::from(self.low.load(Ordering::Relaxed)),
        })
    }
}

/// The table that workers read; see the module's documentation.
pub struct NeighbourTable {
    buckets: Box<[Bucket]>,
    seed: [u64; 3],
}

impl NeighbourTable {
    /// A table for at most `limit` neighbours, and the handle that writes it.
    pub fn new(limit: u32) -> (Arc<NeighbourTable>, TableWriter) {
        let limit = limit.clamp(2, 1 << 24);
        let slots = (limit as usize * 2).next_power_of_two().max(2 * BUCKET);
        // The system's randomness, by way of the standard library's hash keys.
        let random = RandomState::new();
        let table = Arc::new(NeighbourTable {
            buckets: (0..slots / BUCKET).map(|_| Bucket::default()).collect(),
            seed: [1u8, 2, 3].map(|n| random.hash_one(n)),
        });
        let writer = TableWriter {
            table: Arc::clone(&table),
            limit,
            since: vec![0; slots].into_boxed_slice(),
            evictable: BTreeSet::new(),
            len: 0,
            unresolved: 0,
            refused: 0,
            evicted: 0,
        };
        (table, writer)
    }

    /// Finds a neighbour that a packet is to be sent to, and marks it as used.
    ///
    /// `None` means that nothing is known of it yet. An adjacency whose state is not
    /// [usable](State::usable) means to hold the packet (`Incomplete`) or to drop it (`Failed`).
    #[inline]
    pub fn lookup(
        &self,
        interface: InterfaceId,
        family: Family,
        address: u128,
    ) -> Option<Adjacency> {
        let key = NeighbourKey { interface, family, address };
        for bucket in self.places(&key) {
            for (n, slot) in self.buckets[bucket].0.iter().enumerate() {
                if let Some((tag, mac, state)) = slot.snapshot(|slot| slot.is(&key)) {
                    return Some(Adjacency { slot: (bucket * BUCKET + n) as u32, tag, mac, state });
                }
            }
        }
        None
    }

    /// Reads a slot that an earlier [`lookup`](Self::lookup) named, and marks it as used: the
    /// caller compares the tag with the one it kept. `None` if the slot is empty by now.
    #[inline]
    pub fn read(&self, slot: u32) -> Option<Adjacency> {
        let (tag, mac, state) = self.slot(slot).snapshot(|_| true)?;
        Some(Adjacency { slot, tag, mac, state })
    }

    /// Slots in the table; a slot's number is below this.
    pub fn capacity(&self) -> usize {
        self.buckets.len() * BUCKET
    }

    #[inline]
    fn slot(&self, slot: u32) -> &Slot {
        &self.buckets[slot as usize / BUCKET].0[slot as usize % BUCKET]
    }

    /// The two buckets of an address: a folded multiply under a secret seed, twice.
    #[inline]
    fn places(&self, key: &NeighbourKey) -> [usize; 2] {
        fn fold(a: u64, b: u64) -> u64 {
            let product = u128::from(a) * u128::from(b);
            product as u64 ^ (product >> 64) as u64
        }
        let [a, b, c] = self.seed;
        let low = fold(key.address as u64 ^ a, (key.address >> 64) as u64 ^ b);
        let link = u64::from(key.interface.0) << 8 | key.family as u64;
        let hash = fold(low ^ link.rotate_left(32), c) ^ low.rotate_left(17);
        let mask = self.buckets.len() - 1;
        let first = hash as usize & mask;
        let second = (hash >> 32) as usize & mask;
        // Never the same bucket twice: half of the window would be lost.
        [first, if second == first { first ^ 1 } else { second }]
    }
}

/// An entry as reports show it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Entry {
    /// Where it stands.
    pub slot: u32,
    /// Who it is about.
    pub key: NeighbourKey,
    /// Link address, where one is known.
    pub mac: Option<[u8; 6]>,
    /// What is known.
    pub state: State,
    /// When this state was entered or last confirmed, on the writer's clock.
    pub since: u64,
}

/// The only way to change a [`NeighbourTable`]; there is one for each table.
pub struct TableWriter {
    table: Arc<NeighbourTable>,
    limit: u32,
    /// By slot: when the present state was entered or last confirmed.
    since: Box<[u64]>,
    /// What may go when there is no room, best first; old before young.
    evictable: BTreeSet<(Rank, u64, u32)>,
    len: u32,
    unresolved: u32,
    refused: u64,
    evicted: u64,
}

impl TableWriter {
    /// The table that this writes.
    pub fn table(&self) -> &Arc<NeighbourTable> {
        &self.table
    }

    /// Entries in the table.
    pub fn len(&self) -> usize {
        self.len as usize
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Newcomers refused since the start because nothing could go.
    pub fn refused(&self) -> u64 {
        self.refused
    }

    /// Entries that went since the start to make room.
    pub fn evicted(&self) -> u64 {
        self.evicted
    }

    /// Finds an entry without marking it as used.
    pub fn find(&self, key: &NeighbourKey) -> Option<u32> {
        self.window(key).into_iter().find(|&slot| self.table.slot(slot).is(key))
    }

    /// What stands in a slot.
    pub fn entry(&self, slot: u32) -> Option<Entry> {
        let place = self.table.slot(slot);
        let (mac, state) = unpack(place.binding.load(Ordering::Relaxed))?;
        let since = self.since[slot as usize];
        Some(Entry { slot, key: place.key()?, mac: state.usable().then_some(mac), state, since })
    }

    /// Every entry, in no order that means anything.
    pub fn entries(&self) -> impl Iterator<Item = Entry> + '_ {
        (0..self.table.capacity() as u32).filter_map(|slot| self.entry(slot))
    }

    /// Adds a neighbour that is not in the table, making room by the rules of the module.
    ///
    /// # Errors
    ///
    /// [`TableFull`] if nothing may go; counted in [`refused`](Self::refused).
    pub fn insert(
        &mut self,
        key: &NeighbourKey,
        mac: [u8; 6],
        state: State,
        now: u64,
    ) -> Result<u32, TableFull> {
        debug_assert!(self.find(key).is_none(), "a neighbour is inserted once: {key:?}");
        let Some((slot, victims)) = self.make_room(key, state) else {
            self.refused += 1;
            return Err(TableFull { limit: self.limit });
        };
        for victim in victims.into_iter().flatten() {
            self.remove(victim);
            self.evicted += 1;
        }
        self.table.slot(slot).identify(Some(key), pack(mac, state));
        self.account(slot, state, now);
        Ok(slot)
    }

    /// Changes MAC and state of an entry in one step. Entering `Stale` clears the used mark.
    pub fn set(&mut self, slot: u32, mac: [u8; 6], state: State, now: u64) {
        self.unaccount(slot);
        let place = self.table.slot(slot);
        debug_assert!(place.state().is_some(), "slot {slot} holds a neighbour");
        place.binding.store(pack(mac, state), Ordering::Release);
        if state == State::Stale {
            place.used.store(false, Ordering::Relaxed);
        }
        self.account(slot, state, now);
    }

    /// Takes an entry out; nothing happens if the slot is empty.
    pub fn remove(&mut self, slot: u32) {
        if self.unaccount(slot) {
            self.table.slot(slot).identify(None, 0);
        }
    }

    /// Whether a worker used the entry since the last call.
    pub fn take_used(&self, slot: u32) -> bool {
        let used = &self.table.slot(slot).used;
        let was = used.load(Ordering::Relaxed);
        if was {
            used.store(false, Ordering::Relaxed);
        }
        was
    }

    fn window(&self, key: &NeighbourKey) -> [u32; WINDOW] {
        let places = self.table.places(key);
        std::array::from_fn(|n| (places[n / BUCKET] * BUCKET + n % BUCKET) as u32)
    }

    /// A slot for a newcomer, and the entries that must go for it.
    fn make_room(&self, key: &NeighbourKey, state: State) -> Option<(u32, [Option<u32>; 2])> {
        let window = self.window(key);
        let free = |half: &[u32]| {
            let mut empty = half.iter().filter(|&&slot| self.table.slot(slot).state().is_none());
            (empty.clone().count(), empty.next().copied())
        };
        let (first, second) = (free(&window[..BUCKET]), free(&window[BUCKET..]));
        let (slot, in_window) = match if second.0 > first.0 { second.1 } else { first.1 } {
            Some(slot) => (slot, None),
            None => {
                let old = |&slot: &u32| {
                    let rank = rank(self.table.slot(slot).state()?)?;
                    (!self.in_use(slot)).then_some((rank, self.since[slot as usize], slot))
                };
                let (_, _, slot) = window.iter().filter_map(old).min()?;
                (slot, Some(slot))
            }
        };
        let leaves_unresolved = in_window
            .and_then(|slot| self.table.slot(slot).state())
            .is_some_and(|state| !state.usable());
        let elsewhere = if !state.usable() && !leaves_unresolved && self.unresolved >= self.quota()
        {
            let &(_, _, oldest) =
                self.evictable.first().filter(|(rank, ..)| *rank == Rank::Failed)?;
            Some(oldest)
        } else if in_window.is_none() && self.len >= self.limit {
            let mut oldest = self.evictable.iter().take(EVICTION_SCAN);
            Some(oldest.find(|&&(_, _, slot)| !self.in_use(slot))?.2)
        } else {
            None
        };
        Some((slot, [in_window, elsewhere]))
    }

    /// How many entries may be unresolved.
    fn quota(&self) -> u32 {
        self.limit / 2
    }

    /// A failed entry is never in use, however many packets ask for it.
    fn in_use(&self, slot: u32) -> bool {
        let place = self.table.slot(slot);
        place.state() != Some(State::Failed) && place.used.load(Ordering::Relaxed)
    }

    fn account(&mut self, slot: u32, state: State, now: u64) {
        self.since[slot as usize] = now;
        self.len += 1;
        self.unresolved += u32::from(!state.usable());
        if let Some(rank) = rank(state) {
            self.evictable.insert((rank, now, slot));
        }
    }

    /// The inverse of `account`; false if the slot is empty.
    fn unaccount(&mut self, slot: u32) -> bool {
        let Some(state) = self.table.slot(slot).state() else { return false };
        self.len -= 1;
        self.unresolved -= u32::from(!state.usable());
        if let Some(rank) = rank(state) {
            self.evictable.remove(&(rank, self.since[slot as usize], slot));
        }
        true
    }
}

/// Order of eviction.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Rank {
    Failed,
    Stale,
}

/// `None` for what stays.
fn rank(state: State) -> Option<Rank> {
    match state {
        State::Failed => Some(Rank::Failed),
        State::Stale => Some(Rank::Stale),
        _ => None,
    }
}
