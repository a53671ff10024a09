//! Packets that a foreign object holds: taken out of a burst, copied, or made.
//!
//! The object knows each by the address of a place in a table of ours, and nothing that it does with
//! the address is believed: one that is no place of the table, or one that is empty, is counted and
//! left alone. The places are taken and given back with one exchange each, from any thread. When the
//! object is unloaded, what is still there is freed and told.

use std::cell::UnsafeCell;
use std::sync::atomic::{AtomicU8, AtomicU64, AtomicUsize, Ordering};

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
            see(seen, held.insert(packet));
            place.state.store(FULL, Ordering::Release);
            return Ok(place.seen.get());
        }
        Err(packet)
    }

    /// Takes a packet back. Its place is empty afterwards.
    pub(super) fn take(&self, address: *const T) -> Result<OwnedPacket, NotHeld> {
        let place = self.claim(address)?;
        // SAFETY: claiming made the place this thread's own.
        let packet = unsafe { (*place.packet.get()).take() };
        place.state.store(EMPTY, Ordering::Release);
        packet.ok_or(NotHeld)
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

    fn claim(&self, address: *const T) -> Result<&Place<T>, NotHeld> {
        let start = self.places.as_ptr().addr();
        let offset = address.addr().wrapping_sub(start);
        let size = size_of::<Place<T>>();
        let place = self.places.get(offset / size).filter(|_| offset.is_multiple_of(size));
        let Some(place) = place else {
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
