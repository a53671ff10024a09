//! Packets in an object's hands: what stands behind the `struct sluice_packet` that it is given.

use std::ffi::c_void;

use sluice_policy::Event;

use super::calls::calls;
use super::lent::NotHeld;
use super::object;
use super::types::*;
use crate::burst::Burst;
use crate::context::Context;
use crate::packet::{OwnedPacket, Packet};

/// An object that exports a hook.
pub(super) type Shared = object::Shared<sluice_owned>;

/// What the packets of one call have in common.
pub(super) struct Scene {
    /// Where they are; nowhere if they are only looked at.
    burst: *mut Burst,
    event: Event,
    cx: *mut Context<'static>,
    shared: *const Shared,
    not_held: u64,
}

impl Scene {
    /// Packets that may be changed. Nobody else uses burst and context while the object is called.
    #[inline]
    pub(super) fn of(burst: *mut Burst, cx: *mut Context<'_>, event: Event, of: &Shared) -> Scene {
        Scene { burst, event, cx: cx.cast(), shared: of, not_held: 0 }
    }

    /// Packets that are only looked at.
    pub(super) fn looked_at(cx: &Context<'_>, of: &Shared) -> Scene {
        let (burst, cx_of) = (std::ptr::null_mut(), std::ptr::from_ref(cx).cast_mut());
        Scene::of(burst, cx_of, cx.event, of)
    }

    /// How often the object named a packet that it did not hold.
    #[inline]
    pub(super) fn not_held(&self) -> u64 {
        self.not_held
    }
}

/// A packet in an object's hands. The object knows the address of `head`.
#[repr(C)]
pub(super) struct Hand {
    head: sluice_packet,
    scene: *mut Scene,
    /// Its place in the burst.
    slot: usize,
    /// The packet, if it is only looked at.
    looked_at: *const Packet<'static>,
}

impl Hand {
    /// The packet in a slot of the scene's burst.
    #[inline]
    pub(super) fn on(scene: *mut Scene, slot: usize) -> Hand {
        Hand { head: sluice_packet { calls: calls() }, scene, slot, looked_at: std::ptr::null() }
    }

    /// A packet that is only looked at.
    pub(super) fn looking(scene: *mut Scene, packet: &Packet<'_>) -> Hand {
        Hand { looked_at: std::ptr::from_ref(packet).cast(), ..Hand::on(scene, 0) }
    }

    /// Turns to the packet in another slot.
    #[inline]
    pub(super) fn turn_to(&mut self, slot: usize) {
        self.slot = slot;
    }

    fn scene(&self) -> &Scene {
        // SAFETY: it is there as long as the callback runs; functions that change it are not called
        // while this one's answer is in use.
        unsafe { &*self.scene }
    }

    /// Looks at the packet; `None` if it has been taken.
    #[inline]
    pub(super) fn look<R>(&self, look: impl FnOnce(&Packet<'_>) -> R) -> Option<R> {
        // SAFETY: what is only looked at is borrowed as long as the callback runs.
        if let Some(packet) = unsafe { self.looked_at.as_ref() } {
            return Some(look(packet));
        }
        self.packet().map(|packet| look(&packet))
    }

    /// Changes the packet; `None` if it is only looked at, or has been taken.
    #[inline]
    pub(super) fn change<R>(&mut self, change: impl FnOnce(&mut Packet<'_>) -> R) -> Option<R> {
        self.packet().map(|mut packet| change(&mut packet))
    }

    /// The same with the context.
    pub(super) fn change_in<R>(
        &mut self,
        change: impl FnOnce(&mut Packet<'_>, &Context<'_>) -> R,
    ) -> Option<R> {
        let hand = &*self;
        hand.packet().map(|mut packet| change(&mut packet, hand.cx()))
    }

    /// Takes the packet away.
    pub(super) fn take(&mut self) -> Option<OwnedPacket> {
        self.packet().and_then(Packet::take)
    }

    /// The packet, for as long as nothing else is asked of the burst.
    #[inline]
    fn packet(&self) -> Option<Packet<'_>> {
        let scene = self.scene();
        // SAFETY: the burst is borrowed by who calls the object, as long as the callback runs. Each
        // function has one packet of it at a time.
        let burst = unsafe { scene.burst.as_mut() }?;
        Packet::new(burst, self.slot, scene.event)
    }

    pub(super) fn cx(&self) -> &Context<'static> {
        // SAFETY: the context is borrowed as long as the callback runs; functions that change it are
        // not called while this one's answer is in use.
        unsafe { &*self.scene().cx }
    }

    /// The context, to be changed: not by what only looks.
    pub(super) fn cx_mut(&mut self) -> Option<&mut Context<'static>> {
        // SAFETY: it came from a mutable borrow where the packet is not only looked at.
        self.looked_at.is_null().then(|| unsafe { &mut *self.scene().cx })
    }

    fn shared(&self) -> &Shared {
        // SAFETY: the object that was called holds a share.
        unsafe { &*self.scene().shared }
    }

    /// The file, as the object knows it.
    pub(super) fn file(&self) -> *const c_void {
        self.scene().shared.cast()
    }

    /// Hands a packet over to the object.
    pub(super) fn lend(&self, packet: OwnedPacket) -> *mut sluice_owned {
        // One that finds no place is freed.
        self.shared().lent.lend(packet, |_, _| ()).unwrap_or(std::ptr::null_mut())
    }

    /// Looks at a packet that the object holds, or changes it.
    pub(super) fn with_owned<R>(
        &self,
        owned: *mut sluice_owned,
        act: impl FnOnce(&mut OwnedPacket) -> R,
    ) -> Result<R, NotHeld> {
        self.shared().lent.with(owned, act)
    }

    /// Takes a packet back from the object.
    pub(super) fn take_back(&mut self, owned: *mut sluice_owned) -> Result<OwnedPacket, i32> {
        self.shared().lent.take(owned).map_err(|NotHeld| {
            // SAFETY: as in `scene`.
            unsafe { (*self.scene).not_held += 1 };
            SLUICE_NOT_HELD
        })
    }
}

/// The packet that a function was given.
///
/// # Safety
/// It is what a callback was given, and that has not returned.
#[inline]
pub(super) unsafe fn hand<'a>(packet: *const sluice_packet) -> &'a Hand {
    // SAFETY: by the contract; a hand begins with its packet.
    unsafe { &*packet.cast() }
}

/// The same, to be changed.
///
/// # Safety
/// As [`hand`].
#[inline]
pub(super) unsafe fn hand_mut<'a>(packet: *mut sluice_packet) -> &'a mut Hand {
    // SAFETY: by the contract.
    unsafe { &mut *packet.cast() }
}
