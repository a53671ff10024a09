//! What a packet is to the router itself: passing through, or for it, and then what for. The
//! workers' local stage acts on it; [`explain`](crate::explain) tells it.

use sluice_packet::{
    Descriptor, DescriptorFlags, Family, Fragment, icmp, icmpv6, ipv4, ipv6, protocol,
};

use crate::answer::Answer;
use crate::drop_reason::DropReason;
use crate::instance::Instance;

/// What a packet is to the router.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Arrival {
    /// Nothing that concerns it: it is routed.
    Passing,
    /// Not to be served, not to be routed.
    Drop(DropReason),
    /// A request for an echo.
    Echo,
    /// A message of neighbour discovery.
    Discovery,
    /// For the router, where nobody listens: [`DropReason::LocalUnreachable`], and this answer.
    Refused(Answer),
}

/// What a packet is to the router. `link_local` is the IPv6 link-local address of the port that it
/// came in by; it is asked for only where it matters.
///
/// Most packets are told to be passing by [`Instance::may_own`] alone; callers in a hurry ask that
/// first.
pub fn arrival(
    instance: &Instance,
    d: &Descriptor,
    link_local: impl FnOnce() -> Option<u128>,
) -> Arrival {
    let (family, dst) = (d.key.family, d.key.dst);
    if instance.owns(family, d.key.src).is_some() {
        // RFC 1812 section 5.3.7: our own address does not come in from outside.
        return Arrival::Drop(DropReason::SourceMartian);
    }
    let own = instance.owns(family, dst).is_some()
        || family == Family::Inet6 && ipv6::is_link_local(dst) && link_local() == Some(dst);
    if own {
        return delivery(d);
    }
    match family {
        Family::Inet6 if ipv6::is_multicast(dst) => {
            if d.key.protocol == protocol::ICMPV6 && is_discovery(d.icmp_type) {
                Arrival::Discovery
            } else if is_link_scope(dst) {
                Arrival::Drop(DropReason::LocalMulticast)
            } else {
                Arrival::Passing
            }
        }
        Family::Inet if dst == LIMITED_BROADCAST || is_local_group(dst as u32) => {
            Arrival::Drop(DropReason::LocalMulticast)
        }
        _ => Arrival::Passing,
    }
}

/// What becomes of a packet to an own address.
fn delivery(d: &Descriptor) -> Arrival {
    let by_broadcast = DescriptorFlags::LINK_BROADCAST | DescriptorFlags::LINK_MULTICAST;
    if d.flags.intersects(by_broadcast) {
        return Arrival::Drop(DropReason::LinkBroadcast);
    }
    if d.flags.contains(DescriptorFlags::SEGMENTS_LEFT) {
        // A routing header that wants us to send the packet on (RFC 5095): we do not.
        return Arrival::Drop(DropReason::Ipv6Extension);
    }
    if d.fragment != Fragment::Whole {
        return Arrival::Drop(DropReason::LocalFragment);
    }
    match (d.key.family, d.key.protocol) {
        (Family::Inet, protocol::ICMP) if d.icmp_type == icmp::ECHO_REQUEST => Arrival::Echo,
        (Family::Inet6, protocol::ICMPV6) if d.icmp_type == icmpv6::ECHO_REQUEST => Arrival::Echo,
        (Family::Inet6, protocol::ICMPV6) if is_discovery(d.icmp_type) => Arrival::Discovery,
        (Family::Inet, protocol::ICMP) | (Family::Inet6, protocol::ICMPV6) => {
            Arrival::Drop(DropReason::IcmpIgnored)
        }
        (_, protocol::TCP) => Arrival::Refused(Answer::Reset),
        (_, protocol::UDP) => Arrival::Refused(Answer::PortUnreachable),
        _ => Arrival::Refused(Answer::ProtocolUnreachable),
    }
}

const LIMITED_BROADCAST: u128 = 0xffff_ffff;

/// Whether an ICMPv6 type is a message of neighbour discovery.
const fn is_discovery(icmp_type: u8) -> bool {
    icmp_type >= icmpv6::ROUTER_SOLICITATION && icmp_type <= icmpv6::REDIRECT
}

/// 224.0.0.0/24, the groups of the link (RFC 5771 section 4).
fn is_local_group(address: u32) -> bool {
    ipv4::is_multicast(address) && address >> 8 == 0xe0_0000
}

/// Scopes up to the link (RFC 4291 section 2.7).
fn is_link_scope(address: u128) -> bool {
    (address >> 112) & 0xf <= 2
}
