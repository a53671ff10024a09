//! The ports: attached, configured, handed to workers, watched, and given back.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::Context;
use sluice_channel::MempoolStatus;
use sluice_channel::statistics::Statistics;
use sluice_dpdk::{
    CloseError, DpdkError, Eal, Link, Mempool, Port, PortSetup, QueueDescriptor,
    device_with_frame_size, device_with_queues, required_data_room,
};
use sluice_hooks::{PortFacts, Ports};
use sluice_packet::ipv6;
use sluice_pipelines::tx;
use sluice_policy::model::Name;
use sluice_policy::{Policy, PortEntry, PortId, model};

use crate::kernel::{self, KernelInterface, LinkWatch};
use crate::worker::Polled;

/// Bytes of packet that a buffer of the standard pool takes.
const STANDARD_ROOM: u16 = 2048;
/// Bytes of packet that buffers are made for: few classes, so that there are few pools.
const ROOMS: [u16; 4] = [STANDARD_ROOM, 4_096, 10_240, 16_384];
/// Bytes that a buffer costs beside its packet: mbuf, headroom, alignment.
const BUFFER_OVERHEAD: u32 = 320;
/// Most and fewest buffers of a pool.
const POOL: std::ops::RangeInclusive<u32> = 1_023..=262_143;
/// How long a lost port is left alone between two tries to attach it.
const SHORTEST_PAUSE: Duration = Duration::from_millis(500);
const LONGEST_PAUSE: Duration = Duration::from_secs(8);
/// Link header with a tag.
const LINK_HEADER: u32 = 18;

/// What each worker gets of a port, by worker.
pub struct Handles {
    /// Queues to poll and way to send, by worker.
    pub by_worker: Vec<(Vec<Polled>, tx::Way)>,
}

/// A port that is attached.
pub struct Attached {
    /// Its name.
    pub name: Name,
    /// What it was configured as.
    pub spec: model::Port,
    /// DPDK's driver.
    pub driver: String,
    /// Link address and link.
    pub facts: PortFacts,
    /// Transmit queues.
    pub tx_queues: u16,
    /// The worker of each receive queue.
    pub workers: Vec<u16>,
    port: Port,
    kernel: Option<KernelInterface>,
    descriptors: Vec<QueueDescriptor>,
}

impl Attached {
    fn is_on(&self, interface: u32) -> bool {
        self.kernel.as_ref().is_some_and(|kernel| kernel.index() == interface)
    }

    /// What the device says of its link.
    pub fn device_link(&self) -> Link {
        self.port.link()
    }
}

/// A configured port that is not attached.
pub struct Lost {
    /// Its name.
    pub name: Name,
    /// What it was configured as.
    pub spec: model::Port,
    /// Why it is not attached.
    pub reason: String,
    /// When it is tried again, and how long to wait if that fails.
    due: Instant,
    pause: Duration,
}

impl Lost {
    /// The kernel's interface that the port stands on.
    pub fn interface(&self) -> Option<&str> {
        kernel::device_interface(&self.spec.device)
    }
}

/// All ports, and the memory that their packets live in.
pub struct PortTable {
    eal: Eal,
    pools: BTreeMap<u16, Mempool>,
    attached: BTreeMap<PortId, Attached>,
    /// Ports of the live policy that are not attached, and why.
    lost: BTreeMap<PortId, Lost>,
    /// Devices that could not be detached yet: some worker still has a queue.
    closing: Vec<(Name, Port)>,
    state_dir: PathBuf,
    workers: usize,
    next_worker: usize,
}

impl PortTable {
    /// No ports, and a pool of standard buffers. `state_dir` is where it is noted how kernel
    /// interfaces were before they were taken.
    ///
    /// # Errors
    /// When memory does not suffice.
    pub fn new(eal: Eal, state_dir: PathBuf, workers: usize) -> anyhow::Result<PortTable> {
        let mut table = PortTable {
            eal,
            pools: BTreeMap::new(),
            attached: BTreeMap::new(),
            lost: BTreeMap::new(),
            closing: Vec::new(),
            state_dir,
            workers,
            next_worker: 0,
        };
        table.pool(STANDARD_ROOM).context("raise `dataplane.memory`")?;
        Ok(table)
    }

    /// The pool of standard buffers.
    pub fn standard_pool(&self) -> Mempool {
        self.pools[&STANDARD_ROOM].clone()
    }

