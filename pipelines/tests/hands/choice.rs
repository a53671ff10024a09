//! ROUTE_DECISION in a hook's hands (L4), and what follows on the way that it chose (L5).

use std::net::IpAddr;

use sluice_hooks::{ChoiceError, InterfaceId};
use sluice_policy::model::{DEFAULT_INSTANCE, NextHop, Owner, Route, RouteKey, Target};
use sluice_policy::{DropReason, TableId};

use super::*;

fn gateway(via: &str) -> Target {
    let via = Some(via.parse().unwrap());
    Target::NextHops([NextHop { via, interface: None, weight: 1 }].into())
}

/// Three ports; 192.0.2.0/24 lies behind the WAN's gateway, in the table `dmz` behind the DMZ's.
pub(super) fn two_ways() -> State {
    let mut state = three_ports();
    state.instances.get_mut(DEFAULT_INSTANCE).unwrap().tables.insert("dmz".into());
    let mut add = |table: &str, prefix: &str, target| {
        let prefix = prefix.parse().unwrap();
        let key =
            RouteKey { table: table.into(), ..RouteKey::main("default", prefix, Owner::Static) };
        state.routes.insert(key, Route::new(target, &Owner::Static, router::position()));
    };
    add("main", "192.0.2.0/24", gateway("10.0.1.2"));
    add("dmz", "192.0.2.0/24", gateway("10.0.2.2"));
    add("dmz", "192.0.2.128/25", Target::Prohibit);
    state
}

pub(super) fn to(last: u8, payload: &[u8]) -> Vec<u8> {
    udp4([10, 0, 0, 2], [192, 0, 2, last], payload)
}

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

#[test]
fn l4_a_hook_sees_the_candidate_and_may_keep_it_or_choose_another() {
    let log = Log::default();
    let seen = log.clone();
    let chooses = hook("chooses", Event::RouteDecision, Hint::None, move |cx, mut packet| {
        let candidate = packet.candidate(cx).expect("route has decided");
        assert!(candidate.id.is_some());
        seen.note(format!("{} by {}", candidate.next_hop, candidate.interface.0));
        let key = packet.descriptor().key;
        assert_eq!((key.src_port, key.dst_port, key.protocol), (5000, 6000, 17));
        let chosen = match packet.bytes()[28] {
            b'k' => Ok(()),
            b'a' => packet.choose_next_hop(cx, Some(ip("10.0.2.2")), None),
            b'b' => packet.choose_next_hop(cx, Some(ip("10.0.2.2")), Some(InterfaceId(3))),
            b't' => packet.choose_table(cx, cx.instance.table_named("dmz").unwrap()),
            _ => return Verdict::Drop(DropReason::HookDropped),
        };
        assert_eq!(chosen, Ok(()));
        Verdict::Continue
    });
    let late = log.clone();
    let later = hook("later", Event::RouteDecision, Hint::Last, move |cx, packet| {
        late.note(format!("then {}", packet.candidate(cx).unwrap().interface.0));
        Verdict::Continue
    });
    let mut router = ready(&two_ways(), vec![chooses, later]);
    for (kind, port) in [(b'k', 1), (b'a', 2), (b'b', 2), (b't', 2)] {
        let (out, frame) = router.forward(0, &to(1, &[kind])).unwrap();
        assert_eq!((out, &frame[..6]), (port, &station(port)[..]), "{kind}");
        assert_eq!(ipv4_of(&frame).0.time_to_live, 63);
        assert_eq!(log.take(), ["10.0.1.2 by 2", &format!("then {}", port + 1)]);
    }
    assert_eq!(router.forward(0, &to(1, b"refused")), None);
    assert_eq!(router.dropped(DropReason::HookDropped), 1);
    assert_eq!(log.take(), ["10.0.1.2 by 2"]);
    router.assert_balanced();
}

#[test]
fn l4_a_hook_is_told_the_route_of_the_candidate_its_table_and_its_owner() {
    let log = Log::default();
    let seen = log.clone();
    let asks = hook("asks", Event::RouteDecision, Hint::None, move |cx, mut packet| {
        let told = |route: Option<sluice_hooks::ChosenRoute<'_>>| match route {
            Some(route) => {
                format!("{} {} {}", route.prefix, route.table_name, route.owner.name())
            }
            None => "none".into(),
        };
        let before = told(packet.candidate_route(cx));
        match packet.bytes().get(28) {
            Some(b't') => {
                packet.choose_table(cx, cx.instance.table_named("dmz").unwrap()).unwrap();
            }
            Some(b'a') => packet.choose_next_hop(cx, Some(ip("10.0.2.2")), None).unwrap(),
            _ => {}
        }
        seen.note(format!("{before}, {}", told(packet.candidate_route(cx))));
        Verdict::Continue
    });
    let mut router = ready(&two_ways(), vec![asks]);
    let main = "192.0.2.0/24 main static";
    for (kind, after) in [(b'k', main), (b't', "192.0.2.0/24 dmz static"), (b'a', "none")] {
        router.forward(0, &to(1, &[kind])).unwrap();
        assert_eq!(log.take(), [format!("{main}, {after}")]);
    }
    router.forward(0, &across(b"k")).unwrap();
    assert_eq!(log.take(), ["10.0.1.0/24 main connected, 10.0.1.0/24 main connected"]);
    router.assert_balanced();
}

