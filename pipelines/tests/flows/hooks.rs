//! Authors' hooks and packets of known flows.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use sluice_hooks::{
    Context, Event, Factory, ForeignHook, Hint, Made, Packet, PacketHook, PerPacket, Protocol,
    Verdict,
};
use sluice_policy::Stage;

use crate::router::Registration;
use crate::{ASIDE, asked, plain_udp, router};

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
    assert!((1..=2).contains(&seen.load(Relaxed)), "{seen:?}");
}
