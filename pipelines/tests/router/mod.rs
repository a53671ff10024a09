//! A router without ports and without threads: frames in, frames out, counters in between. It runs
//! the real pipeline; what leaves is caught in the ring through which a worker hands packets to
//! another.
//!
//! Where a test program has `AllocDisabler` for its allocator, a stage that allocates or frees ends it.

#![allow(dead_code, reason = "each test program uses a part of it")]

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, OnceLock};

use assert_no_alloc::assert_no_alloc;
use rtrb::{Consumer, RingBuffer};
use sluice_channel::{Limits, Statistics};
use sluice_dpdk::{Eal, EalOptions, Hugepages, Mbuf, Mempool, tsc, tsc_hz};
use sluice_flow::{Limits as FlowLimits, Table};
use sluice_hooks::{
    Burst, Factory, ForeignHook, Outbox, PortFacts, Ports, Registry, Standing, Wants,
};
use sluice_packet::ipv6;
use sluice_pipelines::flow::Flows;
use sluice_pipelines::neighbour::resolver::{Action, Resolver};
use sluice_pipelines::neighbour::solicit::Solicit;
use sluice_pipelines::neighbour::table::NeighbourTable;
use sluice_pipelines::tx::{HandedOver, Output, Way};
use sluice_pipelines::{AgentLink, Generation, Injector, Pipeline, Report, inject};
use sluice_policy::model::{self, State};
use sluice_policy::{DropReason, Policy, PortId};

/// Link address of a router's port.
pub fn mac(port: u16) -> [u8; 6] {
    [2, 0, 0, 0, 0, port as u8 + 1]
}

/// Link address of the station on a port's link.
pub fn station(port: u16) -> [u8; 6] {
    [2, 0, 0, 0, 1, port as u8 + 1]
}

pub fn position() -> model::Position {
    model::Position { file: "test.yaml".into(), line: 1, column: 1 }
}

/// A state of ports `p0`, `p1`, … with these addresses and MTUs.
pub fn ports(ports: &[(&[&str], u16)]) -> State {
    let mut state = State::default();
    state.instances.insert(model::DEFAULT_INSTANCE.into(), model::Instance::default());
    for (n, (addresses, mtu)) in ports.iter().enumerate() {
        let name: model::Name = format!("p{n}").into();
        let port = model::Port {
            device: format!("net_null{n}"),
            mac: None,
            mtu: *mtu,
            queues: 1,
            workers: vec![],
            spread: true,
            checksum: model::ChecksumMode::Complete,
            steal: false,
            position: position(),
        };
        let interface = model::Interface {
            port: name.clone(),
            vlan: None,
            instance: model::DEFAULT_INSTANCE.into(),
            mtu: *mtu,
            addresses: addresses.iter().map(|a| a.parse().unwrap()).collect(),
            position: position(),
        };
        state.ports.insert(name.clone(), port);
        state.interfaces.insert(name, interface);
    }
    state
}

fn eal() -> &'static Eal {
    static EAL: OnceLock<Eal> = OnceLock::new();
    EAL.get_or_init(|| {
        let options = EalOptions {
            name: "sluice-pipelines-test",
            memory_mib: 256,
            hugepages: Hugepages::Off,
            ..EalOptions::default()
        };
        Eal::init(&options).expect("EAL starts")
    })
}

/// Few enough that bounds are met.
pub const FLOWS: FlowLimits = FlowLimits { huge_pages: false, ..FlowLimits::connections(1024) };

/// What keys the hash of connections.
pub const SEED: [u64; 2] = [1, 2];

/// An author's hook.
pub struct Registration {
    pub hook: ForeignHook,
    pub factory: Factory,
}

/// The router under test.
pub struct Router {
    pub generation: Generation,
    pub statistics: Arc<Statistics>,
    pub resolver: Resolver,
    pub pool: Mempool,
    pub injector: Injector,
    registry: Registry,
    /// By slot.
    hooks: Vec<Option<(ForeignHook, Wants)>>,
    pipeline: Pipeline,
    sent: Consumer<HandedOver>,
    reports: Consumer<Report>,
    millis: u64,
}

impl Router {
    /// A router of this state, all links up, no neighbour known.
    pub fn new(state: &State) -> Router {
        Router::with_hooks(state, Vec::new())
    }

