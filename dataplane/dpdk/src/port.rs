//! Ports: attached by device string, configured, started, detached, at any time.

use std::collections::BTreeSet;
use std::ffi::{CStr, CString};
use std::mem::{self, ManuallyDrop};
use std::ptr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use sluice_dpdk_sys as sys;

use crate::attach::{Attached, attached, check, refusal};
use crate::descriptor::{self, DriverDescriptor, Open, QueueDescriptor};
use crate::device::{Device, Driver};
use crate::eal::Eal;
use crate::error::{CloseError, DpdkError, errno_text};
use crate::interface::Promiscuous;
use crate::log;
use crate::mempool::Mempool;
use crate::queue::{Limits, RxQueue, TxQueue};
use crate::xdp::{self, BpfObject, Rings};

/// A hash key that steers both directions of a connection to the same queue: the 16 bits `6d5a`
/// repeated. Longer than what any device takes.
static SYMMETRIC_KEY: [u8; 64] = {
    let mut key = [0; 64];
    let mut i = 0;
    while i < key.len() {
        key[i] = if i % 2 == 0 { 0x6d } else { 0x5a };
        i += 1;
    }
    key
};

/// The key's length where the device does not say.
const KEY: u8 = 40;

/// The number of a port that is no more.
const DETACHED: u16 = u16::MAX;

/// What a port and its queues share.
#[derive(Debug)]
pub(crate) struct Shared {
    started: AtomicBool,
    /// Packets that were freed because the driver cannot send them.
    unsendable: AtomicU64,
    /// Where the device takes buffers from.
    pool: Mempool,
}

impl Shared {
    /// Whether the port may be polled. Acquire, so that a thread that sees the port started sees what
    /// starting it wrote.
    #[inline(always)]
    pub(crate) fn is_started(&self) -> bool {
        self.started.load(Ordering::Acquire)
    }

    pub(crate) fn count_unsendable(&self, packets: u64) {
        self.unsendable.fetch_add(packets, Ordering::Relaxed);
    }
}

/// How a port is set up.
#[derive(Clone, Debug)]
pub struct PortSetup<'a> {
    /// Receive queues.
    pub rx_queues: u16,
    /// Transmit queues; a device that has fewer gives what it has.
    pub tx_queues: u16,
    /// Descriptors of a receive queue, adjusted to what the device takes.
    pub rx_descriptors: u16,
    /// Descriptors of a transmit queue, adjusted to what the device takes.
    pub tx_descriptors: u16,
    /// Where received packets are put.
    pub pool: &'a Mempool,
    /// The port's address; None is the device's own.
    pub mac: Option<[u8; 6]>,
    /// The longest IP packet, for devices that have to be told; None leaves them as they are.
    pub mtu: Option<u16>,
    /// Spread packets over the receive queues by a hash of addresses and ports, the same for both
    /// directions, where the device can.
    pub rss: bool,
}

impl<'a> PortSetup<'a> {
    /// One queue each way of 1,024 descriptors, the device's address, and RSS.
    #[must_use]
    pub fn new(pool: &'a Mempool) -> PortSetup<'a> {
        PortSetup {
            rx_queues: 1,
            tx_queues: 1,
            rx_descriptors: 1024,
            tx_descriptors: 1024,
            pool,
            mac: None,
            mtu: None,
            rss: true,
        }
    }
}

/// What a device is and can.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PortInfo {
    /// The device string that the port was attached with.
    pub device: String,
    /// The driver, as Sluice tells them apart.
    pub kind: Driver,
    /// The driver's own name.
    pub driver: String,
    /// The most receive queues.
    pub max_rx_queues: u16,
    /// The most transmit queues.
    pub max_tx_queues: u16,
    /// The port's address.
    pub mac: [u8; 6],
    /// The kernel's interface that the port took, by name.
    pub interface: Option<String>,
    /// Its index.
    pub interface_index: Option<u32>,
    /// The longest frame, from its Ethernet header on, that gets through where the driver cuts or drops
    /// longer ones.
    pub max_frame: Option<u32>,
    /// Whether the device can spread packets over queues by a hash.
    pub rss: bool,
    /// The NUMA node that the device is on, if it matters.
    pub numa_node: Option<u32>,
}