#[test]
fn l4_what_cannot_be_chosen_is_refused_and_the_candidate_stays() {
    let tries = hook("tries", Event::RouteDecision, Hint::None, |cx, mut packet| {
        let before = packet.candidate(cx);
        let dmz = cx.instance.table_named("dmz").unwrap();
        let refused = [
            (packet.choose_next_hop(cx, None, None), ChoiceError::Nothing),
            (
                packet.choose_next_hop(cx, Some(ip("fd00:2::2")), None),
                ChoiceError::Family(ip("fd00:2::2")),
            ),
            (
                packet.choose_next_hop(cx, None, Some(InterfaceId(77))),
                ChoiceError::UnknownInterface(InterfaceId(77)),
            ),
            (
                packet.choose_next_hop(cx, Some(ip("203.0.113.1")), None),
                ChoiceError::NotConnected(ip("203.0.113.1")),
            ),
            (
                packet.choose_next_hop(cx, Some(ip("10.0.2.77")), None),
                ChoiceError::UnknownNextHop { via: ip("10.0.2.77") },
            ),
            (packet.choose_table(cx, TableId(77)), ChoiceError::UnknownTable(TableId(77))),
            (packet.choose_table(cx, dmz), ChoiceError::Refused(DropReason::ProhibitRoute)),
        ];
        for (said, expected) in refused {
            assert_eq!(said, Err(expected));
        }
        assert_eq!(packet.candidate(cx), before);
        Verdict::Continue
    });
    let elsewhere = hook("elsewhere", Event::Forwarding, Hint::None, |cx, mut packet| {
        let said = packet.choose_next_hop(cx, Some(ip("10.0.2.2")), None);
        assert_eq!(said, Err(ChoiceError::Event(Event::Forwarding)));
        assert_eq!(packet.candidate(cx), None);
        Verdict::Continue
    });
    let mut router = ready(&two_ways(), vec![tries, elsewhere]);
    assert_eq!(router.forward(0, &to(200, b"x")).unwrap().0, 1);
    router.assert_balanced();
}

#[test]
fn l4_ahead_of_route_a_choice_spares_the_decision_but_forwards_nothing_that_may_not_be() {
    let ahead = hook("ahead", Event::RouteDecision, Hint::Before("route".into()), |cx, mut p| {
        assert_eq!(p.candidate(cx), None);
        match p.choose_next_hop(cx, Some(ip("10.0.2.2")), None) {
            Ok(()) => {}
            Err(error) => assert_eq!(error, ChoiceError::Refused(DropReason::MulticastRoute)),
        }
        Verdict::Continue
    });
    let mut router = ready(&two_ways(), vec![ahead]);
    // No route leads there.
    let nowhere = udp4([10, 0, 0, 2], [198, 51, 100, 1], b"x");
    assert_eq!(router.forward(0, &nowhere).unwrap().0, 2);
    let group = udp4([10, 0, 0, 2], [233, 252, 0, 1], b"x");
    assert_eq!(router.forward(0, &group), None);
    assert_eq!(router.dropped(DropReason::MulticastRoute), 1);
    router.assert_balanced();
}

#[test]
fn l4_the_routers_own_packets_are_asked_about_too() {
    let log = Log::default();
    let seen = log.clone();
    let moves = hook("moves", Event::RouteDecision, Hint::None, move |cx, mut packet| {
        if packet.ingress().is_none() {
            seen.note(packet.descriptor().key.dst_ip());
            packet.choose_next_hop(cx, Some(ip("10.0.2.2")), None).unwrap();
        }
        Verdict::Continue
    });
    let mut router = ready(&two_ways(), vec![moves]);
    let mut dying = to(1, b"x");
    dying[22] = 1;
    let header = etherparse::Ipv4Header::from_slice(&dying[14..]).unwrap().0;
    let sum = header.calc_header_checksum();
    dying[24..26].copy_from_slice(&sum.to_be_bytes());
    let (port, frame) = router.forward(0, &dying).expect("time exceeded");
    assert_eq!((port, ipv4_of(&frame).1[0]), (2, 11));
    assert_eq!(log.take(), ["10.0.0.2"]);
    router.assert_balanced();
}

#[test]
fn l5_the_mtu_of_the_chosen_way_counts_and_its_error_goes_to_the_sender() {
    let moves = hook("moves", Event::RouteDecision, Hint::None, |cx, mut packet| {
        if packet.ingress().is_some() {
            packet.choose_table(cx, cx.instance.table_named("dmz").unwrap()).unwrap();
        }
        Verdict::Continue
    });
    let mut state = two_ways();
    state.interfaces.get_mut("p2").unwrap().mtu = 1280;
    let mut router = ready(&state, vec![moves]);
    let mut whole = to(1, &[7; 1300]);
    whole[20] |= 0x40;
    let header = etherparse::Ipv4Header::from_slice(&whole[14..]).unwrap().0;
    whole[24..26].copy_from_slice(&header.calc_header_checksum().to_be_bytes());
    let (port, frame) = router.forward(0, &whole).expect("an ICMP error");
    let (header, icmp) = ipv4_of(&frame);
    assert_eq!((port, header.destination, icmp[0], icmp[1]), (0, [10, 0, 0, 2], 3, 4));
    assert_eq!(u16::from_be_bytes([icmp[6], icmp[7]]), 1280);
    assert_eq!(icmp[8 + 16..8 + 20], [192, 0, 2, 1], "it quotes the packet as it came");
    let (port, _) = router.forward(0, &to(1, &[7; 1200])).unwrap();
    assert_eq!(port, 2);
    router.assert_balanced();
}
