//! TCP resets.

use core::net::{Ipv4Addr, Ipv6Addr};

use zerocopy::FromBytes;
use zerocopy::network_endian::{U16, U32};

use super::writer::{HOP_LIMIT, Ip, ipv4_header, ipv6_header, put, seal};
use super::{BuildError, LinkHeader};
use crate::descriptor::{Descriptor, DescriptorFlags, Family, FlowKey, Fragment};
use crate::ethernet;
use crate::ipv4;
use crate::ipv6;
use crate::protocol;
use crate::tcp::{self, TcpHeader};

/// Whether a reset may answer the packet: a whole TCP segment from one host to one host, which is
/// not a reset itself (RFC 9293 section 3.10.7.1).
pub fn may_reset(d: &Descriptor) -> bool {
    let hosts = match d.key.family {
        Family::Inet => ipv4::is_host(d.key.src as u32) && ipv4::is_host(d.key.dst as u32),
        Family::Inet6 => {
            d.key.src > 1 && !ipv6::is_multicast(d.key.src) && !ipv6::is_multicast(d.key.dst)
        }
    };
    let not = DescriptorFlags::LINK_BROADCAST
        | DescriptorFlags::LINK_MULTICAST
        | DescriptorFlags::SEGMENTS_LEFT;
    d.key.protocol == protocol::TCP
        && d.fragment == Fragment::Whole
        && d.tcp_flags & tcp::RST == 0
        && !d.flags.intersects(not)
        && hosts
        && d.key.src != d.key.dst
}

/// Writes the reset that answers the TCP segment that `d` describes (RFC 9293 section 3.10.7.1),
/// from the address and port that the segment was for: the connection does not exist there, or
/// policy forbids it.
///
/// Whether it may be sent is [`may_reset`]'s to say.
pub fn reset(
    buffer: &mut [u8],
    link: &LinkHeader,
    d: &Descriptor,
    frame: &[u8],
) -> Result<usize, BuildError> {
    const NOT: BuildError = BuildError::Unanswerable("TCP segment");
    if d.key.protocol != protocol::TCP || d.fragment != Fragment::Whole {
        return Err(NOT);
    }
    let start = usize::from(d.l3_offset) + usize::from(d.l4_offset);
    let segment = frame.get(start..).ok_or(NOT)?;
    let (segment, _) = TcpHeader::ref_from_prefix(segment).map_err(|_| NOT)?;

    let (sequence, acknowledgement, flags) = if segment.flags & tcp::ACK != 0 {
        (segment.acknowledgement, U32::ZERO, tcp::RST)
    } else {
        let acknowledgement = segment.sequence.get().wrapping_add(segment_length(segment, d));
        (U32::ZERO, U32::new(acknowledgement), tcp::RST | tcp::ACK)
    };
    let reset = TcpHeader {
        src_port: segment.dst_port,
        dst_port: segment.src_port,
        sequence,
        acknowledgement,
        data_offset: (tcp::HEADER as u8 / 4) << 4,
        flags,
        window: U16::ZERO,
        checksum: U16::ZERO,
        urgent: U16::ZERO,
    };
    let key = FlowKey { src: d.key.dst, dst: d.key.src, ..d.key };
    let ip = Ip { protocol: protocol::TCP, traffic_class: 0, hop_limit: HOP_LIMIT };
    let (bytes, length) = match key.family {
        Family::Inet => {
            let (packet, length) =
                link.write(buffer, ethernet::IPV4, ipv4::HEADER + tcp::HEADER)?;
            let host = |address: u128| Ipv4Addr::from_bits(address as u32);
            let addresses = (host(key.src), host(key.dst));
            // Not to be fragmented, hence without identification (RFC 6864 section 4.1).
            let header = ipv4_header(ip, 0, ipv4::DONT_FRAGMENT, addresses, tcp::HEADER);
            (put(packet, &header), length)
        }
        Family::Inet6 => {
            let (packet, length) =
                link.write(buffer, ethernet::IPV6, ipv6::HEADER + tcp::HEADER)?;
            let addresses = (Ipv6Addr::from_bits(key.src), Ipv6Addr::from_bits(key.dst));
            (put(packet, &ipv6_header(ip, addresses, tcp::HEADER)), length)
        }
    };
    put(bytes, &reset);
    seal(bytes, tcp::CHECKSUM, Some(&key));
    Ok(length)
}

