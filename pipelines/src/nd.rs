//! Neighbour discovery (RFC 4861): solicitations for own addresses are answered, and what is
//! heard of neighbours goes to the agent.

use std::net::Ipv6Addr;

use sluice_hooks::{Burst, Context, Originated, Way};
use sluice_packet::{Descriptor, DescriptorFlags, Family, build, decode, icmpv6, nd};
use sluice_policy::Interface;
use sluice_policy::{DropReason, InterfaceId};

use crate::agent::{AgentLink, Report};
use crate::neighbour::resolver::{Heard, HeardKind};

/// Bytes that an advertisement needs: link header with tag, IPv6, message and one option.
const ROOM: usize = 18 + 40 + 24 + 8;

/// Handles one message of neighbour discovery that is for the router, or for a group.
pub fn process(cx: &mut Context<'_>, burst: &mut Burst, slot: usize, agent: &mut AgentLink) {
    let outcome = match burst.descriptor(slot).icmp_type {
        icmpv6::NEIGHBOUR_SOLICITATION => solicited(cx, burst, slot, agent),
        icmpv6::NEIGHBOUR_ADVERTISEMENT => advertised(cx, burst, slot, agent),
        _ => Err(DropReason::NdForeign),
    };
    match outcome {
        Ok(()) => cx.consume(burst, slot),
        Err(reason) => cx.drop(burst, slot, reason),
    }
}

fn solicited(
    cx: &mut Context<'_>,
    burst: &Burst,
    slot: usize,
    agent: &mut AgentLink,
) -> Result<(), DropReason> {
    let d = burst.descriptor(slot);
    let interface = ingress(cx, d)?;
    let facts = cx.ports.get(interface.port).ok_or(DropReason::InterfaceDown)?;
    let frame = burst.mbuf(slot).ok_or(DropReason::NdInvalid)?.data();
    let asked = nd::solicitation(frame, d).map_err(|_| DropReason::NdInvalid)?;
    let target = asked.target.to_bits();
    if target != facts.link_local && !interface.owns(Family::Inet6, target) {
        return Err(DropReason::NdForeign);
    }
    let source = asked.source.to_bits();
    if let Some(mac) = asked.source_mac {
        let kind = HeardKind::NdSolicitation;
        report(agent, interface, source, Some(mac), kind);
    }
    let from = decode::link(frame).map_err(|_| DropReason::NdInvalid)?.src;
    let to = (source != 0).then(|| (asked.source, asked.source_mac.unwrap_or(from)));
    advertise(cx, interface, facts.mac, asked.target, to, burst.instance(slot));
    Ok(())
}

fn advertised(
    cx: &mut Context<'_>,
    burst: &Burst,
    slot: usize,
    agent: &mut AgentLink,
) -> Result<(), DropReason> {
    let d = burst.descriptor(slot);
    let interface = ingress(cx, d)?;
    let frame = burst.mbuf(slot).ok_or(DropReason::NdInvalid)?.data();
    let told = nd::advertisement(frame, d).map_err(|_| DropReason::NdInvalid)?;
    let kind = HeardKind::NdAdvertisement {
        solicited: told.solicited,
        override_: told.replaces,
        router: told.router,
    };
    report(agent, interface, told.target.to_bits(), told.target_mac, kind);
    Ok(())
}

fn ingress<'a>(cx: &Context<'a>, d: &Descriptor) -> Result<&'a Interface, DropReason> {
    cx.policy.interface(InterfaceId(d.ingress)).ok_or(DropReason::InterfaceDown)
}

fn report(
    agent: &mut AgentLink,
    interface: &Interface,
    addr: u128,
    mac: Option<[u8; 6]>,
    kind: HeardKind,
) {
    let heard = Heard { interface: interface.id, family: Family::Inet6, addr, mac, kind };
    agent.report(Report::Heard(heard));
}

fn advertise(
    cx: &mut Context<'_>,
    interface: &Interface,
    mac: [u8; 6],
    target: Ipv6Addr,
    to: Option<(Ipv6Addr, [u8; 6])>,
    instance: sluice_policy::InstanceId,
) {
    let built = cx.outbox.buffer().and_then(|mut mbuf| {
        let buffer = mbuf.append(ROOM)?;
        let length = build::nd::advertisement(buffer, interface.vlan, mac, target, to).ok()?;
        mbuf.truncate(length);
        Some(mbuf)
    });
    cx.statistics.core().generated.add(1);
    let Some(mbuf) = built else {
        cx.count_drop(DropReason::NoBuffer);
        return;
    };
    let descriptor = own_descriptor(interface, Family::Inet6, mbuf.data());
    let packet =
        Originated { mbuf, descriptor, instance, way: Way::Frame(interface.id), arp: false };
    if cx.outbox.originate(packet).is_err() {
        cx.count_drop(DropReason::NoBuffer);
    }
}

/// The descriptor of a complete frame that the router sends by `interface`, so that filters at
/// PHYSICAL_OUT see what it is. ARP (`Family::Inet` here) has only the link's part of it.
pub fn own_descriptor(interface: &Interface, family: Family, frame: &[u8]) -> Descriptor {
    let l3_offset = if interface.vlan == 0 { 14 } else { 18 };
    let mut descriptor = match family {
        Family::Inet => Descriptor::default(),
        Family::Inet6 => {
            let length = frame.len();
            decode::ipv6(frame, usize::from(l3_offset), length, u16::MAX).unwrap_or_default()
        }
    };
    descriptor.key.family = family;
    descriptor.ingress = interface.id.0;
    descriptor.l3_offset = l3_offset;
    descriptor.flags |= DescriptorFlags::LOCAL_ORIGIN;
    descriptor
}
