//! What the flow table costs, beside a floor that does all but look flows up: `make bench-flow`.
//!
//! Contenders take turns, round by round, on one core; a round is a quarter of a million packets in
//! bursts of 64, the median of the rounds counts, in CPU time; beside it stands the best round, since
//! other work on the machine takes its share of the caches.
//!
//! * **floor** writes the descriptors of a burst, of flows drawn at random, as decoding does; all
//!   others do that too, and what they cost beyond it is what is printed.
//! * **known flows**: lookup and tracking of UDP, TCP and IPv6, over 100, 1,000, 64k and 1M
//!   flows drawn evenly: of 1M, nearly no two packets of a burst touch lines that a cache still holds. On huge
//!   pages and on small ones.
//! * **new flows**: every packet begins a connection. While there is room, and the clock hand takes
//!   out what is idle; and in a full table, where each new connection evicts the oldest half-open one.
//! * **no room**: a full table of open connections, and packets of others.
//! * **attack**: every packet begins a connection and its keys are chosen, by who knows the seed, for
//!   the same two buckets. The 99th percentile of bursts is compared with that of new flows in a
//!   full table.
//!
//! `--check` fails when a goal is missed.

mod traffic;

use std::time::Duration;

use anyhow::{Context, bail, ensure};
use rustix::thread::{CpuSet, sched_setaffinity};
use rustix::time::{ClockId, clock_gettime};
use sluice_flow::{Fate, HalfId, Limits, NO_PATH, Strictness, Table, Timeouts};
use sluice_packet::{ConnectionState, Descriptor, Mask};

use traffic::{Burst, Kind, Traffic};

const BURST: usize = 64;
const BURSTS: usize = 1 << 12;
const ROUNDS: usize = 15;
/// What the table takes for the frequency of the time-stamp counter.
const HERTZ: u64 = 1_000_000_000;
const SEED: [u64; 2] = [0x0123_4567_89ab_cdef, 0xfedc_ba98_7654_3210];

fn main() -> anyhow::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let check = match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [] => false,
        ["--check"] => true,
        _ => bail!("usage: sluice-bench-flow [--check]"),
    };
    // Not the core that interrupts mostly go to.
    let mut cores = CpuSet::new();
    cores.set(std::thread::available_parallelism()?.get() - 1);
    sched_setaffinity(None, &cores)?;
    println!(
        "bursts of {BURST}, {} packets a round, median of {ROUNDS} rounds, CPU time\n",
        BURST * BURSTS
    );
    let mut goals = Goals::default();
    known(&mut goals)?;
    new(&mut goals)?;
    ensure!(!check || goals.missed == 0, "{} goals missed", goals.missed);
    Ok(())
}

#[derive(Default)]
struct Goals {
    missed: usize,
}

impl Goals {
    fn judge(&mut self, met: bool) -> &'static str {
        self.missed += usize::from(!met);
        if met { "met" } else { "MISSED" }
    }
}

/// A table with the flows of some traffic in it, open and answered.
struct Known {
    name: &'static str,
    traffic: Traffic,
    table: Table,
    goal: Option<f64>,
}

impl Known {
    fn new(
        name: &'static str,
        kind: Kind,
        flows: u32,
        huge_pages: bool,
        goal: Option<f64>,
    ) -> anyhow::Result<Known> {
        let limits = Limits { huge_pages, ..Limits::connections(flows + flows / 4) };
        let mut table = Table::new(limits, SEED, HERTZ)?;
        let traffic = Traffic::new(kind, flows);
        for flow in 0..flows {
            traffic.begin(&mut table, flow).context("a flow finds no room")?;
        }
        Ok(Known { name, traffic, table, goal })
    }

