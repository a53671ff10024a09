//! The decoder beside `etherparse`: packets that it builds and every damage done to them are read
//! by both, and what both accept they must read alike.

use etherparse::{
    EtherType, IpHeaders, IpNumber, Ipv4Header, Ipv6ExtensionSlice, Ipv6Extensions, Ipv6Header,
    Ipv6RawExtHeader, NetSlice, PacketBuilder, PacketBuilderStep, SlicedPacket, TransportSlice,
};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::Index;

use super::{ipv4, ipv6, link};
use crate::checksum;
use crate::descriptor::{Descriptor, DescriptorFlags, Family, Fragment};
use crate::ethernet;
use crate::malformed::Malformed;
use crate::protocol;

const MTU: u16 = 9000;

fn decode(frame: &[u8]) -> Result<Descriptor, Malformed> {
    let link = link(frame)?;
    let l3_offset = link.l3_offset.into();
    match link.ethertype {
        ethernet::IPV4 => ipv4(frame, l3_offset, frame.len(), MTU),
        ethernet::IPV6 => ipv6(frame, l3_offset, frame.len(), MTU),
        _ => Err(Malformed::EthertypeUnknown),
    }
}

#[derive(Clone, Copy, Debug)]
enum Transport {
    Tcp { flags: u8 },
    Udp,
    Echo,
    Unreachable,
    Other(u8),
}

fn transport() -> impl Strategy<Value = Transport> {
    prop_oneof![
        4 => any::<u8>().prop_map(|flags| Transport::Tcp { flags }),
        4 => Just(Transport::Udp),
        1 => Just(Transport::Echo),
        1 => Just(Transport::Unreachable),
        1 => (150u8..250).prop_map(Transport::Other),
    ]
}

/// A packet to build.
#[derive(Clone, Debug)]
struct Recipe {
    vlan: Option<u16>,
    addresses: ([u8; 4], [u8; 4]),
    ipv6: bool,
    tos: u8,
    hop_limit: u8,
    options: bool,
    transport: Transport,
    ports: (u16, u16),
    data: Vec<u8>,
    padding: usize,
}

prop_compose! {
    fn recipe()(
        vlan in prop::option::of(0u16..4096),
        hosts in any::<[u8; 6]>(),
        ipv6: bool, tos: u8, hop_limit in 1u8.., options in prop::bool::weighted(0.3),
        transport in transport(), ports: (u16, u16),
        data in vec(any::<u8>(), 0..60), padding in 0usize..20,
    ) -> Recipe {
        let [a, b, c, d, e, f] = hosts;
        let addresses = ([10, a, b, c], [172, d, e, f]);
        Recipe { vlan, addresses, ipv6, tos, hop_limit, options, transport, ports, data, padding }
    }
}

impl Recipe {
    fn ip(&self) -> IpHeaders {
        let (source, destination) = self.addresses;
        if self.ipv6 {
            let options = || Ipv6RawExtHeader::new_raw(IpNumber::UDP, &[1, 4, 0, 0, 0, 0]).unwrap();
            let mut extensions = Ipv6Extensions::default();
            if self.options {
                extensions.hop_by_hop_options = Some(options());
                extensions.destination_options = Some(options());
            }
            let wide =
                |[a, b, c, d]: [u8; 4]| [0x20, 1, 0xd, 0xb8, a, b, c, d, 0, 0, 0, 0, d, c, b, a];
            let header = Ipv6Header {
                traffic_class: self.tos,
                hop_limit: self.hop_limit,
                source: wide(source),
                destination: wide(destination),
                ..Ipv6Header::default()
            };
            IpHeaders::Ipv6(header, extensions)
        } else {
            let mut header = Ipv4Header {
                time_to_live: self.hop_limit,
                source,
                destination,
                ..Ipv4Header::default()
            };
            header.dscp = etherparse::IpDscp::try_new(self.tos >> 2).unwrap();
            header.ecn = etherparse::IpEcn::try_new(self.tos & 3).unwrap();
            if self.options {
                header.options = [0x94, 4, 0, 0, 1, 1, 0, 7].into();
            }
            IpHeaders::Ipv4(header, Default::default())
        }
    }

