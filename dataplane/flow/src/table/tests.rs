use super::*;
use crate::half::NO_PATH;
use crate::limits::Allowance;
use sluice_packet::{FlowKey, Mask, tcp as flag};

pub(super) const HERTZ: u64 = 1_000_000;
pub(super) const SECOND: u64 = HERTZ;

fn table(connections: u32) -> Table {
    Table::new(Limits::connections(connections), [1, 2], HERTZ).expect("memory")
}

pub(super) fn packet(
    protocol: u8,
    src: u128,
    dst: u128,
    src_port: u16,
    dst_port: u16,
) -> Descriptor {
    let key = FlowKey { src, dst, src_port, dst_port, protocol, family: Family::Inet };
    Descriptor { key, l3_length: 100, ..Descriptor::default() }
}

pub(super) fn answer(d: &Descriptor) -> Descriptor {
    let FlowKey { src, dst, src_port, dst_port, .. } = d.key;
    let key = FlowKey { src: dst, dst: src, src_port: dst_port, dst_port: src_port, ..d.key };
    Descriptor { key, ..*d }
}

fn udp(number: u32) -> Descriptor {
    packet(protocol::UDP, 0x0a00_0000 + u128::from(number), 0x0808_0808, 5000, 53)
}

fn find(table: &mut Table, d: &Descriptor, now: u64) -> Option<HalfId> {
    let mut found = [HalfId::NONE; 64];
    table.find(Mask::only(5), 0, now, |_| d, &mut found);
    found[5].is_some().then_some(found[5])
}

fn new(table: &mut Table, d: &Descriptor, now: u64) -> Option<HalfId> {
    let segment = TcpSegment { flags: d.tcp_flags, window: 1000, ..TcpSegment::default() };
    let inserted = table.insert(d, 0, Some(&segment), now)?;
    assert!(inserted.new);
    Some(inserted.id)
}

#[test]
fn both_directions_find_one_connection() {
    let mut table = table(1);
    let d = udp(1);
    assert_eq!(find(&mut table, &d, 0), None);
    let id = new(&mut table, &d, 0).expect("room");
    assert_eq!(find(&mut table, &d, 0), Some(id));
    let back = find(&mut table, &answer(&d), 0).expect("the reply's half");
    assert_eq!(back, id.other());
    let mut track = |id, d: &Descriptor| table.track(id, d, None, Strictness::Strict, 0);
    assert_eq!(track(id, &d), ConnectionState::New);
    assert_eq!(track(back, &answer(&d)), ConnectionState::Established);
    assert_eq!(track(id, &d), ConnectionState::Established);
    assert_eq!(table.count(id), Count { packets: 3, bytes: 300 });
    assert_eq!(table.count(back), Count { packets: 1, bytes: 100 });
    let again = table.insert(&answer(&d), 0, None, 0).expect("it is there");
    assert_eq!(again, Inserted { id: back, new: false });
    table.remove(back);
    assert_eq!(find(&mut table, &d, 0), None);
    assert_eq!(find(&mut table, &answer(&d), 0), None);
    assert_eq!(table.counters().connections, 0);
}

#[test]
fn instances_are_apart() {
    let mut table = table(8);
    let d = udp(1);
    let id = table.insert(&d, 3, None, 0).expect("room").id;
    let mut found = [HalfId::NONE; 64];
    table.find(Mask::only(0), 4, 0, |_| &d, &mut found);
    assert!(found[0].is_none());
    table.find(Mask::only(0), 3, 0, |_| &d, &mut found);
    assert_eq!(found[0], id);
}

#[test]
fn a_packet_from_a_host_to_itself_is_one_half() {
    let mut table = table(2);
    let d = packet(protocol::UDP, 1, 1, 7, 7);
    let id = new(&mut table, &d, 0).expect("room");
    assert_eq!(find(&mut table, &d, 0), Some(id));
    table.remove(id);
    assert_eq!(find(&mut table, &d, 0), None);
    assert_eq!(table.counters().connections, 0);
}

