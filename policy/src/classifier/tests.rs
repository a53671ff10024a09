//! All shapes against the plainest form of a list.

use std::ops::RangeInclusive;

use ipnet::IpNet;
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;
use sluice_packet::{ConnectionState, DescriptorFlags, Family, FlowKey, Fragment, Mask};

use super::*;
use crate::model::{IcmpMatch, TcpFlags};

/// What the documentation says a rule matches.
pub(crate) fn plainly(c: &Conditions, packet: &Packet<'_>) -> bool {
    let d = packet.descriptor;
    let FlowKey { src_port, dst_port, protocol, .. } = d.key;
    let any = |list: &[IpNet], ip| list.is_empty() || list.iter().any(|net| net.contains(&ip));
    let port = |list: &[RangeInclusive<u16>], port| {
        let seen = d.fragment != Fragment::Later || d.flags.contains(DescriptorFlags::FIRST_KNOWN);
        list.is_empty() || (seen && list.iter().any(|r| r.contains(&port)))
    };
    let came_in = !d.flags.contains(DescriptorFlags::LOCAL_ORIGIN);
    (c.input.is_empty() || (came_in && c.input.contains(&InterfaceId(d.ingress))))
        && (c.output.is_empty() || packet.egress.is_some_and(|id| c.output.contains(&id)))
        && any(&c.source, d.key.src_ip())
        && any(&c.destination, d.key.dst_ip())
        && (c.protocol.is_empty() || c.protocol.contains(&protocol))
        && port(&c.source_port, src_port)
        && port(&c.destination_port, dst_port)
        && c.tcp_flags.is_none_or(|flags| {
            d.fragment != Fragment::Later
                && d.tcp_flags & flags.set == flags.set
                && d.tcp_flags & flags.clear == 0
        })
        && (c.state.is_empty() || c.state.contains(&d.state))
        && (c.icmp.is_empty()
            || (d.fragment != Fragment::Later
                && c.icmp
                    .iter()
                    .any(|m| m.kind == d.icmp_type && m.code.is_none_or(|c| c == d.icmp_code))))
}

/// All states.
const STATES: [ConnectionState; 5] = [
    ConnectionState::Untracked,
    ConnectionState::New,
    ConnectionState::Established,
    ConnectionState::Related,
    ConnectionState::Invalid,
];

/// Zero to two of some values, so that empty lists are as common as others.
fn few<T: Clone + std::fmt::Debug + 'static>(values: Vec<T>) -> impl Strategy<Value = Vec<T>> {
    prop_oneof![2 => Just(Vec::new()), 1 => vec(select(values), 1..3)]
}

/// Networks that nest and overlap, of both versions, at round places and at odd ones.
fn nets() -> impl Strategy<Value = Vec<IpNet>> {
    let well_known = [
        "10.0.0.0/8",
        "10.0.1.0/24",
        "0.0.0.0/0",
        "::/0",
        "::a00:101/128",
        "fd00::/16",
        "10.0.1.1/32",
        "255.255.255.255/32",
        "ffff::/16",
    ];
    let well_known = well_known.map(|n| n.parse().unwrap()).to_vec();
    let near = (0..=32u8, 0..512u32).prop_map(|(length, n)| {
        let address = std::net::Ipv4Addr::from_bits(0x0a00_0000 | n);
        IpNet::new(address.into(), length).unwrap().trunc()
    });
    let near6 = (0..=128u8, 0..512u128).prop_map(|(length, n)| {
        let address = std::net::Ipv6Addr::from_bits(0xfd00 << 112 | n);
        IpNet::new(address.into(), length).unwrap().trunc()
    });
    let some = prop_oneof![2 => select(well_known), 2 => near, 1 => near6];
    prop_oneof![2 => Just(Vec::new()), 3 => vec(some, 1..4)]
}

prop_compose! {
    pub(crate) fn some_conditions()(
        input in few(vec![InterfaceId(1), InterfaceId(2), InterfaceId(300)]),
        output in few(vec![InterfaceId(1), InterfaceId(2), InterfaceId(3)]),
        (source, destination) in (nets(), nets()),
        protocol in few(vec![6u8, 17, 1, 132, 255]),
        source_port in few(vec![80..=80, 0..=79, 1000..=2000, 1500..=65535]),
        destination_port in few(vec![80..=80, 0..=79, 1000..=2000, 1024..=65535]),
        flags in proptest::option::weighted(0.2, (select(vec![0u8, 2, 18]), select(vec![0u8, 1, 16]))),
        icmp in few(vec![
            IcmpMatch { kind: 8, code: None },
            IcmpMatch { kind: 3, code: Some(4) },
            IcmpMatch { kind: 255, code: None },
        ]),
        state in few(STATES.to_vec()),
    ) -> Conditions {
        Conditions {
            input: input.into(),
            output: output.into(),
            source: source.into(),
            destination: destination.into(),
            protocol: protocol.into(),
            source_port: source_port.into(),
            destination_port: destination_port.into(),
            tcp_flags: flags.map(|(set, clear)| TcpFlags { set, clear }),
            icmp: icmp.into(),
            state: state.into(),
        }
    }
}