    /// Whether packet memory is on hugepages.
    pub fn hugepages(&self) -> bool {
        self.eal.hugepages()
    }

    /// Packet memory in MiB.
    pub fn memory_mib(&self) -> u32 {
        self.eal.memory_mib()
    }

    /// How full the pools are.
    pub fn mempools(&self) -> Vec<MempoolStatus> {
        let status = |pool: &Mempool| MempoolStatus {
            name: pool.name().to_owned(),
            size: pool.size(),
            in_use: pool.in_use(),
        };
        self.pools.values().map(status).collect()
    }

    /// An attached port.
    pub fn get(&self, id: PortId) -> Option<&Attached> {
        self.attached.get(&id)
    }

    /// The numbers of all attached ports.
    pub fn ids(&self) -> Vec<PortId> {
        self.attached.keys().copied().collect()
    }

    /// Why a configured port is not attached.
    pub fn lost(&self, id: PortId) -> Option<&Lost> {
        self.lost.get(&id)
    }

    /// The ports of `policy` that nothing can be sent by.
    pub fn down(&self, policy: &Policy) -> BTreeSet<PortId> {
        let carries = |id| {
            let attached = self.attached.get(&id);
            attached.is_some_and(|port| port.facts.link.load(Ordering::Relaxed))
        };
        policy.ports().map(|entry| entry.id).filter(|&id| !carries(id)).collect()
    }

    /// Notes that a configured port is not attached; it is tried again from now on.
    pub fn lose(&mut self, id: PortId, name: Name, spec: model::Port, reason: String) {
        let (due, pause) = (Instant::now() + SHORTEST_PAUSE, SHORTEST_PAUSE);
        self.lost.insert(id, Lost { name, spec, reason, due, pause });
    }

    /// Forgets lost ports that are attached now, or that `policy` does not have any more.
    pub fn forget_found(&mut self, policy: &Policy) {
        let attached = &self.attached;
        self.lost.retain(|id, lost| {
            let there = policy.port(*id).is_some_and(|entry| entry.name == lost.name);
            there && !attached.contains_key(id)
        });
    }

    /// Something happened to a kernel interface of this name: a port that waits for it is tried at
    /// once.
    pub fn interface_came(&mut self, name: &str) {
        for lost in self.lost.values_mut().filter(|lost| lost.interface() == Some(name)) {
            (lost.due, lost.pause) = (Instant::now(), SHORTEST_PAUSE);
        }
    }

    /// The lost ports that are to be tried again now.
    pub fn due(&self) -> Vec<PortId> {
        let now = Instant::now();
        self.lost.iter().filter(|(_, lost)| lost.due <= now).map(|(&id, _)| id).collect()
    }

    /// A lost port is still not there; says whether the reason, if there is another, is news.
    pub fn still_lost(&mut self, id: PortId, reason: Option<&str>) -> bool {
        let Some(lost) = self.lost.get_mut(&id) else { return false };
        lost.due = Instant::now() + lost.pause;
        lost.pause = (lost.pause * 2).min(LONGEST_PAUSE);
        let news = reason.filter(|reason| *reason != lost.reason);
        if let Some(reason) = news {
            reason.clone_into(&mut lost.reason);
        }
        news.is_some()
    }

    /// What the pipeline needs to know of the ports.
    pub fn facts(&self) -> Ports {
        let mut ports = Ports::default();
        for (&id, attached) in &self.attached {
            ports.set(id, Some(attached.facts.clone()));
        }
        ports
    }

    /// A pool whose buffers take `room` bytes of packet: a quarter of the memory.
    fn pool(&mut self, room: u16) -> anyhow::Result<Mempool> {
        let room = ROOMS.into_iter().find(|&class| class >= room).unwrap_or(room);
        if let Some(pool) = self.pools.get(&room) {
            return Ok(pool.clone());
        }
        let bytes = u64::from(self.eal.memory_mib()) * 1024 * 1024 / 4;
        let fit = (bytes / u64::from(u32::from(room) + BUFFER_OVERHEAD)) as u32;
        // A power of two minus one wastes least of the pool's ring.
        let count = (1u32 << fit.max(1).ilog2()) - 1;
        let count = count.clamp(*POOL.start(), *POOL.end());
        let pool = Mempool::new(&self.eal, &format!("packets-{room}"), count, room)?;
        self.pools.insert(room, pool.clone());
        Ok(pool)
    }

