//! What a packet's way through a filter costs, beside `rte_acl`: `make bench-filters`.
//!
//! The same rules and the same packets, first match first, in one run: rounds of the two take
//! turns, medians count, and both have to find the same rule for every packet. Both take bursts of 64,
//! the filter as the workers call it, `rte_acl` with each method that the processor has: its default
//! is AVX2, the goal is to be no slower than the best. Compiling is all
//! of what a commit does about a filter: checks, names, slots and the structure itself. At last the
//! same rules as policy routes: what the routing decision of a packet takes with them.

mod peer;
mod workload;

use std::collections::BTreeMap;
use std::env;
use std::hint::black_box;
use std::net::Ipv4Addr;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, bail};
use ipnet::{IpNet, Ipv4Net};
use peer::Peer;
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};
use rustix::time::{ClockId, clock_gettime};
use sluice_packet::{Descriptor, Family, FlowKey, Mask};
use sluice_policy::model::{
    self, Action, Delta, FilterKey, FilterPoint, Instance, Operation, PolicyAction, PolicyRoute,
    Unreachable,
};
use sluice_policy::{InterfaceId, NoRecorder, Policy, RuleSlot};
use workload::{ANY, Packet, Rule};

const SIZES: [usize; 3] = [100, 1_000, 10_000];
const PACKETS: usize = 16_384;
const ROUNDS: usize = 41;
const SEED: u64 = 4;
/// The method that `rte_acl` takes unless it is told that wider vectors are welcome.
const DEFAULT: &str = "avx2";
/// What compiling the most rules may take.
const COMPILE: Duration = Duration::from_secs(1);

fn main() -> anyhow::Result<()> {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let [program, sizes @ ..] = &arguments[..] else {
        bail!("usage: sluice-bench-filters RTE_ACL_PROGRAM [RULES...]")
    };
    let sizes: Vec<usize> = sizes.iter().map(|size| size.parse()).collect::<Result<_, _>>()?;
    let sizes = if sizes.is_empty() { SIZES.to_vec() } else { sizes };
    let mut peer = Peer::start(Path::new(program), pinned()?)?;
    println!(
        "{PACKETS} packets in bursts of 64, median of {ROUNDS} rounds in turns, on one core\n\n\
         {:>6} | {:^26} | {:^46} |",
        "", "compile, ms", "classify, ns a packet"
    );
    println!(
        "{:>6} | {:>8} {:>8} {:>8} | {:>8} {:>8} {:>8} {:>9} {:>8}  | goals",
        "rules", "sluice", "rte_acl", "ratio", "sluice", DEFAULT, "ratio", "best", "ratio"
    );
    let mut steered = Vec::new();
    for size in sizes {
        steered.push(measure(size, &mut peer)?);
    }
    println!(
        "\n{:>6} | {:>10} {:>10} {:>8} |\n{:>6} | {:>10} {:>10} {:>8} |",
        "policy", "route, ns", "without", "ratio to", "routes", "a packet", "any", "rte_acl"
    );
    for Steered { rules, with, without, best } in steered {
        println!("{rules:>6} | {with:>10.1} {without:>10.1} {:>8.2} |", with / best);
    }
    Ok(())
}

/// What the routing decision takes with the rules as policy routes, packet by packet.
struct Steered {
    rules: usize,
    with: f64,
    without: f64,
    /// `rte_acl` in bursts, over the same rules.
    best: f64,
}

