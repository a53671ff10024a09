//! Authors' hooks and packets of known flows.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use sluice_hooks::{
    Context, Event, Factory, ForeignHook, Hint, Made, Packet, PacketHook, PerPacket, Protocol,
    Verdict,
};
use sluice_policy::Stage;

use crate::router::{Registration, Router, mac, station};
use crate::{ASIDE, asked, plain_udp, router, state};

/// Counts packets; sends those of a list of turns elsewhere.
struct Counting {
    seen: Arc<AtomicUsize>,
    divert: bool,
}

impl PacketHook for Counting {
    fn packet(&mut self, _: &mut Context<'_>, mut packet: Packet<'_>) -> Verdict {
        let seen = self.seen.fetch_add(1, Relaxed);
        if self.divert && seen % 2 == 1 {
            packet.write(16, &[10, 0, 2, 2]).unwrap();
            packet.write_checksums().unwrap();
        }
        Verdict::Continue
    }
}

fn registration(event: Event, hint: Hint, factory: Factory) -> Registration {
    let protocols = vec![Protocol::Inet, Protocol::Inet6];
    let hook = ForeignHook { instance: None, protocols, event, name: "author".into(), hint };
    Registration { hook, factory }
}

fn counting(divert: bool) -> (Arc<AtomicUsize>, Made) {
    let seen = Arc::new(AtomicUsize::new(0));
    let shared = Arc::clone(&seen);
    let made = move || PerPacket(Counting { seen: Arc::clone(&shared), divert });
    (seen, Made::new(made))
}

#[test]
fn a_hook_sees_every_packet_of_a_known_flow() {
    for event in [Event::PhysicalIn, Event::Forwarding, Event::PhysicalOut, Event::RouteDecision] {
        let (seen, made) = counting(false);
        let mut router = router(ASIDE, vec![registration(event, Hint::None, made.factory)]);
        for _ in 0..10 {
            assert_eq!(router.forward(0, &plain_udp()).unwrap().0, 1);
        }
        assert_eq!(seen.load(Relaxed), 10, "{event:?}");
        if event != Event::RouteDecision {
            assert!(asked(&router, Stage::Route) <= 2, "the stages are spared all the same");
        }
        router.assert_balanced();
    }
}

#[test]
fn a_packet_that_a_hook_changes_is_decided_for_what_it_has_become() {
    for hint in [Hint::None, Hint::First] {
        let (_, made) = counting(true);
        let hook = registration(Event::PhysicalIn, hint.clone(), made.factory);
        let mut router = router(ASIDE, vec![hook]);
        for i in 0..10 {
            let port = router.forward(0, &plain_udp()).unwrap().0;
            assert_eq!(port, 1 + i % 2, "{hint:?}, packet {i}");
        }
        router.assert_balanced();
    }
}

#[test]
fn a_hook_that_is_content_with_the_first_packet_is_spared_the_others() {
    let (seen, made) = counting(false);
    let made = made.first_of_flow();
    let mut router = router(ASIDE, vec![registration(Event::Forwarding, Hint::None, made.factory)]);
    for _ in 0..10 {
        assert!(router.forward(0, &plain_udp()).is_some());
    }
    assert_eq!(seen.load(Relaxed), 1);
    for _ in 0..10 {
        assert!(router.forward(1, &answer()).is_some());
    }
    assert_eq!(seen.load(Relaxed), 2, "each direction has a first packet");
    router.assert_balanced();
}

#[test]
fn a_flow_under_way_is_shown_to_a_hook_that_comes() {
    let mut router = router(ASIDE, vec![]);
    let forward = |router: &mut Router, times| {
        for _ in 0..times {
            assert_eq!(router.forward(0, &plain_udp()).unwrap().0, 1);
        }
    };
    forward(&mut router, 5);
    let (seen, made) = counting(false);
    let made = made.first_of_flow();
    let slot = router.load(registration(Event::Forwarding, Hint::None, made.factory));
    forward(&mut router, 5);
    assert_eq!(seen.load(Relaxed), 1);
    // Another that comes is shown it, too, and so is the first again.
    let (other, made) = counting(false);
    let made = made.first_of_flow();
    router.load(registration(Event::PhysicalOut, Hint::None, made.factory));
    forward(&mut router, 5);
    assert_eq!((seen.load(Relaxed), other.load(Relaxed)), (2, 1));
    router.unload(slot);
    let asked_before = asked(&router, Stage::Route);
    forward(&mut router, 5);
    assert!(asked(&router, Stage::Route) <= asked_before + 1, "it is known all the same");
    assert_eq!(seen.load(Relaxed), 2);
    router.assert_balanced();
}

#[test]
fn of_a_packet_that_a_first_packet_hook_drops_nothing_is_remembered() {
    let (_, made) = counting(false);
    let mut router = router(
        ASIDE,
        vec![registration(Event::PhysicalIn, Hint::None, made.first_of_flow().factory)],
    );
    router.forward(0, &plain_udp()).unwrap();
    let seen = Arc::new(AtomicUsize::new(0));
    let shared = Arc::clone(&seen);
    let drops = Made::new(move || PerPacket(Dropping(Arc::clone(&shared)))).first_of_flow();
    router.load(registration(Event::Forwarding, Hint::None, drops.factory));
    for _ in 0..5 {
        assert_eq!(router.forward(0, &plain_udp()), None);
    }
    assert_eq!(seen.load(Relaxed), 5);
    router.assert_balanced();
}

struct Dropping(Arc<AtomicUsize>);