/// Conditions few of which a packet meets: lists of them have to be looked through to the end.
fn narrow() -> impl Strategy<Value = Conditions> {
    let port = || (0..600u16).prop_map(|port| port..=port + port % 3);
    (some_conditions(), port(), any::<bool>()).prop_map(|(conditions, port, source)| {
        let tcp = Box::new([6u8]);
        match source {
            true => Conditions { source_port: Box::new([port]), protocol: tcp, ..conditions },
            false => Conditions { destination_port: Box::new([port]), protocol: tcp, ..conditions },
        }
    })
}

prop_compose! {
    pub(crate) fn some_packet()(
        inet in any::<bool>(),
        src in select(vec![0x0a00_0101u128, 0x0a00_0001, 0x0b00_0001, 0xfd00 << 112, 0xffff_ffff, u128::MAX, 0]),
        dst in select(vec![0x0a00_0101u128, 0x0a01_0001, 1, 0xfd00 << 112 | 17, u128::MAX]),
        off in (0..512u128, 0..512u128),
        src_port in prop_oneof![select(vec![0u16, 80, 1000, 2001, 65535]), 0..600u16],
        dst_port in prop_oneof![select(vec![0u16, 80, 1500, 65535]), 0..600u16],
        protocol in select(vec![6u8, 6, 6, 17, 1, 132, 255, 0]),
        (ingress, egress) in (select(vec![0u16, 1, 2, 3, 300, 65535]), proptest::option::of(1..4u16)),
        (tcp_flags, icmp_type, icmp_code) in (select(vec![0u8, 2, 16, 18, 255]), select(vec![0u8, 8, 3, 255]), select(vec![0u8, 4, 255])),
        fragment in select(vec![Fragment::Whole, Fragment::First, Fragment::Later]),
        (own, first_known) in (proptest::bool::weighted(0.1), any::<bool>()),
        state in select(STATES.to_vec()),
    ) -> (Descriptor, Option<InterfaceId>) {
        let family = if inet { Family::Inet } else { Family::Inet6 };
        let narrow = |n: u128| if inet { n & 0xffff_ffff } else { n };
        let mut flags = DescriptorFlags::empty();
        flags.set(DescriptorFlags::LOCAL_ORIGIN, own);
        flags.set(DescriptorFlags::FIRST_KNOWN, first_known && fragment == Fragment::Later);
        let (src, dst) = (narrow(src ^ off.0 & 1), narrow(dst ^ off.1));
        let key = FlowKey { src, dst, src_port, dst_port, protocol, family };
        let d = Descriptor { key, ingress, tcp_flags, icmp_type, icmp_code, fragment, flags, state, ..Descriptor::default() };
        (d, egress.map(InterfaceId))
    }
}

/// Keeps all that holds.
struct All(Vec<Vec<usize>>);

impl Verdict for All {
    fn packet(&mut self, place: usize, matches: impl Iterator<Item = usize>) {
        assert_eq!(place, self.0.len());
        self.0.push(matches.collect());
    }
}

/// Holds a classifier to the list.
fn agrees(
    classifier: &Classifier,
    conditions: &[Conditions],
    packets: &[(Descriptor, Option<InterfaceId>)],
) -> Result<(), TestCaseError> {
    for burst in packets.chunks(BURST) {
        let burst: Vec<Packet<'_>> =
            burst.iter().map(|(d, egress)| Packet { descriptor: d, egress: *egress }).collect();
        let mut all = All(Vec::new());
        classifier.burst(&burst, &mut all);
        prop_assert_eq!(all.0.len(), burst.len());
        for (packet, found) in burst.iter().zip(all.0) {
            let places = 0..conditions.len();
            let expected: Vec<_> = places.filter(|&i| plainly(&conditions[i], packet)).collect();
            prop_assert_eq!(found, expected, "{:?}", packet);
        }
    }
    Ok(())
}