fn measure(size: usize, peer: &mut Peer) -> anyhow::Result<Steered> {
    let rules = workload::rules(size, SEED);
    let packets = workload::packets(&rules, PACKETS, SEED + 1);

    let peer_compile = peer.rules(&rules)?;
    peer.packets(&packets)?;
    let (policy, compile) = compile(&rules)?;
    let descriptors: Vec<Descriptor> = packets.iter().map(descriptor).collect();
    agree(&policy, &rules, &descriptors, &peer.matches()?)?;
    let steering = steering(&rules)?;

    let (mut own, mut others) = (Vec::new(), BTreeMap::<String, Vec<Duration>>::new());
    let (mut with, mut without) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        for (policy, times) in [(&policy, &mut without), (&steering, &mut with)] {
            route(policy, &descriptors)?;
            times.push(route(policy, &descriptors)?);
        }
        round(&policy, &descriptors)?;
        own.push(round(&policy, &descriptors)?);
        for (method, took) in peer.round()? {
            others.entry(method).or_default().push(took);
        }
    }
    let classify = median(&mut own);
    let mut others: Vec<(Duration, &String)> =
        others.iter_mut().map(|(method, times)| (median(times), method)).collect();
    others.sort();
    let (best, method) = *others.first().context("rte_acl has no method here")?;
    let default = others.iter().find(|(_, method)| *method == DEFAULT).map_or(best, |m| m.0);

    let per_packet = |took: Duration| took.as_secs_f64() * 1e9 / PACKETS as f64;
    let ratio = |own: Duration, other: Duration| own.as_secs_f64() / other.as_secs_f64();
    let met = |met: bool| if met { "met" } else { "MISSED" };
    println!(
        "{size:>6} | {:>8.1} {:>8.1} {:>8.2} | {:>8.1} {:>8.1} {:>8.2} {:>9.1} {:>8.2}  | \
         compile {}, classify {} ({method})",
        compile.as_secs_f64() * 1e3,
        peer_compile.as_secs_f64() * 1e3,
        ratio(compile, peer_compile),
        per_packet(classify),
        per_packet(default),
        ratio(classify, default),
        per_packet(best),
        ratio(classify, best),
        met(compile < COMPILE),
        met(classify <= best),
    );
    let (with, without) = (per_packet(median(&mut with)), per_packet(median(&mut without)));
    Ok(Steered { rules: size, with, without, best: per_packet(best) })
}

/// Stays on one core, which the peer shares.
fn pinned() -> anyhow::Result<usize> {
    let allowed = sched_getaffinity(None)?;
    let core = (0..CpuSet::MAX_CPU).find(|&core| allowed.is_set(core)).context("no core")?;
    let mut one = CpuSet::new();
    one.set(core);
    sched_setaffinity(None, &one)?;
    Ok(core)
}

/// Time of this thread on the processor: what else the machine does is not in it.
fn now() -> Duration {
    let now = clock_gettime(ClockId::ThreadCPUTime);
    Duration::try_from(now).unwrap_or_default()
}

fn median(times: &mut [Duration]) -> Duration {
    times.sort();
    times[times.len() / 2]
}

/// The rules as a policy's forward filter, and how long making one of the next generation takes.
fn compile(rules: &[Rule]) -> anyhow::Result<(Policy, Duration)> {
    let operations = vec![Operation::Instance("default".into(), Some(Instance::default()))];
    let before = applied(&Policy::empty(), &Delta { operations })?;
    let key = FilterKey { instance: "default".into(), point: FilterPoint::Forward };
    let rules = rules.iter().enumerate().map(|(place, rule)| in_the_model(place, rule)).collect();
    let filter =
        model::Filter { stateful: None, default: Action::Drop, rules, sets: BTreeMap::new() };
    let delta = Delta { operations: vec![Operation::Filter(key, Some(filter))] };
    let mut times = Vec::new();
    for _ in 0..5 {
        let began = now();
        black_box(applied(&before, &delta)?);
        times.push(now() - began);
    }
    Ok((applied(&before, &delta)?, median(&mut times)))
}

fn applied(policy: &Policy, delta: &Delta) -> anyhow::Result<Policy> {
    policy.apply(delta).map_err(|errors| anyhow::anyhow!("{}", errors[0]))
}