    fn build(&self) -> Vec<u8> {
        let ethernet = PacketBuilder::ethernet2([4, 0, 0, 0, 0, 1], [2, 0, 0, 0, 0, 2]);
        let ip: PacketBuilderStep<IpHeaders> = match self.vlan {
            Some(id) => ethernet.single_vlan(id.try_into().unwrap()).ip(self.ip()),
            None => ethernet.ip(self.ip()),
        };
        let (src, dst) = self.ports;
        let mut frame = Vec::new();
        match self.transport {
            Transport::Tcp { flags } => {
                let mut header = etherparse::TcpHeader::new(src, dst, 1, 2);
                header.fin = flags & 1 != 0;
                header.syn = flags & 2 != 0;
                header.rst = flags & 4 != 0;
                header.psh = flags & 8 != 0;
                header.ack = flags & 16 != 0;
                header.urg = flags & 32 != 0;
                header.ece = flags & 64 != 0;
                header.cwr = flags & 128 != 0;
                ip.tcp_header(header).write(&mut frame, &self.data).unwrap();
            }
            Transport::Udp => ip.udp(src, dst).write(&mut frame, &self.data).unwrap(),
            Transport::Echo if self.ipv6 => {
                ip.icmpv6_echo_request(src, dst).write(&mut frame, &self.data).unwrap();
            }
            Transport::Echo => {
                ip.icmpv4_echo_request(src, dst).write(&mut frame, &self.data).unwrap();
            }
            Transport::Unreachable if self.ipv6 => {
                ip.icmpv6_raw(1, 4, [0; 4]).write(&mut frame, &self.data).unwrap();
            }
            Transport::Unreachable => {
                ip.icmpv4_raw(3, 3, [0; 4]).write(&mut frame, &self.data).unwrap();
            }
            Transport::Other(number) => {
                ip.write(&mut frame, number.into(), &self.data).unwrap();
            }
        }
        frame.resize(frame.len() + self.padding, 0xee);
        frame
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1024))]

    #[test]
    fn what_etherparse_builds_is_read(recipe in recipe()) {
        let frame = recipe.build();
        let d = decode(&frame).unwrap();
        let read = link(&frame).unwrap();
        prop_assert_eq!(read.vlan, recipe.vlan.unwrap_or(0));
        prop_assert_eq!(read.l3_offset, if recipe.vlan.is_some() { 18 } else { 14 });
        prop_assert_eq!(d.l3_offset, read.l3_offset);
        prop_assert_eq!(usize::from(d.l3_length), frame.len() - recipe.padding - usize::from(d.l3_offset));
        prop_assert_eq!((d.traffic_class, d.hop_limit), (recipe.tos, recipe.hop_limit));
        prop_assert_eq!(d.flags.contains(DescriptorFlags::OPTIONS), recipe.options);
        prop_assert_eq!(d.fragment, Fragment::Whole);
        match recipe.transport {
            Transport::Tcp { flags } => {
                prop_assert_eq!((d.key.src_port, d.key.dst_port), recipe.ports);
                prop_assert_eq!((d.key.protocol, d.tcp_flags), (protocol::TCP, flags));
            }
            Transport::Udp => {
                prop_assert_eq!((d.key.src_port, d.key.dst_port), recipe.ports);
                prop_assert_eq!(d.key.protocol, protocol::UDP);
            }
            Transport::Echo => {
                let echo = if recipe.ipv6 { 128 } else { 8 };
                prop_assert_eq!((d.icmp_type, d.key.src_port), (echo, recipe.ports.0));
            }
            Transport::Unreachable => {
                let unreachable = if recipe.ipv6 { (1, 4) } else { (3, 3) };
                prop_assert_eq!((d.icmp_type, d.icmp_code), unreachable);
                prop_assert_eq!((d.key.src_port, d.key.dst_port), (0, 0));
            }
            Transport::Other(number) => prop_assert_eq!(d.key.protocol, number),
        }
        prop_assert_eq!(checksum::verify(&d, [&frame[..]]), Ok(()));
        compare(&frame);
    }

    #[test]
    fn damaged_packets_are_read_alike_or_refused(
        recipe in recipe(),
        damage in vec((any::<Index>(), any::<u8>()), 1..6),
        deep: bool, cut in prop::option::weighted(0.2, any::<Index>()),
    ) {
        let mut frame = recipe.build();
        // Most of the damage to the headers, where it matters.
        let reach = if deep { frame.len() } else { 70.min(frame.len()) };
        for (place, value) in damage {
            frame[place.index(reach)] = value;
        }
        if let Some(cut) = cut {
            frame.truncate(cut.index(frame.len()));
        }
        compare(&frame);
        mend(&mut frame);
        compare(&frame);
    }
}

