//! How a port is set up: queues, pool, address, and what the device is asked to do.

use std::ffi::c_int;
use std::mem;
use std::ptr;
use std::sync::Arc;

use sluice_dpdk_sys as sys;

use super::{Port, Shared};
use crate::attach::attached;
use crate::descriptor::Open;
use crate::device::Driver;
use crate::error::DpdkError;
use crate::interface::{Membership, Mode};
use crate::mempool::Mempool;
use crate::queue::{Limits, RxQueue, TxQueue};

/// The 16 bits that the key of the devices' hash repeats.
pub const RSS_KEY_WORD: u16 = 0x6d5a;

/// A hash key that steers both directions of a connection to the same queue. Longer than what any
/// device takes.
static SYMMETRIC_KEY: [u8; 64] = {
    let mut key = [0; 64];
    let mut i = 0;
    while i < key.len() {
        key[i] = RSS_KEY_WORD.to_be_bytes()[i % 2];
        i += 1;
    }
    key
};

/// The key's length where the device does not say.
const KEY: u8 = 40;

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
    /// Spread packets over the receive queues by a hash of their addresses, the same for both
    /// directions, for fragments and for whole packets, where the device can; of addresses and ports
    /// where it can hash only both.
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

impl Port {
    /// Sets the port up, stopping it if it runs, and hands out its queues; they receive and send once it is
    /// [started](Self::start). Every multicast is received, as neighbour discovery needs.
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
        let applied = self.apply(&setup, &info, tx_queues);
        let opened = open.since(self.device.driver(), self.interface);
        if !opened.is_empty() {
            self.descriptors = opened;
            // Behind the receive queues' come duplicates for sending.
            self.descriptors.truncate(usize::from(setup.rx_queues));
        }
        self.bpf.extend(self.bpf_objects().difference(&objects).cloned());
        drop(lock);
        applied?;
        self.set_mac(setup.mac)?;
        self.receive_multicast()?;

        let shared = Arc::new(Shared::new(setup.pool));
        let limits = self.limits(&info, setup.pool);
        let rx = (0..setup.rx_queues).map(|q| RxQueue::new(self.id, q, Arc::clone(&shared)));
        let tx = (0..tx_queues).map(|q| TxQueue::new(self.id, q, limits, Arc::clone(&shared)));
        let queues = (rx.collect(), tx.collect());
        self.shared = Some(shared);
        Ok(queues)
    }

    /// Receives packets for any address, or only those for the port's own. On a kernel interface the
    /// mode ends with the port, however that ends. Devices that know no difference accept both.
    ///
    /// # Errors
    ///
    /// The driver or the kernel refuses.
    pub fn promiscuous(&mut self, on: bool) -> Result<(), DpdkError> {
        const STEP: &str = "switching promiscuous mode";
        if self.device.driver() == Driver::Tap {
            // The host at the other end sends to nobody else, and the mode would be its interface's.
            return Ok(());
        }
        if let Some(index) = self.kernel_interface() {
            if !on {
                self.promiscuous = None;
            } else if self.promiscuous.is_none() {
                let mode = Membership::new(index, Mode::Promiscuous)
                    .map_err(|error| self.failed(STEP, error.to_string()))?;
                self.promiscuous = Some(mode);
            }
            return Ok(());
        }
        self.optional_step(STEP, || {
            // SAFETY: both take any port id.
            unsafe {
                if on {
                    sys::rte_eth_promiscuous_enable(self.id)
                } else {
                    sys::rte_eth_promiscuous_disable(self.id)
                }
            }
        })
    }

    /// Receives every multicast: a router answers for groups that no device was told of.
    fn receive_multicast(&mut self) -> Result<(), DpdkError> {
        const STEP: &str = "receiving multicast";
        if let Some(index) = self.kernel_interface() {
            let mode = Membership::new(index, Mode::AllMulticast)
                .map_err(|error| self.failed(STEP, error.to_string()))?;
            self.multicast = Some(mode);
            return Ok(());
        }
        // SAFETY: takes any port id.
        self.optional_step(STEP, || unsafe { sys::rte_eth_allmulticast_enable(self.id) })
    }

    /// The interface of the kernel that stands under the port.
    fn kernel_interface(&self) -> Option<u32> {
        match self.device.driver() {
            Driver::AfPacket | Driver::AfXdp => self.interface,
            _ => None,
        }
    }

    /// As [`step`](Self::step), of something that some drivers do not know.
    fn optional_step(
        &self,
        step: &'static str,
        run: impl FnOnce() -> c_int,
    ) -> Result<(), DpdkError> {
        self.step(step, || match run() {
            result if result == -libc::ENOTSUP => 0,
            result => result,
        })
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
        let hashes = match info.flow_type_rss_offloads {
            offered if offered & sys::SLUICE_RSS_ANY_IPV4 != 0 => {
                offered & sys::SLUICE_RSS_ADDRESSES
            }
            offered => offered & sys::SLUICE_RSS_HASHES,
        };
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
        // SAFETY: takes any port id; -1, for any node, stays what it is.
        let node = unsafe { sys::rte_eth_dev_socket_id(self.id) } as u32;
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
    pub(super) fn set_mac(&mut self, mac: Option<[u8; 6]>) -> Result<(), DpdkError> {
        let mac = mac.unwrap_or_else(|| own_address(self.device.driver(), self.device_mac));
        let kernel = matches!(self.device.driver(), Driver::AfPacket | Driver::AfXdp | Driver::Tap);
        if mac != self.mac && !kernel {
            let mut address = sys::rte_ether_addr { addr_bytes: mac };
            // SAFETY: reads one address.
            self.optional_step("setting the MAC address", || unsafe {
                sys::rte_eth_dev_default_mac_addr_set(self.id, &raw mut address)
            })?;
        }
        self.mac = mac;
        if mac != self.device_mac {
            self.promiscuous(true)?;
        }
        Ok(())
    }
}

/// The address that a port goes by unless it is given one: the device's, except on tap, where that is
/// the address of the host at the other end.
pub(super) fn own_address(driver: Driver, device: [u8; 6]) -> [u8; 6] {
    let mut address = device;
    if driver == Driver::Tap {
        address[5] ^= 1;
    }
    address
}
