//! Hooks that look and change nothing (`HOOK_RDONLY`): what OBSERVING is for.
//!
//! | `hook_pkt_observe_t` | here |
//! |---|---|
//! | `hpo_htype` | [`Observed::direction`] |
//! | `hpo_pktlen` | [`Observed::length`] |
//! | `hpo_ifindex` | [`Observed::interface`] |
//! | `hpo_zsrc`, `hpo_zdst` | [`Observed::from`], [`Observed::to`]; `ALL_ZONES` is `None` |
//! | `hpo_family`, `hpo_pkt` | [`Packet::protocol`], [`Packet::bytes`] |
//! | `hpo_grifindex` | not there: Sluice has no groups of interfaces |

use sluice_packet::{DescriptorFlags, Mask};
use sluice_policy::{DropReason, Event, InstanceId, InterfaceId};

use crate::burst::Burst;
use crate::context::Context;
use crate::hook::Hook;
use crate::packet::Packet;

/// A hook that is shown packets, and cannot change them nor decide about them.
pub trait Observer: Send {
    /// Is shown one packet.
    fn observe(&mut self, cx: &Context<'_>, packet: &Packet<'_>);

    /// Whether it is shown what is dropped behind decoding, too, as far as it got and with the reason.
    /// It is asked when a worker gets the object.
    fn sees_drops(&self) -> bool {
        false
    }
}

/// Makes a [`Hook`] of an [`Observer`]; [`Made::observer`](crate::Made::observer) wraps it around.
pub(crate) struct ReadOnly<O>(pub(crate) O);

impl<O: Observer> Hook for ReadOnly<O> {
    fn process(&mut self, cx: &mut Context<'_>, burst: &mut Burst, packets: Mask) {
        for slot in packets {
            if let Some(packet) = cx.packet(burst, slot) {
                self.0.observe(cx, &packet);
            }
        }
    }

    fn sees_drops(&self) -> bool {
        self.0.sees_drops()
    }
}

/// Which way an observed packet goes.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Direction {
    /// It was received (`IPOBS_HOOK_INBOUND`).
    Inbound,
    /// It is about to be sent (`IPOBS_HOOK_OUTBOUND`).
    Outbound,
    /// It goes from one instance to another (`IPOBS_HOOK_LOCAL`).
    Local,
    /// Nowhere: it has been dropped.
    Dropped,
}

/// What there is to say of a packet that is observed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Observed {
    /// Which way it goes.
    pub direction: Direction,
    /// Bytes, IP header included.
    pub length: usize,
    /// The interface that it came in by, or leaves by; between instances, and of the router's own
    /// that are dropped, none.
    pub interface: Option<InterfaceId>,
    /// The instance that it comes from; `None` if it comes from a network or is not known.
    pub from: Option<InstanceId>,
    /// The instance that it goes to; `None` if it goes to a network or is not known.
    pub to: Option<InstanceId>,
    /// Why it was dropped, if it was.
    pub dropped: Option<DropReason>,
}

impl Packet<'_> {
    /// What there is to say of the packet at OBSERVING; `None` at other events.
    #[must_use]
    pub fn observed(&self, cx: &Context<'_>) -> Option<Observed> {
        if self.event() != Event::Observing {
            return None;
        }
        let here = Some(cx.instance.id);
        let own = self.descriptor().flags.contains(DescriptorFlags::LOCAL_ORIGIN);
        let length = self.length();
        let (direction, interface, from, to) = match self.burst.observed_as() {
            Direction::Inbound => (Direction::Inbound, self.ingress(), None, here),
            Direction::Dropped => (Direction::Dropped, self.ingress(), here.filter(|_| own), None),
            Direction::Outbound => (Direction::Outbound, self.egress(), here.filter(|_| own), None),
            Direction::Local => {
                let egress = cx.policy.interface(self.burst.egress(self.slot));
                (Direction::Local, None, here, egress.map(|egress| egress.instance))
            }
        };
        let dropped = self.burst.drop_reason(self.slot);
        Some(Observed { direction, length, interface, from, to, dropped })
    }
}