/// What the device counted since the port was attached.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct PortStats {
    /// Packets received.
    pub ipackets: u64,
    /// Packets sent.
    pub opackets: u64,
    /// Packets dropped by the device because nobody fetched them.
    pub imissed: u64,
    /// Packets received with errors.
    pub ierrors: u64,
    /// Packets that could not be sent after they were accepted.
    pub oerrors: u64,
    /// Times that the pool was empty when a packet came.
    pub rx_nombuf: u64,
}

/// What the device says of its link. Those on kernel interfaces always say up: ask the kernel.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Link {
    /// Whether there is one.
    pub up: bool,
    /// Its speed, if known.
    pub speed_mbps: Option<u32>,
}

/// An attached device.
#[derive(Debug)]
pub struct Port {
    id: u16,
    device: Device,
    interface: Option<u32>,
    /// The address that the device came with.
    device_mac: [u8; 6],
    /// The address that the port goes by.
    mac: [u8; 6],
    shared: Option<Arc<Shared>>,
    descriptors: Vec<DriverDescriptor>,
    /// Programs and maps of an af_xdp port.
    bpf: BTreeSet<BpfObject>,
    promiscuous: Option<Promiscuous>,
    eal: Eal,
}

impl Port {
    /// Attaches a device. After an error nothing of it is left, and the same string can be tried again.
    ///
    /// # Errors
    ///
    /// The string is wrong, its device or interface does not exist or is taken, the process lacks a
    /// capability, or the driver refuses for a reason of its own, which is quoted.
    pub fn attach(eal: &Eal, device: &str) -> Result<Port, DpdkError> {
        let device = Device::parse(device)?;
        let mut attached = attached();
        let interface = check(eal, &device, &attached)?;
        let devargs = CString::new(device.devargs()).expect("a device string has no control byte");

        let ports: Vec<u16> = ports().collect();
        let open = Open::now();
        // SAFETY: the string is copied; the lock is held, so that hotplug is not entered twice.
        let (result, said) = log::capture(|| unsafe { sys::rte_dev_probe(devargs.as_ptr()) });
        if result != 0 {
            return Err(refusal(&device, result, said));
        }
        let Some(id) = self::ports().find(|id| !ports.contains(id)) else {
            return Err(DpdkError::Attach {
                device: device.text().to_owned(),
                reason: "its driver made no port of it".to_owned(),
            });
        };
        attached.push(Attached {
            name: device.name().to_owned(),
            interface,
            text: device.text().to_owned(),
        });
        drop(attached);
        let descriptors = open.since(device.driver(), interface);
        let device_mac = hardware_address(id);
        let mac = own_address(device.driver(), device_mac);
        Ok(Port {
            id,
            device,
            interface,
            device_mac,
            mac,
            shared: None,
            descriptors,
            bpf: BTreeSet::new(),
            promiscuous: None,
            eal: eal.clone(),
        })
    }

    /// What the device is and can.
    #[must_use]
    pub fn info(&self) -> PortInfo {
        let info = self.device_info();
        let driver = if info.driver_name.is_null() {
            String::new()
        } else {
            // SAFETY: the driver's name is a constant string of its plugin, which stays loaded.
            unsafe { CStr::from_ptr(info.driver_name) }.to_string_lossy().into_owned()
        };
        // SAFETY: takes any port id.
        let node = unsafe { sys::rte_eth_dev_socket_id(self.id) };
        PortInfo {
            device: self.device.text().to_owned(),
            kind: self.device.driver(),
            driver,
            max_rx_queues: info.max_rx_queues,
            max_tx_queues: info.max_tx_queues,
            mac: self.mac,
            interface: self.device.interface().map(str::to_owned),
            interface_index: self.interface,
            max_frame: self.device.max_frame(),
            rss: info.flow_type_rss_offloads & sys::SLUICE_RSS_HASHES != 0,
            numa_node: u32::try_from(node).ok(),
        }
    }

