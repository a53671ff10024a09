//! Packets to the router itself: echo, neighbour discovery, and an honest "nobody listens" for
//! everything else (delivery to the host is not there yet).

use sluice_hooks::{Burst, Context};
use sluice_packet::{DescriptorFlags, Family, FlowKey, Mask, build, checksum, icmp, icmpv6};
use sluice_policy::arrival::{Arrival, arrival};
use sluice_policy::{DropReason, InterfaceId};

use crate::agent::AgentLink;
use crate::answer;
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
    let instance = cx.instance;
    // Decoding has asked plain packets.
    let mut close = packets & burst.close();
    for slot in packets & !burst.plain() {
        let FlowKey { src, dst, family, .. } = burst.descriptor(slot).key;
        let group = match family {
            Family::Inet => dst >= IPV4_GROUPS,
            Family::Inet6 => dst >> 120 >= 0xfe,
        };
        if group | instance.may_own(src) | instance.may_own(dst) {
            close.insert(slot);
        }
    }
    let mut answers = Mask::EMPTY;
    for slot in close {
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
    let link_local = || {
        let interface = cx.policy.interface(InterfaceId(d.ingress))?;
        cx.ports.get(interface.port).map(|facts| facts.link_local)
    };
    match arrival(cx.instance, d, link_local) {
        Arrival::Passing => {}
        Arrival::Drop(reason) => cx.drop(burst, slot, reason),
        Arrival::Echo => echo(cx, burst, slot, answers),
        Arrival::Discovery => nd::process(cx, burst, slot, agent),
        Arrival::Refused(refusal) => {
            answer::send(cx, burst, slot, refusal);
            cx.drop(burst, slot, DropReason::LocalUnreachable);
        }
    }
}

/// Where IPv4's groups begin: 224.0.0.0.
const IPV4_GROUPS: u128 = 0xe000_0000;

/// Turns an echo request into its reply, in place (RFC 1812 section 4.3.3.6, RFC 4443 section
/// 4.2).
fn echo(cx: &mut Context<'_>, burst: &mut Burst, slot: usize, answers: &mut Mask) {
    if !cx.outbox.echoes.take(cx.now) {
        cx.drop(burst, slot, DropReason::EchoRateLimited);
        return;
    }
    let Some(packet) = burst.parts_mut(slot) else { return };
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
