//! From the command line to running workers.

use std::collections::BTreeMap;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::thread;
use std::time::Instant;

use anyhow::Context;
use rtrb::RingBuffer;
use rustix::rand::{GetRandomFlags, getrandom};
use sluice_channel::statistics::MAX_HOOKS;
use sluice_channel::{CrashReport, Limits, Server};
use sluice_dpdk::{Eal, EalOptions, Hugepages, LogLevel, keep_off_cores, tsc_hz};
use sluice_flow::{Limits as FlowLimits, Table};
use sluice_hooks::stack::NicWatch;
use sluice_hooks::{HookOrder, Loadable, Outbox, Ports, Registry, Stack};
use sluice_pipelines::flow::Flows;
use sluice_pipelines::neighbour::table::NeighbourTable;
use sluice_pipelines::spread::Spread;
use sluice_pipelines::tx::{HandedOver, MAX_PORTS, Output};
use sluice_pipelines::{AgentLink, Generation, Pipeline, inject};
use sluice_policy::Policy;
use sluice_policy::model::Delta;
use sluice_quiescent::Publisher;

use super::captures::Captures;
use super::hook_counts::HookCounts;
use super::neighbours::Neighbours;
use super::orders::Orders;
use super::ports::PortTable;
use super::rule_log::RuleLogger;
use super::watchdog::Watchdog;
use super::{Agent, WorkerHandle};
use crate::arguments::Arguments;
use crate::crash;
use crate::doorbell::Doorbell;
use crate::fault::{self, Fault};
use crate::kernel::LinkWatch;
use crate::programs;
use crate::worker::Worker;

/// Packets that wait between two workers.
const HANDOVER_RING: usize = 1024;
/// Reports of one worker that wait for the agent.
const REPORT_RING: usize = 4096;
/// Orders that wait for one worker.
const ORDER_RING: usize = 1024;
/// Workers that one dataplane can have.
const MAX_WORKERS: usize = 64;

impl Agent {
    /// Brings up DPDK, the channel and the workers. Ports come with the first commit.
    ///
    /// # Errors
    /// When another dataplane uses the directory, memory is short, a core does not exist, or a
    /// permission is missing.
    pub fn start(arguments: &Arguments) -> anyhow::Result<Agent> {
        let signals = stop_signals()?;
        check_cores(&arguments.cores)?;
        // This thread becomes the agent's; DPDK's own threads, too, inherit from it.
        keep_off_cores(&arguments.cores);
        std::fs::create_dir_all(&arguments.dir)
            .with_context(|| format!("cannot make the directory {}", arguments.dir.display()))?;
        let limits = Limits {
            workers: arguments.cores.len() as u16,
            ports: arguments.max_ports,
            rules: arguments.max_rules,
        };
        let server = Server::bind(&arguments.dir, limits)?;
        let statistics = server.statistics();
        // Not before the directory is ours alone.
        let crash = crash::last(&arguments.dir);
        if let Some(crash) = &crash {
            tell_of_crash(crash);
        }
        crash::install(&arguments.dir);
        let state_dir = arguments.dir.join("kernel");

        let prefix = format!("{}-{}", arguments.name, std::process::id());
        let hugepages = if arguments.no_huge { Hugepages::Off } else { Hugepages::Auto };
        let eal = Eal::init(&EalOptions {
            name: &prefix,
            memory_mib: arguments.memory,
            hugepages,
            log_level: LogLevel::default(),
        })?;
        let links = LinkWatch::new()?;
        let ports = PortTable::new(eal, state_dir, arguments.cores.len())?;

        let mut registry = Registry::new();
        sluice_pipelines::register(&mut registry);
        let mut publisher = Publisher::new(Box::new(Generation {
            policy: Policy::empty(),
            order: HookOrder::default(),
            ports: Ports::default(),
        }));
        let (table, writer) = NeighbourTable::new(arguments.max_neighbours);
        let doorbell = Arc::new(Doorbell::new()?);
        let hertz = tsc_hz();
        statistics.agent().hertz.set(hertz);
        statistics.agent().started.set(super::monotonic_ms());

        let doorbells = (0..arguments.cores.len())
            .map(|_| Doorbell::new().map(Arc::new))
            .collect::<Result<Vec<_>, _>>()?;
        let mut outputs = outputs(arguments.cores.len());
        let mut spreads = Spread::between(arguments.cores.len(), HANDOVER_RING);
        let mut workers = Vec::new();
        for (index, &core) in arguments.cores.iter().enumerate() {
            let (orders, take_orders) = RingBuffer::new(ORDER_RING);
            let (give_back, returns) = RingBuffer::new(MAX_PORTS * 2 + MAX_HOOKS);
            // One errand goes back and forth.
            let (done, errands) = RingBuffer::new(1);
            let (report, reports) = RingBuffer::new(REPORT_RING);
            let (injector, injections) = inject::ring();
            let flows = Table::new(FlowLimits::connections(arguments.max_flows), seed()?, hertz)?;
            let mut pipeline = Pipeline::new(
                &registry,
                Flows::new(flows),
                Outbox::new(ports.standard_pool(), hertz),
                Arc::clone(&table),
                outputs.remove(0),
                AgentLink::new(report),
                hertz,
            );
            pipeline.injections = Some(injections);
            let worker = Worker {
                index,
                core,
                generations: publisher.reader(),
                statistics: Arc::clone(&statistics),
                pipeline,
                spread: spreads.remove(0),
                orders: take_orders,
                returns: give_back,
                errands: done,
                doorbell: Arc::clone(&doorbells[index]),
                agent: Arc::clone(&doorbell),
                peers: doorbells.clone(),
                hertz,
            };
            let thread = thread::Builder::new()
                .name(format!("worker-{index}"))
                .spawn(move || worker.run())
                .with_context(|| format!("cannot start worker {index}"))?;
            workers.push(WorkerHandle {
                core,
                doorbell: Arc::clone(&doorbells[index]),
                orders: Orders::new(orders, Arc::clone(&doorbells[index])),
                injector,
                returns,
                errands,
                errand: Some(Box::default()),
                reports,
                thread: Some(thread),
            });
        }
        let mut agent = Agent {
            started: Instant::now(),
            server,
            statistics,
            limits,
            publisher,
            stack: Stack::new(registry),
            programs: programs::PROGRAMS.iter().copied().map(Loadable::from).collect(),
            modules: Vec::new(),
            staged: None,
            late: Vec::new(),
            nics: NicWatch::default(),
            hook_counts: HookCounts::default(),
            hook_log: BTreeMap::new(),
            workers,
            ports,
            neighbours: Neighbours::new(writer, arguments.max_neighbours),
            links,
            captures: Captures::new(table, hertz),
            transaction: None,
            spent: Delta::default(),
            rule_log: RuleLogger::default(),
            watchdog: Watchdog::new(arguments.cores.len()),
            doorbell,
            signals,
            looked_around: Instant::now(),
            told_of_super_packets: false,
            crash,
            told_of_crash: false,
        };
        for fault in &arguments.faults {
            tracing::warn!(?fault, "a fault will happen on request: not for production");
            if let Some((hook, made)) = fault.hook() {
                agent.with_stack(|stack, agent| stack.register_fault(agent, hook, &made))?;
            }
            if *fault == Fault::Programs {
                agent.programs.extend(fault::PROGRAMS.iter().copied().map(Loadable::from));
            }
        }
        for name in &arguments.modules {
            let module = programs::module(name)?;
            agent.with_stack(|stack, agent| stack.api(agent).register_module(module))?;
        }
        Ok(agent)
    }
}

