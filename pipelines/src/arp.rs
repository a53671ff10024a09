//! ARP (RFC 826): requests for the interface's own addresses are answered in place, and what is
//! heard of neighbours goes to the agent.

use sluice_hooks::{Burst, Context, Way};
use sluice_packet::arp::ArpPacket;
use sluice_packet::{Family, Mask, build};
use sluice_policy::Interface;
use sluice_policy::{DropReason, InterfaceId};

use crate::agent::{AgentLink, Report};
use crate::neighbour::resolver::{Heard, HeardKind};

/// Handles the ARP packets of one instance. What is answered stays in the burst, ready to be sent.
pub fn process(cx: &mut Context<'_>, burst: &mut Burst, packets: Mask, agent: &mut AgentLink) {
    for slot in packets {
        let ingress = InterfaceId(burst.descriptor(slot).ingress);
        let Some(interface) = cx.policy.interface(ingress) else {
            cx.drop(burst, slot, DropReason::InterfaceDown);
            continue;
        };
        let Some(facts) = cx.ports.get(interface.port) else {
            cx.drop(burst, slot, DropReason::InterfaceDown);
            continue;
        };
        let Some(packet) = burst.parts_mut(slot) else { continue };
        let l3_offset = usize::from(packet.descriptor.l3_offset);
        let Some(arp) = packet.mbuf.data().get(l3_offset..).and_then(ArpPacket::parse) else {
            cx.drop(burst, slot, DropReason::ArpMalformed);
            continue;
        };
        // Only the interface's own addresses count: a router that answers for the addresses of its
        // other ports is a proxy (RFC 1027).
        let for_us = interface.owns(Family::Inet, u128::from(arp.target_ip().to_bits()));
        let heard = heard(interface, arp, for_us);
        let asked = for_us && arp.is_request();
        if let Some(heard) = heard {
            agent.report(Report::Heard(heard));
        }
        if asked {
            match build::arp::reply_in_place(packet.mbuf.data_mut(), l3_offset, facts.mac) {
                Ok(()) => burst.set_way(slot, Way::Frame(ingress), ingress),
                Err(_) => cx.drop(burst, slot, DropReason::ArpMalformed),
            }
        } else if heard.is_some() {
            cx.consume(burst, slot);
        } else {
            cx.drop(burst, slot, DropReason::ArpForeign);
        }
    }
}

/// What the packet says about its sender; nothing for a probe (RFC 5227 section 2.1.1) and for a
/// sender that is not on this link.
fn heard(interface: &Interface, arp: &ArpPacket, for_us: bool) -> Option<Heard> {
    let sender = u128::from(arp.sender_ip().to_bits());
    if sender == 0 || !interface.on_link(Family::Inet, sender) {
        return None;
    }
    let kind = match (for_us, arp.is_request()) {
        (true, true) => HeardKind::ArpRequest,
        (true, false) => HeardKind::ArpReply,
        (false, _) => HeardKind::ArpGratuitous,
    };
    let mac = Some(arp.sender_mac);
    Some(Heard { interface: interface.id, family: Family::Inet, addr: sender, mac, kind })
}
