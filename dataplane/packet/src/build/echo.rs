//! Echo replies, made of their requests in place.
//!
//! Only headers change, so a request in several segments is answered by what is in the first.
//! Options and extension headers stay as they are. The link header is turned around, too; routing
//! the reply rewrites it anyway. A wrong ICMP checksum stays wrong: the sender sees it.
//!
//! Requests to a group or a broadcast address are not for here: the reply's source would be that
//! address (RFC 1812 section 4.3.3.6 lets a router ignore them).

use zerocopy::FromBytes;
use zerocopy::network_endian::U16;

use super::BuildError;
use super::writer::HOP_LIMIT;
use crate::checksum;
use crate::descriptor::{Descriptor, Family, Fragment};
use crate::ethernet::EthernetHeader;
use crate::icmp::{self, IcmpHeader};
use crate::icmpv6;
use crate::ipv4::{self, Ipv4Header};
use crate::ipv6::{self, Ipv6Header};
use crate::protocol;

const NOT: BuildError = BuildError::Unanswerable("echo request");

/// Turns the ICMP echo request that `d` describes into its reply (RFC 792, RFC 1812 section
/// 4.3.3.6): TTL 64, the addresses swapped, identifier, sequence and data as they were.
pub fn reply_v4(frame: &mut [u8], d: &Descriptor) -> Result<(), BuildError> {
    let wanted = d.key.family == Family::Inet
        && d.key.protocol == protocol::ICMP
        && d.icmp_type == icmp::ECHO_REQUEST
        && ipv4::is_host(d.key.src as u32)
        && ipv4::is_host(d.key.dst as u32);
    let (ip, message) = open(frame, d, wanted)?;
    turn(message, icmp::ECHO_REPLY);
    let (header, _) = Ipv4Header::mut_from_prefix(ip).map_err(|_| NOT)?;
    core::mem::swap(&mut header.src, &mut header.dst);
    header.ttl = HOP_LIMIT;
    let checksum = checksum::ipv4_header(ip);
    let (header, _) = Ipv4Header::mut_from_prefix(ip).map_err(|_| NOT)?;
    header.checksum = U16::new(checksum);
    Ok(())
}

/// Turns the ICMPv6 echo request that `d` describes into its reply (RFC 4443 section 4.2): hop
/// limit 64, the addresses swapped, identifier, sequence and data as they were.
pub fn reply_v6(frame: &mut [u8], d: &Descriptor) -> Result<(), BuildError> {
    let wanted = d.key.family == Family::Inet6
        && d.key.protocol == protocol::ICMPV6
        && d.icmp_type == icmpv6::ECHO_REQUEST
        && d.key.src != 0
        && !ipv6::is_multicast(d.key.dst);
    let (ip, message) = open(frame, d, wanted)?;
    turn(message, icmpv6::ECHO_REPLY);
    let (header, _) = Ipv6Header::mut_from_prefix(ip).map_err(|_| NOT)?;
    core::mem::swap(&mut header.src, &mut header.dst);
    header.hop_limit = HOP_LIMIT;
    Ok(())
}

/// Turns the link header around and returns the IP header with its options and the ICMP header.
fn open<'f>(
    frame: &'f mut [u8],
    d: &Descriptor,
    wanted: bool,
) -> Result<(&'f mut [u8], &'f mut IcmpHeader), BuildError> {
    if !wanted || d.fragment != Fragment::Whole {
        return Err(NOT);
    }
    let (link, packet) = frame.split_at_mut_checked(d.l3_offset.into()).ok_or(NOT)?;
    let (ip, message) = packet.split_at_mut_checked(d.l4_offset.into()).ok_or(NOT)?;
    let (message, _) = IcmpHeader::mut_from_prefix(message).map_err(|_| NOT)?;
    let (link, _) = EthernetHeader::mut_from_prefix(link).map_err(|_| NOT)?;
    core::mem::swap(&mut link.src, &mut link.dst);
    Ok((ip, message))
}

/// Changes the type. The swapped addresses do not change a sum, the type does.
fn turn(message: &mut IcmpHeader, reply: u8) {
    let word = |icmp_type: u8| u16::from_be_bytes([icmp_type, message.code]);
    let checksum = checksum::update16(message.checksum.get(), word(message.icmp_type), word(reply));
    message.checksum = U16::new(checksum);
    message.icmp_type = reply;
}

#[cfg(test)]
mod tests {
    use etherparse::PacketBuilder;
    use proptest::prelude::*;

