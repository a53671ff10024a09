//! Packets that hooks and other threads inject (section G).

use std::sync::atomic::{AtomicBool, Ordering};

use sluice_hooks::{InjectError, Injection, InterfaceId, OwnedPacket, inject};
use sluice_policy::{DropReason, InstanceId};

use super::*;

fn ip(text: &str) -> std::net::IpAddr {
    text.parse().unwrap()
}

const WAN_INTERFACE: InterfaceId = InterfaceId(2);

/// A hook at PHYSICAL_IN that injects a copy of each packet of port 6000, sent to `port`, `how`.
fn copier(how: Injection) -> Registration {
    hook("copier", Event::PhysicalIn, Hint::First, move |cx, packet| {
        if packet.descriptor().key.dst_port == 6000 {
            let mut copy = packet.copy(cx).expect("a buffer");
            copy.mbuf.data_mut()[22..24].copy_from_slice(&6001u16.to_be_bytes());
            // No checksum: the copy is not the sender's word.
            copy.mbuf.data_mut()[26..28].fill(0);
            cx.inject(copy, how).unwrap();
        }
        Verdict::Continue
    })
}

fn counting(log: &Log) -> Vec<Registration> {
    [Event::PhysicalIn, Event::RouteDecision, Event::Forwarding, Event::PhysicalOut]
        .map(|event| {
            let log = log.clone();
            hook("counts", event, Hint::Last, move |_, packet| {
                log.note(format!("{} {}", event.name(), packet.descriptor().key.dst_port));
                Verdict::Continue
            })
        })
        .into()
}

/// What left, each with its port.
type Left = Vec<(u16, Vec<u8>)>;

/// What leaves when a copy is injected, and what the hooks saw.
fn run(how: Injection) -> (Left, Vec<String>, Router) {
    let log = Log::default();
    let mut hooks = counting(&log);
    hooks.push(copier(how));
    let mut router = ready(&three_ports(), hooks);
    let out = router.receive(0, &[across(b"x")]);
    let mut frames = Vec::new();
    for (port, of_port) in out {
        frames.extend(of_port.into_iter().map(|frame| (port, frame)));
    }
    router.assert_balanced();
    (frames, log.take(), router)
}

/// The destination port and TTL of a frame.
fn port_and_ttl(frame: &[u8]) -> (u16, u8) {
    (u16::from_be_bytes([frame[36], frame[37]]), frame[22])
}

#[test]
fn g1_queue_in_goes_all_the_way_in_again_physical_in_included() {
    let (frames, seen, router) = run(Injection::QueueIn(InterfaceId(1)));
    let expected: Vec<_> = [6000, 6001]
        .iter()
        .flat_map(|port| {
            ["PHYSICAL_IN", "ROUTE_DECISION", "FORWARDING", "PHYSICAL_OUT"]
                .map(|event| format!("{event} {port}"))
        })
        .collect();
    assert_eq!(seen, expected);
    let said: Vec<_> = frames.iter().map(|(port, f)| (*port, port_and_ttl(f))).collect();
    assert_eq!(said, [(1, (6000, 63)), (1, (6001, 63))]);
    assert_eq!(router.statistics.worker(0).core().generated.get(), 1);
    assert_eq!(router.statistics.worker(0).core().rx.get(), 1, "no port received it");
}

#[test]
fn g2_queue_out_is_routed_and_seen_by_physical_out() {
    let (frames, seen, _) = run(Injection::QueueOut);
    assert_eq!(seen[4..], ["ROUTE_DECISION 6001", "PHYSICAL_OUT 6001"]);
    let said: Vec<_> = frames.iter().map(|(port, f)| (*port, port_and_ttl(f))).collect();
    assert_eq!(said, [(1, (6000, 63)), (1, (6001, 64))], "its hop limit is the author's");
}