    /// Sets the port up, stopping it if it runs, and hands out its queues; they receive and send once it is
    /// [started](Self::start).
    ///
    /// # Errors
    ///
    /// Queues of an earlier set-up are still in use, the device has fewer receive queues, or the driver
    /// refuses.
    pub fn configure(
        &mut self,
        setup: PortSetup<'_>,
    ) -> Result<(Vec<RxQueue>, Vec<TxQueue>), DpdkError> {
        self.stop()?;
        self.shared = None;
        let info = self.device_info();
        if setup.rx_queues > info.max_rx_queues {
            return Err(DpdkError::Queues {
                device: self.device.text().to_owned(),
                asked: setup.rx_queues,
                available: info.max_rx_queues,
            });
        }
        let tx_queues = setup.tx_queues.min(info.max_tx_queues);

        let lock = attached();
        let open = Open::now();
        let objects = self.bpf_objects();
        self.apply(&setup, &info, tx_queues)?;
        let opened = open.since(self.device.driver(), self.interface);
        if !opened.is_empty() {
            self.descriptors = opened;
            // Behind the receive queues' come duplicates for sending.
            self.descriptors.truncate(usize::from(setup.rx_queues));
        }
        self.bpf.extend(self.bpf_objects().difference(&objects).cloned());
        drop(lock);
        self.set_mac(setup.mac)?;

        let shared = Arc::new(Shared {
            started: AtomicBool::new(false),
            unsendable: AtomicU64::new(0),
            pool: setup.pool.clone(),
        });
        let limits = self.limits(&info, setup.pool);
        let rx = (0..setup.rx_queues).map(|q| RxQueue::new(self.id, q, Arc::clone(&shared)));
        let tx = (0..tx_queues).map(|q| TxQueue::new(self.id, q, limits, Arc::clone(&shared)));
        let queues = (rx.collect(), tx.collect());
        self.shared = Some(shared);
        Ok(queues)
    }

    /// Starts receiving and sending.
    ///
    /// # Errors
    ///
    /// The port is not configured, or the driver refuses.
    pub fn start(&mut self) -> Result<(), DpdkError> {
        let Some(shared) = &self.shared else {
            return Err(self.failed("starting the port", "it is not configured".to_owned()));
        };
        if shared.is_started() {
            return Ok(());
        }
        // SAFETY: the port is configured, and no queue polls before `started` is set.
        self.step("starting the port", || unsafe { sys::rte_eth_dev_start(self.id) })?;
        shared.started.store(true, Ordering::Release);
        Ok(())
    }

    /// Stops receiving and sending. Queues do not survive it.
    ///
    /// # Errors
    ///
    /// Queues or descriptors are still in use.
    pub fn stop(&mut self) -> Result<(), DpdkError> {
        let Some(shared) = &self.shared else {
            return Ok(());
        };
        let handles = Arc::strong_count(shared) - 1;
        if handles > 0 {
            return Err(DpdkError::InUse { device: self.device.text().to_owned(), handles });
        }
        if shared.started.swap(false, Ordering::AcqRel) {
            // SAFETY: no queue is left that could poll meanwhile.
            self.step("stopping the port", || unsafe { sys::rte_eth_dev_stop(self.id) })?;
        }
        Ok(())
    }

    /// Detaches the device; its interface is as it was.
    ///
    /// # Errors
    ///
    /// Gives the port back if queues or descriptors of it are still in use or the driver refuses.
    pub fn close(mut self) -> Result<(), CloseError> {
        match self.detach() {
            Ok(()) => {
                // What is left of the port holds handles only, which go with it.
                self.id = DETACHED;
                Ok(())
            }
            Err(error) => Err(CloseError { port: Box::new(self), error }),
        }
    }

    /// The address that the port goes by.
    #[must_use]
    pub fn mac(&self) -> [u8; 6] {
        self.mac
    }

    /// DPDK's number of the port.
    #[must_use]
    pub fn id(&self) -> u16 {
        self.id
    }

    /// The device string, taken apart.
    #[must_use]
    pub fn device(&self) -> &Device {
        &self.device
    }

