//! Packets that a foreign object holds: taken out of a burst, copied, or made.
//!
//! The object knows each by the address of a place in a table of ours, and nothing that it does with
//! the address is believed: one that is no place of the table, or one that is empty, is counted and
//! left alone. The places are taken and given back with one exchange each, from any thread. When the
//! object is unloaded, what is still there is freed and told.

use std::cell::UnsafeCell;
use std::sync::atomic::{AtomicU8, AtomicU32, AtomicU64, AtomicUsize, Ordering};

use crate::packet::OwnedPacket;

/// Packets that one object can hold.
pub(super) const PLACES: usize = 1024;

const EMPTY: u8 = 0;
/// Being filled, emptied or looked at.
const BUSY: u8 = 1;
const FULL: u8 = 2;

/// A place. What the object has the address of comes first.
#[repr(C)]
struct Place<T> {
    seen: UnsafeCell<T>,
    state: AtomicU8,
    /// How often it was taken: tells whom it was taken for.
    turn: AtomicU32,
    packet: UnsafeCell<Option<OwnedPacket>>,
}

/// The packets that an object holds, each with what the object sees of it.
pub(super) struct Lent<T> {
    places: Box<[Place<T>]>,
    /// Where a free place is looked for next.
    next: AtomicUsize,
    /// Packets that were given back a second time.
    twice: AtomicU64,
    /// Addresses that never were a packet's.
    foreign: AtomicU64,
}

// SAFETY: a packet is touched only between the exchange that makes its place busy and the store that
// ends it, by the thread that made the exchange. What the object sees is the object's own while it
// holds the packet.
unsafe impl<T: Send> Sync for Lent<T> {}

/// The address is no packet's that the object holds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct NotHeld;

impl<T: Default> Lent<T> {
    pub(super) fn new() -> Lent<T> {
        let place = |_| Place {
            seen: UnsafeCell::default(),
            state: AtomicU8::new(EMPTY),
            turn: AtomicU32::new(0),
            packet: UnsafeCell::new(None),
        };
        let (next, twice, foreign) = Default::default();
        Lent { places: (0..PLACES).map(place).collect(), next, twice, foreign }
    }
}

impl<T> Lent<T> {
    /// Hands a packet over; `see` writes what the object sees of it. The address that the object
    /// knows it by, or the packet when all places are taken.
    pub(super) fn lend(
        &self,
        packet: OwnedPacket,
        see: impl FnOnce(&mut T, &mut OwnedPacket),
    ) -> Result<*mut T, OwnedPacket> {
        let mut given = Some(packet);
        let taken = self.occupy(|seen, held| {
            *held = given.take();
            if let Some(packet) = held {
                see(seen, packet);
            }
        });
        match (taken, given) {
            (Some((seen, _)), _) => Ok(seen),
            (None, Some(packet)) => Err(packet),
            (None, None) => unreachable!("only a place takes the packet"),
        }
    }

    /// Takes a place for what the object is shown without holding it. The address, and the turn that
    /// [`release`](Self::release) knows it by.
    pub(super) fn reserve(&self, see: impl FnOnce(&mut T)) -> Option<(*mut T, u32)> {
        self.occupy(|seen, _| see(seen))
    }

    fn occupy(&self, fill: impl FnOnce(&mut T, &mut Option<OwnedPacket>)) -> Option<(*mut T, u32)> {
        let from = self.next.load(Ordering::Relaxed);
        for at in (0..PLACES).map(|step| (from + step) % PLACES) {
            let place = &self.places[at];
            let taken =
                place.state.compare_exchange(EMPTY, BUSY, Ordering::Acquire, Ordering::Relaxed);
            if taken.is_err() {
                continue;
            }
            self.next.store(at + 1, Ordering::Relaxed);
            // SAFETY: the exchange made the place this thread's own.
            let (seen, held) = unsafe { (&mut *place.seen.get(), &mut *place.packet.get()) };
            fill(seen, held);
            let turn = place.turn.fetch_add(1, Ordering::Relaxed).wrapping_add(1);
            place.state.store(FULL, Ordering::Release);
            return Some((place.seen.get(), turn));
        }
        None
    }

    /// Takes a packet back. Its place is empty afterwards.
    pub(super) fn take(&self, address: *const T) -> Result<OwnedPacket, NotHeld> {
        self.give_up(address)?.ok_or(NotHeld)
    }

    /// The same for a place that may have been reserved: it has no packet then.
    pub(super) fn give_up(&self, address: *const T) -> Result<Option<OwnedPacket>, NotHeld> {
        let place = self.claim(address)?;
        // SAFETY: claiming made the place this thread's own.
        let packet = unsafe { (*place.packet.get()).take() };
        place.state.store(EMPTY, Ordering::Release);
        Ok(packet)
    }

    /// Whether the object knows something by this address.
    pub(super) fn holds(&self, address: *const T) -> bool {
        self.place(address).is_some_and(|place| place.state.load(Ordering::Acquire) == FULL)
    }

    /// Whether what was reserved in that turn is still there.
    pub(super) fn is_still(&self, address: *const T, turn: u32) -> bool {
        self.holds(address)
            && self.place(address).is_some_and(|p| p.turn.load(Ordering::Relaxed) == turn)
    }

    /// Ends what was reserved in that turn, if the object has not done so.
    pub(super) fn release(&self, address: *const T, turn: u32) {
        if self.is_still(address, turn) {
            drop(self.give_up(address));
        }
    }

