//! Bytes, headers, chains, metadata, and where a packet's buffer ends up (section F, E12, E15).

use sluice_hooks::{
    Event, Hint, InterfaceId, LinkGroup, MetadataKey, OwnedPacket, PacketError, Verdict,
};
use sluice_policy::DropReason;

use super::*;

#[test]
fn f1_the_interfaces_of_each_event_are_there_or_absent() {
    let log = Log::default();
    let told = |name: &'static str, event| {
        let log = log.clone();
        hook(name, event, Hint::Last, move |_, packet| {
            assert_eq!(packet.event(), event);
            let said = |interface: Option<InterfaceId>| interface.map_or(0, |id| id.0);
            let (protocol, ways) =
                (packet.protocol(), (said(packet.ingress()), said(packet.egress())));
            log.note(format!("{name} {protocol:?} {ways:?}"));
            Verdict::Continue
        })
    };
    let hooks = vec![
        told("in", Event::PhysicalIn),
        told("decide", Event::RouteDecision),
        told("forward", Event::Forwarding),
        told("out", Event::PhysicalOut),
    ];
    let mut router = ready(&three_ports(), hooks);
    router.forward(0, &across(b"x")).unwrap();
    let expected =
        ["in Inet (1, 0)", "decide Inet (1, 0)", "forward Inet (1, 2)", "out Inet (0, 2)"];
    assert_eq!(log.take(), expected);
    router.forward(0, &udp6("fd00:0::2", "fd00:1::2", b"x")).unwrap();
    assert_eq!(log.take(), expected.map(|line| line.replace("Inet", "Inet6")));
    router.assert_balanced();
}

#[test]
fn f3_f4_e12_every_verdict_frees_each_buffer_once() {
    // The first byte of the payload says what becomes of the packet.
    let kept = Arc::new(Mutex::new(Vec::<OwnedPacket>::new()));
    let keep = Arc::clone(&kept);
    let judge = hook("judge", Event::PhysicalIn, Hint::None, move |cx, mut packet| {
        match packet.bytes()[28] {
            b'd' => Verdict::Drop(DropReason::HookDropped),
            b'c' => Verdict::Consumed,
            b't' => {
                keep.lock().unwrap().extend(packet.take());
                Verdict::Consumed
            }
            // What a hook says of a packet that it has taken is of no account.
            b'f' => {
                drop(packet.take());
                Verdict::Continue
            }
            b'b' => {
                keep.lock().unwrap().extend(packet.take());
                Verdict::Drop(DropReason::HookDropped)
            }
            b'r' => {
                let copy = packet.copy(cx).expect("a buffer");
                let old = packet.replace(copy).expect("room for the link header");
                assert_eq!(old.mbuf.data(), packet.bytes());
                Verdict::Continue
            }
            _ => Verdict::Continue,
        }
    });
    let log = Log::default();
    let mut router = ready(&three_ports(), vec![judge, witness("next", Event::PhysicalIn, &log)]);
    let frames: Vec<_> = b"dctfbr-dctfbr-".iter().map(|kind| across(&[*kind; 4])).collect();
    let out = router.receive(0, &frames);
    assert_eq!(out[&1].iter().map(|frame| frame[42]).collect::<Vec<_>>(), b"r-r-");
    assert_eq!(log.take().len(), 4, "a packet that is gone is shown to no later hook");
    assert_eq!(router.dropped(DropReason::HookDropped), 2);
    assert_eq!(router.statistics.worker(0).core().consumed.get(), 8);
    // Taken are two times `t` and `b`; all others are back in the pool.
    assert_eq!(kept.lock().unwrap().len(), 4);
    assert_eq!(router.pool.in_use(), 4);
    let first = kept.lock().unwrap().remove(0);
    assert_eq!((first.mbuf.data()[0], first.mbuf.data()[28]), (0x45, b't'));
    drop(first);
    kept.lock().unwrap().clear();
    router.assert_balanced();
}

