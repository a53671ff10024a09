//! Ports that are down (J10).

use sluice_hooks::{ChoiceError, Injection, InterfaceId, Made, Observer, Protocol};
use sluice_policy::DropReason;

use super::*;

/// Notes what it is shown.
struct Tap(Log);

impl Observer for Tap {
    fn observe(&mut self, _: &Context<'_>, _: &Packet<'_>) {
        self.0.note("observed");
    }
}

/// Hooks at every event, ARP included.
fn everywhere(log: &Log) -> Vec<Registration> {
    use Event::{Forwarding, PhysicalIn, PhysicalOut, RouteDecision};
    let mut hooks: Vec<_> = [PhysicalIn, RouteDecision, Forwarding, PhysicalOut]
        .map(|event| witness(event.name(), event, log))
        .into();
    for hook in &mut hooks {
        if Protocol::Arp.has(hook.hook.event) {
            hook.hook.protocols.push(Protocol::Arp);
        }
    }
    let taps = log.clone();
    let tap = Made::observer(move || Tap(taps.clone()));
    hooks.push(placed("tap", Event::Observing, Hint::None, tap.factory));
    hooks
}

fn arp_request() -> Vec<u8> {
    let mut frame = [&[0xff; 6][..], &station(0), &[8, 6, 0, 1, 8, 0, 6, 4, 0, 1]].concat();
    frame.extend([&station(0)[..], &[10, 0, 0, 2], &[0; 6], &[10, 0, 0, 1]].concat());
    frame
}

#[test]
fn j10_nothing_that_came_in_by_a_port_is_shown_once_it_is_down() {
    let log = Log::default();
    let mut router = ready(&three_ports(), everywhere(&log));
    assert!(router.forward(0, &across(b"x")).is_some());
    assert!(router.forward(0, &arp_request()).is_some());
    assert!(!log.take().is_empty());

    router.set_down(&[0]);
    // What the ring held.
    let frames = [across(b"x"), arp_request(), udp6("fd00:0::2", "fd00:1::2", b"x")];
    assert!(router.receive(0, &frames).is_empty());
    // What is injected as if it had come in there.
    let packet = router.buffer(&across(b"x")[14..]);
    let instance = router.generation.policy.instance_named("default").unwrap().id;
    let how = Injection::QueueIn(InterfaceId(1));
    router.injector.inject(&router.generation.policy, instance, packet, how).unwrap();
    assert!(router.receive(1, &[]).is_empty());
    assert_eq!(router.dropped(DropReason::IngressDown), 4);
    assert_eq!(log.take(), Vec::<String>::new());
    router.assert_balanced();

    router.set_down(&[]);
    assert!(router.forward(0, &across(b"x")).is_some());
    assert!(log.take().len() > 4);
    router.assert_balanced();
}

#[test]
fn j10_what_waits_for_its_neighbour_is_not_shown_once_its_port_is_down() {
    let log = Log::default();
    let mut router = Router::with_hooks(&three_ports(), everywhere(&log));
    assert!(router.receive(0, &[across(b"x")]).values().flatten().all(|frame| frame[13] == 6));
    log.take();
    router.set_down(&[0]);
    router.know(1, "10.0.1.2");
    router.pass_time(10);
    assert_eq!(router.dropped(DropReason::IngressDown), 1);
    assert!(log.take().iter().all(|event| event == "PHYSICAL_OUT" || event == "observed"));
    router.assert_balanced();
}

#[test]
fn j10_nothing_that_would_leave_by_a_port_is_shown_once_it_is_down() {
    let log = Log::default();
    let chosen = log.clone();
    let chooses = hook("chooses", Event::RouteDecision, Hint::Last, move |cx, mut packet| {
        let down = packet.choose_next_hop(cx, None, Some(InterfaceId(3)));
        chosen.note(format!("{:?}", down == Err(ChoiceError::Down(InterfaceId(3)))));
        Verdict::Continue
    });
    let out = witness("out", Event::PhysicalOut, &log);
    let mut router = ready(&three_ports(), vec![chooses, out]);
    router.set_down(&[2]);
    assert_eq!(router.forward(0, &across(b"x")).unwrap().0, 1);
    assert_eq!(log.take(), ["true", "out"]);
    let to_dmz = udp4([10, 0, 0, 2], [10, 0, 2, 2], b"x");
    let (port, unreachable) = router.forward(0, &to_dmz).expect("an ICMP error");
    assert_eq!((port, ipv4_of(&unreachable).1[0]), (0, 3));
    router.assert_balanced();
}
