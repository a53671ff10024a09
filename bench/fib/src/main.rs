//! The forwarding table beside DPDK's, over the same routes and destinations: `make bench-fib`.
//!
//! Contenders take turns, round by round, on one core; a round looks a million destinations up in
//! bursts of 64, the median of the rounds counts, in CPU time. All must find the same next hops.
//!
//! * **rte_fib** is DIR-24-8 with next hops of 4 bytes, **rte_fib6** the trie with next hops of 4
//!   bytes; each with the lookup that DPDK chooses by itself and, where the processor has it, with
//!   the one for AVX-512, which a program must ask for.
//! * **rte_lpm** and **rte_lpm6** up to 100,000 routes: their insertion is quadratic.
//! * **Memory**: ours is what the C library's heap grows by (`mallinfo2`) and what is kept for cells
//!   beside it, prefixes included from which the table is made. DPDK's is what its tables take by its documentation (`tbl24` and as
//!   many `tbl8` as these routes need), and in brackets what its heap grows by, which includes the
//!   `rte_rib` from which they are made.
//! * DPDK's tables are on hugepages if they can be had (root); our cells are on transparent ones, and the rest of
//!   ours on pages of 4 KiB.
//!
//! `--check` fails when a goal is missed.

mod peer;
mod tables;

use std::collections::HashSet;
use std::fs;
use std::hint::black_box;
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use ipnet::IpNet;
use rustix::thread::{CpuSet, sched_setaffinity};
use rustix::time::{ClockId, clock_gettime};
use sluice_dpdk::{Eal, EalOptions, Hugepages};
use sluice_packet::Family;
use sluice_policy::fib::{Fib, NO_LEAF, cell_memory};

use peer::{Kind, Peer};
use tables::{Mix, Random};

const SEED: u64 = 0x51_1ce;
const BURST: usize = 64;
const ROUNDS: usize = 15;
/// Destinations of a round.
const DESTINATIONS: usize = 1 << 20;
/// Changes of one route of which the median counts.
const CHANGES: usize = 2_000;
/// Routes up to which insertion into `rte_lpm` is bearable.
const LPM: usize = 100_000;
const MIB: f64 = (1 << 20) as f64;
/// What EAL gets: the tables of a million routes three times over, with what they are made from.
const MEMORY_MIB: u32 = 1_200;

fn main() -> anyhow::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let check = match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [] => false,
        ["--check"] => true,
        _ => bail!("usage: sluice-bench-fib [--check]"),
    };
    let _reserved = Reserved::new(u64::from(MEMORY_MIB) / 2 + 8);
    let options = EalOptions {
        name: "sluice-bench-fib",
        memory_mib: MEMORY_MIB,
        hugepages: Hugepages::Auto,
        ..EalOptions::default()
    };
    let eal = Eal::init(&options)?;
    // Not the core that interrupts mostly go to.
    let mut cores = CpuSet::new();
    cores.set(std::thread::available_parallelism()?.get() - 1);
    sched_setaffinity(None, &cores)?;
    println!(
        "{}, tables of DPDK on {}; bursts of {BURST}, {DESTINATIONS} destinations a round, median of {ROUNDS} rounds\n",
        Eal::version(),
        if eal.hugepages() { "hugepages" } else { "pages of 4 KiB" },
    );
    let mut cases = Vec::new();
    for (family, routes) in [
        (Family::Inet, 10),
        (Family::Inet, 10_000),
        (Family::Inet, 100_000),
        (Family::Inet, 1_000_000),
        (Family::Inet6, 10_000),
        (Family::Inet6, 100_000),
        (Family::Inet6, 200_000),
    ] {
        cases.push(Case::measure(family, routes)?);
    }
    report(&cases);
    let missed = goals(&cases);
    ensure!(!check || missed == 0, "{missed} goals missed");
    Ok(())
}

/// What was measured over one table.
struct Case {
    family: Family,
    routes: usize,
    lookups: Vec<Lookups>,
    filled: Filled,
    peer: Filled,
    /// What DPDK's tables take without what they are made from.
    documented: f64,
}

/// Nanoseconds of a lookup by each contender.
struct Lookups {
    mix: Mix,
    burst: f64,
    single: f64,
    fib: f64,
    fib_avx512: Option<f64>,
    lpm: Option<f64>,
}

/// How a table was filled.
#[derive(Clone, Copy)]
struct Filled {
    /// Bytes it takes.
    memory: f64,
    /// Routes a second.
    rate: f64,
    /// Time of one change on the full table.
    change: Duration,
}