#[test]
fn g3_what_is_injected_keeps_its_order_and_does_not_run_inside_the_hook() {
    let log = Log::default();
    let inside = Arc::new(AtomicBool::new(false));
    let (enters, looks) = (Arc::clone(&inside), Arc::clone(&inside));
    let injects = hook("injects", Event::PhysicalIn, Hint::None, move |cx, packet| {
        enters.store(true, Ordering::Relaxed);
        for number in 0..20u8 {
            let mut copy = packet.copy(cx).expect("a buffer");
            copy.mbuf.data_mut()[28] = number;
            copy.mbuf.data_mut()[26..28].fill(0);
            cx.inject(copy, Injection::QueueOut).unwrap();
        }
        enters.store(false, Ordering::Relaxed);
        Verdict::Consumed
    });
    let seen = log.clone();
    let out = hook("out", Event::PhysicalOut, Hint::None, move |_, packet| {
        assert!(!looks.load(Ordering::Relaxed));
        seen.note(packet.bytes()[28]);
        Verdict::Continue
    });
    let mut router = ready(&three_ports(), vec![injects, out]);
    let left = router.receive(0, &[across(b"-"), across(b"-")]);
    let order: Vec<String> = (0..20).chain(0..20).map(|n: u8| n.to_string()).collect();
    assert_eq!(log.take(), order);
    assert_eq!(left[&1].len(), 40);
    router.assert_balanced();
}

#[test]
fn g3_g5_another_thread_injects_by_a_ring_and_learns_what_is_refused() {
    let mut router = ready(&three_ports(), Vec::new());
    let here = InstanceId(0);
    let packet = across(b"x")[14..].to_vec();
    let inject = |router: &mut Router, bytes: &[u8], how| {
        let mbuf = router.buffer(bytes);
        router.injector.inject(&router.generation.policy, here, mbuf, how)
    };
    let how = Injection::QueueIn(InterfaceId(1));
    assert_eq!(inject(&mut router, &packet, how), Ok(()));
    let out = router.receive(0, &[]);
    assert_eq!(port_and_ttl(&out[&1][0]), (6000, 63));
    router.assert_balanced();

    let arp = [0, 1, 8, 0, 6, 4, 0, 1];
    assert_eq!(inject(&mut router, &arp, how), Err(InjectError::Unsupported));
    assert_eq!(inject(&mut router, &[], how), Err(InjectError::Unsupported));
    let nowhere = InterfaceId(9);
    let unknown = Err(InjectError::UnknownInterface(nowhere));
    assert_eq!(inject(&mut router, &packet, Injection::QueueIn(nowhere)), unknown);
    let direct = |interface, to| Injection::DirectOut { interface, next_hop: ip(to) };
    assert_eq!(inject(&mut router, &packet, direct(nowhere, "10.0.1.2")), unknown);
    let family = Err(InjectError::Family(ip("fd00:1::2")));
    assert_eq!(inject(&mut router, &packet, direct(WAN_INTERFACE, "fd00:1::2")), family);
    router.assert_balanced();
    for _ in 0..inject::CAPACITY {
        assert_eq!(inject(&mut router, &packet, Injection::QueueOut), Ok(()));
    }
    assert_eq!(inject(&mut router, &packet, Injection::QueueOut), Err(InjectError::Full));
    assert_eq!(router.receive(0, &[])[&1].len(), inject::CAPACITY);
    router.assert_balanced();
}

#[test]
fn g5_what_is_no_packet_is_dropped_by_name_once() {
    let mut router = ready(&three_ports(), Vec::new());
    let whole = across(b"x")[14..].to_vec();
    let mut broken = whole.clone();
    broken[10] ^= 1;
    for (how, reason) in [
        (Injection::QueueIn(InterfaceId(1)), DropReason::Ipv4Checksum),
        (Injection::QueueOut, DropReason::HookMalformed),
        (
            Injection::DirectOut { interface: WAN_INTERFACE, next_hop: ip("10.0.1.2") },
            DropReason::HookMalformed,
        ),
    ] {
        let before = router.dropped(reason);
        let mbuf = router.buffer(&broken);
        router.injector.inject(&router.generation.policy, InstanceId(0), mbuf, how).unwrap();
        assert!(router.receive(0, &[]).is_empty());
        assert_eq!(router.dropped(reason), before + 1, "{how:?}");
        router.assert_balanced();
    }
    // Its interface goes while it waits in the ring.
    let how = Injection::QueueIn(InterfaceId(3));
    let mbuf = router.buffer(&whole);
    router.injector.inject(&router.generation.policy, InstanceId(0), mbuf, how).unwrap();
    router.commit(&ports(&[(LAN, 1500), (WAN, 1500)]));
    assert!(router.receive(0, &[]).is_empty());
    assert_eq!(router.dropped(DropReason::InterfaceDown), 1);
    router.assert_balanced();
}