    /// What the device says of its link.
    #[must_use]
    pub fn link(&self) -> Link {
        let mut link = sys::rte_eth_link::default();
        // SAFETY: writes one rte_eth_link.
        if unsafe { sys::rte_eth_link_get_nowait(self.id, &raw mut link) } != 0 {
            return Link::default();
        }
        let known = link.link_speed != 0 && link.link_speed != u32::MAX;
        Link { up: link.link_status() != 0, speed_mbps: known.then_some(link.link_speed) }
    }

    /// What the device counted.
    #[must_use]
    pub fn stats(&self) -> PortStats {
        let mut stats = sys::rte_eth_stats::default();
        // SAFETY: writes one rte_eth_stats.
        if unsafe { sys::rte_eth_stats_get(self.id, &raw mut stats) } != 0 {
            return PortStats::default();
        }
        let unsendable =
            self.shared.as_ref().map_or(0, |shared| shared.unsendable.load(Ordering::Relaxed));
        PortStats {
            ipackets: stats.ipackets,
            opackets: stats.opackets,
            imissed: stats.imissed,
            ierrors: stats.ierrors,
            oerrors: stats.oerrors + unsendable,
            rx_nombuf: stats.rx_nombuf,
        }
    }

    /// Receives packets for any address, or only those for the port's own. On a kernel interface the
    /// mode ends with the port, however that ends. Devices that know no difference accept both.
    ///
    /// # Errors
    ///
    /// The driver or the kernel refuses.
    pub fn promiscuous(&mut self, on: bool) -> Result<(), DpdkError> {
        const STEP: &str = "switching promiscuous mode";
        if let (Driver::AfPacket | Driver::AfXdp, Some(index)) =
            (self.device.driver(), self.interface)
        {
            if !on {
                self.promiscuous = None;
            } else if self.promiscuous.is_none() {
                let mode = Promiscuous::new(index)
                    .map_err(|error| self.failed(STEP, error.to_string()))?;
                self.promiscuous = Some(mode);
            }
            return Ok(());
        }
        let switch = || {
            // SAFETY: both take any port id.
            let result = unsafe {
                if on {
                    sys::rte_eth_promiscuous_enable(self.id)
                } else {
                    sys::rte_eth_promiscuous_disable(self.id)
                }
            };
            if result == -libc::ENOTSUP { 0 } else { result }
        };
        self.step(STEP, switch)
    }

    /// The descriptors under the receive queues, in their order; empty where the driver has none or
    /// the port is not configured.
    #[must_use]
    pub fn descriptors(&self) -> Vec<QueueDescriptor> {
        let (Some(kind), Some(shared)) = (descriptor::kind(self.device.driver()), &self.shared)
        else {
            return Vec::new();
        };
        let found: std::io::Result<Vec<QueueDescriptor>> = (0..)
            .zip(&self.descriptors)
            .map(|(queue, open)| QueueDescriptor::new(queue, kind, open.fd, Arc::clone(shared)))
            .collect();
        found.unwrap_or_else(|error| {
            tracing::warn!(
                "device {}: its descriptors cannot be duplicated: {error}",
                self.device.text()
            );
            Vec::new()
        })
    }

    fn device_info(&self) -> sys::rte_eth_dev_info {
        let mut info = sys::rte_eth_dev_info::default();
        // SAFETY: writes one rte_eth_dev_info; a port that exists has one.
        unsafe { sys::rte_eth_dev_info_get(self.id, &raw mut info) };
        info
    }

