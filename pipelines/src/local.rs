//! Packets to the router itself: echo, neighbour discovery, and an honest "nobody listens" for
//! everything else (delivery to the host is not there yet).

use sluice_hooks::{Burst, Context};
use sluice_packet::{
    Descriptor, DescriptorFlags, Family, Fragment, Mask, build, checksum, icmp, icmpv6, ipv4, ipv6,
    protocol,
};
use sluice_policy::{DropReason, InterfaceId};

use crate::agent::AgentLink;
use crate::answer::{self, Answer};
use crate::nd;

/// TTL and hop limit of what the router sends (RFC 1700).
const HOP_LIMIT: u8 = 64;

/// Takes the packets that are for the router. Returns those that were turned into answers: they
/// go on to the route decision as the router's own.
pub fn process(
    cx: &mut Context<'_>,
    burst: &mut Burst,
    packets: Mask,
    agent: &mut AgentLink,
) -> Mask {
    let mut answers = Mask::EMPTY;
    for slot in packets {
        let d = burst.descriptor(slot);
        let (family, src, dst) = (d.key.family, d.key.src, d.key.dst);
        let unicast = match family {
            Family::Inet => dst < IPV4_GROUPS,
            Family::Inet6 => dst >> 120 < 0xfe,
        };
        let instance = cx.instance;
        if unicast & !instance.may_own(src) & !instance.may_own(dst) {
            continue;
        }
        examine(cx, burst, slot, agent, &mut answers);
    }
    answers
}

/// Looks closer at a packet whose addresses may be ours or a group's.
#[inline(never)]
fn examine(
    cx: &mut Context<'_>,
    burst: &mut Burst,
    slot: usize,
    agent: &mut AgentLink,
    answers: &mut Mask,
) {
    let d = burst.descriptor(slot);
    let (family, src, dst) = (d.key.family, d.key.src, d.key.dst);
    if cx.instance.owns(family, src).is_some() {
        // RFC 1812 section 5.3.7: our own address does not come in from outside.
        cx.drop(burst, slot, DropReason::SourceMartian);
    } else if cx.instance.owns(family, dst).is_some() || is_own_link_local(cx, d) {
        deliver(cx, burst, slot, agent, answers);
    } else if family == Family::Inet6 && ipv6::is_multicast(dst) {
        if d.key.protocol == protocol::ICMPV6 && nd::is_message(d.icmp_type) {
            nd::process(cx, burst, slot, agent);
        } else if is_link_scope(dst) {
            cx.drop(burst, slot, DropReason::LocalMulticast);
        }
    } else if family == Family::Inet && (dst == LIMITED_BROADCAST || is_local_group(dst as u32)) {
        cx.drop(burst, slot, DropReason::LocalMulticast);
    }
}

/// Where IPv4's groups begin: 224.0.0.0.
const IPV4_GROUPS: u128 = 0xe000_0000;

const LIMITED_BROADCAST: u128 = 0xffff_ffff;

/// 224.0.0.0/24, the groups of the link (RFC 5771 section 4).
fn is_local_group(address: u32) -> bool {
    ipv4::is_multicast(address) && address >> 8 == 0xe0_0000
}

/// Scopes up to the link (RFC 4291 section 2.7).
fn is_link_scope(address: u128) -> bool {
    (address >> 112) & 0xf <= 2
}

fn is_own_link_local(cx: &Context<'_>, d: &Descriptor) -> bool {
    d.key.family == Family::Inet6
        && ipv6::is_link_local(d.key.dst)
        && cx
            .policy
            .interface(InterfaceId(d.ingress))
            .and_then(|interface| cx.ports.get(interface.port))
            .is_some_and(|facts| facts.link_local == d.key.dst)
}

fn deliver(
    cx: &mut Context<'_>,
    burst: &mut Burst,
    slot: usize,
    agent: &mut AgentLink,
    answers: &mut Mask,
) {
    let d = burst.descriptor(slot);
    let by_broadcast = DescriptorFlags::LINK_BROADCAST | DescriptorFlags::LINK_MULTICAST;
    if d.flags.intersects(by_broadcast) {
        cx.drop(burst, slot, DropReason::LinkBroadcast);
        return;
    }
    if d.flags.contains(DescriptorFlags::SEGMENTS_LEFT) {
        // A routing header that wants us to send the packet on (RFC 5095): we do not.
        cx.drop(burst, slot, DropReason::Ipv6Extension);
        return;
    }
    if d.fragment != Fragment::Whole {
        cx.drop(burst, slot, DropReason::LocalFragment);
        return;
    }
    let refusal = match (d.key.family, d.key.protocol) {
        (Family::Inet, protocol::ICMP) => {
            if d.icmp_type == icmp::ECHO_REQUEST {
                echo(cx, burst, slot, answers);
            } else {
                cx.drop(burst, slot, DropReason::IcmpIgnored);
            }
            return;
        }
        (Family::Inet6, protocol::ICMPV6) => {
            if d.icmp_type == icmpv6::ECHO_REQUEST {
                echo(cx, burst, slot, answers);
            } else if nd::is_message(d.icmp_type) {
                nd::process(cx, burst, slot, agent);
            } else {
                cx.drop(burst, slot, DropReason::IcmpIgnored);
            }
            return;
        }
        (_, protocol::TCP) => Answer::Reset,
        (_, protocol::UDP) => Answer::PortUnreachable,
        _ => Answer::ProtocolUnreachable,
    };
    answer::send(cx, burst, slot, refusal);
    cx.drop(burst, slot, DropReason::LocalUnreachable);
}

/// Turns an echo request into its reply, in place (RFC 1812 section 4.3.3.6, RFC 4443 section
/// 4.2).
fn echo(cx: &mut Context<'_>, burst: &mut Burst, slot: usize, answers: &mut Mask) {
    if !cx.outbox.echoes.take(cx.now) {
        cx.drop(burst, slot, DropReason::EchoRateLimited);
        return;
    }
    let Some(packet) = burst.packet_mut(slot) else { return };
    let d = packet.descriptor;
    if checksum::verify(d, packet.mbuf.segments()).is_err() {
        cx.drop(burst, slot, DropReason::L4Checksum);
        return;
    }
    let (replied, reply) = match d.key.family {
        Family::Inet => (build::echo::reply_v4(packet.mbuf.data_mut(), d), icmp::ECHO_REPLY),
        Family::Inet6 => (build::echo::reply_v6(packet.mbuf.data_mut(), d), icmpv6::ECHO_REPLY),
    };
    if replied.is_err() {
        cx.drop(burst, slot, DropReason::IcmpIgnored);
        return;
    }
    std::mem::swap(&mut d.key.src, &mut d.key.dst);
    d.icmp_type = reply;
    d.hop_limit = HOP_LIMIT;
    d.flags |= DescriptorFlags::LOCAL_ORIGIN;
    answers.insert(slot);
}