#[test]
fn f4_a_hook_may_make_another_packet_of_one() {
    // As NAT64 does: an IPv6 packet goes on as an IPv4 one, for later hooks and for routing.
    let translate = hook("translate", Event::PhysicalIn, Hint::None, |cx, mut packet| {
        if packet.protocol() != Protocol::Inet6 {
            return Verdict::Continue;
        }
        let new = &across(b"translated")[14..];
        let mut buffer = cx.buffer().expect("a buffer");
        buffer.append(new.len()).expect("room").copy_from_slice(new);
        drop(packet.replace(buffer).expect("room for the link header"));
        assert_eq!(packet.bytes(), new);
        Verdict::Continue
    });
    let log = Log::default();
    let seen = log.clone();
    let later = hook("later", Event::PhysicalIn, Hint::After("translate".into()), move |_, p| {
        seen.note(format!("{:?} {}", p.protocol(), p.descriptor().key.dst_ip()));
        Verdict::Continue
    });
    let mut router = ready(&three_ports(), vec![translate, later]);
    let (port, frame) = router.forward(0, &udp6("fd00:0::2", "fd00:2::2", b"x")).unwrap();
    assert_eq!((port, frame[12..14].to_vec()), (1, vec![8, 0]));
    assert!(frame.ends_with(b"translated"));
    assert_eq!(log.take(), ["Inet 10.0.1.2"], "once, and as what it is now");
    router.assert_balanced();
}

#[test]
fn f5_after_a_change_at_physical_in_routing_uses_the_new_destination() {
    let dnat = hook("dnat", Event::PhysicalIn, Hint::First, |_, mut packet| {
        match packet.protocol() {
            Protocol::Inet => packet.bytes_mut()[16..20].copy_from_slice(&[10, 0, 2, 2]),
            _ => {
                let to: std::net::Ipv6Addr = "fd00:2::2".parse().unwrap();
                packet.write(24, &to.octets()).unwrap();
            }
        }
        packet.write_checksums().unwrap();
        Verdict::Continue
    });
    let mut router = ready(&three_ports(), vec![dnat]);
    let (port, out) = router.forward(0, &across(b"x")).unwrap();
    let (header, payload) = ipv4_of(&out);
    assert_eq!((port, header.destination), (2, [10, 0, 2, 2]));
    let udp = etherparse::UdpHeader::from_slice(&payload).unwrap().0;
    assert_eq!(udp.checksum, udp.calc_checksum_ipv4(&header, b"x").unwrap());
    let (port, out) = router.forward(0, &udp6("fd00:0::2", "fd00:1::2", b"y")).unwrap();
    assert_eq!(port, 2);
    let ipv6 = etherparse::Ipv6Header::from_slice(&out[14..]).unwrap().0;
    let udp = etherparse::UdpHeader::from_slice(&out[54..]).unwrap().0;
    assert_eq!(udp.checksum, udp.calc_checksum_ipv6(&ipv6, b"y").unwrap());
    router.assert_balanced();
}

#[test]
fn f6_what_a_hook_makes_no_packet_of_is_dropped_and_shown_to_nobody() {
    let breaks = hook("breaks", Event::PhysicalIn, Hint::First, |_, mut packet| {
        match packet.bytes()[28] {
            b'v' => packet.bytes_mut()[0] = 0x25,
            b'l' => packet.bytes_mut()[2..4].copy_from_slice(&2000u16.to_be_bytes()),
            b's' => packet.bytes_mut()[8] -= 1,
            b'0' => packet.truncate(0),
            _ => packet.bytes_mut()[28] = b'!',
        }
        Verdict::Continue
    });
    let log = Log::default();
    let mut router = ready(&three_ports(), vec![breaks, witness("next", Event::PhysicalIn, &log)]);
    let frames: Vec<_> = b"vls0-".iter().map(|kind| across(&[*kind; 4])).collect();
    let out = router.receive(0, &frames);
    assert_eq!(out[&1].len(), 1);
    assert_eq!(out[&1][0][42], b'!');
    assert_eq!(log.take(), ["next"]);
    assert_eq!(router.dropped(DropReason::HookMalformed), 4);
    router.assert_balanced();
}

#[test]
fn f6_physical_in_sees_only_valid_packets() {
    let log = Log::default();
    let mut router = ready(&three_ports(), vec![witness("in", Event::PhysicalIn, &log)]);
    let good = across(b"hello");
    let mut bad = Vec::new();
    for place in [14, 16, 24] {
        let mut frame = good.clone();
        frame[place] ^= 0x40;
        bad.push(frame);
    }
    bad.push(good[..30].to_vec());
    assert!(router.receive(0, &bad).is_empty());
    assert_eq!(log.take(), Vec::<String>::new());
    router.assert_balanced();
}