    /// Tells ethdev and the driver what [`configure`](Self::configure) was asked for.
    fn apply(
        &self,
        setup: &PortSetup<'_>,
        info: &sys::rte_eth_dev_info,
        tx_queues: u16,
    ) -> Result<(), DpdkError> {
        // SAFETY: plain integers and pointers that may be null, for which zero is valid.
        let mut conf: sys::rte_eth_conf = unsafe { mem::zeroed() };
        let hashes = info.flow_type_rss_offloads & sys::SLUICE_RSS_HASHES;
        if setup.rss && setup.rx_queues > 1 && hashes != 0 {
            conf.rxmode.mq_mode = sys::SLUICE_MQ_RX_RSS;
            conf.rxmode.offloads |= info.rx_offload_capa & sys::SLUICE_RX_OFFLOAD_RSS_HASH;
            let rss = &mut conf.rx_adv_conf.rss_conf;
            rss.rss_hf = hashes;
            // Drivers only read the key, though the field is not const.
            rss.rss_key = SYMMETRIC_KEY.as_ptr().cast_mut();
            let length = if info.hash_key_size == 0 { KEY } else { info.hash_key_size };
            rss.rss_key_len = length.min(SYMMETRIC_KEY.len() as u8);
        }
        conf.txmode.offloads = info.tx_offload_capa & sys::SLUICE_TX_OFFLOAD_MULTI_SEGS;
        // Those on kernel interfaces would change the interface, and af_packet refuses jumbo.
        let told_mtu =
            matches!(self.device.driver(), Driver::Pci | Driver::VirtioUser | Driver::Other);
        if let (true, Some(mtu)) = (told_mtu, setup.mtu) {
            if info.max_mtu != 0 && mtu > info.max_mtu {
                let reason = format!("the device carries at most {}", info.max_mtu);
                return Err(self.failed("setting the MTU", reason));
            }
            conf.rxmode.mtu = u32::from(mtu);
        }
        // SAFETY: ethdev copies the configuration; the key is static.
        self.step("configuring the port", || unsafe {
            sys::rte_eth_dev_configure(self.id, setup.rx_queues, tx_queues, &raw const conf)
        })?;

        let (mut rx, mut tx) = (setup.rx_descriptors, setup.tx_descriptors);
        // SAFETY: reads and writes the two counts.
        self.step("choosing the number of descriptors", || unsafe {
            sys::rte_eth_dev_adjust_nb_rx_tx_desc(self.id, &raw mut rx, &raw mut tx)
        })?;
        // SAFETY: takes any port id.
        let node = unsafe { sys::rte_eth_dev_socket_id(self.id) };
        let node = node as u32;
        if self.device.driver() == Driver::AfXdp && !setup.pool.suits_xdp() {
            let reason = format!(
                "the buffers of mempool {:?} are not in one piece of memory; make the pool earlier or \
                 smaller, or give the dataplane more memory",
                setup.pool.name()
            );
            return Err(self.failed("setting up a receive queue", reason));
        }
        for queue in 0..setup.rx_queues {
            // SAFETY: the queue is below the configured number; a null configuration is the
            // driver's own; the pool is kept by the port from now on, see `Shared`.
            self.step("setting up a receive queue", || unsafe {
                sys::rte_eth_rx_queue_setup(self.id, queue, rx, node, ptr::null(), setup.pool.raw())
            })?;
        }
        for queue in 0..tx_queues {
            // SAFETY: as above.
            self.step("setting up a transmit queue", || unsafe {
                sys::rte_eth_tx_queue_setup(self.id, queue, tx, node, ptr::null())
            })?;
        }
        Ok(())
    }

    /// What packets must be like for the driver to send them; None if it looks itself.
    fn limits(&self, info: &sys::rte_eth_dev_info, pool: &Mempool) -> Option<Limits> {
        let segments = info.tx_offload_capa & sys::SLUICE_TX_OFFLOAD_MULTI_SEGS != 0;
        match self.device.driver() {
            // It copies packets of other pools into buffers of its own, however long they are.
            Driver::AfXdp => {
                let length = Some(usize::from(pool.data_room()));
                Some(Limits { one_segment: true, length })
            }
            // The others follow the segments, though not all of them say so.
            Driver::Pci | Driver::Other if !segments => {
                Some(Limits { one_segment: true, length: None })
            }
            _ => None,
        }
    }

    /// Gives the port an address. On a kernel interface, and where the driver cannot, it is the port's
    /// alone: the interface keeps its own and receives for both.
    fn set_mac(&mut self, mac: Option<[u8; 6]>) -> Result<(), DpdkError> {
        let mac = mac.unwrap_or_else(|| own_address(self.device.driver(), self.device_mac));
        let kernel = matches!(self.device.driver(), Driver::AfPacket | Driver::AfXdp | Driver::Tap);
        if mac != self.mac && !kernel {
            let mut address = sys::rte_ether_addr { addr_bytes: mac };
            let set = || {
                // SAFETY: reads one address.
                let result =
                    unsafe { sys::rte_eth_dev_default_mac_addr_set(self.id, &raw mut address) };
                if result == -libc::ENOTSUP { 0 } else { result }
            };
            self.step("setting the MAC address", set)?;
        }
        self.mac = mac;
        if mac != self.device_mac {
            self.promiscuous(true)?;
        }
        Ok(())
    }

