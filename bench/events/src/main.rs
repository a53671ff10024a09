//! What an event costs at which no hook stands: the pipeline's own walk over the hooks of an event,
//! with nothing in the list, beside the same with one hook that does nothing.
//!
//! A burst of 64 packets is taken past the event many times; the clock is the time-stamp counter,
//! and of several rounds the median counts.

use std::hint::black_box;

use anyhow::Context as _;
use rtrb::RingBuffer;
use sluice_channel::Limits;
use sluice_channel::statistics::Statistics;
use sluice_dpdk::{BURST, Eal, EalOptions, Hugepages, Mempool, tsc, tsc_hz};
use sluice_flow::Table;
use sluice_hooks::{
    Burst, Context, Event, ForeignHook, Hint, Hook, Outbox, Ports, Protocol, Registry, Standing,
    Wants, Way,
};
use sluice_packet::{Descriptor, Mask};
use sluice_pipelines::flow::Flows;
use sluice_pipelines::neighbour::table::NeighbourTable;
use sluice_pipelines::tx::Output;
use sluice_pipelines::{AgentLink, Generation, Pipeline};
use sluice_policy::model::State;
use sluice_policy::{Policy, config};

/// Rounds, and bursts in each.
const ROUNDS: usize = 15;
const BURSTS: u64 = 200_000;

struct Pass;

impl Hook for Pass {
    fn process(&mut self, _: &mut Context<'_>, burst: &mut Burst, packets: Mask) {
        black_box((burst, packets));
    }
}

fn main() -> anyhow::Result<()> {
    let eal = Eal::init(&EalOptions {
        name: "sluice-bench-events",
        memory_mib: 64,
        hugepages: Hugepages::Off,
        ..EalOptions::default()
    })?;
    let pool = Mempool::new(&eal, "events", 1023, 2048)?;
    let text = "ports: { lan: { device: net_null0, addresses: [10.0.1.1/24] } }";
    let state = config::read(text.as_bytes(), "bench.yaml")?.state;
    let policy = Policy::empty().apply(&State::default().difference(&state));
    let policy = policy.map_err(|errors| anyhow::anyhow!("{errors:?}"))?;
    let mut registry = Registry::new();
    sluice_pipelines::register(&mut registry);
    let statistics = Statistics::in_memory(Limits { workers: 1, ports: 8, rules: 64 })?;
    let statistics = statistics.worker(0);
    let hertz = tsc_hz();
    let (table, _writer) = NeighbourTable::new(64);
    let (report, _reports) = RingBuffer::new(64);
    let output = Output::new(vec![None], vec![]);
    let outbox = Outbox::new(pool.clone(), hertz);
    let flows = Flows::new(Table::new(sluice_flow::Limits::connections(1024), [1, 2], hertz)?);
    let mut pipeline =
        Pipeline::new(&registry, flows, outbox, table, output, AgentLink::new(report), hertz);
    pipeline.authors().put(0, Box::new(Pass), true);
    let hook = ForeignHook {
        instance: None,
        protocols: vec![Protocol::Inet],
        event: Event::LoopbackIn,
        name: "pass".into(),
        hint: Hint::None,
    };

    let mut burst = Burst::new();
    for _ in 0..BURST {
        let mbuf = pool.alloc().context("a buffer")?;
        let pushed = burst.push(mbuf, Descriptor::default(), Way::Undecided);
        pushed.ok().context("a place in the burst")?;
    }
    let orders = [
        ("no hook", Event::LoopbackOut, registry.order(&policy, &[])?),
        (
            "a hook that does nothing",
            Event::LoopbackIn,
            registry.order(
                &policy,
                &[Standing { hook: &hook, slot: Some(0), wants: Wants::EveryPacket }],
            )?,
        ),
    ];
    println!("a burst of {BURST} packets past an event, {ROUNDS} rounds of {BURSTS}");
    println!("{:<28} {:>12} {:>12}", "at the event", "ns/burst", "ns/packet");
    for (name, event, order) in orders {
        let generation = Generation { policy: policy.clone(), order, ports: Ports::default() };
        let mut rounds: Vec<f64> = (0..ROUNDS)
            .map(|_| {
                let start = tsc();
                for _ in 0..BURSTS {
                    pipeline.pass_event(black_box(&generation), statistics, &mut burst, event);
                }
                (tsc() - start) as f64 * 1e9 / hertz as f64 / BURSTS as f64
            })
            .collect();
        rounds.sort_by(f64::total_cmp);
        let ns = rounds[ROUNDS / 2];
        println!("{name:<28} {ns:>12.2} {:>12.3}", ns / BURST as f64);
    }
    Ok(())
}
