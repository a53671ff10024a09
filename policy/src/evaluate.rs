//! What a policy says about a packet, and the checks that need no table.
//!
//! These functions, with [`crate::Instance::filter`] and [`crate::Instance::route`], are the one
//! evaluator: the workers call them with [`NoRecorder`], which compiles away, and
//! [`crate::explain`] with a recorder that keeps every step. None of them allocates or panics.

use sluice_packet::{Descriptor, DescriptorFlags, Family};

use crate::drop_reason::DropReason;
use crate::ids::{InterfaceId, NextHopId, RuleSlot};
use crate::model::{Action, FilterPoint};

/// Told each step of an evaluation.
pub trait Recorder {
    /// A rule matched (one that only counts included), or no rule decided and the default
    /// action, which has a slot of its own, did.
    #[inline]
    fn rule(&mut self, slot: RuleSlot, d: &Descriptor) {
        let _ = (slot, d);
    }

    /// [`rule`](Self::rule) for so many packets of a burst, of so many bytes in all: told instead of
    /// it where a burst is decided about rule by rule.
    #[inline]
    fn rule_of_many(&mut self, slot: RuleSlot, packets: u64, bytes: u64) {
        let _ = (slot, packets, bytes);
    }

    /// A policy route matched, and leads there; `None` if it has no way out.
    #[inline]
    fn policy_route(&mut self, slot: RuleSlot, d: &Descriptor, way: Option<RouteDecision>) {
        let _ = (slot, d, way);
    }

    /// A route with several next hops was met; `chosen` is the one of this flow.
    #[inline]
    fn spread(&mut self, d: &Descriptor, choices: &[NextHopId], chosen: NextHopId) {
        let _ = (d, choices, chosen);
    }

    /// The route decision was taken.
    #[inline]
    fn route(&mut self, d: &Descriptor, decision: RouteDecision) {
        let _ = (d, decision);
    }
}

/// The recorder that records nothing.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoRecorder;

impl Recorder for NoRecorder {}

/// What a filter says.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct FilterDecision {
    /// Accept, drop or reject; never count.
    pub action: Action,
    /// The rule that decided, or the default action's slot; slot 0 where no filter stands.
    pub rule: RuleSlot,
    /// Whether the match is to be logged.
    pub log: bool,
    /// Whether the rule has a [limit](crate::Policy::rule_limit).
    pub limited: bool,
    /// Whether it is the packet's state that is wrong.
    pub(crate) invalid: bool,
}

impl FilterDecision {
    /// Without log and limit.
    pub(crate) const fn plain(action: Action, rule: RuleSlot) -> FilterDecision {
        FilterDecision { action, rule, log: false, limited: false, invalid: false }
    }

    /// Why a packet is dropped that is denied so at `point`.
    #[inline]
    pub const fn drop_reason(self, point: FilterPoint) -> DropReason {
        if self.invalid { DropReason::InvalidState } else { point.drop_reason() }
    }
}

/// Where a packet goes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum RouteDecision {
    /// To this next hop.
    Forward(NextHopId),
    /// To the router itself: an own address of this interface.
    Local(InterfaceId),
    /// Nowhere.
    Drop(DropReason),
}

/// Whether the packet may be forwarded one hop more (RFC 1812 section 5.3.1, RFC 8200 section 3).
#[inline]
pub fn hop_limit(d: &Descriptor) -> Result<(), DropReason> {
    if d.hop_limit > 1 || d.flags.contains(DescriptorFlags::LOCAL_ORIGIN) {
        Ok(())
    } else {
        Err(DropReason::HopLimitExceeded)
    }
}

/// How a packet fits its egress.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fit {
    /// As it is.
    Whole,
    /// Cut into fragments.
    Fragments,
}

/// Whether and how the packet fits an egress MTU (RFC 1191 section 4, RFC 791 section 3.2, RFC 8200
/// section 5).
#[inline]
pub fn mtu(d: &Descriptor, mtu: u16) -> Result<Fit, DropReason> {
    if d.l3_length <= mtu {
        Ok(Fit::Whole)
    } else if d.key.family == Family::Inet6 || d.flags.contains(DescriptorFlags::DONT_FRAGMENT) {
        Err(DropReason::FragmentationNeeded)
    } else {
        Ok(Fit::Fragments)
    }
}