/// How much of the sequence space a segment takes: its data, SYN and FIN (RFC 9293 section 3.4).
fn segment_length(segment: &TcpHeader, d: &Descriptor) -> u32 {
    let headers = usize::from(d.l4_offset) + segment.header_length();
    let data = usize::from(d.l3_length).saturating_sub(headers) as u32;
    let flag = |flag: u8| u32::from(segment.flags & flag != 0);
    data + flag(tcp::SYN) + flag(tcp::FIN)
}

#[cfg(test)]
mod tests {
    use etherparse::{PacketBuilder, PacketBuilderStep};

    use super::*;
    use crate::checksum;
    use crate::decode;

    const A: [u8; 6] = [2, 0, 0, 0, 0, 1];
    const B: [u8; 6] = [2, 0, 0, 0, 0, 2];

    fn built(builder: PacketBuilderStep<etherparse::TcpHeader>, data: &[u8]) -> Vec<u8> {
        let mut frame = Vec::new();
        builder.write(&mut frame, data).unwrap();
        frame
    }

    fn v4() -> PacketBuilderStep<etherparse::IpHeaders> {
        PacketBuilder::ethernet2(A, B).ipv4([10, 0, 0, 2], [10, 0, 0, 1], 3)
    }

    fn v6() -> PacketBuilderStep<etherparse::IpHeaders> {
        PacketBuilder::ethernet2(A, B).ipv6([0xfd; 16], [0xfc; 16], 3)
    }

    fn decoded(frame: &[u8]) -> Descriptor {
        let link = decode::link(frame).unwrap();
        let l3 = link.l3_offset.into();
        match link.ethertype {
            ethernet::IPV4 => decode::ipv4(frame, l3, frame.len(), 1500).unwrap(),
            _ => decode::ipv6(frame, l3, frame.len(), 1500).unwrap(),
        }
    }

    /// The reset of `frame`, as `etherparse` reads it.
    fn answer(frame: &[u8]) -> etherparse::TcpHeader {
        let d = decoded(frame);
        assert!(may_reset(&d));
        let link = LinkHeader::answering(&decode::link(frame).unwrap(), B);
        let mut buffer = [0; 100];
        let length = reset(&mut buffer, &link, &d, frame).unwrap();
        let reply = &buffer[..length];
        let back = decoded(reply);
        assert_eq!((back.key.src, back.key.dst), (d.key.dst, d.key.src));
        assert_eq!((back.key.src_port, back.key.dst_port), (d.key.dst_port, d.key.src_port));
        assert_eq!(checksum::verify(&back, [reply]), Ok(()));
        assert!(!may_reset(&back), "a reset is not answered");
        assert_eq!(back.hop_limit, 64);
        let sliced = etherparse::SlicedPacket::from_ethernet(reply).unwrap();
        let Some(etherparse::TransportSlice::Tcp(tcp)) = sliced.transport else { panic!("no TCP") };
        tcp.to_header()
    }

    #[test]
    fn a_syn_is_acknowledged_and_refused() {
        for ip in [v4(), v6()] {
            let reply = answer(&built(ip.tcp(1000, 80, 0xffff_ffff, 5).syn(), b""));
            assert!(reply.rst && reply.ack && !reply.syn);
            assert_eq!((reply.sequence_number, reply.acknowledgment_number), (0, 0));
            assert_eq!((reply.source_port, reply.destination_port), (80, 1000));
        }
    }

    #[test]
    fn data_and_fin_count_in_the_acknowledgement() {
        for ip in [v4(), v6()] {
            let reply = answer(&built(ip.tcp(1000, 80, 100, 5).fin(), b"12345"));
            assert_eq!((reply.sequence_number, reply.acknowledgment_number), (0, 106));
        }
    }

    #[test]
    fn an_acknowledged_segment_is_reset_at_its_own_number() {
        for ip in [v4(), v6()] {
            let reply = answer(&built(ip.tcp(1000, 80, 100, 5).ack(777), b"12345"));
            assert!(reply.rst && !reply.ack);
            assert_eq!((reply.sequence_number, reply.acknowledgment_number), (777, 0));
        }
    }

    #[test]
    fn what_is_not_reset() {
        let good = decoded(&built(v4().tcp(1000, 80, 100, 5).syn(), b""));
        assert!(may_reset(&good));
        let mut d = good;
        d.flags |= DescriptorFlags::LINK_BROADCAST;
        assert!(!may_reset(&d));
        let mut d = good;
        d.key.dst = 0xe000_0001;
        assert!(!may_reset(&d));
        let mut d = good;
        d.key.src = d.key.dst;
        assert!(!may_reset(&d), "land");
        let mut d = good;
        d.fragment = Fragment::First;
        assert!(!may_reset(&d));
    }
}