#[test]
fn a_tcp_connection_opens_and_is_not_evicted() {
    let mut table = table(1);
    let syn = Descriptor { tcp_flags: flag::SYN, ..packet(protocol::TCP, 1, 2, 1000, 80) };
    let id = new(&mut table, &syn, 0).expect("room");
    let segment = |sequence, acknowledgement, flags| TcpSegment {
        sequence,
        acknowledgement,
        flags,
        window: 1000,
        ..TcpSegment::default()
    };
    let mut track = |id, segment: TcpSegment| {
        let d = Descriptor { tcp_flags: segment.flags, ..syn };
        table.track(id, &d, Some(&segment), Strictness::Strict, 0)
    };
    assert_eq!(
        track(id.other(), segment(70, 1, flag::SYN | flag::ACK)),
        ConnectionState::Established
    );
    assert_eq!(track(id, segment(1, 71, flag::ACK)), ConnectionState::Established);
    assert_eq!(table.counters().half_open, 0);
    assert_eq!(new(&mut table, &udp(1), 0), None);
    assert_eq!(table.counters().full, 1);
    assert_eq!(find(&mut table, &syn, 0), Some(id));
}

#[test]
fn silence_ends_a_connection() {
    let mut table = table(100);
    let d = udp(1);
    new(&mut table, &d, 0).expect("room");
    assert!(find(&mut table, &d, 30 * SECOND).is_some());
    assert_eq!(
        find(&mut table, &d, 31 * SECOND),
        None,
        "found no more, whether the hand came or not"
    );
    let mut now = 0;
    while table.counters().connections > 0 {
        table.tend(now, 16, |_, _| Fate::Keep);
        now += SECOND / 100;
        assert!(now < 40 * SECOND);
    }
    assert!(now >= 30 * SECOND);
    assert_eq!(table.counters().aged, 1);
}

#[test]
fn a_source_is_counted_while_its_connections_live() {
    let mut table = table(8);
    let allowance = Allowance { flows_per_source: Some(2), ..Allowance::default() };
    let from = |port| packet(protocol::UDP, 1, 2, port, 53);
    let mut ids = Vec::new();
    for port in 0..2 {
        assert!(table.allows(5, &allowance, &from(port), 0));
        let id = new(&mut table, &from(port), 0).expect("room");
        assert!(table.hold(id, 5, 2));
        ids.push(id);
    }
    assert!(!table.allows(5, &allowance, &from(3), 0));
    assert!(table.allows(6, &allowance, &from(3), 0), "another rule");
    let third = new(&mut table, &from(3), 0).expect("room");
    assert!(!table.hold(third, 5, 2), "of one burst, all were allowed");
    table.remove(third);
    table.remove(ids[0]);
    assert!(table.allows(5, &allowance, &from(3), 0));
    // Ageing counts down too.
    let mut now = 0;
    while table.counters().connections > 0 {
        table.tend(now, 64, |_, _| Fate::Keep);
        now += SECOND / 10;
    }
    assert_eq!(table.sources.used(), 0);
}

/// Flows whose keys meet in both buckets.
fn colliding(table: &Table, count: usize) -> Vec<Descriptor> {
    let target = table.buckets_of(&udp(0), 0);
    (0..).map(udp).filter(|d| table.buckets_of(d, 0) == target).take(count).collect()
}

#[test]
fn f14_who_knows_the_seed_fills_two_buckets_and_no_more() {
    let mut table = table(64);
    let attack = colliding(&table, 300);
    let others: Vec<_> = (1..48)
        .map(|number| packet(protocol::UDP, 0x0b00_0000 + number, 2, 1, 1))
        .filter(|d| table.buckets_of(d, 0) != table.buckets_of(&attack[0], 0))
        .collect();
    for d in &others {
        new(&mut table, d, 0).expect("room");
    }
    for d in &attack {
        // Each makes room for itself among those that it meets.
        let id = new(&mut table, d, 0).expect("room");
        assert_eq!(find(&mut table, d, 0), Some(id));
    }
    let left = attack.iter().filter(|d| find(&mut table, d, 0).is_some()).count();
    assert!(left <= 16, "{left} in two buckets of eight");
    let lost = others.iter().filter(|d| find(&mut table, d, 0).is_none()).count();
    // Halves of others that were in the two buckets by chance.
    assert!(lost <= 16, "{lost} of {} others", others.len());
}

