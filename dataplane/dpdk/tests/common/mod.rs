//! What the tests of this crate share. EAL can be started once in a process, so that each file of
//! tests starts it once and its tests share it.

#![allow(dead_code, reason = "each file of tests uses a part")]

pub(crate) mod wire;

use std::process::{Command, Output};
use std::sync::OnceLock;

use sluice_dpdk::{
    BURST, Eal, EalOptions, Hugepages, Mbuf, Mempool, Port, PortSetup, RxQueue, TxQueue,
};

/// EAL without hugepages, unless `SLUICE_TEST_HUGEPAGES` is set, and with `memory_mib` of memory, whatever the first caller asked for.
pub(crate) fn eal(memory_mib: u32) -> &'static Eal {
    static EAL: OnceLock<Eal> = OnceLock::new();
    EAL.get_or_init(|| {
        let name = format!("sluice-test-{}", std::process::id());
        let hugepages = match std::env::var_os("SLUICE_TEST_HUGEPAGES") {
            Some(_) => Hugepages::Auto,
            None => Hugepages::Off,
        };
        let options = EalOptions { name: &name, memory_mib, hugepages, ..EalOptions::default() };
        Eal::init(&options).expect("EAL starts")
    })
}

/// An empty burst.
pub(crate) fn burst() -> [Option<Mbuf>; BURST] {
    [const { None }; BURST]
}

/// A packet with the bytes given.
pub(crate) fn packet(pool: &Mempool, bytes: &[u8]) -> Mbuf {
    let mut packet = pool.alloc().expect("a buffer");
    packet.append(bytes.len()).expect("room").copy_from_slice(bytes);
    packet
}

/// Attaches and starts a device with one queue each way.
pub(crate) fn started(eal: &Eal, device: &str, pool: &Mempool) -> (Port, RxQueue, TxQueue) {
    let mut port = Port::attach(eal, device).unwrap_or_else(|error| panic!("{error}"));
    let (mut rx, mut tx) =
        port.configure(PortSetup::new(pool)).unwrap_or_else(|error| panic!("{error}"));
    port.start().unwrap_or_else(|error| panic!("{error}"));
    (port, rx.remove(0), tx.remove(0))
}

/// Polls until `wanted` packets are there or two seconds are over.
pub(crate) fn receive(rx: &mut RxQueue, wanted: usize) -> Vec<Mbuf> {
    let until = std::time::Instant::now() + std::time::Duration::from_secs(2);
    let mut received = Vec::new();
    let mut slots = burst();
    while received.len() < wanted && std::time::Instant::now() < until {
        let n = rx.rx(&mut slots);
        received.extend(slots[..n].iter_mut().map(|slot| slot.take().expect("a full slot")));
    }
    received
}

/// Whether the process may make namespaces and open packet sockets; says so if not.
pub(crate) fn is_root() -> bool {
    // SAFETY: reads an id.
    let root = unsafe { libc::geteuid() } == 0;
    if !root {
        println!("skipped: needs root");
    }
    root
}

/// Runs a command and returns what it printed; panics if it fails.
pub(crate) fn run(command: &str) -> Output {
    let mut words = command.split_whitespace();
    let output = Command::new(words.next().expect("a program"))
        .args(words)
        .output()
        .unwrap_or_else(|error| panic!("{command}: {error}"));
    assert!(output.status.success(), "{command}: {}", String::from_utf8_lossy(&output.stderr));
    output
}
