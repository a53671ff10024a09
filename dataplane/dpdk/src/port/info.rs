//! What a port is, has and counted.

use std::ffi::CStr;
use std::sync::atomic::Ordering;

use sluice_dpdk_sys as sys;

use super::Port;
use crate::device::Driver;

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

impl Port {
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

    /// What the device says of its link.
    #[must_use]
    pub fn link(&self) -> Link {
        let (mut up, mut speed) = (0, 0);
        // SAFETY: writes the two values.
        if unsafe { sys::sluice_link(self.id, &raw mut up, &raw mut speed) } != 0 {
            return Link::default();
        }
        let known = speed != 0 && speed != u32::MAX;
        Link { up: up != 0, speed_mbps: known.then_some(speed) }
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
}