impl Case {
    fn measure(family: Family, count: usize) -> anyhow::Result<Case> {
        let mut random = Random(SEED);
        let routes = match family {
            Family::Inet => tables::inet(count, &mut random),
            Family::Inet6 => tables::inet6(count, &mut random),
        };
        let (fib, filled) = fill_own(&routes);
        let (tbl8, documented) = match family {
            Family::Inet => {
                let tbl8 = below(&routes, &[24]);
                (tbl8, ((1 << 24) + tbl8 * 256) as f64 * 4.0)
            }
            Family::Inet6 => {
                let tbl8 = below(&routes, &[24, 32, 40, 48, 56, 64, 72, 80, 88, 96, 104, 112, 120]);
                (tbl8, ((1 << 24) + tbl8 * 256) as f64 * 4.0)
            }
        };
        let [kind, lpm] = match family {
            Family::Inet => [Kind::Fib, Kind::Lpm],
            Family::Inet6 => [Kind::Fib6, Kind::Lpm6],
        };
        // It sets aside more than it then needs, the more so when routes come in no order.
        let spare = tbl8 + if family == Family::Inet { tbl8 / 4 } else { 2 * tbl8 } + 64;
        let before = peer::memory();
        let mut peer = Peer::new(kind, count + 64, spare)?;
        let peer_filled = fill_peer(&mut peer, &routes, before)?;
        let lpm = if count <= LPM {
            let mut peer = Peer::new(lpm, count + 64, spare)?;
            routes.iter().try_for_each(|&(prefix, leaf)| peer.add(prefix, leaf))?;
            Some(peer)
        } else {
            None
        };
        let mut lookups = Vec::new();
        for mix in [Mix::Random, Mix::Zipf] {
            let destinations = tables::destinations(&routes, mix, DESTINATIONS, &mut random);
            let contenders = Contenders { fib: &fib, peer: &peer, lpm: &lpm };
            lookups.push(match family {
                Family::Inet => contenders.inet(mix, &destinations)?,
                Family::Inet6 => contenders.inet6(mix, &destinations)?,
            });
        }
        Ok(Case { family, routes: count, lookups, filled, peer: peer_filled, documented })
    }
}

/// How many networks of these lengths have longer prefixes: each needs a `tbl8`.
fn below(routes: &[(IpNet, u32)], lengths: &[u8]) -> usize {
    let networks = |&length: &u8| {
        let long = routes.iter().filter(move |(prefix, _)| prefix.prefix_len() > length);
        let cut = long.filter_map(move |(prefix, _)| IpNet::new(prefix.addr(), length).ok());
        cut.map(|network| network.trunc()).collect::<HashSet<_>>().len()
    };
    lengths.iter().map(networks).sum()
}

/// Bytes that tables of ours take, and whatever else this program has.
fn own_memory() -> u64 {
    peer::heap_memory() + cell_memory() as u64
}

fn fill_own(routes: &[(IpNet, u32)]) -> (Fib, Filled) {
    let before = own_memory();
    let (mut fib, took) = timed(|| {
        let mut fib = Fib::default();
        routes.iter().for_each(|&(prefix, leaf)| {
            fib.insert(prefix, leaf);
        });
        fib
    });
    let memory = (own_memory() - before) as f64;
    let mut random = Random(SEED);
    let change = median((0..CHANGES).map(|i| {
        let (prefix, leaf) = routes[random.below(routes.len() as u64) as usize];
        // The generation before is in use until the next is: nothing may be changed in place. To
        // let go of it is part of the work.
        timed(|| {
            let before = fib.clone();
            if i % 2 == 0 {
                fib.remove(prefix);
            }
            fib.insert(prefix, if i % 2 == 0 { leaf } else { leaf + 1 });
            drop(black_box(before));
        })
        .1
    }));
    for &(prefix, leaf) in routes {
        fib.insert(prefix, leaf);
    }
    (fib, Filled { memory, rate: routes.len() as f64 / took.as_secs_f64(), change })
}

