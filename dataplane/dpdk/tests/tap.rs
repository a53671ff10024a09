//! `net_tap` in a network namespace of the test's own.

mod common;

use std::time::Duration;

use common::wire::{Host, frame, link, open_descriptors, own_namespace, readable};
use common::{burst, eal, is_root, receive, run};
use sluice_dpdk::{DescriptorKind, Mempool, Port, PortSetup};

#[test]
fn an_interface_that_is_made_for_the_port() {
    if !is_root() {
        return;
    }
    own_namespace();
    let pool = Mempool::new(eal(64), "tap", 4095, 2048).unwrap();
    let open = open_descriptors();
    for round in 0..20 {
        let mut port = Port::attach(eal(64), "net_tap0,iface=lan0").unwrap();
        let setup = PortSetup { rx_queues: 2, tx_queues: 2, ..PortSetup::new(&pool) };
        let (mut rx, mut tx) = port.configure(setup).unwrap();
        port.start().unwrap();
        run("ip link set lan0 arp off up");
        let host = link("lan0", "address");
        let mac = port.mac().map(|byte| format!("{byte:02x}")).join(":");
        assert_ne!(mac, host, "two ends of a cable have two addresses");

        let descriptors = port.descriptors();
        assert_eq!(descriptors.len(), 2);
        assert!(descriptors.iter().all(|descriptor| descriptor.kind() == DescriptorKind::Tap));
        let kernel = Host::on("lan0");
        kernel.send(&frame(port.mac(), 300, round));
        let woken: Vec<usize> = (0..2)
            .filter(|&queue| readable(&descriptors[queue], Duration::from_millis(200)))
            .collect();
        assert_eq!(woken.len(), 1);
        let received = receive(&mut rx[woken[0]], 1);
        assert_eq!(received[0].data(), frame(port.mac(), 300, round));
        let mut slots = burst();
        slots[0] = received.into_iter().next();
        assert_eq!(tx[1].tx(&mut slots, 1), 1);
        assert_eq!(kernel.receive().unwrap(), frame(port.mac(), 300, round));
        drop((rx, tx, descriptors, kernel));
        port.close().unwrap();
        assert_eq!(open_descriptors(), open);
    }
    assert_eq!(pool.in_use(), 0);
}