fn table(conditions: &[Conditions]) -> Classifier {
    Classifier::Table(Box::new(Table::new(conditions, table::BUDGET).unwrap()))
}

fn sparse(conditions: &[Conditions]) -> Classifier {
    Classifier::Table(Box::new(Table::sparse(conditions, table::BUDGET).unwrap()))
}

fn candidates(conditions: &[Conditions]) -> Classifier {
    let most = Most { listed: 1 << 10, unaddressed: 1 << 10, ..Most::USUAL };
    Classifier::Candidates(Box::new(Candidates::new(conditions, most).unwrap()))
}

proptest! {
    #[test]
    fn all_shapes_say_what_a_list_says(
        conditions in vec(some_conditions(), 1..40),
        packets in vec(some_packet(), 70),
    ) {
        agrees(&Classifier::list(&conditions), &conditions, &packets)?;
        agrees(&table(&conditions), &conditions, &packets)?;
        agrees(&sparse(&conditions), &conditions, &packets)?;
        agrees(&candidates(&conditions), &conditions, &packets)?;
        agrees(&candidates(&conditions), &conditions, &packets[..1])?;
        agrees(&table(&conditions), &conditions, &packets[..1])?;
        agrees(&sparse(&conditions), &conditions, &packets[..1])?;
    }
}

proptest! {
    #[test]
    fn columns_say_what_each_packet_says(
        conditions in some_conditions(),
        packets in vec(some_packet(), BURST),
        of in any::<u64>(),
    ) {
        let (matcher, of) = ([Matcher::new(&conditions)], Mask(of));
        let packet = |slot: usize| Packet::from((&packets[slot].0, packets[slot].1));
        let columns = Columns::of(of, &matcher, packet);
        let [matcher] = matcher;
        let among = matcher.among_columns(&columns, of, |slot| packet(slot).descriptor);
        prop_assert_eq!(among, matcher.among(of, packet));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn a_table_of_several_words_says_what_a_list_says(
        conditions in vec(prop_oneof![1 => some_conditions(), 4 => narrow()], 65..400),
        packets in vec(some_packet(), 128),
    ) {
        agrees(&Classifier::new(&conditions), &conditions, &packets)?;
        agrees(&table(&conditions), &conditions, &packets)?;
        agrees(&candidates(&conditions), &conditions, &packets)?;
        agrees(&sparse(&conditions), &conditions, &packets)?;
    }
}

/// A source or a destination of a network that many hosts are in.
fn addressed() -> impl Strategy<Value = Conditions> {
    let host = (0..512u32, 26..=32u8).prop_map(|(n, length)| {
        let address = std::net::Ipv4Addr::from_bits(0x0a00_0000 | n);
        IpNet::new(address.into(), length).unwrap().trunc()
    });
    let state = few(vec![ConnectionState::New, ConnectionState::Established]);
    (narrow(), host, any::<bool>(), state).prop_map(|(conditions, net, source, state)| {
        let (net, state) = ([net].into(), state.into());
        match source {
            true => Conditions { source: net, state, ..conditions },
            false => Conditions { destination: net, state, ..conditions },
        }
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn many_rules_by_address_say_what_a_list_says(
        conditions in vec(prop_oneof![1 => some_conditions(), 20 => addressed()], 17..300),
        packets in vec(some_packet(), 128),
    ) {
        let classifier = Classifier::new(&conditions);
        agrees(&classifier, &conditions, &packets)?;
        agrees(&candidates(&conditions), &conditions, &packets)?;
    }
}

#[test]
fn what_many_ask_for_is_no_list_of_candidates() {
    let conditions = |n: u16, net: &str| Conditions {
        destination: [net.parse().unwrap()].into(),
        destination_port: Box::new([n..=n]),
        ..Conditions::default()
    };
    let crowded: Vec<Conditions> = (0..100).map(|n| conditions(n, "10.0.0.0/8")).collect();
    assert!(matches!(Classifier::new(&crowded), Classifier::Table(_)));
    let spread = (0..100).map(|n| conditions(n, &format!("10.0.{n}.0/24")));
    let spread: Vec<Conditions> = spread.collect();
    assert!(matches!(Classifier::new(&spread), Classifier::Candidates(_)));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4))]

    #[test]
    fn a_table_of_several_blocks_says_what_a_list_says(
        conditions in vec(prop_oneof![1 => some_conditions(), 20 => narrow()], 4097..4500),
        packets in vec(some_packet(), 64),
    ) {
        agrees(&table(&conditions), &conditions, &packets)?;
    }
}