fn fill_peer(peer: &mut Peer, routes: &[(IpNet, u32)], before: u64) -> anyhow::Result<Filled> {
    let (added, took) =
        timed(|| routes.iter().try_for_each(|&(prefix, leaf)| peer.add(prefix, leaf)));
    added?;
    let memory = (peer::memory() - before) as f64;
    let mut random = Random(SEED);
    let mut changes = Vec::new();
    for i in 0..CHANGES {
        let (prefix, leaf) = routes[random.below(routes.len() as u64) as usize];
        let (changed, took) = timed(|| {
            if i % 2 == 0 {
                peer.remove(prefix)?;
            }
            peer.add(prefix, if i % 2 == 0 { leaf } else { leaf + 1 })
        });
        changed?;
        changes.push(took);
        peer.add(prefix, leaf)?;
    }
    let change = median(changes.into_iter());
    Ok(Filled { memory, rate: routes.len() as f64 / took.as_secs_f64(), change })
}

/// Those who look up the same destinations in turn.
struct Contenders<'a> {
    fib: &'a Fib,
    peer: &'a Peer,
    lpm: &'a Option<Peer>,
}

impl Contenders<'_> {
    fn inet(&self, mix: Mix, destinations: &[u128]) -> anyhow::Result<Lookups> {
        let addresses: Vec<u32> = destinations.iter().map(|&address| address as u32).collect();
        self.take_turns(
            mix,
            || {
                let mut leaves = [NO_LEAF; BURST];
                let (bursts, _) = addresses.as_chunks::<BURST>();
                bursts.iter().fold(0, |sum, burst| {
                    self.fib.lookup_inet(burst, &mut leaves);
                    leaves.iter().fold(sum, |sum, &leaf| sum + u64::from(leaf))
                })
            },
            || self.one_by_one(Family::Inet, addresses.iter().map(|&a| a.into())),
            |peer| peer.look_up(&addresses),
        )
    }

    fn inet6(&self, mix: Mix, destinations: &[u128]) -> anyhow::Result<Lookups> {
        let addresses: Vec<[u8; 16]> = destinations.iter().map(|a| a.to_be_bytes()).collect();
        self.take_turns(
            mix,
            || {
                let mut leaves = [NO_LEAF; BURST];
                let (bursts, _) = destinations.as_chunks::<BURST>();
                bursts.iter().fold(0, |sum, burst| {
                    self.fib.lookup_inet6(burst, &mut leaves);
                    leaves.iter().fold(sum, |sum, &leaf| sum + u64::from(leaf))
                })
            },
            || self.one_by_one(Family::Inet6, destinations.iter().copied()),
            |peer| peer.look_up6(&addresses),
        )
    }

    fn one_by_one(&self, family: Family, addresses: impl Iterator<Item = u128>) -> u64 {
        addresses
            .map(|address| u64::from(self.fib.lookup(family, address).unwrap_or(NO_LEAF)))
            .sum()
    }

    fn take_turns(
        &self,
        mix: Mix,
        burst: impl Fn() -> u64,
        single: impl Fn() -> u64,
        peer: impl Fn(&Peer) -> u64,
    ) -> anyhow::Result<Lookups> {
        let avx512 = is_x86_feature("avx512f");
        let mut times: [Vec<Duration>; 5] = Default::default();
        for _ in 0..ROUNDS {
            // The caches are as the one before has left them: each has a go first.
            burst();
            let (expected, took) = timed(&burst);
            times[0].push(took);
            let mut turn = |place: usize, look_up: &dyn Fn() -> u64| {
                look_up();
                let (sum, took) = timed(look_up);
                times[place].push(took);
                ensure!(sum == expected, "contender {place} finds other next hops");
                Ok(())
            };
            turn(1, &single)?;
            self.peer.choose(256)?;
            turn(2, &|| peer(self.peer))?;
            if avx512 {
                self.peer.choose(512)?;
                turn(3, &|| peer(self.peer))?;
            }
            if let Some(lpm) = self.lpm {
                turn(4, &|| peer(lpm))?;
            }
        }
        let each = |times: &Vec<Duration>| {
            (!times.is_empty())
                .then(|| median(times.iter().copied()).as_nanos() as f64 / DESTINATIONS as f64)
        };
        let of = |place: usize| each(&times[place]).context("no rounds");
        Ok(Lookups {
            mix,
            burst: of(0)?,
            single: of(1)?,
            fib: of(2)?,
            fib_avx512: each(&times[3]),
            lpm: each(&times[4]),
        })
    }
}

