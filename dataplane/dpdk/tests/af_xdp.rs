//! `net_af_xdp` on a veth pair in a network namespace of the test's own.

mod common;

use std::time::Duration;

use common::wire::{Host, cable, frame, link, open_descriptors, own_namespace, readable};
use common::{burst, eal, is_root, receive, started};
use sluice_dpdk::{DescriptorKind, Mempool, Port, required_data_room};

#[test]
fn a_kernel_interface_through_an_xdp_socket() {
    if !is_root() {
        return;
    }
    own_namespace();
    cable("near0", "far0", 1500);
    let host = Host::on("far0");
    let device = "net_af_xdp0,iface=near0";
    let pool = Mempool::new(eal(256), "af_xdp", 16_383, required_data_room(device, 1500)).unwrap();
    let open = open_descriptors();
    for round in 0..20 {
        let (port, mut rx, mut tx) = started(eal(256), device, &pool);
        let descriptors = port.descriptors();
        assert_eq!(descriptors.len(), 1);
        assert_eq!(descriptors[0].kind(), DescriptorKind::Xdp);
        assert!(!readable(&descriptors[0], Duration::from_millis(5)));
        for len in [60, 1514] {
            let sent = frame(port.mac(), len, round);
            host.send(&sent);
            assert!(readable(&descriptors[0], Duration::from_millis(500)));
            let received = receive(&mut rx, 1);
            assert_eq!(received[0].data(), sent);
            let mut slots = burst();
            slots[0] = received.into_iter().next();
            assert_eq!(tx.tx(&mut slots, 1), 1);
            assert_eq!(host.receive().unwrap(), sent);
        }
        drop((rx, tx, descriptors));
        port.close().unwrap();
        assert_eq!(pool.in_use(), 0, "what the rings held comes back");
    }
    assert_eq!(open_descriptors(), open);
    assert_eq!(link("near0", "promiscuity"), "0");

    cable("near9", "far9", 9000);
    let error = Port::attach(eal(256), "net_af_xdp9,iface=near9")
        .and_then(|mut port| port.configure(sluice_dpdk::PortSetup::new(&pool)).map(drop))
        .unwrap_err();
    println!("{error}");
}