    /// The floor, lookup, and lookup with tracking.
    fn round(&mut self) -> [Duration; 3] {
        let Known { traffic, table, .. } = self;
        let floor = traffic.round(|burst| burst.sum());
        let find = traffic.round(|burst| look_up(table, burst, 0).1);
        let track = traffic.round(|burst| {
            let found = look_up(table, burst, 0).0;
            let mut sum = 0;
            for (slot, &id) in found.iter().enumerate() {
                if id.is_some() {
                    let segment = burst.segment(slot);
                    let d = &burst.descriptors[slot];
                    let state = table.track(id, d, segment, Strictness::Strict, 0);
                    sum += u64::from(state == ConnectionState::Established)
                        + u64::from(table.half(id).path == NO_PATH);
                }
            }
            assert_eq!(sum, 2 * BURST as u64, "every packet is of an established connection");
            sum
        });
        [floor, find, track]
    }
}

fn look_up(table: &mut Table, burst: &Burst, now: u64) -> ([HalfId; BURST], u64) {
    let mut found = [HalfId::NONE; BURST];
    table.find(Mask::ALL, 0, now, |slot| &burst.descriptors[slot], &mut found);
    let sum = found.iter().map(|id| u64::from(id.is_some())).sum();
    (found, sum)
}

fn known(goals: &mut Goals) -> anyhow::Result<()> {
    println!(
        "{:34} {:>8} {:>8} {:>12} {:>8} {:>10}",
        "known flows, ns a packet", "floor", "find", "find+track", "best", "goal"
    );
    for (flows, size) in [(100, "100"), (1_000, "1k"), (65_536, "64k"), (1_000_000, "1M")] {
        let goal = (flows == 1_000).then_some(5.0);
        let mut cases = [
            Known::new("UDP", Kind::Udp, flows, true, goal)?,
            Known::new("UDP, small pages", Kind::Udp, flows, false, None)?,
            Known::new("TCP", Kind::Tcp, flows, true, None)?,
            Known::new("UDP over IPv6", Kind::Udp6, flows, true, None)?,
        ];
        let mut times = vec![Vec::new(); cases.len()];
        for _ in 0..ROUNDS {
            for (case, times) in cases.iter_mut().zip(&mut times) {
                times.push(case.round());
            }
        }
        for (case, times) in cases.iter().zip(&times) {
            let each = |i: usize| median(times.iter().map(|times| ns(times[i])));
            // Rounds of one turn are compared: the machine has several speeds.
            let beyond = |i: usize| median(times.iter().map(|times| ns(times[i]) - ns(times[0])));
            let best =
                times.iter().map(|times| ns(times[2]) - ns(times[0])).fold(f64::MAX, f64::min);
            let goal = case.goal.map_or(String::new(), |goal| {
                format!("{goal:>4.1} {}", goals.judge(beyond(2) <= goal))
            });
            println!(
                "{:34} {:>8.2} {:>8.2} {:>12.2} {best:>8.2} {goal:>10}",
                format!("{size} {}", case.name),
                each(0),
                beyond(1),
                beyond(2),
            );
        }
    }
    Ok(())
}

/// Every packet begins a connection, or finds no room.
struct New {
    name: &'static str,
    traffic: Traffic,
    table: Table,
    /// The clock's counts of a burst.
    pace: u64,
    now: u64,
}

impl New {
    fn burst(table: &mut Table, burst: &Burst, now: u64) -> u64 {
        let (found, known) = look_up(table, burst, now);
        let mut new = Mask::EMPTY;
        found
            .iter()
            .enumerate()
            .filter(|(_, id)| id.is_none())
            .for_each(|(slot, _)| new.insert(slot));
        table.prepare(new, 0, |slot| &burst.descriptors[slot]);
        for slot in new {
            let d: &Descriptor = &burst.descriptors[slot];
            table.insert(d, 0, burst.segment(slot), now);
        }
        table.tend(now, 1024, |_, _| Fate::Keep);
        known
    }

    /// The floor, and what a round of new flows takes; of single bursts the 99th percentile.
    fn round(&mut self) -> (Duration, Duration, f64) {
        let New { traffic, table, pace, now, .. } = self;
        let floor = traffic.round(|burst| burst.sum());
        let mut bursts = Vec::with_capacity(BURSTS);
        let took = traffic.round(|burst| {
            *now += *pace;
            let began = clock();
            let known = Self::burst(table, burst, *now);
            bursts.push((clock() - began) / BURST as f64);
            known
        });
        bursts.sort_unstable_by(f64::total_cmp);
        (floor, took, bursts[BURSTS * 99 / 100])
    }
}