    /// A router of this state with hooks of authors.
    pub fn with_hooks(state: &State, hooks: Vec<Registration>) -> Router {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let pool_name = format!("test-{}", NEXT.fetch_add(1, Ordering::Relaxed));
        let pool = Mempool::new(eal(), &pool_name, 1023, 2048).expect("a pool");
        let mut registry = Registry::new();
        sluice_pipelines::register(&mut registry);
        let (table, writer) = NeighbourTable::new(64);
        let (give, sent) = RingBuffer::new(1024);
        let (report, reports) = RingBuffer::new(1024);
        let mut output = Output::new(vec![None, Some(give)], vec![]);
        for port in 0..8 {
            output.attach(PortId(port), Way::Worker(1));
        }
        let (injector, injections) = inject::ring();
        let limits = Limits { workers: 1, ports: 8, rules: 64 };
        let hertz = tsc_hz();
        let mut router = Router {
            generation: Generation {
                policy: Policy::empty(),
                order: Default::default(),
                ports: Ports::default(),
            },
            statistics: Arc::new(Statistics::in_memory(limits).unwrap()),
            resolver: Resolver::new(writer),
            pipeline: Pipeline::new(
                &registry,
                Flows::new(Table::new(FLOWS, SEED, hertz).expect("memory")),
                Outbox::new(pool.clone(), hertz),
                table,
                output,
                AgentLink::new(report),
                hertz,
            ),
            pool,
            injector,
            registry,
            hooks: Vec::new(),
            sent,
            reports,
            millis: 0,
        };
        router.pipeline.injections = Some(injections);
        hooks.into_iter().for_each(|hook| router.put(hook));
        router.commit(state);
        router
    }

    fn put(&mut self, hook: Registration) {
        let object = (hook.factory)();
        let wants = object.wants();
        self.pipeline.authors().put(self.hooks.len(), object, true);
        self.hooks.push(Some((hook.hook, wants)));
    }

    /// Loads an author's hook, and says where it is.
    pub fn load(&mut self, hook: Registration) -> usize {
        self.put(hook);
        self.follow(self.generation.policy.clone(), self.generation.ports.clone());
        self.hooks.len() - 1
    }

    /// Takes an author's hook out.
    pub fn unload(&mut self, slot: usize) {
        self.hooks[slot] = None;
        self.follow(self.generation.policy.clone(), self.generation.ports.clone());
        self.pipeline.authors().take(self.statistics.worker(0), slot);
    }

    /// Has exactly these ports down.
    pub fn set_down(&mut self, down: &[u16]) {
        let policy = &self.generation.policy;
        let policy = policy.with_down(down.iter().map(|&port| PortId(port)));
        self.follow(policy, self.generation.ports.clone());
    }

    fn follow(&mut self, policy: Policy, ports: Ports) {
        let hooks = self.hooks.iter().enumerate();
        let standing: Vec<_> = hooks
            .filter_map(|(slot, hook)| {
                let (hook, wants) = hook.as_ref()?;
                Some(Standing { hook, slot: Some(slot), wants: *wants })
            })
            .collect();
        let order = self.registry.order(&policy, &standing).unwrap();
        self.generation = self.generation.followed_by(policy, order, ports);
    }

    /// Makes the router as the state says, in a new generation.
    pub fn commit(&mut self, state: &State) {
        let current = &self.generation.policy;
        let policy = current.apply(&current.state().difference(state));
        let policy = policy.unwrap_or_else(|errors| panic!("{errors:?}"));
        let mut facts = Ports::default();
        for entry in policy.ports() {
            let mac = mac(entry.id.0);
            let link = Arc::new(AtomicBool::new(true));
            let link_local = ipv6::link_local(&mac).to_bits();
            facts.set(entry.id, Some(PortFacts { mac, link_local, link }));
        }
        self.follow(policy, facts);
    }

    /// Puts frames on a port and returns what leaves, by port. Neighbours do not answer.
    pub fn receive(&mut self, port: u16, frames: &[Vec<u8>]) -> BTreeMap<u16, Vec<Vec<u8>>> {
        let chains: Vec<_> = frames.iter().map(|frame| vec![frame.clone()]).collect();
        self.receive_chains(port, &chains)
    }

    /// Puts frames on a port, each in the segments given, and returns what leaves, by port; what
    /// is injected meanwhile is on its way, too.
    pub fn receive_chains(
        &mut self,
        port: u16,
        frames: &[Vec<Vec<u8>>],
    ) -> BTreeMap<u16, Vec<Vec<u8>>> {
        let statistics = Arc::clone(&self.statistics);
        let statistics = statistics.worker(0);
        let mut burst = Burst::new();
        for batch in frames.chunks(64) {
            for (slot, segments) in burst.slots_mut().iter_mut().zip(batch) {
                let mut chain = self.buffer(&segments[0]);
                for segment in &segments[1..] {
                    chain.chain(self.buffer(segment)).expect("a chain");
                }
                *slot = Some(chain);
            }
            burst.received(batch.len());
            let (pipeline, generation) = (&mut self.pipeline, &self.generation);
            assert_no_alloc(|| {
                pipeline.run(generation, statistics, PortId(port), &mut burst, tsc());
            });
        }
        self.inject();
        self.leaving()
    }

