//! Ports: attached by device string, configured, started, detached, at any time.

mod info;
mod rss;
mod setup;

use std::collections::BTreeSet;
use std::ffi::{CString, c_int};
use std::mem::ManuallyDrop;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use sluice_dpdk_sys as sys;

use crate::attach::{Attached, attached, check, refusal};
use crate::descriptor::{self, DriverDescriptor, Open, QueueDescriptor};
use crate::device::{Device, Driver};
use crate::eal::Eal;
use crate::error::{CloseError, DpdkError, errno_text};
use crate::interface::Membership;
use crate::log;
use crate::mempool::Mempool;
use crate::xdp::{self, BpfObject, Rings};

pub use info::{Link, PortInfo, PortStats};
pub use rss::Rss;
use setup::own_address;
pub use setup::{PortSetup, RSS_KEY_WORD};

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
    fn new(pool: &Mempool) -> Shared {
        Shared {
            started: AtomicBool::new(false),
            unsendable: AtomicU64::new(0),
            pool: pool.clone(),
        }
    }

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
    promiscuous: Option<Membership>,
    multicast: Option<Membership>,
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
            let bus = if device.driver() == Driver::Pci { c"pci" } else { c"vdev" };
            let name = CString::new(device.name()).expect("a device string has no control byte");
            // SAFETY: both are C strings; nobody uses what was just attached.
            unsafe { sys::rte_eal_hotplug_remove(bus.as_ptr(), name.as_ptr()) };
            return Err(DpdkError::Attach {
                device: device.text().to_owned(),
                reason: "it is not a network device".to_owned(),
            });
        };
        attached.push(Attached {
            name: device.name().to_owned(),
            interface,
            text: device.text().to_owned(),
        });
        let descriptors = open.since(device.driver(), interface);
        drop(attached);
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
            multicast: None,
            eal: eal.clone(),
        })
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

    fn detach(&mut self) -> Result<(), DpdkError> {
        self.stop()?;
        if self.mac != self.device_mac {
            self.set_mac(Some(self.device_mac))?;
        }
        self.promiscuous = None;
        self.multicast = None;
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
    fn step(&self, step: &'static str, run: impl FnOnce() -> c_int) -> Result<(), DpdkError> {
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
