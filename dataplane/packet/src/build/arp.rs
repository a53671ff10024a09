//! ARP requests and replies (RFC 826, RFC 5227).

use core::net::Ipv4Addr;

use zerocopy::FromBytes;
use zerocopy::network_endian::{U16, U32};

use super::writer::put;
use super::{BuildError, LinkHeader};
use crate::arp::{self, ArpPacket};
use crate::ethernet::{self, EthernetHeader, Mac};

/// Writes a broadcast request for `target`.
pub fn request(
    buffer: &mut [u8],
    vlan: u16,
    mac: Mac,
    sender: Ipv4Addr,
    target: Ipv4Addr,
) -> Result<usize, BuildError> {
    write_request(buffer, LinkHeader { dst: ethernet::BROADCAST, src: mac, vlan }, sender, target)
}

/// Writes a request to the one station that had `target` last (RFC 1122 section 2.3.2.1, "unicast
/// poll").
pub fn probe(
    buffer: &mut [u8],
    vlan: u16,
    mac: Mac,
    sender: Ipv4Addr,
    target: Ipv4Addr,
    target_mac: Mac,
) -> Result<usize, BuildError> {
    write_request(buffer, LinkHeader { dst: target_mac, src: mac, vlan }, sender, target)
}

/// Writes an announcement of one's own address: a gratuitous request, which also those take in
/// who ignore gratuitous replies (RFC 5227 section 3).
pub fn announcement(
    buffer: &mut [u8],
    vlan: u16,
    mac: Mac,
    address: Ipv4Addr,
) -> Result<usize, BuildError> {
    request(buffer, vlan, mac, address, address)
}

fn write_request(
    buffer: &mut [u8],
    link: LinkHeader,
    sender: Ipv4Addr,
    target: Ipv4Addr,
) -> Result<usize, BuildError> {
    let packet = ArpPacket {
        hardware: U16::new(arp::ETHERNET),
        protocol: U16::new(ethernet::IPV4),
        hardware_length: 6,
        protocol_length: 4,
        operation: U16::new(arp::REQUEST),
        sender_mac: link.src,
        sender: U32::new(sender.to_bits()),
        target_mac: [0; 6],
        target: U32::new(target.to_bits()),
    };
    let (payload, length) = link.write(buffer, ethernet::ARP, arp::LENGTH)?;
    put(payload, &packet);
    Ok(length)
}

/// Turns the request at `l3_offset` of `frame` into its reply, in place, link header included:
/// `mac` is the station that has the address asked for. The VLAN tag stays.
pub fn reply_in_place(frame: &mut [u8], l3_offset: usize, mac: Mac) -> Result<(), BuildError> {
    const NOT: BuildError = BuildError::Unanswerable("ARP request");
    let (link, payload) = frame.split_at_mut_checked(l3_offset).ok_or(NOT)?;
    let (link, _) = EthernetHeader::mut_from_prefix(link).map_err(|_| NOT)?;
    if !ArpPacket::parse(payload).is_some_and(ArpPacket::is_request) {
        return Err(NOT);
    }
    let (packet, _) = ArpPacket::mut_from_prefix(payload).map_err(|_| NOT)?;
    packet.operation = U16::new(arp::REPLY);
    packet.target_mac = packet.sender_mac;
    packet.sender_mac = mac;
    core::mem::swap(&mut packet.sender, &mut packet.target);
    link.dst = packet.target_mac;
    link.src = mac;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decode;

    const MAC: Mac = [2, 0, 0, 0, 0, 1];
    const PEER: Mac = [2, 0, 0, 0, 0, 2];
    const ADDRESS: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 1);
    const PEER_ADDRESS: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 2);

    #[test]
    fn a_request_is_what_rfc_826_draws() {
        let mut buffer = [0xaa; 64];
        let length = request(&mut buffer, 0, MAC, ADDRESS, PEER_ADDRESS).unwrap();
        let mut expected = vec![0xff; 6];
        expected.extend([2, 0, 0, 0, 0, 1, 8, 6, 0, 1, 8, 0, 6, 4, 0, 1]);
        expected.extend([2, 0, 0, 0, 0, 1, 10, 0, 0, 1, 0, 0, 0, 0, 0, 0, 10, 0, 0, 2]);
        assert_eq!(buffer[..length], expected);
    }

    #[test]
    fn conformance_1_a_request_becomes_its_reply() {
        for vlan in [0, 10] {
            let mut frame = [0; 64];
            request(&mut frame, vlan, PEER, PEER_ADDRESS, ADDRESS).unwrap();
            let l3 = usize::from(decode::link(&frame).unwrap().l3_offset);
            reply_in_place(&mut frame, l3, MAC).unwrap();
            let link = decode::link(&frame).unwrap();
            assert_eq!((link.dst, link.src, link.vlan), (PEER, MAC, vlan));
            let reply = ArpPacket::parse(&frame[l3..]).unwrap();
            assert_eq!(reply.operation, arp::REPLY);
            assert_eq!((reply.sender_mac, reply.sender_ip()), (MAC, ADDRESS));
            assert_eq!((reply.target_mac, reply.target_ip()), (PEER, PEER_ADDRESS));
            // A reply is not answered.
            assert!(reply_in_place(&mut frame, l3, MAC).is_err());
        }
    }

    #[test]
    fn conformance_2_a_probe_is_defended_against() {
        let mut frame = [0; 42];
        request(&mut frame, 0, PEER, Ipv4Addr::UNSPECIFIED, ADDRESS).unwrap();
        reply_in_place(&mut frame, 14, MAC).unwrap();
        let reply = ArpPacket::parse(&frame[14..]).unwrap();
        assert_eq!((reply.sender_ip(), reply.target_ip()), (ADDRESS, Ipv4Addr::UNSPECIFIED));
    }

    #[test]
    fn announcements_and_unicast_polls() {
        let mut frame = [0; 42];
        announcement(&mut frame, 0, MAC, ADDRESS).unwrap();
        assert!(ArpPacket::parse(&frame[14..]).unwrap().is_announcement());
        probe(&mut frame, 0, MAC, ADDRESS, PEER_ADDRESS, PEER).unwrap();
        assert_eq!(decode::link(&frame).unwrap().dst, PEER);
        assert!(!ArpPacket::parse(&frame[14..]).unwrap().is_announcement());
    }

    #[test]
    fn conformance_12_odd_packets_are_not_arp() {
        let mut good = [0; 42];
        request(&mut good, 0, PEER, PEER_ADDRESS, ADDRESS).unwrap();
        for length in 0..good.len() {
            let mut short = good[..length].to_vec();
            assert!(reply_in_place(&mut short, 14, MAC).is_err(), "{length}");
        }
        // Hardware type, protocol type, lengths, operations 0 and 65535, a group as sender.
        for (place, value) in [(15, 6), (16, 9), (18, 8), (19, 16), (21, 0), (20, 255), (22, 1)] {
            let mut odd = good;
            odd[place] = value;
            assert!(ArpPacket::parse(&odd[14..]).is_none(), "{place}");
        }
    }

    #[test]
    fn a_small_buffer_is_an_error_that_says_how_small() {
        let error = request(&mut [0; 41], 0, MAC, ADDRESS, PEER_ADDRESS).unwrap_err();
        assert_eq!(error, BuildError::BufferTooSmall { needed: 42, available: 41 });
        let error = request(&mut [0; 42], 5, MAC, ADDRESS, PEER_ADDRESS).unwrap_err();
        assert_eq!(error, BuildError::BufferTooSmall { needed: 46, available: 42 });
    }
}