fn new(goals: &mut Goals) -> anyhow::Result<()> {
    const CONNECTIONS: u32 = 1 << 20;
    // Of a second's flows half the table is full, while all else is idle for as long.
    const AGED_PACE: u64 = HERTZ * 64 / (CONNECTIONS as u64 / 6);
    let table = |connections| -> anyhow::Result<Table> {
        let mut table = Table::new(Limits::connections(connections), SEED, HERTZ)?;
        table.set_timeouts(Timeouts { udp: 1, ..Timeouts::DEFAULT });
        Ok(table)
    };
    let mut no_room = table(65_536)?;
    let open = Traffic::new(Kind::Tcp, 65_536);
    for flow in 0..65_536 {
        open.begin(&mut no_room, flow);
    }
    let case = |name, kind, table, pace| New {
        name,
        traffic: Traffic::new(kind, u32::MAX),
        table,
        pace,
        now: 0,
    };
    let mut cases = [
        case("UDP, aged", Kind::NewUdp, table(CONNECTIONS)?, AGED_PACE),
        case("SYNs, 1M in a full table", Kind::NewTcp, table(CONNECTIONS)?, 1),
        case("SYNs, 64k in a full table", Kind::NewTcp, table(65_536)?, 1),
        case("SYNs, no room among 64k", Kind::NewTcp, no_room, 1),
        case("SYNs, 1k in a full table", Kind::NewTcp, table(1_024)?, 1),
        case("SYNs for two buckets of 1k", Kind::Attack, table(1_024)?, 1),
    ];
    let [.., attack] = &mut cases;
    attack.traffic = Traffic::new(Kind::Attack, u32::MAX).aim_at(&attack.table);
    let mut times = vec![Vec::new(); cases.len()];
    // The tables fill.
    for _ in 0..2 * CONNECTIONS as usize / (BURST * BURSTS) {
        cases.iter_mut().for_each(|case| {
            case.round();
        });
    }
    for _ in 0..ROUNDS {
        for (case, times) in cases.iter_mut().zip(&mut times) {
            times.push(case.round());
        }
    }
    println!("\n{:34} {:>8} {:>12} {:>12} {:>8}", "new flows", "ns each", "M/s", "p99 ns", "goal");
    let worst = |i: usize| median(times[i].iter().map(|&(_, _, worst)| worst));
    for (i, (case, times)) in cases.iter().zip(&times).enumerate() {
        let each = median(times.iter().map(|&(floor, took, _)| ns(took) - ns(floor)));
        let goal = match case.traffic.kind() {
            Kind::NewUdp => format!("5 M/s {}", goals.judge(1e3 / each >= 5.0)),
            Kind::Attack => {
                let ratio = worst(i) / worst(i - 1);
                format!("p99 3 x: {ratio:.2} {}", goals.judge(ratio <= 3.0))
            }
            _ => String::new(),
        };
        println!("{:34} {each:>8.1} {:>12.1} {:>12.0} {goal:>8}", case.name, 1e3 / each, worst(i));
        let counters = case.table.counters();
        println!(
            "    {} in the table; {} inserted, {} aged, {} evicted, {} found no room",
            counters.connections,
            counters.inserted,
            counters.aged,
            counters.evicted_half_open + counters.evicted_closing + counters.evicted_idle,
            counters.full
        );
    }
    Ok(())
}

/// Nanoseconds a packet.
fn ns(round: Duration) -> f64 {
    round.as_nanos() as f64 / (BURST * BURSTS) as f64
}

/// Of this thread: what else runs on the machine does not count.
fn cpu_time() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

/// Nanoseconds on the clock.
fn clock() -> f64 {
    let time = clock_gettime(ClockId::Monotonic);
    time.tv_sec as f64 * 1e9 + time.tv_nsec as f64
}

fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_unstable_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}