    /// Whether there is a packet in a place that may have been reserved.
    pub(super) fn has_packet(&self, address: *const T) -> bool {
        let Ok(place) = self.claim(address) else { return false };
        // SAFETY: claiming made the place this thread's own.
        let there = unsafe { (*place.packet.get()).is_some() };
        place.state.store(FULL, Ordering::Release);
        there
    }

    /// Puts a packet into a place; what was there is freed.
    pub(super) fn put(
        &self,
        address: *mut T,
        packet: OwnedPacket,
        see: impl FnOnce(&mut T, &mut OwnedPacket),
    ) -> Result<(), NotHeld> {
        let place = self.claim(address)?;
        // SAFETY: claiming made the place this thread's own.
        let (seen, held) = unsafe { (&mut *place.seen.get(), &mut *place.packet.get()) };
        see(seen, held.insert(packet));
        place.state.store(FULL, Ordering::Release);
        Ok(())
    }

    /// Looks at a packet, or changes it, while the object holds it.
    pub(super) fn with<R>(
        &self,
        address: *const T,
        act: impl FnOnce(&mut OwnedPacket) -> R,
    ) -> Result<R, NotHeld> {
        let place = self.claim(address)?;
        // SAFETY: claiming made the place this thread's own.
        let packet = unsafe { (*place.packet.get()).as_mut() };
        let result = packet.map(act);
        place.state.store(FULL, Ordering::Release);
        result.ok_or(NotHeld)
    }

    fn place(&self, address: *const T) -> Option<&Place<T>> {
        let start = self.places.as_ptr().addr();
        let offset = address.addr().wrapping_sub(start);
        let size = size_of::<Place<T>>();
        self.places.get(offset / size).filter(|_| offset.is_multiple_of(size))
    }

    fn claim(&self, address: *const T) -> Result<&Place<T>, NotHeld> {
        let Some(place) = self.place(address) else {
            self.foreign.fetch_add(1, Ordering::Relaxed);
            return Err(NotHeld);
        };
        let claimed =
            place.state.compare_exchange(FULL, BUSY, Ordering::Acquire, Ordering::Relaxed);
        if claimed.is_err() {
            self.twice.fetch_add(1, Ordering::Relaxed);
            return Err(NotHeld);
        }
        Ok(place)
    }

    /// Packets that the object holds.
    pub(super) fn held(&self) -> usize {
        self.places.iter().filter(|p| p.state.load(Ordering::Relaxed) != EMPTY).count()
    }

    /// The object is about to be unloaded: frees what it holds, and tells what was wrong.
    pub(super) fn settle(&mut self, name: &str) {
        let held = self.held();
        if held > 0 {
            tracing::error!(file = name, held, "unloaded with packets of its own: they are freed");
        }
        for place in &mut self.places {
            *place.packet.get_mut() = None;
            *place.state.get_mut() = EMPTY;
        }
        let (twice, foreign) = (*self.twice.get_mut(), *self.foreign.get_mut());
        if twice + foreign > 0 {
            tracing::error!(
                file = name,
                twice,
                foreign,
                "it has freed or used packets that it did not hold: given back before, or never lent"
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wrong(lent: &Lent<u64>) -> (u64, u64) {
        (lent.twice.load(Ordering::Relaxed), lent.foreign.load(Ordering::Relaxed))
    }

    #[test]
    fn what_is_given_back_twice_or_was_never_lent_is_counted() {
        let lent = Lent::<u64>::new();
        let (address, _) = lent.reserve(|seen| *seen = 7).unwrap();
        assert!(lent.holds(address));
        assert!(!lent.has_packet(address));
        assert!(lent.give_up(address).unwrap().is_none());
        assert_eq!(wrong(&lent), (0, 0));
        assert_eq!(lent.give_up(address).err(), Some(NotHeld));
        assert_eq!(wrong(&lent), (1, 0));
        let inside = address.wrapping_byte_add(1);
        for foreign in [std::ptr::null_mut(), inside, std::ptr::dangling_mut()] {
            assert_eq!(lent.take(foreign).err(), Some(NotHeld));
            assert!(!lent.holds(foreign));
        }
        assert_eq!(wrong(&lent), (1, 3));
    }

    #[test]
    fn a_place_that_another_has_taken_is_not_released() {
        let lent = Lent::<u64>::new();
        let (address, turn) = lent.reserve(|_| ()).unwrap();
        assert!(lent.is_still(address, turn));
        lent.give_up(address).unwrap();
        // Round the table, until the place is taken again.
        let again = (0..PLACES).find_map(|_| {
            let (other, turn) = lent.reserve(|_| ())?;
            (other == address).then_some(turn)
        });
        assert!(lent.is_still(address, again.unwrap()));
        assert!(!lent.is_still(address, turn));
        lent.release(address, turn);
        assert!(lent.holds(address), "it is somebody else's");
        assert_eq!(wrong(&lent), (0, 0));
    }

    #[test]
    fn a_full_table_lends_nothing_more() {
        let lent = Lent::<u64>::new();
        let all: Vec<_> = (0..PLACES).map(|_| lent.reserve(|_| ()).unwrap()).collect();
        assert_eq!(lent.held(), PLACES);
        assert!(lent.reserve(|_| ()).is_none());
        let (address, turn) = all[PLACES / 2];
        lent.release(address, turn);
        assert_eq!(lent.reserve(|_| ()).unwrap().0, address);
    }
}
