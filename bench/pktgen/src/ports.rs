//! The two ports: a near one to send by, and a far one where packets arrive. They may be the same.

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
    /// Where packets are sent, and where they come home if they are turned round.
    pub near: End,
    /// Where packets arrive; `None` if at the near end.
    pub far: Option<End>,
    /// Where packets come from.
    pub pool: Mempool,
    _ports: Vec<Port>,
    _eal: Eal,
}

/// A port's queues.
pub struct End {
    /// To send.
    pub tx: TxQueue,
    /// To receive.
    pub rx: RxQueue,
    /// Its link address.
    pub mac: [u8; 6],
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
        let near = open(&eal, &pool, wanted.tx, &mut ports)?;
        let far = match wanted.rx {
            rx if rx == wanted.tx => None,
            rx => Some(open(&eal, &pool, rx, &mut ports)?),
        };
        wait_for_link(&ports)?;
        Ok(Ports { near, far, pool, _ports: ports, _eal: eal })
    }
}

fn open(eal: &Eal, pool: &Mempool, device: &str, ports: &mut Vec<Port>) -> anyhow::Result<End> {
    let mut port = Port::attach(eal, device).with_context(|| format!("device `{device}`"))?;
    let setup = PortSetup { rss: false, ..PortSetup::new(pool) };
    let (mut rx, mut tx) = port.configure(setup)?;
    port.start()?;
    port.promiscuous(true).ok();
    let end = End {
        tx: tx.pop().with_context(|| format!("`{device}` has no transmit queue"))?,
        rx: rx.pop().with_context(|| format!("`{device}` has no receive queue"))?,
        mac: port.mac(),
    };
    ports.push(port);
    Ok(end)
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
