//! Packets that an author puts on their way (`net_inject`).
//!
//! | `net_inject_t` | here |
//! |---|---|
//! | `ni_packet` | an [`OwnedPacket`], or a buffer, that begins with the IP header |
//! | `NI_QUEUE_IN`, `ni_physical` | [`Injection::QueueIn`] |
//! | `NI_QUEUE_OUT` | [`Injection::QueueOut`] |
//! | `NI_DIRECT_OUT`, `ni_physical`, `ni_addr` | [`Injection::DirectOut`] |
//! | `net_inject_alloc`, `_free` | nothing: an injection is a value |
//!
//! Injecting returns at once; the packet goes its way when the worker has done with the burst in
//! hand. What one worker is given, it takes in the order in which it was given. A packet that
//! cannot be injected is freed, once, and the error says why.
//!
//! A hook that injects what it is then shown again would go round for ever. Each packet counts its
//! injections, and so does what a hook injects while an injected packet is in hand; one that has
//! been injected [`MOST`] times is dropped as `inject-loop`.

use std::collections::VecDeque;
use std::net::IpAddr;

use sluice_policy::{InstanceId, InterfaceId, Policy};

use crate::context::Context;
use crate::packet::OwnedPacket;

/// How often a packet can be injected.
pub const MOST: u8 = 4;
/// Packets that wait to be injected in one worker; more are refused.
pub const CAPACITY: usize = 256;

/// How a packet is put on its way.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Injection {
    /// As if it had been received on this interface: all of the way in, PHYSICAL_IN included.
    QueueIn(InterfaceId),
    /// As a packet of the router's own: routed, then PHYSICAL_OUT. Its hop limit is the author's.
    QueueOut,
    /// Out of this interface to this neighbour, as it is: only the link header is put before it.
    /// No hooks, no routing, no look at its size. While the neighbour's link address is unknown it
    /// waits, like any packet.
    DirectOut {
        /// The interface.
        interface: InterfaceId,
        /// The neighbour, of the packet's IP version.
        next_hop: IpAddr,
    },
}

/// Why a packet was not injected. It has been freed.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum InjectError {
    /// Neither IPv4 nor IPv6: ARP cannot be injected.
    #[error("the packet does not begin with an IPv4 or IPv6 header: nothing else can be injected")]
    Unsupported,
    /// No interface of the instance has the number.
    #[error("the instance has no interface of number {}", .0.0)]
    UnknownInterface(InterfaceId),
    /// The next hop is of the other IP version.
    #[error("{0} is not of the packet's IP version")]
    Family(IpAddr),
    /// Too many wait.
    #[error("{CAPACITY} packets wait to be injected by this worker: inject fewer")]
    Full,
    /// The packet has been injected too often.
    #[error("the packet, or what gave rise to it, has been injected {MOST} times: a hook loops")]
    Loop,
    /// The instance is gone.
    #[error("the instance is no longer there")]
    Shutdown,
}

/// A packet that waits to be injected.
pub struct Injected {
    /// The packet.
    pub packet: OwnedPacket,
    /// How it goes.
    pub how: Injection,
    /// The instance that it belongs to.
    pub instance: InstanceId,
}

impl Injected {
    /// A packet to be injected into an instance.
    ///
    /// # Errors
    /// [`InjectError`]; the packet is freed.
    pub fn new(
        policy: &Policy,
        instance: InstanceId,
        packet: impl Into<OwnedPacket>,
        how: Injection,
    ) -> Result<Injected, InjectError> {
        let packet = packet.into();
        let inet = match packet.mbuf.data().first().map(|first| first >> 4) {
            Some(4) => true,
            Some(6) => false,
            _ => return Err(InjectError::Unsupported),
        };
        let interface = match how {
            Injection::QueueIn(interface) => Some(interface),
            Injection::DirectOut { next_hop, .. } if next_hop.is_ipv4() != inet => {
                return Err(InjectError::Family(next_hop));
            }
            Injection::DirectOut { interface, .. } => Some(interface),
            Injection::QueueOut => None,
        };
        if let Some(id) = interface
            && policy.interface(id).is_none_or(|interface| interface.instance != instance)
        {
            return Err(InjectError::UnknownInterface(id));
        }
        Ok(Injected { packet, how, instance })
    }
}

/// The packets that the hooks of one worker have injected and that are not on their way yet.
pub(crate) struct InjectQueue {
    waiting: VecDeque<Injected>,
    /// How often the packets in hand have been injected, at most.
    pub(crate) depth: u8,
    /// Packets that were refused because they go round, and are not accounted for yet.
    pub(crate) looped: u64,
}

impl InjectQueue {
    pub(crate) fn new() -> InjectQueue {
        InjectQueue { waiting: VecDeque::with_capacity(CAPACITY), depth: 0, looped: 0 }
    }

    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        self.waiting.is_empty() && self.looped == 0
    }

    pub(crate) fn take(&mut self) -> Option<Injected> {
        self.waiting.pop_front()
    }

    pub(crate) fn clear(&mut self) {
        self.waiting.clear();
    }
}

impl Context<'_> {
    /// Puts a packet on its way (`net_inject`), in the hook's instance.
    ///
    /// # Errors
    /// [`InjectError`]; the packet is freed.
    pub fn inject(
        &mut self,
        packet: impl Into<OwnedPacket>,
        how: Injection,
    ) -> Result<(), InjectError> {
        let mut injected = Injected::new(self.policy, self.instance.id, packet, how)?;
        let queue = &mut self.outbox.injected;
        let before = injected.packet.metadata.injections.max(queue.depth);
        if before >= MOST {
            // It is accounted for with those that are injected, behind the hook.
            queue.looped += 1;
            return Err(InjectError::Loop);
        }
        injected.packet.metadata.injections = before + 1;
        if queue.waiting.len() == CAPACITY {
            return Err(InjectError::Full);
        }
        queue.waiting.push_back(injected);
        Ok(())
    }
}