/// Makes the IPv4 header checksum right, so that damage is seen by what comes after it.
fn mend(frame: &mut [u8]) {
    let Ok(link) = link(frame) else { return };
    let start = usize::from(link.l3_offset);
    let Some(first) = frame.get(start) else { return };
    let end = start + usize::from(first & 0xf) * 4;
    if link.ethertype == ethernet::IPV4 && end >= start + 20 && end <= frame.len() {
        let checksum = checksum::ipv4_header(&frame[start..end]);
        frame[start + 10..start + 12].copy_from_slice(&checksum.to_be_bytes());
    }
}

/// Both readings of a frame, held against each other.
#[track_caller]
fn compare(frame: &[u8]) {
    let theirs = SlicedPacket::from_ethernet(frame);
    if let Ok(SlicedPacket { net: Some(NetSlice::Ipv6(packet)), .. }) = &theirs
        && packet.header().payload_length() == 0
    {
        // "All there is", for etherparse; no payload, for us.
        let ours = decode(frame).map(|d| d.l3_length);
        assert!(ours.is_err() || ours == Ok(40));
        return;
    }
    match (decode(frame), theirs) {
        (Ok(d), Ok(theirs)) => same(frame, &d, &theirs),
        (Ok(d), Err(error)) => assert!(stricter(&d, frame), "accepted {d:?}, but {error:?}"),
        (Err(why), Ok(theirs)) => assert!(ours_alone(why, &theirs), "refused: {why:?} {theirs:?}"),
        (Err(_), Err(_)) => {}
    }
}

/// What `etherparse` refuses and a router has no reason to: it looks into what a router carries
/// unread.
fn stricter(d: &Descriptor, frame: &[u8]) -> bool {
    if d.fragment == Fragment::Later {
        // It follows the chain into their payload, and IPv4's authentication header.
        return d.key.family == Family::Inet6 || d.key.protocol == protocol::AH;
    }
    let l4 = usize::from(d.l3_offset) + usize::from(d.l4_offset);
    match d.key.protocol {
        // The length in the UDP header.
        protocol::UDP => {
            let said = u16::from_be_bytes([frame[l4 + 4], frame[l4 + 5]]);
            said < 8 || said > d.l3_length - d.l4_offset
        }
        // It reads IPv4's authentication header.
        protocol::AH => d.key.family == Family::Inet,
        // ICMP timestamps have a length of their own; and it reads either ICMP over either IP.
        protocol::ICMP => d.key.family == Family::Inet6 || matches!(d.icmp_type, 13 | 14),
        protocol::ICMPV6 => d.key.family == Family::Inet,
        _ => false,
    }
}

/// What Sluice refuses and `etherparse` does not look at.
fn ours_alone(why: Malformed, theirs: &SlicedPacket<'_>) -> bool {
    match why {
        Malformed::EthertypeUnknown
        | Malformed::VlanStacked
        | Malformed::Ipv4Checksum
        | Malformed::Ipv4Options
        | Malformed::Ipv4SourceRoute
        | Malformed::SuperPacket
        | Malformed::SourceMartian
        | Malformed::DestinationMartian
        | Malformed::HopLimitZero
        | Malformed::Ipv6HeaderChain => true,
        // The longest of datagrams; fragments whose layer 4 it does not look at; UDP-Lite, SCTP
        // and DCCP.
        Malformed::Ipv4TotalLength | Malformed::Ipv6PayloadLength => {
            theirs.is_ip_payload_fragmented()
        }
        Malformed::L4Truncated => {
            theirs.is_ip_payload_fragmented()
                || theirs.ip_payload().is_some_and(|payload| {
                    matches!(
                        payload.ip_number.0,
                        protocol::UDP_LITE | protocol::SCTP | protocol::DCCP
                    )
                })
        }
        // Type 0 with segments left, two fragment headers.
        Malformed::Ipv6Extension => match &theirs.net {
            Some(NetSlice::Ipv6(packet)) => {
                packet.extensions().clone().into_iter().any(|extension| {
                    matches!(
                        extension,
                        Ipv6ExtensionSlice::Routing(_) | Ipv6ExtensionSlice::Fragment(_)
                    )
                })
            }
            _ => false,
        },
        Malformed::FrameTruncated
        | Malformed::Ipv4Version
        | Malformed::Ipv4HeaderLength
        | Malformed::Ipv6Version
        | Malformed::L4Checksum
        | Malformed::HeadersSplit => false,
    }
}