fn report(cases: &[Case]) {
    println!(
        "{:13} {:7} {:>8} {:>8} | {:>8} {:>7} | {:>8} {:>7} | {:>8} {:>7}",
        "ns/lookup",
        "mix",
        "burst",
        "single",
        "rte_fib",
        "ratio",
        "avx512",
        "ratio",
        "rte_lpm",
        "ratio"
    );
    for case in cases {
        for lookups in &case.lookups {
            let beside = |peer: Option<f64>| match peer {
                Some(peer) => format!("{peer:>8.2} {:>7.2}", lookups.burst / peer),
                None => format!("{:>8} {:>7}", "-", "-"),
            };
            println!(
                "{:13} {:7} {:>8.2} {:>8.2} | {} | {} | {}",
                case.name(),
                format!("{:?}", lookups.mix).to_lowercase(),
                lookups.burst,
                lookups.single,
                beside(Some(lookups.fib)),
                beside(lookups.fib_avx512),
                beside(lookups.lpm),
            );
        }
    }
    println!(
        "\n{:13} {:>8} {:>17} {:>7} | {:>9} {:>9} {:>7} | {:>9} {:>9} {:>7}",
        "", "MiB", "rte_fib", "ratio", "routes/s", "rte_fib", "ratio", "change", "rte_fib", "ratio"
    );
    for case in cases {
        let (own, peer) = (case.filled, case.peer);
        println!(
            "{:13} {:>8.1} {:>8.1} ({:>6.1}) {:>7.2} | {:>9.0} {:>9.0} {:>7.2} | {:>6.1} us {:>6.1} us {:>7.2}",
            case.name(),
            own.memory / MIB,
            case.documented / MIB,
            peer.memory / MIB,
            case.memory_ratio(),
            own.rate,
            peer.rate,
            own.rate / peer.rate,
            own.change.as_nanos() as f64 / 1e3,
            peer.change.as_nanos() as f64 / 1e3,
            own.change.as_secs_f64() / peer.change.as_secs_f64(),
        );
    }
}

impl Case {
    fn name(&self) -> String {
        let family = if self.family == Family::Inet { "IPv4" } else { "IPv6" };
        match self.routes {
            routes if routes >= 1_000_000 => format!("{family} {}M", routes / 1_000_000),
            routes if routes >= 1_000 => format!("{family} {}k", routes / 1_000),
            routes => format!("{family} {routes}"),
        }
    }

    fn memory_ratio(&self) -> f64 {
        self.filled.memory / self.documented
    }
}

/// Prints which goals are met; how many are not.
fn goals(cases: &[Case]) -> usize {
    println!();
    let mut missed = 0;
    let mut goal = |name: String, value: f64, bar: f64| {
        let met = value <= bar;
        missed += usize::from(!met);
        println!("{} {name}: {value:.2}, goal {bar:.2}", if met { "met   " } else { "MISSED" });
    };
    for case in cases.iter().filter(|case| case.routes >= 200_000) {
        for lookups in &case.lookups {
            let mix = format!("{:?}", lookups.mix).to_lowercase();
            let name = format!("{}, {mix}: time of a lookup in bursts to rte_fib's", case.name());
            goal(name, lookups.burst / lookups.fib, 1.0);
        }
        goal(format!("{}: memory to rte_fib's", case.name()), case.memory_ratio(), 0.5);
        let change = case.filled.change.as_nanos() as f64 / 1e3;
        goal(format!("{}: us of one change on the full table", case.name()), change, 50.0);
    }
    missed
}

fn timed<T>(work: impl FnOnce() -> T) -> (T, Duration) {
    let began = cpu_time();
    let result = black_box(work());
    (result, cpu_time() - began)
}

/// Of this thread: what else runs on the machine does not count.
fn cpu_time() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

fn median(times: impl Iterator<Item = Duration>) -> Duration {
    let mut times: Vec<Duration> = times.collect();
    times.sort_unstable();
    times.get(times.len() / 2).copied().unwrap_or_default()
}

fn is_x86_feature(name: &str) -> bool {
    let flags = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    flags.split_whitespace().any(|flag| flag == name)
}

/// Hugepages for the run; what was added is given back.
struct Reserved {
    before: String,
}

impl Reserved {
    const PAGES: &str = "/proc/sys/vm/nr_hugepages";

    fn new(pages: u64) -> Option<Reserved> {
        let before = fs::read_to_string(Self::PAGES).ok()?;
        let more: u64 = before.trim().parse::<u64>().ok()? + pages;
        fs::write(Self::PAGES, more.to_string()).ok()?;
        Some(Reserved { before })
    }
}

impl Drop for Reserved {
    fn drop(&mut self) {
        let _ = fs::write(Self::PAGES, &self.before);
    }
}
