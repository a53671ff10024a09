//! Packets handed from the worker that polls them to the worker that they belong to: nothing is
//! lost, nothing overtakes, and everything is counted.

mod router;

use std::collections::{BTreeMap, VecDeque};

use etherparse::PacketBuilder;
use proptest::prelude::*;
use router::{Router, mac, ports, station};
use sluice_channel::{Limits, Statistics};
use sluice_dpdk::{BURST, Mbuf};
use sluice_pipelines::spread::Spread;
use sluice_policy::{DropReason, PortId};

/// A datagram between two hosts, in either direction, with a number in it.
fn frame(host: u8, back: bool, number: u32) -> Vec<u8> {
    let (a, b) = ([10, 0, 0, host], [10, 0, 1, 9]);
    let (src, dst) = if back { (b, a) } else { (a, b) };
    let builder = PacketBuilder::ethernet2(station(0), mac(0)).ipv4(src, dst, 9);
    let mut frame = Vec::new();
    // The ports differ from packet to packet: owners do not depend on them.
    builder.udp(number as u16, 7).write(&mut frame, &number.to_be_bytes()).unwrap();
    frame
}

fn number(mbuf: &Mbuf) -> u32 {
    u32::from_be_bytes(*mbuf.data().last_chunk().unwrap())
}

/// Workers that do nothing but hand packets to each other.
struct Workers {
    router: Router,
    spreads: Vec<Spread>,
    statistics: Statistics,
    /// What each has for itself, in order: host and number.
    own: Vec<Vec<(u8, u32)>>,
}

impl Workers {
    fn new(count: usize, ring: usize) -> Workers {
        let limits = Limits { workers: count as u16, ports: 4, rules: 4 };
        Workers {
            router: Router::new(&ports(&[(&["10.0.0.1/24"], 1500)])),
            spreads: Spread::between(count, ring).into_iter().flatten().collect(),
            statistics: Statistics::in_memory(limits).unwrap(),
            own: vec![Vec::new(); count],
        }
    }

    fn keep(&mut self, worker: usize, burst: &mut [Option<Mbuf>; BURST], n: usize) {
        for mbuf in burst[..n].iter_mut().map(|slot| slot.take().expect("packets come together")) {
            let (src, dst) = (mbuf.data()[29], mbuf.data()[33]);
            // Hosts are 10.0.0.x, the other end is 10.0.1.9.
            let host = if mbuf.data()[28] == 0 { src } else { dst };
            self.own[worker].push((host, number(&mbuf)));
        }
        assert!(burst.iter().all(Option::is_none));
    }

    /// A worker polls these.
    fn poll(&mut self, worker: usize, frames: &[Vec<u8>]) {
        let mut burst = [const { None }; BURST];
        for (slot, frame) in burst.iter_mut().zip(frames) {
            *slot = Some(self.router.buffer(frame));
        }
        let statistics = self.statistics.worker(worker);
        let n = self.spreads[worker].hand_out(PortId(0), &mut burst, frames.len(), statistics);
        statistics.core().rx.add(n as u64);
        self.keep(worker, &mut burst, n);
    }

    /// A worker takes in what it was handed; says how many packets that were.
    fn receive(&mut self, worker: usize) -> usize {
        let mut received = 0;
        self.spreads[worker].look();
        for source in 0..self.spreads[worker].sources() {
            let mut burst = [const { None }; BURST];
            let statistics = self.statistics.worker(worker);
            let handed = self.spreads[worker].receive(source, &mut burst, statistics);
            let Some((port, n)) = handed else { continue };
            assert_eq!(port, PortId(0));
            self.keep(worker, &mut burst, n);
            received += n;
        }
        received
    }

    /// Everything that was received is somewhere.
    fn assert_accounted(&self) {
        for (worker, own) in self.own.iter().enumerate() {
            let core = self.statistics.worker(worker).core();
            let here = core.rx.get() + core.handed_in.get();
            assert_eq!(here, own.len() as u64 + core.handed_out.get() + core.dropped.get());
        }
        assert_eq!(self.router.pool.in_use(), 0);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn each_packet_comes_to_its_owner_once_and_in_order(
        count in 2..5usize,
        steps in prop::collection::vec((any::<bool>(), 0..4usize, prop::collection::vec(0..12u8, 1..64)), 1..60),
    ) {
        let mut workers = Workers::new(count, 1024);
        // Each host's packets come in by one worker.
        let mut sent: BTreeMap<u8, VecDeque<u32>> = BTreeMap::new();
        let mut next = 0;
        for (receives, worker, hosts) in steps {
            let worker = worker % count;
            if receives {
                workers.receive(worker);
                continue;
            }
            let mut frames = Vec::new();
            for host in hosts {
                let host = host / 4 * 4 + worker as u8;
                frames.push(frame(host, next % 3 == 0, next));
                sent.entry(host).or_default().push_back(next);
                next += 1;
            }
            workers.poll(worker, &frames);
        }
        for worker in 0..count {
            while workers.receive(worker) > 0 {}
        }
        let dropped = workers.statistics.drops(DropReason::SpreadFull);
        prop_assert_eq!(dropped, 0, "there was room");
        let mut owners: BTreeMap<u8, usize> = BTreeMap::new();
        for (worker, own) in workers.own.iter().enumerate() {
            for (host, number) in own {
                prop_assert_eq!(*owners.entry(*host).or_insert(worker), worker, "one owner");
                prop_assert_eq!(sent.get_mut(host).unwrap().pop_front(), Some(*number), "in order");
            }
        }
        prop_assert!(sent.values().all(VecDeque::is_empty), "each has arrived");
        workers.assert_accounted();
    }
}

#[test]
fn a_worker_that_stands_still_costs_the_others_nothing() {
    const RING: usize = 64;
    let mut workers = Workers::new(2, RING);
    let is_mine = |workers: &mut Workers, host| {
        let before = workers.own[0].len();
        workers.poll(0, &[frame(host, false, 0)]);
        workers.own[0].len() > before
    };
    let mine = (1..=255).find(|&host| is_mine(&mut workers, host)).unwrap();
    let others = (1..=255).find(|&host| !is_mine(&mut workers, host)).unwrap();
    while workers.receive(1) > 0 {}
    let before = [0, 1].map(|worker| workers.own[worker].len());
    let numbers = 0..640;

    let host_of = |number| if number % 2 == 0 { mine } else { others };
    let frames: Vec<_> = numbers.clone().map(|n| frame(host_of(n), false, n)).collect();
    for burst in frames.chunks(BURST) {
        workers.poll(0, burst);
    }
    let of = |host| numbers.clone().filter(move |&n| host_of(n) == host).map(move |n| (host, n));
    assert!(
        workers.own[0][before[0]..].iter().copied().eq(of(mine)),
        "its own packets it has, in order"
    );
    assert_eq!(workers.statistics.drops(DropReason::SpreadFull), 320 - RING as u64);
    while workers.receive(1) > 0 {}
    let came = workers.own[1][before[1]..].iter().copied();
    assert!(came.eq(of(others).take(RING)), "what was in time has come, in order");
    workers.assert_accounted();
}
