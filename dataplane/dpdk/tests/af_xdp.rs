//! `net_af_xdp` on a veth pair in a network namespace of the test's own.

mod common;

use std::time::Duration;

use common::wire::{Host, cable, frame, link, open_descriptors, own_namespace, readable};
use common::{burst, eal, is_root, packet, receive, started};
use sluice_dpdk::{DescriptorKind, Mempool, Port, PortSetup, required_data_room};

const MEMORY: u32 = 256;

#[test]
fn a_kernel_interface_through_an_xdp_socket() {
    if !is_root() {
        return;
    }
    own_namespace();
    cable("near0", "far0", 1500);
    let host = Host::on("far0");
    let device = "net_af_xdp0,iface=near0";
    let pool =
        Mempool::new(eal(MEMORY), "af_xdp", 16_383, required_data_room(device, 1500)).unwrap();
    let open = open_descriptors();
    for round in 0..20 {
        let (port, mut rx, mut tx) = started(eal(MEMORY), device, &pool);
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
        let lost = if eal(MEMORY).hugepages() { 64 } else { 0 };
        assert!(pool.in_use() <= lost, "what the rings held comes back: {}", pool.in_use());
    }
    assert_eq!(open_descriptors(), open);
    assert_eq!(link("near0", "promiscuity"), "0");

    frames_up_to_the_devices_limit_pass();

    cable("near9", "far9", 9000);
    let mut port = Port::attach(eal(MEMORY), "net_af_xdp9,iface=near9").unwrap();
    let error = port.configure(PortSetup::new(&pool)).unwrap_err().to_string();
    assert!(error.contains("setting up a receive queue"), "{error}");
    println!("{error}");
}

fn frames_up_to_the_devices_limit_pass() {
    const MTU: u16 = 3400;
    cable("near3", "far3", MTU);
    let host = Host::on("far3");
    let device = "net_af_xdp3,iface=near3";
    let room = required_data_room(device, MTU);
    let pool = Mempool::new(eal(MEMORY), "large", 8191, room).unwrap();
    let (port, mut rx, mut tx) = started(eal(MEMORY), device, &pool);
    let most = port.info().max_frame.unwrap() as usize;
    assert!(most >= usize::from(MTU) + 18);
    // Both ways, and from another pool, whose buffers are larger than the port's.
    let jumbo = Mempool::new(eal(MEMORY), "jumbo", 63, 9000).unwrap();
    let sent = frame(port.mac(), usize::from(MTU) + 14, 3);
    host.send(&sent);
    let received = receive(&mut rx, 1);
    assert_eq!(received[0].data(), sent);
    let mut slots = burst();
    slots[0] = received.into_iter().next();
    assert_eq!(tx.tx(&mut slots, 1), 1);
    assert_eq!(host.receive().unwrap(), sent);
    slots[0] = Some(packet(&jumbo, &sent));
    slots[1] = Some(packet(&jumbo, &frame(port.mac(), 8000, 4)));
    let mut chain = packet(&jumbo, &sent[..100]);
    chain.chain(packet(&pool, &sent[100..])).unwrap();
    slots[2] = Some(chain);
    assert_eq!(tx.tx(&mut slots, 3), 3);
    assert_eq!(host.receive().unwrap(), sent);
    assert_eq!(host.receive().unwrap(), sent, "in two segments");
    assert_eq!(port.stats().oerrors, 1, "longer than a buffer");
    assert_eq!(jumbo.in_use(), 0);
    drop((rx, tx));
    port.close().unwrap();
}