/// How many fragments the packet is cut into for an egress MTU; `None` if it leaves whole, or not at
/// all. Its options are taken to be in every fragment.
pub fn fragments(d: &Descriptor, mtu: u16) -> Option<u16> {
    if self::mtu(d, mtu) != Ok(Fit::Fragments) {
        return None;
    }
    let (payload, room) = (d.l3_length.checked_sub(d.l4_offset)?, mtu.checked_sub(d.l4_offset)?);
    Some(1 + payload.saturating_sub(room).div_ceil((room / 8 * 8).max(8)))
}

/// Whether the packet may be routed at all, whatever tables and hooks say: not to groups, not to
/// what no router forwards to, not off its link (see [`crate::Instance::route`]).
#[inline]
pub fn may_be_routed(d: &Descriptor) -> Result<(), DropReason> {
    crate::route::unroutable(d).map_or(Ok(()), Err)
}

/// Why a packet that routes lead to the router itself is not taken there. The local stage has
/// taken what came in for its instance; what is left is a packet of the router's own whose
/// destination claims to be the router, or one that was led to another instance's address.
pub fn not_taken(d: &Descriptor) -> DropReason {
    match d.flags.contains(DescriptorFlags::LOCAL_ORIGIN) {
        true => DropReason::SourceMartian,
        false => DropReason::OtherInstance,
    }
}

/// Whether a packet that may not be routed goes back to the link that it came from all the same:
/// an answer of the router's own to a link-local IPv6 address.
pub fn returns_to_link(d: &Descriptor, reason: DropReason) -> bool {
    reason == DropReason::LinkLocal
        && d.key.family == Family::Inet6
        && d.flags.contains(DescriptorFlags::LOCAL_ORIGIN)
}

#[cfg(test)]
mod tests {
    use sluice_packet::FlowKey;

    use super::*;

    #[test]
    fn hop_limit_ends_at_one() {
        let of = |hop_limit, flags| {
            super::hop_limit(&Descriptor { hop_limit, flags, ..Descriptor::default() })
        };
        assert_eq!(of(2, DescriptorFlags::empty()), Ok(()));
        assert_eq!(of(1, DescriptorFlags::empty()), Err(DropReason::HopLimitExceeded));
        assert_eq!(of(0, DescriptorFlags::empty()), Err(DropReason::HopLimitExceeded));
        assert_eq!(of(1, DescriptorFlags::LOCAL_ORIGIN), Ok(()));
    }

    #[test]
    fn fragments_are_counted_as_they_are_cut() {
        let of = |l3_length| {
            let d = Descriptor { l3_length, l4_offset: 20, ..Descriptor::default() };
            super::fragments(&d, 1280)
        };
        assert_eq!([1280, 1281, 6000].map(of), [None, Some(2), Some(5)]);
        // The last one may be filled to its last byte.
        assert_eq!([20 + 1256 + 1260, 20 + 1256 + 1261].map(of), [Some(2), Some(3)]);
    }

    #[test]
    fn only_ipv4_without_dont_fragment_is_cut() {
        let of = |family, flags, l3_length| {
            let key = FlowKey { family, ..FlowKey::default() };
            super::mtu(&Descriptor { key, flags, l3_length, ..Descriptor::default() }, 1500)
        };
        let none = DescriptorFlags::empty();
        assert_eq!(of(Family::Inet, none, 1500), Ok(Fit::Whole));
        assert_eq!(of(Family::Inet, none, 1501), Ok(Fit::Fragments));
        assert_eq!(
            of(Family::Inet, DescriptorFlags::DONT_FRAGMENT, 1501),
            Err(DropReason::FragmentationNeeded)
        );
        assert_eq!(of(Family::Inet6, none, 1501), Err(DropReason::FragmentationNeeded));
    }
}