impl PacketHook for Dropping {
    fn packet(&mut self, _: &mut Context<'_>, _: Packet<'_>) -> Verdict {
        self.0.fetch_add(1, Relaxed);
        Verdict::Drop(sluice_policy::DropReason::HookDropped)
    }
}

/// Sends packets by a gateway, and counts those that it was asked about.
struct Choosing {
    asked: Arc<AtomicUsize>,
    via: std::net::IpAddr,
}

impl PacketHook for Choosing {
    fn packet(&mut self, cx: &mut Context<'_>, mut packet: Packet<'_>) -> Verdict {
        self.asked.fetch_add(1, Relaxed);
        packet.choose_next_hop(cx, Some(self.via), None).unwrap();
        Verdict::Continue
    }
}

fn choosing(via: &str, hint: Hint) -> (Arc<AtomicUsize>, Registration) {
    let via = via.parse().unwrap();
    let asked = Arc::new(AtomicUsize::new(0));
    let shared = Arc::clone(&asked);
    let made = Made::new(move || PerPacket(Choosing { asked: Arc::clone(&shared), via }));
    (asked, registration(Event::RouteDecision, hint, made.first_of_flow().factory))
}

/// Two gateways that routes lead to, and a filter that looks at nothing of use.
const GATEWAYS: &str = "
routes:
  - { to: 198.51.100.0/24, via: 10.0.1.2 }
  - { to: 203.0.113.0/24, via: 10.0.2.2 }
policy-routes: [{ name: steered, protocol: udp, destination-port: 5000, via: 10.0.1.2 }]
filters: { forward: { default: accept, stateful: true, rules: [{ protocol: sctp, action: drop }] } }
";

#[test]
fn l4_a_choice_is_remembered_with_the_flow_and_withdrawn_with_the_hook() {
    for hint in [Hint::After("route".into()), Hint::Before("route".into())] {
        let behind = matches!(hint, Hint::After(_));
        let (asked_hook, hook) = choosing("10.0.2.2", hint);
        let mut router = router(GATEWAYS, vec![]);
        let ports = |router: &mut Router, times| -> Vec<u16> {
            (0..times).map(|_| router.forward(0, &plain_udp()).unwrap().0).collect()
        };
        assert_eq!(ports(&mut router, 4), [1; 4]);
        let steered = router.generation.policy.policy_routes().next().unwrap().slot;
        let counted = |router: &Router| router.statistics.rule(steered).0;
        assert_eq!(counted(&router), 4);
        let slot = router.load(hook);
        assert_eq!(ports(&mut router, 10), [2; 10], "flows under way are asked about, too");
        assert_eq!(asked_hook.load(Relaxed), 1, "and once");
        let expected = if behind { 14 } else { 4 };
        assert_eq!(counted(&router), expected, "rules that match count each packet");
        // Its state changes when it is answered: what was chosen stays. The answer has a choice of its
        // own.
        assert_eq!(router.forward(1, &answer()).unwrap().0, 2);
        assert_eq!(ports(&mut router, 3), [2; 3]);
        assert_eq!(asked_hook.load(Relaxed), 2);
        // So it does when filters change.
        let more = GATEWAYS.replace("sctp", "gre");
        router.commit(&state(&more));
        assert_eq!(ports(&mut router, 3), [2; 3]);
        assert_eq!(asked_hook.load(Relaxed), 2);
        // Another route is another candidate: the hook is asked again.
        router.commit(&state(&more.replace("203.0.113.0/24", "10.0.0.0/13")));
        assert_eq!(ports(&mut router, 3), [2; 3]);
        assert_eq!(asked_hook.load(Relaxed), 3);
        router.unload(slot);
        assert_eq!(ports(&mut router, 3), [1; 3], "the choice went with the hook");
        router.assert_balanced();
    }
}

#[test]
fn l4_a_choice_is_withdrawn_with_its_hook_though_another_stays() {
    let (kept, keeps) = counting(false);
    let keeps = keeps.first_of_flow().factory;
    let (_, hook) = choosing("10.0.2.2", Hint::None);
    let keeps = another(registration(Event::RouteDecision, Hint::None, keeps));
    let mut router = router(GATEWAYS, vec![keeps, hook]);
    for port in [2, 2, 2] {
        assert_eq!(router.forward(0, &plain_udp()).unwrap().0, port);
    }
    assert_eq!(kept.load(Relaxed), 1);
    router.unload(1);
    for port in [1, 1, 1] {
        assert_eq!(router.forward(0, &plain_udp()).unwrap().0, port);
    }
    assert_eq!(kept.load(Relaxed), 2);
}

#[test]
fn l4_beside_a_hook_that_wants_every_packet_no_choice_is_remembered() {
    let (seen, every) = counting(false);
    let (asked, hook) = choosing("10.0.2.2", Hint::None);
    let every = another(registration(Event::RouteDecision, Hint::First, every.factory));
    let mut router = router(GATEWAYS, vec![every, hook]);
    for _ in 0..5 {
        assert_eq!(router.forward(0, &plain_udp()).unwrap().0, 2);
    }
    assert_eq!((seen.load(Relaxed), asked.load(Relaxed)), (5, 5));
}

/// The same under a name of its own.
fn another(Registration { hook, factory }: Registration) -> Registration {
    Registration { hook: ForeignHook { name: "another".into(), ..hook }, factory }
}

/// The datagram that answers [`plain_udp`].
fn answer() -> Vec<u8> {
    let builder = etherparse::PacketBuilder::ethernet2(station(1), mac(1))
        .ipv4([10, 0, 1, 2], [10, 0, 0, 2], 64)
        .udp(5000, 4000);
    let mut frame = Vec::new();
    builder.write(&mut frame, b"data").unwrap();
    frame
}
