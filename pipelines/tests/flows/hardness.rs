//! What the whole pipeline has to stand (R5, R7, R9, R13, f12, f14): damaged frames, storms of what calls
//! for an answer, a pool that is empty, flows that are aimed at a bucket; and that it does the same with the
//! same, and without a single allocation.

use std::collections::BTreeMap;

use etherparse::PacketBuilder;
use sluice_flow::Table;
use sluice_packet::{Descriptor, Family, FlowKey, protocol};
use sluice_policy::{DropReason, Level, Stage};

use crate::router::{FLOWS, SEED, mac, station};
use crate::{acquaint, asked, plain_udp, router, udp, udp6};

/// Something of everything: states, policy routes, counting rules.
const ALL: &str = "
filters:
  ingress: { rules: [{ name: seen, protocol: udp, action: count }] }
  forward:
    stateful: true
    default: drop
    rules: [{ in: p0, action: accept }, { protocol: icmp, action: accept }]
routes: [{ to: 203.0.113.0/24, via: 10.0.2.2 }]
policy-routes: [{ name: steered, protocol: udp, destination-port: 5001-5009, via: 10.0.2.2 }]
";

/// A variable of the environment, or what it is without.
fn setting(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

/// Numbers without a pattern (xorshift64).
struct Random(u64);

impl Random {
    fn seeded() -> Random {
        Random(0x2545_f491_4f6c_dd1d ^ setting("SLUICE_SEED", 1))
    }

    fn next(&mut self) -> u64 {
        for shift in [13, -7, 17_i32] {
            self.0 ^= if shift > 0 { self.0 << shift } else { self.0 >> -shift };
        }
        self.0
    }

    fn below(&mut self, n: usize) -> usize {
        (self.next() % n.max(1) as u64) as usize
    }
}

/// Frames of every kind that there is, to be damaged.
fn good() -> Vec<Vec<u8>> {
    let base =
        || PacketBuilder::ethernet2(station(0), mac(0)).ipv4([10, 0, 0, 2], [10, 0, 1, 2], 64);
    let mut tcp = Vec::new();
    base().tcp(4000, 80, 1000, 1024).syn().write(&mut tcp, &[]).unwrap();
    let mut echo = Vec::new();
    PacketBuilder::ethernet2(station(0), mac(0))
        .ipv4([10, 0, 0, 2], [10, 0, 0, 1], 64)
        .icmpv4_echo_request(7, 1)
        .write(&mut echo, b"ping")
        .unwrap();
    let mut tagged = Vec::new();
    PacketBuilder::ethernet2(station(0), mac(0))
        .single_vlan(etherparse::VlanId::try_new(5).unwrap())
        .ipv4([10, 0, 0, 2], [10, 0, 1, 2], 64)
        .udp(4000, 5000)
        .write(&mut tagged, b"data")
        .unwrap();
    let first = udp(0, 1, |header| header.more_fragments = true);
    let later = udp(0, 1, |header| header.fragment_offset = 2.try_into().unwrap());
    let mut arp = [&[0xff; 6][..], &station(0), &[8, 6, 0, 1, 8, 0, 6, 4, 0, 1]].concat();
    arp.extend([&station(0)[..], &[10, 0, 0, 2], &[0; 6], &[10, 0, 0, 1]].concat());
    vec![plain_udp(), udp6(), tcp, echo, tagged, first, later, arp]
}

#[test]
fn r5_damaged_frames_are_dropped_by_name_and_nothing_leaks() {
    let frames = setting("SLUICE_MUTATED_FRAMES", 100_000) as usize;
    let good = good();
    let mut random = Random::seeded();
    let mut router = router(ALL, vec![]);
    for _ in 0..frames / 64 {
        let damaged: Vec<Vec<u8>> = (0..64)
            .map(|_| {
                let mut frame = good[random.below(good.len())].clone();
                for _ in 0..random.below(8) {
                    let at = random.below(frame.len());
                    frame[at] = random.next() as u8;
                }
                if random.below(4) == 0 {
                    frame.truncate(random.below(frame.len()));
                }
                frame
            })
            .collect();
        router.receive(random.below(3) as u16, &damaged);
        router.assert_balanced();
    }
    // What waits for neighbours and for first fragments is given up in time.
    for _ in 0..100 {
        router.pass_time(1000);
        if router.pool.in_use() == 0 {
            break;
        }
    }
    assert_eq!(router.pool.in_use(), 0, "all buffers are back");
    router.assert_balanced();
    assert!(router.forward(0, &plain_udp()).is_some(), "and it forwards");
}

#[test]
fn every_level_of_instructions_makes_the_same_of_the_same_frames() {
    let mut random = Random::seeded();
    let good = good();
    let bursts: Vec<Vec<_>> = (0..200)
        .map(|_| {
            let damaged = (0..64).map(|_| {
                let mut frame = good[random.below(good.len())].clone();
                let at = random.below(frame.len());
                frame[at] ^= 1 << random.below(8);
                frame
            });
            damaged.collect()
        })
        .collect();
    let forwarded = |level: Level| {
        assert_eq!(level.used_from_now_on(), level.min(Level::of_processor()));
        let mut router = router(ALL, vec![]);
        let mut out: Vec<_> = bursts.iter().map(|burst| router.receive(0, burst)).collect();
        // What goes back is limited by time.
        out.iter_mut().for_each(|out| drop(out.remove(&0)));
        out
    };
    let (baseline, v3) = (forwarded(Level::Baseline), forwarded(Level::V3));
    assert!(baseline.iter().flat_map(|out| out.values()).map(Vec::len).sum::<usize>() > 1_000);
    assert_eq!(baseline, v3);
}

#[test]
fn r9_what_calls_for_answers_does_not_keep_the_rest_waiting() {
    let mut router = router("", vec![]);
    let mut arp = [&[0xff; 6][..], &station(0), &[8, 6, 0, 1, 8, 0, 6, 4, 0, 1]].concat();
    arp.extend([&station(0)[..], &[10, 0, 0, 2], &[0; 6], &[10, 0, 0, 1]].concat());
    let expiring = {
        let mut frame = Vec::new();
        PacketBuilder::ethernet2(station(0), mac(0))
            .ipv4([10, 0, 0, 2], [10, 0, 1, 2], 1)
            .udp(4000, 5000)
            .write(&mut frame, b"data")
            .unwrap();
        frame
    };
    let storm = [expiring, arp, plain_udp()];
    let (mut errors, mut forwarded) = (0, 0);
    for _ in 0..200 {
        let burst: Vec<_> = storm.iter().cycle().take(63).cloned().collect();
        let out = router.receive(0, &burst);
        forwarded += out.get(&1).map_or(0, Vec::len);
        let answers = out.get(&0).into_iter().flatten();
        errors += answers.filter(|frame| frame[12..14] == [8, 0]).count();
    }
    assert_eq!(forwarded, 200 * 21, "every good packet is forwarded in its turn");
    assert!((1..2_000).contains(&errors), "{errors} errors about 4,200 packets");
    router.assert_balanced();
}

#[test]
fn f12_an_empty_pool_costs_packets_and_nothing_else() {
    let mut router = router("", vec![]);
    let mut held: Vec<_> = std::iter::from_fn(|| router.pool.alloc()).collect();
    // One buffer is left for the packet that comes in, none for what the router makes.
    held.pop();
    let expiring = udp(0, 1, |header| header.time_to_live = 1);
    for _ in 0..10 {
        assert!(router.forward(0, &plain_udp()).is_some(), "forwarding needs no other buffer");
        assert_eq!(router.forward(0, &expiring), None);
    }
    assert_eq!(router.dropped(DropReason::HopLimitExceeded), 10);
    drop(held);
    assert_eq!(router.pool.in_use(), 0);
    assert!(router.forward(0, &expiring).is_some(), "an ICMP error");
    router.assert_balanced();
}

#[test]
fn f12_what_waits_for_mute_neighbours_is_bounded_and_given_up() {
    let mut router = router("", vec![]);
    let to = |host: u8| {
        let mut frame = Vec::new();
        PacketBuilder::ethernet2(station(0), mac(0))
            .ipv4([10, 0, 0, 2], [10, 0, 1, host], 64)
            .udp(4000, 5000)
            .write(&mut frame, b"data")
            .unwrap();
        frame
    };
    for _ in 0..20 {
        let frames: Vec<_> = (3..250).map(to).collect();
        router.receive(0, &frames);
        router.assert_balanced();
    }
    assert!(router.pool.in_use() < router.pool.size() / 2, "{} wait", router.pool.in_use());
    assert!(router.forward(0, &plain_udp()).is_some(), "others pass");
    for _ in 0..100 {
        router.pass_time(1000);
        if router.pool.in_use() == 0 {
            break;
        }
    }
    assert_eq!(router.pool.in_use(), 0);
    router.assert_balanced();
}

/// A datagram of one flow of those that differ in their ports alone; `back` is its answer.
fn between_ports([source, destination]: [u16; 2], back: bool) -> Vec<u8> {
    let (from, to, ports) =
        if back { (1, 0, [destination, source]) } else { (0, 1, [source, destination]) };
    let mut frame = Vec::new();
    PacketBuilder::ethernet2(station(from.into()), mac(from.into()))
        .ipv4([10, 0, from, 2], [10, 0, to, 2], 64)
        .udp(ports[0], ports[1])
        .write(&mut frame, b"data")
        .unwrap();
    frame
}

/// The ports of flows whose keys meet in one bucket: what an attacker sends who knows the seed.
fn aimed(count: usize) -> Vec<[u16; 2]> {
    let table = Table::new(FLOWS, SEED, 1_000_000_000).expect("memory");
    let bucket = |[src_port, dst_port]: [u16; 2]| {
        let [src, dst] = [0x0a00_0002, 0x0a00_0102];
        let (protocol, family) = (protocol::UDP, Family::Inet);
        let key = FlowKey { src, dst, src_port, dst_port, protocol, family };
        table.buckets_of(&Descriptor { key, ..Descriptor::default() }, 0).map(|[first, _]| first)
    };
    let ports = |number: u32| [number as u16, 7_000 + (number >> 16) as u16];
    let target = bucket(ports(1));
    (1..).map(ports).filter(|&ports| bucket(ports) == target).take(count).collect()
}

#[test]
fn f14_flows_aimed_at_a_bucket_put_out_no_open_connection_and_keep_no_other_out() {
    let mut router = router(ALL, vec![]);
    let aimed = aimed(10_000);
    let (open, attack) = aimed.split_at(6);
    for &ports in open {
        assert!(router.forward(0, &between_ports(ports, false)).is_some());
        assert!(router.forward(1, &between_ports(ports, true)).is_some(), "an answer");
    }
    for burst in attack.chunks(64) {
        let frames: Vec<_> = burst.iter().map(|&ports| between_ports(ports, false)).collect();
        let out = router.receive(0, &frames);
        assert_eq!(out[&1].len(), frames.len(), "each makes room for itself");
    }
    router.pass_time(1);
    let counters = router.statistics.worker(0).flows();
    assert_eq!(counters.full.get(), 0);
    assert!(counters.evicted_half_open.get() > 0, "there was no room for all of them");
    for &ports in open {
        assert!(router.forward(1, &between_ports(ports, true)).is_some(), "its rule is its state");
    }
    let decided = asked(&router, Stage::Route);
    for &ports in open {
        assert!(router.forward(0, &between_ports(ports, false)).is_some());
    }
    assert!(asked(&router, Stage::Route) <= decided + open.len() as u64);
    acquaint(&mut router, &plain_udp());
    router.assert_balanced();
}

/// In an optimised build nothing looks.
#[cfg(debug_assertions)]
mod allocations {
    use std::os::unix::process::ExitStatusExt as _;
    use std::process::Command;

    use sluice_hooks::{
        Context, Event, ForeignHook, Hint, Made, Packet, PacketHook, PerPacket, Protocol, Verdict,
    };

    use super::*;
    use crate::router::Registration;

    #[test]
    fn r7_packets_of_every_kind_pass_and_nothing_allocates() {
        let mut router = router(ALL, vec![]);
        let good = good();
        for turn in 0..40 {
            router.receive(turn % 3, &good);
            let ports = (0..64).map(|number| [1024 + turn * 64 + number, 7_000]);
            let frames: Vec<_> = ports.map(|ports| between_ports(ports, false)).collect();
            assert_eq!(router.receive(0, &frames)[&1].len(), 64);
            router.pass_time(100);
            router.assert_balanced();
        }
        let counters = router.statistics.worker(0).flows();
        assert!(counters.evicted_half_open.get() > 0, "the table was full");
    }

    struct Allocating;

    impl PacketHook for Allocating {
        fn packet(&mut self, _: &mut Context<'_>, _: Packet<'_>) -> Verdict {
            drop(std::hint::black_box(Box::new(7)));
            Verdict::Continue
        }
    }

    #[test]
    fn r7_what_allocates_on_a_packets_way_ends_the_program() {
        const TEST: &str =
            "hardness::allocations::r7_what_allocates_on_a_packets_way_ends_the_program";
        const ALLOCATE: &str = "SLUICE_TEST_ALLOCATE";
        if std::env::var_os(ALLOCATE).is_some() {
            let hook = ForeignHook {
                instance: None,
                protocols: vec![Protocol::Inet],
                event: Event::PhysicalIn,
                name: "allocating".into(),
                hint: Hint::None,
            };
            let factory = Made::new(|| PerPacket(Allocating)).factory;
            router("", vec![Registration { hook, factory }]).forward(0, &plain_udp());
            return;
        }
        let program = std::env::current_exe().unwrap();
        let ended = Command::new(program).args(["--exact", TEST]).env(ALLOCATE, "1").output();
        let ended = ended.unwrap();
        let told = String::from_utf8_lossy(&ended.stderr).into_owned();
        assert_eq!(ended.status.signal(), Some(6), "SIGABRT: {told}");
        assert!(told.contains("memory allocation of 4 bytes failed"), "{told}");
    }
}

/// What leaves, in order, by the source port of the flow that it is of: by which port, and the frame.
type Left = BTreeMap<[u8; 2], Vec<(u16, Vec<u8>)>>;

fn leaving(frames: &[Vec<u8>]) -> Left {
    let mut router = router(ALL, vec![]);
    let mut left = Left::new();
    for batch in frames.chunks(48) {
        for (port, out) in router.receive(0, batch) {
            for frame in out {
                left.entry([frame[34], frame[35]]).or_default().push((port, frame));
            }
        }
    }
    router.assert_balanced();
    left
}

#[test]
fn r13_r14_the_same_frames_leave_as_the_same_bytes_in_their_order_on_one_worker_and_on_two() {
    let mut random = Random::seeded();
    let flow = |flow: u16, number: u32| {
        let mut frame = Vec::new();
        PacketBuilder::ethernet2(station(0), mac(0))
            .ipv4([10, 0, 0, 2], [10, 0, 1, 2], 64)
            .udp(4000 + flow, 5000 + flow % 10)
            .write(&mut frame, &number.to_be_bytes())
            .unwrap();
        frame
    };
    let flows: Vec<_> = (0..2_000).map(|number| (random.below(40) as u16, number)).collect();
    let frames = |of: fn(u16) -> bool| -> Vec<_> {
        let flows = flows.iter().filter(|(flow, _)| of(*flow));
        flows.map(|&(number_of_flow, number)| flow(number_of_flow, number)).collect()
    };
    let all = frames(|_| true);
    let one = leaving(&all);
    assert_eq!(one.values().map(Vec::len).sum::<usize>(), all.len());
    for frames in one.values() {
        let numbers = frames.iter().map(|(_, frame)| &frame[42..46]);
        assert!(numbers.is_sorted(), "none overtakes another");
    }
    assert_eq!(leaving(&all), one, "twice the same");
    // A flow is one worker's, whole.
    let mut two = leaving(&frames(|flow| flow % 2 == 0));
    two.extend(leaving(&frames(|flow| flow % 2 == 1)));
    assert_eq!(two, one);
}