#[test]
fn f14_open_connections_stay_when_their_buckets_are_attacked() {
    let mut table = table(64);
    let attack = colliding(&table, 100);
    let (open, rest) = attack.split_at(10);
    for d in open {
        let id = open_tcp(&mut table, d);
        assert_eq!(find(&mut table, &as_tcp(d), 0), Some(id));
    }
    for d in rest {
        new(&mut table, d, 0);
    }
    for d in open {
        assert!(find(&mut table, &as_tcp(d), 0).is_some());
    }
}

fn as_tcp(d: &Descriptor) -> Descriptor {
    Descriptor { key: FlowKey { protocol: protocol::TCP, ..d.key }, tcp_flags: flag::SYN, ..*d }
}

fn open_tcp(table: &mut Table, d: &Descriptor) -> HalfId {
    let d = as_tcp(d);
    let id = new(table, &d, 0).expect("room");
    let mut track = |id, sequence, acknowledgement, flags| {
        let segment =
            TcpSegment { sequence, acknowledgement, flags, window: 1000, ..TcpSegment::default() };
        assert_eq!(
            table.track(id, &d, Some(&segment), Strictness::Strict, 0),
            ConnectionState::Established
        );
    };
    track(id.other(), 0, 1, flag::SYN | flag::ACK);
    track(id, 1, 1, flag::ACK);
    id
}

#[test]
fn f13_a_flood_does_not_touch_what_is_open() {
    let mut table = table(1024);
    let open: Vec<_> = (0..1000).map(|n| packet(protocol::TCP, 1, 2, n, 80)).collect();
    for d in &open {
        open_tcp(&mut table, d);
    }
    for number in 0..20_000 {
        let syn = Descriptor { tcp_flags: flag::SYN, ..packet(protocol::TCP, 5, 6, 1, 80) };
        let syn = Descriptor { key: FlowKey { src: 0xc000_0000 + number, ..syn.key }, ..syn };
        assert!(new(&mut table, &syn, 0).is_some(), "the flood evicts itself");
    }
    assert!(open.iter().all(|d| find(&mut table, d, 0).is_some()));
    let counters = table.counters();
    assert_eq!((counters.connections, counters.half_open, counters.full), (1024, 24, 0));
    assert_eq!(counters.evicted_half_open, 20_000 - 24);
    // Who comes in good faith opens after the flood as before.
    open_tcp(&mut table, &packet(protocol::TCP, 7, 8, 9, 80));
}

#[test]
fn f13_what_goes_first() {
    let mut table = table(4);
    let [half_open, closing, idle, open] = [1, 2, 3, 4].map(|n| packet(protocol::UDP, 1, 2, n, 80));
    open_tcp(&mut table, &open);
    let id = new(&mut table, &idle, 0).expect("room");
    table.track(id.other(), &answer(&idle), None, Strictness::Strict, 0);
    let id = open_tcp(&mut table, &closing);
    let reset = TcpSegment { sequence: 1, flags: flag::RST, ..TcpSegment::default() };
    table.track(id, &as_tcp(&closing), Some(&reset), Strictness::Strict, 0);
    new(&mut table, &half_open, 0).expect("room");
    // What comes is open at once: it takes the place of one of the four.
    let left = |table: &mut Table, now| {
        [half_open, as_tcp(&closing), idle, as_tcp(&open)].map(|d| find(table, &d, now).is_some())
    };
    open_tcp(&mut table, &packet(protocol::TCP, 1, 2, 11, 80));
    assert_eq!(left(&mut table, 0), [false, true, true, true]);
    open_tcp(&mut table, &packet(protocol::TCP, 1, 2, 12, 80));
    assert_eq!(left(&mut table, 0), [false, false, true, true]);
    assert_eq!(new(&mut table, &udp(9), 29 * SECOND), None, "it is in use");
    assert_eq!(left(&mut table, 29 * SECOND), [false, false, true, true]);
    assert!(new(&mut table, &udp(9), 31 * SECOND).is_some());
    assert_eq!(left(&mut table, 31 * SECOND), [false, false, false, true]);
    assert_eq!(table.counters().full, 1);
}

/// So many slots does the hand go by.
fn shown(table: &mut Table, now: u64, budget: usize) -> usize {
    let mut count = 0;
    table.tend(now, budget, |_, _| {
        count += 1;
        Fate::Keep
    });
    count / 2
}