#[test]
fn g4_direct_out_meets_no_hook_and_no_route_and_is_sent_as_it_is() {
    let how = Injection::DirectOut { interface: InterfaceId(3), next_hop: ip("10.0.2.2") };
    let (frames, seen, _) = run(how);
    assert!(seen.iter().all(|line| line.ends_with("6000")), "{seen:?}");
    let (port, frame) = frames.iter().find(|(port, _)| *port == 2).expect("it left");
    assert_eq!((*port, port_and_ttl(frame)), (2, (6001, 64)));
    assert_eq!((&frame[..6], &frame[6..12]), (&station(2)[..], &mac(2)[..]));
    assert_eq!(frame[30..34], [10, 0, 1, 2], "only the link header is new");
}

#[test]
fn g4_direct_out_waits_for_a_neighbour_that_is_not_known() {
    let how = Injection::DirectOut { interface: InterfaceId(3), next_hop: ip("10.0.2.9") };
    let mut router = ready(&three_ports(), vec![copier(how)]);
    let out = router.receive(0, &[across(b"x")]);
    assert_eq!(out.keys().copied().collect::<Vec<_>>(), [1]);
    let core = |router: &Router| router.statistics.worker(0).core().held.get();
    assert_eq!(core(&router), 1);
    router.assert_balanced();
    let asked = router.pass_time(1);
    assert_eq!(asked[&2][0][12..14], [8, 6], "an ARP request");
    // A commit in between does not have it routed.
    let mut state = three_ports();
    state.interfaces.get_mut("p1").unwrap().mtu = 1400;
    router.commit(&state);
    assert!(!router.pass_time(1).contains_key(&1));
    router.know(2, "10.0.2.9");
    let out = router.pass_time(1);
    assert_eq!(port_and_ttl(&out[&2][0]), (6001, 64));
    assert_eq!(core(&router), 0);
    router.assert_balanced();
}

#[test]
fn g6_a_hook_that_injects_what_it_is_shown_is_stopped() {
    for by_copy in [false, true] {
        let loops = hook("loops", Event::PhysicalIn, Hint::None, move |cx, packet| {
            let again = if by_copy {
                // A packet made anew has no past of its own: what is in hand counts.
                let mut buffer = cx.buffer().expect("a buffer");
                let bytes = packet.bytes();
                buffer.append(bytes.len()).expect("room").copy_from_slice(bytes);
                OwnedPacket::from(buffer)
            } else {
                packet.take().expect("a packet")
            };
            match cx.inject(again, Injection::QueueIn(InterfaceId(1))) {
                Ok(()) | Err(InjectError::Loop) => Verdict::Consumed,
                Err(error) => panic!("{error}"),
            }
        });
        let mut router = ready(&three_ports(), vec![loops]);
        let frames: Vec<_> = (0..10).map(|n| across(&[n; 4])).collect();
        assert!(router.receive(0, &frames).is_empty());
        assert_eq!(router.dropped(DropReason::InjectLoop), 10);
        let core = router.statistics.worker(0).core();
        assert_eq!(core.generated.get(), 10 * (u64::from(inject::MOST) + 1));
        router.assert_balanced();
    }
}

#[test]
fn g5_g7_a_full_queue_refuses_and_never_waits() {
    let log = Log::default();
    let note = log.clone();
    let floods = hook("floods", Event::PhysicalIn, Hint::None, move |cx, packet| {
        let mut full = 0;
        for _ in 0..inject::CAPACITY + 10 {
            let copy = packet.copy(cx).expect("a buffer");
            full += u32::from(cx.inject(copy, Injection::QueueOut) == Err(InjectError::Full));
        }
        note.note(full);
        Verdict::Consumed
    });
    let mut router = ready(&three_ports(), vec![floods]);
    let out = router.receive(0, &[across(b"x")]);
    assert_eq!(out[&1].len(), inject::CAPACITY);
    assert_eq!(log.take(), ["10"]);
    router.assert_balanced();
}