    /// Attaches a port and starts it. Nothing is left of one that fails.
    ///
    /// # Errors
    /// What is wrong with the device, the kernel interface below it, or memory.
    pub fn attach(&mut self, entry: &PortEntry, links: &mut LinkWatch) -> anyhow::Result<Handles> {
        let spec = &entry.spec;
        let queues = spec.queues.max(1);
        let device = device_with_queues(&device_with_frame_size(&spec.device, spec.mtu), queues);
        let kernel = match kernel::device_interface(&device) {
            Some(interface) => Some(KernelInterface::take(interface, spec.steal, &self.state_dir)?),
            None => None,
        };
        let mut port = Port::attach(&self.eal, &device)?;
        let info = port.info();
        if let Some(max) = info.max_frame
            && u32::from(spec.mtu) + LINK_HEADER > max
        {
            anyhow::bail!(
                "device `{}` carries frames of at most {max} bytes: an MTU of {} does not fit; \
                 set `mtu` to {} or less",
                spec.device,
                spec.mtu,
                max - LINK_HEADER
            );
        }
        let pool = self.pool(required_data_room(&device, spec.mtu))?;
        let setup = PortSetup {
            rx_queues: queues,
            tx_queues: (self.workers as u16).min(info.max_tx_queues).max(1),
            mac: spec.mac.map(|mac| mac.0),
            mtu: Some(spec.mtu),
            ..PortSetup::new(&pool)
        };
        let (rx, tx) = port.configure(setup)?;
        port.start()?;
        if queues > 1 && port.rss().is_some_and(|rss| !rss.is_symmetric()) {
            tracing::warn!(
                port = &*entry.name,
                "the device spreads packets by a key of its own: workers hand each other what is not theirs"
            );
        }
        let descriptors = port.descriptors();
        for descriptor in &descriptors {
            descriptor
                .ignore_outgoing()
                .context("the kernel cannot keep our own frames from coming back")?;
        }
        let mac = port.mac();
        let link = match &kernel {
            Some(interface) => links.state(interface.name()).is_some_and(|link| link.up),
            None => port.link().up,
        };
        let facts = PortFacts {
            mac,
            link_local: ipv6::link_local(&mac).to_bits(),
            link: Arc::new(AtomicBool::new(link)),
        };
        let workers: Vec<u16> = (0..rx.len()).map(|queue| self.worker_of(spec, queue)).collect();
        let tx_queues = tx.len() as u16;
        let senders = senders(&workers, self.workers, tx.len());
        let way_through = |worker: usize| tx::Way::Worker(senders[worker % senders.len().max(1)]);
        let mut by_worker: Vec<(Vec<Polled>, tx::Way)> =
            (0..self.workers).map(|worker| (Vec::new(), way_through(worker))).collect();
        for (queue, &worker) in tx.into_iter().zip(&senders) {
            by_worker[usize::from(worker)].1 = tx::Way::Queue(queue);
        }
        let mut watched = port.descriptors();
        for (queue, &worker) in rx.into_iter().zip(&workers) {
            let of_queue = watched.iter().position(|d| d.queue() == queue.index());
            let descriptor = of_queue.map(|place| watched.swap_remove(place));
            let polled = Polled { port: entry.id, queue, descriptor, spread: spec.spread };
            by_worker[usize::from(worker)].0.push(polled);
        }
        let attached = Attached {
            name: entry.name.clone(),
            spec: spec.clone(),
            driver: info.driver,
            facts,
            tx_queues,
            workers,
            port,
            kernel,
            descriptors,
        };
        self.attached.insert(entry.id, attached);
        Ok(Handles { by_worker })
    }

    /// The worker that polls a queue: as configured; else the one of the same number, where each has
    /// its queue, since that is how devices spread flows; else in turn.
    fn worker_of(&mut self, spec: &model::Port, queue: usize) -> u16 {
        match spec.workers.as_slice() {
            [] if usize::from(spec.queues) == self.workers => queue as u16,
            [] => {
                let worker = self.next_worker % self.workers;
                self.next_worker += 1;
                worker as u16
            }
            configured => configured[queue % configured.len()] % self.workers as u16,
        }
    }