#[test]
fn f17_a_clock_that_goes_back_ends_nothing() {
    const LATE: u64 = 1_000_000 * SECOND;
    let mut table = table(16);
    for number in 0..16 {
        new(&mut table, &udp(number), LATE).expect("room");
    }
    shown(&mut table, LATE, 64);
    // A day back, and on from there.
    let back = LATE - 86_400 * SECOND;
    for tenths in 0..100 {
        shown(&mut table, back + tenths * SECOND / 10, 64);
    }
    assert!((0..16).all(|number| find(&mut table, &udp(number), back + 10 * SECOND).is_some()));
    // They age from where the clock is now.
    for tenths in 100..400 {
        shown(&mut table, back + tenths * SECOND / 10, 64);
    }
    assert_eq!(table.counters().aged, 16);
}

#[test]
fn f18_a_standstill_is_made_up_for_by_one_round() {
    let mut table = table(10_000);
    for number in 0..10_000 {
        let d = packet(protocol::TCP, 3, 4, number as u16, 1);
        let d = Descriptor { tcp_flags: flag::ACK, ..d };
        new(&mut table, &d, 0).expect("room");
    }
    table.set_timeouts(Timeouts { tcp_opening: 7200, ..Timeouts::DEFAULT });
    shown(&mut table, 0, 100);
    let now = 60 * SECOND;
    let rounds: Vec<usize> = (0..400).map(|_| shown(&mut table, now, 100)).collect();
    assert!(rounds.iter().all(|&count| count <= 100), "no more at once than was said");
    assert_eq!(rounds.iter().sum::<usize>(), 10_000, "once round");
    assert_eq!(shown(&mut table, now + SECOND, usize::MAX), 5_000, "and on at its pace");
}

#[test]
fn f18_what_ages_at_once_goes_bit_by_bit() {
    let mut table = table(10_000);
    for number in 0..10_000 {
        new(&mut table, &udp(number), 0).expect("room");
    }
    table.tend(0, 100, |_, _| Fate::Keep);
    let mut before = 10_000;
    for _ in 0..100 {
        table.tend(3600 * SECOND, 100, |_, _| Fate::Keep);
        let after = table.counters().connections;
        assert!(before - after <= 100);
        before = after;
    }
    assert_eq!(before, 0);
}

#[test]
fn f25_counters_run_over_into_totals_and_totals_wrap() {
    let mut table = table(1);
    let d = Descriptor { l3_length: u16::MAX, ..udp(1) };
    let id = new(&mut table, &d, 0).expect("room");
    for _ in 1..200_000 {
        table.track(id, &d, None, Strictness::Loose, 0);
    }
    assert_eq!(table.count(id), Count { packets: 200_000, bytes: 200_000 * 65_535 });
    table.totals[0][0] = Count { packets: u64::MAX - 5, bytes: u64::MAX - 5 };
    for _ in 0..100_000 {
        table.track(id, &d, None, Strictness::Loose, 0);
    }
    assert!(table.count(id).packets < 200_000, "wrapped, without a panic");
}

#[test]
fn f25_the_clock_wraps() {
    // The count of ticks wraps here, and the last moment of the clock itself is near.
    for start in [(u64::from(u32::MAX) << 11) - SECOND, u64::MAX - 100 * SECOND] {
        let mut table = table(4);
        new(&mut table, &udp(1), start).expect("room");
        for tenths in 0..290 {
            shown(&mut table, start + tenths * SECOND / 10, 64);
        }
        assert!(find(&mut table, &udp(1), start + 29 * SECOND).is_some());
        for tenths in 290..400 {
            shown(&mut table, start + tenths * SECOND / 10, 64);
        }
        assert_eq!(table.counters().aged, 1);
    }
}

