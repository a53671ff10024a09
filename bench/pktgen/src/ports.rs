//! The two ports: one to send by, one to receive from. They may be the same.

use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use sluice_dpdk::{
    Eal, EalOptions, Hugepages, Mempool, Port, PortSetup, RxQueue, TxQueue, required_data_room,
};

/// How long the other end may take to be there.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// Packet buffers.
const MBUFS: u32 = 16_383;

/// The ports and their queues.
pub struct Ports {
    /// Where to send.
    pub tx: TxQueue,
    /// Where what was sent comes back.
    pub rx: RxQueue,
    /// Other queues, which are only emptied: what a router says back to where packets came from.
    pub others: Vec<RxQueue>,
    /// Where packets come from.
    pub pool: Mempool,
    /// Link address of the sending port.
    pub mac: [u8; 6],
    _ports: Vec<Port>,
    _eal: Eal,
}

/// Which ports, and what with.
pub struct Wanted<'a> {
    /// Device to send by.
    pub tx: &'a str,
    /// Device to receive from.
    pub rx: &'a str,
    /// Memory for packets, in MiB.
    pub memory: u32,
    /// Whether to do without hugepages.
    pub no_huge: bool,
    /// Largest IP packet.
    pub mtu: u16,
}

impl Ports {
    /// Opens the ports and waits until both have link.
    ///
    /// # Errors
    /// What DPDK says; no link within a minute.
    pub fn open(wanted: &Wanted<'_>) -> anyhow::Result<Ports> {
        let name = format!("pktgen-{}", std::process::id());
        let eal = Eal::init(&EalOptions {
            name: &name,
            memory_mib: wanted.memory,
            hugepages: if wanted.no_huge { Hugepages::Off } else { Hugepages::Auto },
            ..EalOptions::default()
        })?;
        let room = required_data_room(wanted.tx, wanted.mtu);
        let pool = Mempool::new(&eal, "pktgen", MBUFS, room)?;
        let mut ports = Vec::new();
        let mut queues = Vec::new();
        let devices: &[&str] =
            if wanted.tx == wanted.rx { &[wanted.tx] } else { &[wanted.tx, wanted.rx] };
        for device in devices {
            let mut port =
                Port::attach(&eal, device).with_context(|| format!("device `{device}`"))?;
            let setup = PortSetup { rss: false, ..PortSetup::new(&pool) };
            queues.push(port.configure(setup)?);
            port.start()?;
            port.promiscuous(true).ok();
            ports.push(port);
        }
        wait_for_link(&ports)?;
        let (rx, tx): (Vec<_>, Vec<_>) = queues.into_iter().unzip();
        let mut rx: Vec<RxQueue> = rx.into_iter().flatten().collect();
        let tx = tx.into_iter().flatten().next().context("the port has no transmit queue")?;
        let last = rx.pop().context("the port has no receive queue")?;
        let mac = ports[0].mac();
        Ok(Ports { tx, rx: last, others: rx, pool, mac, _ports: ports, _eal: eal })
    }
}

fn wait_for_link(ports: &[Port]) -> anyhow::Result<()> {
    let deadline = Instant::now() + PATIENCE;
    for port in ports {
        while !port.link().up {
            if Instant::now() > deadline {
                bail!("`{}` has no link: is the other end there?", port.device().text());
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }
    Ok(())
}