    use super::*;
    use crate::decode;

    const A: [u8; 6] = [2, 0, 0, 0, 0, 1];
    const B: [u8; 6] = [2, 0, 0, 0, 0, 2];

    fn frame(
        builder: etherparse::PacketBuilderStep<etherparse::Icmpv4Header>,
        data: &[u8],
    ) -> Vec<u8> {
        let mut frame = Vec::new();
        builder.write(&mut frame, data).unwrap();
        frame
    }

    proptest! {
        #[test]
        fn conformance_30_a_reply_is_right(
            id: u16, sequence: u16, ttl in 1u8.., data in prop::collection::vec(any::<u8>(), 0..100),
        ) {
            let mut frame = frame(
                PacketBuilder::ethernet2(A, B)
                    .ipv4([10, 0, 0, 2], [10, 0, 0, 1], ttl)
                    .icmpv4_echo_request(id, sequence),
                &data,
            );
            let d = decode::ipv4(&frame, 14, frame.len(), 1500).unwrap();
            prop_assert_eq!(d.key.src_port, id);
            reply_v4(&mut frame, &d).unwrap();

            let reply = decode::ipv4(&frame, 14, frame.len(), 1500).unwrap();
            prop_assert_eq!(checksum::verify(&reply, [&frame[..]]), Ok(()));
            prop_assert_eq!((reply.key.src, reply.key.dst), (d.key.dst, d.key.src));
            prop_assert_eq!((reply.icmp_type, reply.hop_limit), (icmp::ECHO_REPLY, 64));
            let sliced = etherparse::SlicedPacket::from_ethernet(&frame).unwrap();
            let Some(etherparse::TransportSlice::Icmpv4(message)) = sliced.transport else {
                panic!("no ICMP");
            };
            let echo = etherparse::IcmpEchoHeader { id, seq: sequence };
            prop_assert_eq!(message.icmp_type(), etherparse::Icmpv4Type::EchoReply(echo));
            prop_assert_eq!(message.payload(), &data[..]);
            // A reply is not answered.
            prop_assert!(reply_v4(&mut frame.clone(), &reply).is_err());
        }

        #[test]
        fn conformance_83_a_reply_is_right(
            id: u16, sequence: u16, limit in 1u8.., data in prop::collection::vec(any::<u8>(), 0..100),
        ) {
            let mut frame = Vec::new();
            PacketBuilder::ethernet2(A, B)
                .ipv6([0xfd; 16], [0xfc; 16], limit)
                .icmpv6_echo_request(id, sequence)
                .write(&mut frame, &data)
                .unwrap();
            let d = decode::ipv6(&frame, 14, frame.len(), 1500).unwrap();
            prop_assert_eq!(d.key.src_port, id);
            reply_v6(&mut frame, &d).unwrap();

            let reply = decode::ipv6(&frame, 14, frame.len(), 1500).unwrap();
            prop_assert_eq!(checksum::verify(&reply, [&frame[..]]), Ok(()));
            prop_assert_eq!((reply.key.src, reply.key.dst), (d.key.dst, d.key.src));
            prop_assert_eq!((reply.icmp_type, reply.hop_limit), (icmpv6::ECHO_REPLY, 64));
            prop_assert_eq!(&frame[..12], &[A, B].concat()[..]);
            prop_assert!(frame.ends_with(&data));
            prop_assert!(reply_v6(&mut frame, &reply).is_err());
        }
    }

    #[test]
    fn options_stay_and_the_header_checksum_is_right() {
        let mut frame = frame(
            PacketBuilder::ethernet2(A, B)
                .ip(etherparse::IpHeaders::Ipv4(
                    etherparse::Ipv4Header {
                        time_to_live: 9,
                        source: [10, 0, 0, 2],
                        destination: [10, 0, 0, 1],
                        options: [0x94, 4, 0, 0].into(),
                        ..Default::default()
                    },
                    Default::default(),
                ))
                .icmpv4_echo_request(1, 2),
            b"data",
        );
        let d = decode::ipv4(&frame, 14, frame.len(), 1500).unwrap();
        assert_eq!(d.l4_offset, 24);
        reply_v4(&mut frame, &d).unwrap();
        let reply = decode::ipv4(&frame, 14, frame.len(), 1500).unwrap();
        assert_eq!(reply.l4_offset, 24);
        assert_eq!(checksum::verify(&reply, [&frame[..]]), Ok(()));
    }
}