    /// Detaches a port and gives the kernel its interface. A device of which a worker still has a
    /// queue is detached once it has come back.
    pub fn close(&mut self, id: PortId) {
        let Some(attached) = self.attached.remove(&id) else { return };
        let Attached { name, port, kernel, descriptors, .. } = attached;
        drop(descriptors);
        self.detach(name.clone(), port);
        if let Some(Err(error)) = kernel.map(KernelInterface::restore) {
            tracing::error!(port = %name, "{error}");
        }
    }

    /// Whether something waits to be detached.
    pub fn is_closing(&self) -> bool {
        !self.closing.is_empty()
    }

    /// Detaches what could not be detached before.
    pub fn finish_closing(&mut self) {
        for (name, port) in std::mem::take(&mut self.closing) {
            self.detach(name, port);
        }
    }

    fn detach(&mut self, name: Name, port: Port) {
        match port.close() {
            Ok(()) => {}
            Err(CloseError { port, error: DpdkError::InUse { .. } }) => {
                self.closing.push((name, *port));
            }
            Err(error) => tracing::error!(port = %name, "cannot detach: {}", error.error),
        }
    }

    /// Detaches all ports.
    pub fn close_all(&mut self) {
        for id in self.ids() {
            self.close(id);
        }
        self.finish_closing();
        for (name, _) in self.closing.drain(..) {
            tracing::error!(port = %name, "cannot detach: a worker has not given its queues back");
        }
        kernel::restore_abandoned(&self.state_dir);
    }

    /// The port that has taken a kernel interface, told by its number: a new interface of an old
    /// name is not the one that was taken.
    pub fn on_interface(&self, index: u32) -> Option<PortId> {
        self.attached.iter().find(|(_, attached)| attached.is_on(index)).map(|(&id, _)| id)
    }

    /// Notes the link of a kernel interface. Returns the ports for which that is news.
    pub fn set_link(&mut self, index: u32, up: bool) -> Vec<(PortId, Name)> {
        self.attached
            .iter()
            .filter(|(_, attached)| attached.is_on(index))
            .filter(|(_, attached)| attached.facts.link.swap(up, Ordering::Relaxed) != up)
            .map(|(&id, attached)| (id, attached.name.clone()))
            .collect()
    }

    /// Looks at the link of the ports that no kernel interface stands behind. Returns what is news.
    pub fn poll_links(&mut self) -> Vec<(PortId, Name, bool)> {
        self.attached
            .iter()
            .filter(|(_, attached)| attached.kernel.is_none())
            .filter_map(|(&id, attached)| {
                let up = attached.port.link().up;
                let was = attached.facts.link.swap(up, Ordering::Relaxed);
                (was != up).then(|| (id, attached.name.clone(), up))
            })
            .collect()
    }

    /// Copies what devices and kernel counted into the statistics.
    pub fn read_devices(&self, statistics: &Statistics) {
        for (&id, attached) in &self.attached {
            let gauges = statistics.port_gauges(id);
            let device = attached.port.stats();
            gauges.missed.set(device.imissed);
            gauges.device_errors.set(device.ierrors + device.oerrors);
            gauges.no_buffers.set(device.rx_nombuf);
            gauges.link.set(u64::from(attached.facts.link.load(Ordering::Relaxed)));
            for counted in attached.descriptors.iter().filter_map(|d| d.kernel_statistics()) {
                gauges.kernel_drops.add(u64::from(counted.drops));
            }
        }
    }
}

/// The workers that get one of so many transmit queues: first those that poll the port, which would
/// have to look after it anyway.
fn senders(polling: &[u16], workers: usize, queues: usize) -> Vec<u16> {
    let mut senders: Vec<u16> = Vec::with_capacity(workers);
    for worker in polling.iter().copied().chain(0..workers as u16) {
        if !senders.contains(&worker) {
            senders.push(worker);
        }
    }
    senders.truncate(queues);
    senders
}

#[cfg(test)]
mod tests {
    use super::senders;

    #[test]
    fn who_polls_a_port_sends_by_it_first() {
        assert_eq!(senders(&[1], 2, 1), [1]);
        assert_eq!(senders(&[1], 3, 2), [1, 0]);
        assert_eq!(senders(&[0, 1, 0, 1], 2, 2), [0, 1]);
        assert_eq!(senders(&[2], 3, 3), [2, 0, 1]);
    }
}