#[track_caller]
fn same(frame: &[u8], d: &Descriptor, theirs: &SlicedPacket<'_>) {
    let payload = theirs.ip_payload().expect("IP");
    match theirs.net.as_ref().expect("IP") {
        NetSlice::Ipv4(packet) => {
            let header = packet.header();
            assert_eq!(d.key.family, Family::Inet);
            assert_eq!(d.key.src_ip(), header.source_addr());
            assert_eq!(d.key.dst_ip(), header.destination_addr());
            assert_eq!(d.key.protocol, header.protocol().0);
            assert_eq!(d.hop_limit, header.ttl());
            assert_eq!(d.traffic_class, header.dcp().value() << 2 | header.ecn().value());
            assert_eq!(usize::from(d.l4_offset), header.slice().len());
            assert_eq!(d.l3_length, header.total_len());
            assert_eq!(d.flags.contains(DescriptorFlags::OPTIONS), !header.options().is_empty());
            assert_eq!(d.flags.contains(DescriptorFlags::DONT_FRAGMENT), header.dont_fragment());
            let fragment = match (header.fragments_offset().value(), header.more_fragments()) {
                (0, false) => Fragment::Whole,
                (0, true) => Fragment::First,
                _ => Fragment::Later,
            };
            assert_eq!(d.fragment, fragment);
            assert_eq!(fragment != Fragment::Whole, payload.fragmented);
            if d.key.protocol == protocol::AH {
                return;
            }
        }
        NetSlice::Ipv6(packet) => {
            let header = packet.header();
            assert_eq!(d.key.family, Family::Inet6);
            assert_eq!(d.key.src_ip(), header.source_addr());
            assert_eq!(d.key.dst_ip(), header.destination_addr());
            assert_eq!(d.hop_limit, header.hop_limit());
            assert_eq!(d.traffic_class, header.traffic_class());
            assert!(d.flags.contains(DescriptorFlags::DONT_FRAGMENT));
            assert_eq!(d.l3_length, 40 + header.payload_length());
            assert_eq!(d.fragment != Fragment::Whole, payload.fragmented);
            if d.fragment != Fragment::Later {
                assert_eq!(d.key.protocol, payload.ip_number.0);
            }
        }
        NetSlice::Arp(_) => panic!("ARP read as IP"),
    }
    if d.fragment != Fragment::Later {
        let l4 = usize::from(d.l3_offset) + usize::from(d.l4_offset);
        assert_eq!(frame[l4..].as_ptr(), payload.payload.as_ptr());
        assert_eq!(payload.payload.len(), usize::from(d.l3_length - d.l4_offset));
    }
    match &theirs.transport {
        Some(TransportSlice::Tcp(tcp)) => {
            assert_eq!(d.key.src_port, tcp.source_port());
            assert_eq!(d.key.dst_port, tcp.destination_port());
            let flags = [
                tcp.fin(),
                tcp.syn(),
                tcp.rst(),
                tcp.psh(),
                tcp.ack(),
                tcp.urg(),
                tcp.ece(),
                tcp.cwr(),
            ];
            let flags = (0u8..).zip(flags).fold(0, |all, (bit, set)| all | u8::from(set) << bit);
            assert_eq!(d.tcp_flags, flags);
        }
        Some(TransportSlice::Udp(udp)) => {
            assert_eq!(d.key.src_port, udp.source_port());
            assert_eq!(d.key.dst_port, udp.destination_port());
        }
        Some(TransportSlice::Icmpv4(icmp)) if d.key.family == Family::Inet => {
            assert_eq!((d.icmp_type, d.icmp_code), (icmp.type_u8(), icmp.code_u8()));
        }
        Some(TransportSlice::Icmpv6(icmp)) if d.key.family == Family::Inet6 => {
            assert_eq!((d.icmp_type, d.icmp_code), (icmp.type_u8(), icmp.code_u8()));
        }
        // ICMP over the other IP is any protocol to us.
        Some(TransportSlice::Icmpv4(_) | TransportSlice::Icmpv6(_)) => {
            assert_eq!((d.icmp_type, d.icmp_code), (0, 0));
        }
        None => {}
    }
    assert_ne!(theirs.payload_ether_type(), Some(EtherType::ARP));
}
