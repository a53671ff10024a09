//! Whose callback runs on this thread, and what it may reach.

use std::cell::Cell;
use std::ptr;

use sluice_policy::{Event, Protocol};

use super::Foreign;
use super::types::{mblk_t, net_handle_t};
use crate::context::Context;
use crate::packet::Packet;
use crate::query::{Interfaces, QueryError};
use crate::stack::{Api, InstanceHandle, ProtocolHandle};

thread_local! {
    /// The frame of the innermost callback, or null.
    static CURRENT: Cell<*const Frame> = const { Cell::new(ptr::null()) };
}

/// What a callback stands in.
pub(super) struct Frame {
    foreign: *const Foreign,
    side: Side,
    /// Whether the packet in hand was injected.
    injected: Cell<bool>,
}

#[derive(Clone, Copy)]
enum Side {
    /// The agent's thread: the interface that the callback was given.
    Agent(*mut Api<'static>),
    /// A worker's: the context and the packet of a hook of this protocol.
    Worker {
        cx: *mut Context<'static>,
        packet: *mut Packet<'static>,
        /// What only looks may not change the context.
        looks: bool,
        head: *mut mblk_t,
        handle: ProtocolHandle,
    },
}

/// What the functions of the table reach through.
pub(super) enum Reach<'a> {
    /// The agent's interface.
    Agent(&'a mut Api<'static>),
    /// A worker's context, the hook's protocol, and whether it only looks.
    Worker(&'a mut Context<'static>, ProtocolHandle, bool),
}

impl Frame {
    /// The frame of a callback on the agent's thread; not used beyond the borrow of `api`.
    pub(super) fn agent(foreign: &Foreign, api: &mut Api<'_>) -> Frame {
        Frame::of(foreign, Side::Agent(ptr::from_mut(api).cast()))
    }

    /// The frame of a hook's callback: the packet is known to the module as `head`.
    pub(super) fn worker(
        foreign: &Foreign,
        cx: *mut Context<'_>,
        packet: *mut Packet<'_>,
        looks: bool,
        head: *mut mblk_t,
        handle: ProtocolHandle,
    ) -> Frame {
        let side = Side::Worker { cx: cx.cast(), packet: packet.cast(), looks, head, handle };
        Frame::of(foreign, side)
    }

    fn of(foreign: &Foreign, side: Side) -> Frame {
        Frame { foreign, side, injected: Cell::new(false) }
    }

    /// Whether the packet in hand was injected.
    pub(super) fn has_injected(&self) -> bool {
        self.injected.get()
    }

    /// Calls into the module.
    pub(super) fn enter<R>(&self, call: impl FnOnce() -> R) -> R {
        let before = CURRENT.replace(self);
        let result = call();
        CURRENT.set(before);
        result
    }
}

/// The object whose callback runs here.
pub(super) fn foreign<R>(act: impl FnOnce(&Foreign) -> R) -> Option<R> {
    // SAFETY: a frame is there as long as its callback runs, and the object as long as the frame.
    let foreign = unsafe { CURRENT.get().as_ref().map(|frame| &*frame.foreign) };
    foreign.map(act)
}

/// What the callback that runs here may reach.
pub(super) fn reach<R>(act: impl FnOnce(&Foreign, Reach<'_>) -> R) -> Option<R> {
    // SAFETY: as in `foreign`. The callback has what it reaches for itself until it returns: who gave
    // it waits for that. Two calls out of one callback follow each other.
    unsafe {
        let frame = CURRENT.get().as_ref()?;
        let reach = match frame.side {
            Side::Agent(api) => Reach::Agent(&mut *api),
            Side::Worker { cx, handle, looks, .. } => Reach::Worker(&mut *cx, handle, looks),
        };
        Some(act(&*frame.foreign, reach))
    }
}

/// The packet that the callback which runs here was given, if it is known as `head`; with the
/// context.
pub(super) fn packet<R>(
    head: *const mblk_t,
    act: impl FnOnce(&mut Packet<'static>) -> R,
) -> Option<R> {
    // SAFETY: as in `reach`; a packet that is only looked at is not changed by those who call this.
    unsafe {
        match CURRENT.get().as_ref()?.side {
            Side::Worker { packet, head: known, .. } if ptr::eq(known, head) => {
                Some(act(&mut *packet))
            }
            _ => None,
        }
    }
}

/// The packet that is known as `head` has been injected.
pub(super) fn is_injected(head: *const mblk_t) {
    // SAFETY: as in `foreign`.
    if let Some(frame) = unsafe { CURRENT.get().as_ref() }
        && matches!(frame.side, Side::Worker { head: known, .. } if ptr::eq(known, head))
    {
        frame.injected.set(true);
    }
}

/// The agent's interface, for what a hook may not do out of a packet's callback.
pub(super) fn api<R>(act: impl FnOnce(&Foreign, &mut Api<'static>) -> R) -> Option<R> {
    reach(|foreign, reach| match reach {
        Reach::Agent(api) => Some(act(foreign, api)),
        Reach::Worker(..) => None,
    })?
}

/// Asks about the interfaces of a handle's instance.
pub(super) fn ask<R>(
    handle: net_handle_t,
    question: impl FnOnce(&Interfaces<'_>) -> Result<R, QueryError>,
) -> Result<R, QueryError> {
    let handle = protocol_of(handle).ok_or(QueryError::Shutdown)?;
    let answer = reach(|_, reach| match reach {
        Reach::Agent(api) => question(&api.interfaces(handle)?),
        // Another instance is not to be asked about out of a packet's callback.
        Reach::Worker(_, own, _) if own.instance != handle.instance => Err(QueryError::Shutdown),
        Reach::Worker(cx, ..) => question(&cx.interfaces(handle.protocol)),
    });
    answer.unwrap_or(Err(QueryError::Shutdown))
}

const PROTOCOLS: [Protocol; 3] = [Protocol::Inet, Protocol::Inet6, Protocol::Arp];

/// The number that a module knows a protocol of an instance by.
pub(super) fn number_of(handle: ProtocolHandle) -> net_handle_t {
    let place = PROTOCOLS.iter().position(|known| *known == handle.protocol).unwrap_or_default();
    (handle.instance.number() as usize) << 2 | (place + 1)
}

/// The protocol of a number.
pub(super) fn protocol_of(handle: net_handle_t) -> Option<ProtocolHandle> {
    let protocol = *PROTOCOLS.get((handle & 3).checked_sub(1)?)?;
    let instance = InstanceHandle::of(u32::try_from(handle >> 2).ok()?);
    Some(ProtocolHandle { instance, protocol })
}

/// What a module knows a protocol as.
pub(super) fn family(protocol: Protocol) -> &'static std::ffi::CStr {
    match protocol {
        Protocol::Inet => c"NHF_INET",
        Protocol::Inet6 => c"NHF_INET6",
        _ => c"NHF_ARP",
    }
}

/// The protocol of a name: ours, or the original's.
pub(super) fn protocol_named(name: &str) -> Option<Protocol> {
    let is = |protocol: &Protocol| {
        family(*protocol).to_bytes() == name.as_bytes() || protocol.name() == name
    };
    PROTOCOLS.into_iter().find(is)
}

/// The event of a name.
pub(super) fn event_named(name: &str) -> Option<Event> {
    Event::ALL.into_iter().find(|event| event.name() == name)
}