#[test]
fn f7_group_flags_are_the_link_layers_and_at_physical_in_alone() {
    let log = Log::default();
    let told = |name: &'static str, event| {
        let log = log.clone();
        hook(name, event, Hint::First, move |_, packet| {
            log.note(match packet.link_group() {
                None => format!("{name} -"),
                Some(LinkGroup::Multicast) => format!("{name} m"),
                Some(LinkGroup::Broadcast) => format!("{name} b"),
            });
            Verdict::Continue
        })
    };
    let hooks = vec![told("in", Event::PhysicalIn), told("decide", Event::RouteDecision)];
    let mut router = ready(&three_ports(), hooks);
    let to = |mac: [u8; 6], dst| {
        let mut frame = udp4([10, 0, 0, 2], dst, b"x");
        frame[..6].copy_from_slice(&mac);
        frame
    };
    let group = [1, 0, 0x5e, 1, 1, 1];
    for (frame, expected) in [
        (to(mac(0), [10, 0, 1, 2]), "in -, decide -"),
        (to(mac(0), [233, 252, 0, 1]), "in -, decide -"),
        (to(group, [10, 0, 1, 2]), "in m, decide -"),
        (to([0xff; 6], [10, 0, 1, 2]), "in b, decide -"),
    ] {
        router.receive(0, &[frame]);
        assert_eq!(log.take().join(", "), expected);
    }
    router.assert_balanced();
}

#[test]
fn f9_no_event_sees_a_packet_twice() {
    let key = MetadataKey::named("seen").unwrap();
    let hooks = [Event::PhysicalIn, Event::RouteDecision, Event::Forwarding, Event::PhysicalOut]
        .map(|event| {
            hook(event.name(), event, Hint::None, move |_, mut packet| {
                let seen = packet.note(key).unwrap_or(0);
                assert_eq!(seen >> event as u64 & 1, 0, "{} twice", event.name());
                packet.set_note(key, seen | 1 << event as u64);
                Verdict::Continue
            })
        });
    let mut router = ready(&three_ports(), hooks.into());
    let frames: Vec<_> = (0..130).map(|i| across(&[i; 8])).collect();
    assert_eq!(router.receive(0, &frames)[&1].len(), 130);
    router.assert_balanced();
}

#[test]
fn notes_reach_later_hooks_wait_with_the_packet_and_begin_anew() {
    let key = MetadataKey::named("number").unwrap();
    let log = Log::default();
    let (early, late) = (log.clone(), log.clone());
    let sets = hook("sets", Event::PhysicalIn, Hint::None, move |_, mut packet| {
        early.note(format!("had {:?}", packet.note(key)));
        let number = packet.bytes()[28];
        packet.set_note(key, number.into());
        Verdict::Continue
    });
    let reads = hook("reads", Event::RouteDecision, Hint::None, move |_, packet| {
        late.note(format!("{:?}", packet.note(key)));
        Verdict::Continue
    });
    let mut state = three_ports();
    let mut router = Router::with_hooks(&state, vec![sets, reads]);
    assert!(router.receive(0, &[across(&[7; 4])]).is_empty(), "it waits for its neighbour");
    assert_eq!(log.take(), ["had None", "Some(7)"]);
    // The policy changes meanwhile: it is routed anew, with what was noted.
    state.interfaces.get_mut("p2").unwrap().mtu = 1400;
    router.commit(&state);
    router.know(1, "10.0.1.2");
    assert_eq!(router.pass_time(1)[&1].len(), 1);
    assert_eq!(log.take(), ["Some(7)"]);
    router.forward(0, &across(&[8; 4])).unwrap();
    assert_eq!(log.take(), ["had None", "Some(8)"]);
    router.assert_balanced();
}

#[test]
fn e15_a_packet_in_several_segments_is_read_written_and_pulled_up() {
    let payload: Vec<u8> = (0..200).collect();
    let frame = across(&payload);
    // Headers in the first segment, the payload in three.
    let segments: Vec<Vec<u8>> =
        [&frame[..42], &frame[42..50], &frame[50..150], &frame[150..]].map(<[u8]>::to_vec).into();
    let whole = frame[14..].to_vec();
    let works = hook("works", Event::PhysicalIn, Hint::None, move |_, mut packet| {
        assert!(!packet.is_contiguous());
        assert_eq!((packet.length(), packet.bytes().len()), (whole.len(), 28));
        let mut all = vec![0; whole.len()];
        packet.read(0, &mut all).unwrap();
        assert_eq!(all, whole);
        let length = packet.length();
        let error = PacketError::Short { wanted: length + 1, have: length };
        assert_eq!(packet.read(length, &mut [0]), Err(error));
        assert_eq!(packet.write(length, &[0]), Err(error));
        assert_eq!(packet.pull_up(length + 1), Err(error));
        packet.pull_up(40).unwrap();
        assert_eq!(packet.bytes(), &whole[..40]);
        // Across the end of the second segment.
        packet.write(130, b"SEGMENTS").unwrap();
        packet.pull_up(length).unwrap();
        assert!(packet.is_contiguous());
        assert_eq!(packet.bytes()[130..138], *b"SEGMENTS");
        packet.write_checksums().unwrap();
        Verdict::Continue
    });
    let mut router = ready(&three_ports(), vec![works]);
    let out = router.receive_chains(0, &[segments]);
    let (header, udp) = ipv4_of(&out[&1][0]);
    let (sum, rest) = etherparse::UdpHeader::from_slice(&udp).unwrap();
    assert_eq!(sum.checksum, sum.calc_checksum_ipv4(&header, rest).unwrap());
    assert_eq!(rest[102..110], *b"SEGMENTS");
    router.assert_balanced();
}