    /// A buffer that holds these bytes.
    pub fn buffer(&self, bytes: &[u8]) -> Mbuf {
        let mut mbuf = self.pool.alloc().expect("a buffer");
        mbuf.append(bytes.len()).expect("room").copy_from_slice(bytes);
        mbuf
    }

    /// Puts one frame on a port and returns the one frame that leaves.
    pub fn forward(&mut self, port: u16, frame: &[u8]) -> Option<(u16, Vec<u8>)> {
        let mut out = self.receive(port, &[frame.to_vec()]);
        assert!(out.values().map(Vec::len).sum::<usize>() <= 1, "more than one frame left");
        let (port, frames) = out.pop_first()?;
        Some((port, frames.into_iter().next()?))
    }

    fn leaving(&mut self) -> BTreeMap<u16, Vec<Vec<u8>>> {
        let statistics = Arc::clone(&self.statistics);
        assert_no_alloc(|| self.pipeline.output.flush(statistics.worker(0)));
        let mut out: BTreeMap<u16, Vec<Vec<u8>>> = BTreeMap::new();
        while let Ok(HandedOver { port, mbuf }) = self.sent.pop() {
            let mut frame = vec![0; mbuf.pkt_len()];
            assert!(mbuf.read(0, &mut frame));
            out.entry(port.0).or_default().push(frame);
        }
        out
    }

    /// Does the agent's part: takes in reports, lets `millis` pass, sends solicitations, and looks
    /// at held packets. Returns what leaves.
    pub fn pass_time(&mut self, millis: u64) -> BTreeMap<u16, Vec<Vec<u8>>> {
        self.millis += millis;
        let mut actions = Vec::new();
        while let Ok(report) = self.reports.pop() {
            match report {
                Report::Wanted(key) => {
                    let (interface, family, address) = (key.interface, key.family, key.address);
                    self.resolver.wanted(interface, family, address, self.millis, &mut actions);
                }
                Report::Heard(heard) => self.resolver.heard(&heard, self.millis, &mut actions),
                Report::Rule(_) | Report::Hook(_) => {}
            }
        }
        self.resolver.tick(self.millis, &mut actions);
        let statistics = Arc::clone(&self.statistics);
        let statistics = statistics.worker(0);
        for action in actions {
            if let Action::Solicit { interface, family, addr, unicast } = action {
                let ask = Solicit::Ask { interface, family, address: addr, station: unicast };
                self.pipeline.solicit(&self.generation, statistics, ask);
            }
        }
        // Held packets are looked at every millisecond of the time-stamp counter.
        std::thread::sleep(std::time::Duration::from_millis(2));
        assert_no_alloc(|| self.pipeline.tend(&self.generation, statistics, tsc()));
        self.inject();
        self.leaving()
    }

    fn inject(&mut self) {
        let statistics = self.statistics.worker(0);
        assert_no_alloc(|| while self.pipeline.inject(&self.generation, statistics, tsc()) > 0 {});
    }

    /// Makes the station on a port's link known under an address.
    pub fn know(&mut self, port: u16, address: &str) {
        let address: std::net::IpAddr = address.parse().unwrap();
        let interface = self.generation.policy.interface_on(PortId(port), 0).unwrap().id;
        let family = match address {
            std::net::IpAddr::V4(_) => sluice_packet::Family::Inet,
            std::net::IpAddr::V6(_) => sluice_packet::Family::Inet6,
        };
        let number = sluice_packet::descriptor::number_of(address);
        let mac = station(port);
        let mut actions = Vec::new();
        self.resolver.static_entry(interface, family, number, mac, 0, &mut actions).unwrap();
    }

    /// How many packets were dropped for a reason.
    pub fn dropped(&self, reason: DropReason) -> u64 {
        self.statistics.drops(reason)
    }

    /// Rule 3 of the fast path: every packet is accounted for.
    pub fn assert_balanced(&self) {
        let core = self.statistics.worker(0).core();
        let came = core.rx.get() + core.generated.get() + core.handed_in.get();
        let went = core.tx.get()
            + core.punted.get()
            + core.consumed.get()
            + core.dropped.get()
            + core.handed_out.get()
            + core.held.get();
        assert_eq!(came, went, "packets in and out");
        let reasons: u64 = DropReason::ALL.iter().map(|&r| self.statistics.drops(r)).sum();
        assert_eq!(reasons, core.dropped.get(), "drops by reason");
        assert_eq!(u64::from(self.pool.in_use()), core.held.get(), "buffers in use");
    }
}
