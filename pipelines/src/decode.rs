//! The first stage behind rx: link header, interface, IP header, descriptor. What is malformed is
//! dropped here by name; no hook ever sees it.

use sluice_channel::statistics::WorkerBlock;
use sluice_dpdk::Mbuf;
use sluice_hooks::{Burst, Packet, PortFacts, count_drop};
use sluice_packet::decode::{self, Link};
use sluice_packet::{Descriptor, DescriptorFlags, Mask, checksum, ethernet};
use sluice_policy::model::ChecksumMode;
use sluice_policy::{DropReason, PortId};
use sluice_policy::{Interface, Policy};

/// Decodes a burst that was received from `port`.
pub fn process(
    policy: &Policy,
    port: PortId,
    facts: Option<&PortFacts>,
    statistics: WorkerBlock<'_>,
    burst: &mut Burst,
) {
    let received = burst.live();
    let untagged = policy.interface_on(port, 0);
    let mut bytes = 0;
    for slot in received {
        if let Some(mbuf) = burst.mbuf(slot) {
            mbuf.prefetch_header();
        }
    }
    let (mut inet6, mut arp) = (Mask::EMPTY, Mask::EMPTY);
    let mut uniform = true;
    let station = station_header(facts.map_or([0; 6], |facts| facts.mac));
    let plain = untagged.filter(|i| facts.is_some() && i.checksum == ChecksumMode::Trust);
    for slot in received {
        let Some(packet) = burst.packet_mut(slot) else { continue };
        let wire = packet.mbuf.pkt_len();
        bytes += wire as u64;
        if let Some(interface) = plain
            && decode_plain(&station, interface, wire, packet)
        {
            burst.set_instance(slot, interface.instance);
            continue;
        }
        let Some(packet) = burst.packet_mut(slot) else { continue };
        let decoded = match facts {
            Some(facts) => decode(policy, port, untagged, facts, packet),
            None => Err(DropReason::InterfaceDown),
        };
        match decoded {
            Ok((kind, interface)) => {
                burst.set_instance(slot, interface.instance);
                uniform &= untagged.is_some_and(|other| other.instance == interface.instance);
                match kind {
                    Kind::Inet => {}
                    Kind::Inet6 => inet6.insert(slot),
                    Kind::Arp => arp.insert(slot),
                }
            }
            Err(reason) => {
                burst.end(slot);
                count_drop(statistics, reason);
            }
        }
    }
    burst.set_kinds(inet6, arp);
    burst.set_uniform(uniform);
    statistics.core().rx.add(received.len() as u64);
    let counters = statistics.port(port);
    counters.rx_packets.add(received.len() as u64);
    counters.rx_bytes.add(bytes);
}

enum Kind {
    Inet,
    Inet6,
    Arp,
}

/// Destination address and EtherType of an untagged IPv4 frame for this station, as two words of
/// its link header.
fn station_header(mac: [u8; 6]) -> (u64, u16) {
    let mut first = [0; 8];
    first[..6].copy_from_slice(&mac);
    (u64::from_ne_bytes(first), ethernet::IPV4.to_be())
}

/// Decodes what nearly every packet is: untagged IPv4 for this station, nothing to be completed
/// or cut. `false` leaves the decision to [`decode`].
#[inline(always)]
fn decode_plain(
    station: &(u64, u16),
    interface: &Interface,
    wire: usize,
    packet: Packet<'_>,
) -> bool {
    const HEADER: usize = ethernet::HEADER;
    let Packet { mbuf, descriptor } = packet;
    let frame = mbuf.data();
    let Some(header) = frame.first_chunk::<HEADER>() else { return false };
    let [d0, d1, d2, d3, d4, d5, .., e0, e1] = *header;
    let destination = u64::from_ne_bytes([d0, d1, d2, d3, d4, d5, 0, 0]);
    if (destination, u16::from_ne_bytes([e0, e1])) != *station {
        return false;
    }
    let decoded = decode::ipv4_into(frame, HEADER, wire, interface.mtu, descriptor);
    if decoded.is_err() || wire != HEADER + usize::from(descriptor.l3_length) {
        return false;
    }
    descriptor.ingress = interface.id.0;
    true
}

/// Decodes one packet into its descriptor.
#[inline(never)]
fn decode<'a>(
    policy: &'a Policy,
    port: PortId,
    untagged: Option<&'a Interface>,
    facts: &PortFacts,
    packet: Packet<'_>,
) -> Result<(Kind, &'a Interface), DropReason> {
    let Packet { mbuf, descriptor } = packet;
    let wire = mbuf.pkt_len();
    let frame = mbuf.data();
    let link = decode::link(frame)?;
    let interface = match link.vlan {
        0 => untagged.ok_or(DropReason::InterfaceDown)?,
        vlan => policy.interface_on(port, vlan).ok_or(DropReason::VlanUnknown)?,
    };
    if link.flags.is_empty() && link.dst != facts.mac {
        return Err(DropReason::ForeignMac);
    }
    let l3_offset = usize::from(link.l3_offset);
    let kind = match link.ethertype {
        ethernet::IPV4 => {
            decode::ipv4_into(frame, l3_offset, wire, interface.mtu, descriptor)?;
            Kind::Inet
        }
        ethernet::IPV6 => {
            decode::ipv6_into(frame, l3_offset, wire, interface.mtu, descriptor)?;
            Kind::Inet6
        }
        ethernet::ARP => {
            *descriptor = arp_descriptor(&link, interface);
            return Ok((Kind::Arp, interface));
        }
        _ => return Err(DropReason::EthertypeUnknown),
    };
    descriptor.ingress = interface.id.0;
    descriptor.flags |= link.flags;
    // Ethernet padding ends here: it is neither forwarded nor quoted (RFC 894).
    let end = l3_offset + usize::from(descriptor.l3_length);
    if wire > end {
        mbuf.truncate(end);
    }
    match interface.checksum {
        ChecksumMode::Trust => {}
        ChecksumMode::Complete => complete_checksum(descriptor, mbuf),
        ChecksumMode::Verify => checksum::verify(descriptor, mbuf.segments())?,
    }
    Ok((kind, interface))
}

fn arp_descriptor(link: &Link, interface: &Interface) -> Descriptor {
    Descriptor {
        ingress: interface.id.0,
        l3_offset: link.l3_offset,
        flags: link.flags & (DescriptorFlags::LINK_BROADCAST | DescriptorFlags::LINK_MULTICAST),
        ..Descriptor::default()
    }
}

/// A host on a virtual port leaves the TCP or UDP checksum to hardware that is not there: only
/// the pseudo-header is summed. It is completed before anybody sees the packet.
fn complete_checksum(descriptor: &Descriptor, mbuf: &mut Mbuf) {
    if mbuf.segment_count() == 1 {
        checksum::complete(descriptor, mbuf.data_mut());
    } else if let Some(completion) = checksum::completion(descriptor, mbuf.segments()) {
        completion.write(mbuf.data_mut());
    }
}