#[test]
fn e18_headers_are_pushed_and_popped_and_the_next_hook_sees_it() {
    const OUTER: usize = 20;
    let push = hook("push", Event::PhysicalIn, Hint::None, |_, mut packet| {
        let length = packet.length();
        let header = packet.push(OUTER).unwrap();
        let ip = etherparse::Ipv4Header::new(
            length as u16,
            9,
            etherparse::IpNumber::IPV4,
            [192, 0, 2, 1],
            [10, 0, 2, 2],
        )
        .unwrap();
        header.copy_from_slice(&ip.to_bytes());
        packet.write_checksums().unwrap();
        Verdict::Continue
    });
    let log = Log::default();
    let seen = log.clone();
    let look = hook("look", Event::PhysicalIn, Hint::After("push".into()), move |_, mut packet| {
        let key = packet.descriptor().key;
        seen.note(format!("{} {}", key.dst_ip(), key.protocol));
        if packet.bytes().last() == Some(&b'p') {
            packet.pop(OUTER).unwrap();
        }
        Verdict::Continue
    });
    let mut router = ready(&three_ports(), vec![push, look]);
    let (port, tunnelled) = router.forward(0, &across(b"x")).unwrap();
    assert_eq!((port, tunnelled.len()), (2, across(b"x").len() + OUTER));
    assert_eq!(tunnelled[34..], across(b"x")[14..], "the inner packet is untouched");
    let (port, popped) = router.forward(0, &across(b"p")).unwrap();
    assert_eq!((port, &popped[26..]), (1, &across(b"p")[26..]));
    assert_eq!(log.take(), ["10.0.2.2 4", "10.0.2.2 4"]);

    let full = hook("full", Event::PhysicalIn, Hint::None, |cx, mut packet| {
        let have = packet.headroom();
        let error = PacketError::Headroom { wanted: have + 1, have };
        assert_eq!(packet.push(have + 1).map(drop), Err(error));
        let have = packet.bytes().len();
        assert_eq!(packet.pop(have + 1), Err(PacketError::Short { wanted: have + 1, have }));
        let wanted = 1 << 14;
        assert!(matches!(packet.append(wanted), Err(PacketError::Tailroom { .. })));
        // A buffer without headroom cannot take the packet's place.
        let mut buffer = cx.buffer().expect("a buffer");
        let have = buffer.headroom();
        buffer.prepend(have).expect("all of it");
        let (_, error) = packet.replace(buffer).unwrap_err();
        assert_eq!(error, PacketError::Headroom { wanted: 14, have: 0 });
        Verdict::Continue
    });
    let mut router = ready(&three_ports(), vec![full]);
    let (_, out) = router.forward(0, &across(b"same")).unwrap();
    assert!(out.ends_with(b"same"));
    router.assert_balanced();
}

#[test]
fn what_a_hook_makes_longer_than_the_egress_takes_is_cut() {
    let grow = hook("grow", Event::PhysicalOut, Hint::Last, |_, mut packet| {
        packet.append(100).unwrap().fill(0);
        let length = packet.length() as u16;
        packet.bytes_mut()[2..4].copy_from_slice(&length.to_be_bytes());
        packet.bytes_mut()[6] = 0; // It may be cut.
        packet.write_checksums().unwrap();
        Verdict::Continue
    });
    let mut router = ready(&three_ports(), vec![grow]);
    let (_, out) = router.forward(0, &across(&[0; 100])).unwrap();
    assert_eq!(out.len(), across(&[0; 200]).len());
    let out = router.receive(0, &[across(&[0; 1400])]).remove(&1).unwrap();
    let whole = across(&[0; 1500]).len() - 34;
    assert_eq!(out.iter().map(|frame| frame.len() - 34).collect::<Vec<_>>(), [1480, whole - 1480]);
    assert_eq!(router.dropped(DropReason::FragmentationNeeded), 0);
    router.assert_balanced();
}
