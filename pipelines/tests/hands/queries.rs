//! Interface, address and route queries from inside a hook (section H, D5).

use std::net::IpAddr;

use sluice_hooks::{
    AddressFlags, AddressId, AddressKind, InterfaceId, Interfaces, Protocol, QueryError, RouteTo,
};
use sluice_policy::InstanceId;
use sluice_policy::model::{NextHop, Owner, Route, RouteKey, Target};

use super::*;

/// The default instance has `p0` and `p1`; `p2` is of another.
fn state() -> State {
    let addresses = &["10.0.0.1/24", "10.9.0.1/16", "fd00:0::1/64"];
    let mut state = ports(&[(addresses, 1500), (&["10.0.1.1/31"], 1400), (DMZ, 1500)]);
    let default = state.instances["default"].clone();
    state.instances.insert("other".into(), default);
    state.interfaces.get_mut("p2").unwrap().instance = "other".into();
    let mut add = |prefix: &str, target| {
        let key = RouteKey::main("default", prefix.parse().unwrap(), Owner::Static);
        state.routes.insert(key, Route::new(target, &Owner::Static, router::position()));
    };
    let via = Some("10.0.0.9".parse().unwrap());
    add("192.0.2.0/24", Target::NextHops([NextHop { via, interface: None, weight: 1 }].into()));
    add("198.51.100.0/24", Target::Blackhole);
    state
}