fn in_the_model(place: usize, rule: &Rule) -> model::Rule {
    let net = |network: workload::Network| -> Vec<IpNet> {
        let address = Ipv4Addr::from_bits(network.address);
        let net = Ipv4Net::new_assert(address, network.length);
        if network.length == 0 { Vec::new() } else { vec![net.into()] }
    };
    let ports =
        |ports: workload::Ports| if ports == ANY { Vec::new() } else { vec![ports.0..=ports.1] };
    model::Rule {
        name: format!("rule-{place}").into(),
        input: Vec::new(),
        output: Vec::new(),
        source: net(rule.source),
        destination: net(rule.destination),
        protocol: rule.protocol.into_iter().collect(),
        source_port: ports(rule.source_port),
        destination_port: ports(rule.destination_port),
        tcp_flags: None,
        icmp: Vec::new(),
        state: Vec::new(),
        sets: Default::default(),
        limit: None,
        action: if place.is_multiple_of(3) { Action::Drop } else { Action::Accept },
        log: false,
        position: model::Position { file: "rules".into(), line: place as u32, column: 1 },
    }
}

fn descriptor(packet: &Packet) -> Descriptor {
    let key = FlowKey {
        src: packet.source.into(),
        dst: packet.destination.into(),
        src_port: packet.source_port,
        dst_port: packet.destination_port,
        protocol: packet.protocol,
        family: Family::Inet,
    };
    Descriptor { key, ingress: 1, ..Descriptor::default() }
}

/// Every packet once; what it took.
fn round(policy: &Policy, packets: &[Descriptor]) -> anyhow::Result<Duration> {
    let instance = policy.instance_named("default").context("the instance is gone")?;
    let began = now();
    for mut burst in packets.chunks(64) {
        let all = Mask::first(burst.len());
        instance.filter_burst(
            FilterPoint::Forward,
            &mut burst,
            all,
            |burst, slot| (&burst[slot], Some(InterfaceId(2))),
            &mut NoRecorder,
            |_, _, decision| {
                black_box(decision);
            },
        );
    }
    Ok(now() - began)
}

/// The rules as policy routes.
fn steering(rules: &[Rule]) -> anyhow::Result<Policy> {
    let routes = rules.iter().enumerate().map(|(place, rule)| {
        let model::Rule {
            name,
            source,
            destination,
            protocol,
            source_port,
            destination_port,
            position,
            ..
        } = in_the_model(place, rule);
        let action = match place % 3 {
            0 => PolicyAction::Drop,
            _ => PolicyAction::Reject,
        };
        PolicyRoute {
            name,
            input: Vec::new(),
            source,
            destination,
            protocol,
            source_port,
            destination_port,
            dscp: Vec::new(),
            fragment: None,
            action,
            unreachable: Unreachable::Next,
            position,
        }
    });
    let instance = Operation::Instance("default".into(), Some(Instance::default()));
    let routes = Operation::PolicyRoutes("default".into(), Some(routes.collect()));
    applied(&Policy::empty(), &Delta { operations: vec![instance, routes] })
}

/// Every packet's routing decision once; what they took.
fn route(policy: &Policy, packets: &[Descriptor]) -> anyhow::Result<Duration> {
    let instance = policy.instance_named("default").context("the instance is gone")?;
    let began = now();
    for d in packets {
        black_box(instance.route(d, &mut NoRecorder));
    }
    Ok(now() - began)
}

/// Whether both find the same rule for every packet.
fn agree(
    policy: &Policy,
    rules: &[Rule],
    packets: &[Descriptor],
    theirs: &[Option<usize>],
) -> anyhow::Result<()> {
    let slots: Vec<RuleSlot> = policy.rules().map(|rule| rule.slot).collect();
    let instance = policy.instance_named("default").context("the instance is gone")?;
    for (d, theirs) in packets.iter().zip(theirs) {
        let decision =
            instance.filter(FilterPoint::Forward, d, Some(InterfaceId(2)), &mut NoRecorder);
        // The default action stands behind the rules.
        let ours = slots.iter().position(|slot| *slot == decision.rule);
        if ours != Some(theirs.unwrap_or(rules.len())) {
            bail!("rte_acl finds rule {theirs:?} for {:?}, the filter {ours:?}", d.key);
        }
    }
    Ok(())
}