#[test]
fn conformance_97_what_begins_a_connection() {
    let icmp = |icmp_type| Descriptor { icmp_type, ..packet(protocol::ICMP, 1, 2, 7, 0) };
    let segment = |tcp_flags| Descriptor { tcp_flags, ..packet(protocol::TCP, 1, 2, 1000, 80) };
    let later = Descriptor { fragment: Fragment::Later, ..udp(1) };
    let mut group = icmp(143);
    (group.key.protocol, group.key.family) = (protocol::ICMPV6, Family::Inet6);
    use ConnectionState::{Invalid, New, Untracked};
    for (d, strict, loose) in [
        (udp(1), New, New),
        (packet(47, 1, 2, 0, 0), New, New),
        (segment(flag::SYN), New, New),
        (segment(flag::SYN | flag::ACK), Invalid, New),
        (segment(flag::ACK), Invalid, New),
        (segment(flag::RST), Invalid, New),
        (segment(flag::SYN | flag::FIN), Invalid, New),
        (segment(0), Invalid, New),
        (icmp(8), New, New),
        (icmp(0), Invalid, New),
        (icmp(3), Invalid, Untracked),
        (icmp(9), Untracked, Untracked),
        (group, Untracked, Untracked),
        (later, Invalid, Untracked),
    ] {
        assert_eq!(Table::classify(&d, Strictness::Strict), strict, "{d:?}");
        assert_eq!(Table::classify(&d, Strictness::Loose), loose, "{d:?}");
    }
}

#[test]
fn conformance_103_an_error_belongs_to_what_it_quotes() {
    let mut table = table(8);
    let flow = packet(protocol::TCP, 1, 2, 1000, 80);
    let id = open_tcp(&mut table, &flow);
    let error = |dst| Descriptor { icmp_type: 3, ..packet(protocol::ICMP, 99, dst, 0, 0) };
    let quoted = |d: &Descriptor, sequence| Quoted { descriptor: as_tcp(d), sequence };
    let related = |dst, d: &Descriptor, sequence, now| {
        table.related(&error(dst), &quoted(d, sequence), 0, now)
    };
    assert_eq!(related(1, &flow, 1, 0), Some(id));
    assert_eq!(related(2, &answer(&flow), 1, 0), Some(id.other()));
    assert_eq!(related(2, &flow, 1, 0), None, "not to who sent it");
    assert_eq!(related(1, &flow, 5000, 0), None, "never sent");
    assert_eq!(related(1, &packet(protocol::TCP, 1, 2, 1001, 80), 1, 0), None, "of none");
    assert_eq!(related(1, &flow, 1, 7500 * SECOND), None, "over");
}

#[test]
fn conformance_112_reopening_turns_a_connection_round() {
    let mut table = table(1);
    let flow = packet(protocol::TCP, 1, 2, 1000, 80);
    let id = open_tcp(&mut table, &flow);
    for id in [id, id.other()] {
        table.half_mut(id).path = 7;
    }
    let mut track = |id, sequence, flags| {
        let segment = TcpSegment { sequence, flags, window: 1000, ..TcpSegment::default() };
        table.track(id, &as_tcp(&flow), Some(&segment), Strictness::Strict, 0)
    };
    assert_eq!(track(id, 1, flag::RST), ConnectionState::Established);
    assert_eq!(track(id.other(), 77, flag::SYN), ConnectionState::New, "from outside: judged anew");
    assert!(table.half(id).is_reply() && !table.half(id.other()).is_reply());
    assert!([id, id.other()].iter().all(|&id| table.half(id).path == NO_PATH));
    let counters = table.counters();
    assert_eq!((counters.half_open, counters.reopened, counters.connections), (1, 1, 1));
}

#[test]
fn the_hand_shows_every_half_in_two_seconds_and_ends_what_it_is_told_to() {
    let mut table = table(1000);
    for number in 0..600 {
        new(&mut table, &udp(number), 0).expect("room");
    }
    table.tend(0, 64, |_, _| Fate::Keep);
    let mut shown = std::collections::HashSet::new();
    for milliseconds in 1..=2000 {
        table.tend(milliseconds * SECOND / 1000, 64, |id, half| {
            assert_eq!(half.is_reply(), id.side() == 1);
            shown.insert(id);
            let ends = half.key().flow_key().src == 0x0a00_0007;
            if ends { Fate::End } else { Fate::Keep }
        });
    }
    assert_eq!(shown.len(), 2 * 600 - 1);
    assert_eq!(table.counters().removed, 1);
    assert_eq!(find(&mut table, &udp(7), 2 * SECOND), None);
}