/// Asks from inside a hook.
fn ask(asks: impl Fn(&Context<'_>) + Send + Sync + Clone + 'static) {
    let log = Log::default();
    let note = log.clone();
    let asks = hook("asks", Event::PhysicalIn, Hint::None, move |cx, _| {
        asks(cx);
        note.note("asked");
        Verdict::Consumed
    });
    let mut router = ready(&state(), vec![asks]);
    router.receive(0, &[across(b"x")]);
    assert_eq!(log.take(), ["asked"]);
    router.assert_balanced();
}

const P0: InterfaceId = InterfaceId(1);
const P1: InterfaceId = InterfaceId(2);
const P2: InterfaceId = InterfaceId(3);
const FIRST: AddressId = AddressId(1);

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

#[test]
fn h1_h2_h3_interfaces_are_walked_looked_up_and_named_within_the_instance() {
    ask(|cx| {
        for protocol in Protocol::ALL {
            let net = cx.interfaces(protocol);
            assert_eq!(net.next(None), Some(P0));
            assert_eq!(net.next(Some(P0)), Some(P1));
            assert_eq!(net.next(Some(P1)), None, "p2 is another instance's");
            assert_eq!(net.lookup("p1"), Ok(P1));
            assert_eq!(net.lookup("p2"), Err(QueryError::NotFound));
            assert_eq!(net.lookup("p9"), Err(QueryError::NotFound));
            assert_eq!(net.name(P0), Ok("p0"));
            assert_eq!(net.name(P2), Err(QueryError::NotFound));
            assert_eq!(net.iter().count(), 2);
        }
    });
}

#[test]
fn h4_h5_addresses_are_counted_from_one_by_family() {
    ask(|cx| {
        let inet = cx.interfaces(Protocol::Inet);
        assert_eq!(inet.next_address(P0, None), Ok(Some(FIRST)));
        assert_eq!(inet.next_address(P0, Some(FIRST)), Ok(Some(AddressId(2))));
        assert_eq!(inet.next_address(P0, Some(AddressId(2))), Ok(None));
        assert_eq!(inet.next_address(P2, None), Err(QueryError::NotFound));
        let second = |kind| inet.address(P0, AddressId(2), kind);
        assert_eq!(second(AddressKind::Address), Ok(ip("10.9.0.1")));
        assert_eq!(second(AddressKind::Netmask), Ok(ip("255.255.0.0")));
        assert_eq!(second(AddressKind::Broadcast), Ok(ip("10.9.255.255")));
        assert_eq!(second(AddressKind::Peer), Err(QueryError::NotFound));
        for none in [AddressId(0), AddressId(3)] {
            assert_eq!(inet.address(P0, none, AddressKind::Address), Err(QueryError::NotFound));
        }
        // RFC 3021: a network of two has no broadcast address.
        assert_eq!(inet.address(P1, FIRST, AddressKind::Broadcast), Err(QueryError::NotFound));

        let inet6 = cx.interfaces(Protocol::Inet6);
        assert_eq!(inet6.next_address(P0, Some(FIRST)), Ok(None));
        assert_eq!(inet6.next_address(P1, None), Ok(None));
        assert_eq!(inet6.address(P0, FIRST, AddressKind::Address), Ok(ip("fd00::1")));
        assert_eq!(inet6.address(P0, FIRST, AddressKind::Netmask), Ok(ip("ffff:ffff:ffff:ffff::")));
        assert_eq!(inet6.address(P0, FIRST, AddressKind::Broadcast), Err(QueryError::NotFound));
    });
}

#[test]
fn h6_h7_h8_flags_instance_mtu_and_path_mtu_discovery() {
    ask(|cx| {
        let inet = cx.interfaces(Protocol::Inet);
        let expected = AddressFlags::UP
            | AddressFlags::RUNNING
            | AddressFlags::BROADCAST
            | AddressFlags::MULTICAST
            | AddressFlags::ROUTER
            | AddressFlags::INET;
        assert_eq!(inet.flags(P0, FIRST), Ok(expected));
        cx.ports
            .get(sluice_policy::PortId(1))
            .unwrap()
            .link
            .store(false, std::sync::atomic::Ordering::Relaxed);
        assert_eq!(inet.flags(P1, FIRST), Ok(expected - AddressFlags::RUNNING));
        let inet6 = cx.interfaces(Protocol::Inet6).flags(P0, FIRST).unwrap();
        assert!(inet6.contains(AddressFlags::INET6) && !inet6.contains(AddressFlags::BROADCAST));
        assert_eq!(inet.instance_of(P0, FIRST), Ok(InstanceId(0)));
        assert_eq!((inet.mtu(P0), inet.mtu(P1)), (Ok(1500), Ok(1400)));
        assert_eq!(inet.mtu(P2), Err(QueryError::NotFound));
        assert_eq!(inet.path_mtu_discovery(), Ok(true));
    });
}

#[test]
fn h9_route_to_asks_the_destination_alone_and_route_all_of_policy() {
    ask(|cx| {
        let inet = cx.interfaces(Protocol::Inet);
        let to = |interface, next_hop| Ok(RouteTo { interface, next_hop: ip(next_hop) });
        assert_eq!(inet.route_to(ip("192.0.2.7")), to(P0, "10.0.0.9"));
        assert_eq!(inet.route_to(ip("10.9.7.7")), to(P0, "10.9.7.7"));
        assert_eq!(inet.route_to(ip("10.0.1.1")), to(P1, "10.0.1.1"));
        for nowhere in ["198.51.100.1", "203.0.113.1", "10.0.2.2", "fd00::2"] {
            assert_eq!(inet.route_to(ip(nowhere)), Err(QueryError::NotFound), "{nowhere}");
        }
        let inet6 = cx.interfaces(Protocol::Inet6);
        assert_eq!(inet6.route_to(ip("fd00::2")), to(P0, "fd00::2"));

        let mut d = sluice_packet::Descriptor::default();
        d.key.dst = sluice_packet::descriptor::number_of(ip("192.0.2.7"));
        assert_eq!(inet.route(&d), to(P0, "10.0.0.9"));
        assert_eq!(inet6.route(&d), Err(QueryError::NotFound));
        d.key.dst = sluice_packet::descriptor::number_of(ip("233.252.0.1"));
        assert_eq!(inet.route(&d), Err(QueryError::NotFound), "no router forwards it");
    });
}

#[test]
fn d5_arp_has_no_addresses_mtus_and_routes_and_says_so() {
    ask(|cx| {
        let arp = cx.interfaces(Protocol::Arp);
        let unsupported = QueryError::Unsupported;
        assert_eq!(arp.next_address(P0, None), Err(unsupported));
        assert_eq!(arp.address(P0, FIRST, AddressKind::Address), Err(unsupported));
        assert_eq!(arp.flags(P0, FIRST), Err(unsupported));
        assert_eq!(arp.instance_of(P0, FIRST), Err(unsupported));
        assert_eq!(arp.mtu(P0), Err(unsupported));
        assert_eq!(arp.path_mtu_discovery(), Err(unsupported));
        assert_eq!(arp.route_to(ip("10.0.0.2")), Err(unsupported));
        assert_eq!(arp.route(&sluice_packet::Descriptor::default()), Err(unsupported));
        // Whatever the arguments: also for what is not there.
        assert_eq!(arp.mtu(P2), Err(unsupported));
    });
}

#[test]
fn h10_the_interfaces_of_an_instance_that_is_gone_answer_with_an_error() {
    let router = Router::new(&state());
    let (policy, ports) = (&router.generation.policy, &router.generation.ports);
    assert!(Interfaces::of(policy, ports, InstanceId(1), Protocol::Inet).is_ok());
    let gone = Interfaces::of(policy, ports, InstanceId(7), Protocol::Inet);
    assert_eq!(gone.err(), Some(QueryError::Shutdown));
}