    fn detach(&mut self) -> Result<(), DpdkError> {
        self.stop()?;
        if self.mac != self.device_mac {
            self.set_mac(Some(self.device_mac))?;
        }
        self.promiscuous = None;
        let device = self.device_info().device;
        let mut attached = attached();
        let rings = self.xdp_rings();
        let open = self.bpf_objects();
        // SAFETY: the port is stopped and has no queues out; the lock keeps hotplug to one thread.
        self.step("closing the port", || unsafe { sys::rte_eth_dev_close(self.id) })?;
        if self.device.driver() == Driver::AfXdp {
            // Those of the port, and those that libxdp opened to remove its program.
            let others = open.difference(&self.bpf).cloned().collect();
            xdp::release(rings, &self.descriptors, &others);
        }
        self.shared = None;
        attached.retain(|other| other.name != self.device.name());
        // SAFETY: the device outlives its port and was not removed before.
        self.step("detaching the device", || unsafe { sys::rte_dev_remove(device) })
    }

    /// The rings of an af_xdp port's queues, to have back after closing what they hold.
    fn xdp_rings(&self) -> Vec<Rings> {
        match &self.shared {
            Some(shared) if self.device.driver() == Driver::AfXdp => self
                .descriptors
                .iter()
                .filter_map(|open| Rings::map(open.fd, &shared.pool))
                .collect(),
            _ => Vec::new(),
        }
    }

    /// What is open of the kind that an af_xdp port opens.
    fn bpf_objects(&self) -> BTreeSet<BpfObject> {
        match self.device.driver() {
            Driver::AfXdp => BpfObject::all(),
            _ => BTreeSet::new(),
        }
    }

    /// Runs a step that returns 0 or a negative errno, and quotes the log if it fails.
    fn step(
        &self,
        step: &'static str,
        run: impl FnOnce() -> std::ffi::c_int,
    ) -> Result<(), DpdkError> {
        match log::capture(run) {
            (0, _) => Ok(()),
            (errno, said) if said.is_empty() => Err(self.failed(step, errno_text(errno))),
            (_, said) => Err(self.failed(step, said)),
        }
    }

    fn failed(&self, step: &'static str, reason: String) -> DpdkError {
        DpdkError::Port { device: self.device.text().to_owned(), step, reason }
    }
}

impl Drop for Port {
    fn drop(&mut self) {
        if self.id == DETACHED {
            return;
        }
        if let Err(error) = self.detach() {
            tracing::warn!("{error}; it stays attached until the process ends");
            // The driver still refers to the pool and to EAL.
            let _kept = ManuallyDrop::new((self.shared.take(), self.eal.clone()));
        }
    }
}

/// The ports that there are.
fn ports() -> impl Iterator<Item = u16> {
    let from = |first: u16| {
        // SAFETY: takes any number and reads ethdev's table.
        let id = unsafe { sys::rte_eth_find_next(first) };
        (u32::from(id) < sys::SLUICE_MAX_PORTS).then_some(id)
    };
    std::iter::successors(from(0), move |&id| from(id + 1))
}

/// The address that a device came with.
fn hardware_address(port: u16) -> [u8; 6] {
    let mut address = sys::rte_ether_addr::default();
    // SAFETY: writes one address; it stays zero where the device has none.
    unsafe { sys::rte_eth_macaddr_get(port, &raw mut address) };
    address.addr_bytes
}

/// The address that a port goes by unless it is given one: the device's, except on tap, where that is
/// the address of the host at the other end.
fn own_address(driver: Driver, device: [u8; 6]) -> [u8; 6] {
    let mut address = device;
    if driver == Driver::Tap {
        address[5] ^= 1;
    }
    address
}
