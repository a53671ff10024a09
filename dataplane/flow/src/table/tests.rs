use super::*;
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