fn tell_of_crash(crash: &CrashReport) {
    tracing::error!(
        thread = crash.thread,
        place = crash.stage.as_deref().unwrap_or("unknown"),
        generation = crash.generation,
        packets = crash.packets.as_deref().unwrap_or("none"),
        "the last dataplane crashed: {}; the report is in {}",
        crash.message,
        crash.file
    );
    for packet in &crash.poison {
        tracing::error!(
            "poison: {packet}: this packet was in hand in an earlier crash too; a filter rule that \
             drops it does not help before the stage that crashes, so keep its sender away"
        );
    }
}

/// What keys a worker's hash of connections: nobody who sends packets can know it.
fn seed() -> anyhow::Result<[u64; 2]> {
    let mut bytes = [0; 16];
    getrandom(&mut bytes[..], GetRandomFlags::empty())?;
    let [first, second] = bytes.as_chunks::<8>().0 else { unreachable!("two words") };
    Ok([u64::from_ne_bytes(*first), u64::from_ne_bytes(*second)])
}

/// A stream that becomes readable when the process is told to stop.
fn stop_signals() -> anyhow::Result<UnixStream> {
    let (read, write) = UnixStream::pair()?;
    read.set_nonblocking(true)?;
    for signal in [signal_hook::consts::SIGTERM, signal_hook::consts::SIGINT] {
        signal_hook::low_level::pipe::register(signal, write.try_clone()?)?;
    }
    // A reload is the control process's affair.
    let ignored = Arc::new(std::sync::atomic::AtomicBool::new(false));
    signal_hook::flag::register(signal_hook::consts::SIGHUP, ignored)?;
    Ok(read)
}

fn check_cores(cores: &[u16]) -> anyhow::Result<()> {
    let allowed = rustix::thread::sched_getaffinity(None)?;
    if cores.is_empty() || cores.len() > MAX_WORKERS {
        anyhow::bail!(
            "{} cores are given for workers: 1 to {MAX_WORKERS} are allowed",
            cores.len()
        );
    }
    for (place, &core) in cores.iter().enumerate() {
        if cores[..place].contains(&core) {
            anyhow::bail!("core {core} is given twice: one worker runs on a core");
        }
        let exists =
            usize::from(core) < rustix::thread::CpuSet::MAX_CPU && allowed.is_set(core.into());
        if !exists {
            let there: Vec<String> = (0..rustix::thread::CpuSet::MAX_CPU)
                .filter(|&core| allowed.is_set(core))
                .map(|core| core.to_string())
                .collect();
            anyhow::bail!(
                "core {core} does not exist or is not ours to use: `dataplane.cores` may name {}",
                there.join(", ")
            );
        }
    }
    Ok(())
}

/// The outputs of all workers, joined by a ring from each to each.
fn outputs(workers: usize) -> Vec<Output> {
    let mut to: Vec<Vec<_>> = (0..workers).map(|_| Vec::new()).collect();
    let mut from: Vec<Vec<_>> = (0..workers).map(|_| Vec::new()).collect();
    for (source, rings) in to.iter_mut().enumerate() {
        for (target, receivers) in from.iter_mut().enumerate() {
            if source == target {
                rings.push(None);
            } else {
                let (sender, receiver) = RingBuffer::<HandedOver>::new(HANDOVER_RING);
                rings.push(Some(sender));
                receivers.push(receiver);
            }
        }
    }
    to.into_iter().zip(from).map(|(to, from)| Output::new(to, from)).collect()
}
