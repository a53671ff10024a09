//! `net_af_packet` on a veth pair in a network namespace of the test's own.

mod common;

use std::time::Duration;

use common::wire::{Host, cable, frame, link, open_descriptors, own_namespace, readable};
use common::{burst, eal, is_root, packet, receive, run, started};
use sluice_dpdk::{
    DescriptorKind, DpdkError, Mempool, Port, PortSetup, device_with_frame_size,
    device_with_queues, free_bulk, required_data_room,
};

const MEMORY: u32 = 256;
const MOMENT: Duration = Duration::from_millis(500);

/// One after the other: they count the process's descriptors.
#[test]
fn a_kernel_interface_as_a_port() {
    if !is_root() {
        return;
    }
    own_namespace();
    let pool = Mempool::new(eal(MEMORY), "af_packet", 4095, 2048).unwrap();
    frames_pass_both_ways(&pool);
    descriptors_wake_count_and_ignore_our_own(&pool);
    another_address_ends_with_the_port(&pool);
    each_queue_has_its_descriptor(&pool);
    jumbo_frames_pass();
    several_segments_are_sent_as_one_frame(&pool);
    attaching_again_leaves_nothing_behind(&pool);
    an_interface_is_taken_once(&pool);
    capabilities_are_named();
    assert_eq!(pool.in_use(), 0);
}

fn frames_pass_both_ways(pool: &Mempool) {
    cable("near0", "far0", 1500);
    let host = Host::on("far0");
    let (port, mut rx, mut tx) = started(eal(MEMORY), "net_af_packet0,iface=near0", pool);
    let info = port.info();
    assert_eq!(info.interface.as_deref(), Some("near0"));
    assert!(info.interface_index.is_some());
    assert!(info.max_frame.unwrap() >= 1518);
    let address = info.mac.map(|byte| format!("{byte:02x}")).join(":");
    assert_eq!(address, link("near0", "address"));

    for (seed, len) in [(1, 60), (2, 1000), (3, 1514)] {
        host.send(&frame(info.mac, len, seed));
        let received = receive(&mut rx, 1);
        assert_eq!(received[0].data(), frame(info.mac, len, seed));
        let mut slots = burst();
        slots[0] = received.into_iter().next();
        assert_eq!(tx.tx(&mut slots, 1), 1);
        assert_eq!(host.receive().unwrap(), frame(info.mac, len, seed));
    }
    // A VLAN tag that the kernel took off is in its place again.
    let mut tagged = frame(info.mac, 100, 4);
    tagged.splice(12..12, [0x81, 0x00, 0x00, 0x0a]);
    host.send(&tagged);
    assert_eq!(receive(&mut rx, 1)[0].data(), tagged);

    // The kernel does not keep a fragment of IPv4 until the others come.
    let mut fragment = frame(info.mac, 14 + 60, 0);
    fragment[12..14].copy_from_slice(&[0x08, 0x00]);
    fragment[14..34].copy_from_slice(&[
        0x45, 0, 0, 60, 0, 7, 0x20, 0, 64, 17, 0x46, 0xa8, 10, 0, 0, 1, 10, 0, 0, 2,
    ]);
    host.send(&fragment);
    assert_eq!(receive(&mut rx, 1)[0].data(), fragment);

    run("ip link set near0 down");
    let mut slots = burst();
    slots[0] = Some(packet(pool, &frame(info.mac, 60, 5)));
    assert!(tx.tx(&mut slots, 1) <= 1, "an interface that is down does not hang");
    free_bulk(&mut slots);
    run("ip link set near0 up");
    drop((rx, tx));
    port.close().unwrap();
}

fn descriptors_wake_count_and_ignore_our_own(pool: &Mempool) {
    let host = Host::on("far0");
    let ours = Host::on("near0");
    let (port, mut rx, tx) = started(eal(MEMORY), "net_af_packet0,iface=near0", pool);
    let mut descriptors = port.descriptors();
    assert_eq!(port.descriptors().len(), 1, "a duplicate is not found again");
    let descriptor = descriptors.remove(0);
    assert_eq!((descriptor.kind(), descriptor.queue()), (DescriptorKind::Packet, 0));
    assert!(!readable(&descriptor, Duration::from_millis(20)));
    host.send(&frame(port.mac(), 60, 1));
    assert!(readable(&descriptor, MOMENT));
    assert_eq!(receive(&mut rx, 1).len(), 1);
    assert!(!readable(&descriptor, Duration::from_millis(20)));

    ours.send(&frame([2; 6], 60, 2));
    assert!(readable(&descriptor, MOMENT), "what this machine sends comes back");
    assert_eq!(receive(&mut rx, 1).len(), 1);
    descriptor.ignore_outgoing().unwrap();
    ours.send(&frame([2; 6], 60, 3));
    assert!(!readable(&descriptor, Duration::from_millis(50)));

    descriptor.kernel_statistics().unwrap();
    for _ in 0..600 {
        host.send(&frame(port.mac(), 60, 4));
    }
    let counted = descriptor.kernel_statistics().unwrap();
    assert_eq!((counted.packets, counted.drops), (600, 600 - 512), "the ring has 512 frames");
    assert_eq!(descriptor.kernel_statistics().unwrap().packets, 0);
    assert_eq!(receive(&mut rx, 512).len(), 512);

    drop((rx, tx));
    let error = port.close().expect_err("a descriptor is out");
    drop(descriptor);
    error.port.close().unwrap();
}

fn another_address_ends_with_the_port(pool: &Mempool) {
    let host = Host::on("far0");
    let kernels = link("near0", "address");
    let mut port = Port::attach(eal(MEMORY), "net_af_packet0,iface=near0").unwrap();
    let mac = [2, 0, 0, 0, 0, 1];
    let (mut rx, tx) =
        port.configure(PortSetup { mac: Some(mac), ..PortSetup::new(pool) }).unwrap();
    port.start().unwrap();
    assert_eq!(port.mac(), mac);
    assert_eq!(link("near0", "address"), kernels, "the interface keeps its own");
    assert_eq!(link("near0", "promiscuity"), "1");
    assert_eq!(link("near0", "allmulti"), "1");
    host.send(&frame(mac, 60, 1));
    assert_eq!(receive(&mut rx[0], 1)[0].data(), frame(mac, 60, 1));
    drop((rx, tx));
    port.close().unwrap();
    assert_eq!(link("near0", "promiscuity"), "0");
    assert_eq!(link("near0", "allmulti"), "0");
    assert_eq!(link("near0", "address"), kernels);
}

fn each_queue_has_its_descriptor(pool: &Mempool) {
    let device = device_with_queues("net_af_packet0,iface=near0", 2);
    let mut port = Port::attach(eal(MEMORY), &device).unwrap();
    let error = port.configure(PortSetup { rx_queues: 3, ..PortSetup::new(pool) }).unwrap_err();
    assert!(matches!(error, DpdkError::Queues { asked: 3, available: 2, .. }), "{error}");
    let setup = PortSetup { rx_queues: 2, tx_queues: 8, ..PortSetup::new(pool) };
    let (mut rx, tx) = port.configure(setup).unwrap();
    assert_eq!(tx.len(), 2, "what the device has");
    port.start().unwrap();
    let descriptors = port.descriptors();
    assert_eq!(descriptors.len(), 2);

    // The kernel spreads flows over the sockets; whichever wakes, its queue has the packet.
    let host = Host::on("far0");
    for seed in 0..32 {
        let mut flow = frame(port.mac(), 60, 0);
        flow[12..14].copy_from_slice(&[0x08, 0x00]);
        flow[14] = 0x45;
        flow[23] = 17;
        flow[26..34].copy_from_slice(&[10, 0, 0, seed, 10, 0, 1, 1]);
        flow[34..38].copy_from_slice(&[seed, 1, 0, 9]);
        host.send(&flow);
        let woken: Vec<usize> =
            (0..2).filter(|&queue| readable(&descriptors[queue], MOMENT / 5)).collect();
        assert_eq!(woken.len(), 1);
        assert_eq!(receive(&mut rx[woken[0]], 1).len(), 1);
    }
    drop((rx, tx, descriptors));
    port.close().unwrap();
}

fn jumbo_frames_pass() {
    cable("near9", "far9", 9000);
    let host = Host::on("far9");
    let device = device_with_frame_size("net_af_packet9,iface=near9", 9000);
    let room = required_data_room(&device, 9000);
    let pool = Mempool::new(eal(MEMORY), "jumbo", 1023, room).unwrap();
    let (port, mut rx, mut tx) = started(eal(MEMORY), &device, &pool);
    assert!(port.info().max_frame.unwrap() >= 9018);
    let sent = frame(port.mac(), 9014, 7);
    let mut slots = burst();
    for _ in 0..600 {
        host.send(&sent);
        let received = receive(&mut rx, 1);
        assert_eq!(received[0].data(), sent);
        slots[0] = received.into_iter().next();
        assert_eq!(tx.tx(&mut slots, 1), 1);
        assert_eq!(host.receive().unwrap(), sent);
    }
    drop((rx, tx));
    port.close().unwrap();

    // A pool whose buffers are too small is refused, with the driver's reason.
    let small = Mempool::new(eal(MEMORY), "small", 255, 2048).unwrap();
    let mut port = Port::attach(eal(MEMORY), &device).unwrap();
    let error = port.configure(PortSetup::new(&small)).unwrap_err().to_string();
    assert!(error.contains("will not fit in mbuf"), "{error}");
}

fn several_segments_are_sent_as_one_frame(pool: &Mempool) {
    let host = Host::on("far0");
    let (port, rx, mut tx) = started(eal(MEMORY), "net_af_packet0,iface=near0", pool);
    let whole = frame([2; 6], 1200, 9);
    let mut first = packet(pool, &whole[..14]);
    first.chain(packet(pool, &whole[14..600])).unwrap();
    first.chain(packet(pool, &whole[600..])).unwrap();
    let mut slots = burst();
    slots[0] = Some(first);
    assert_eq!(tx.tx(&mut slots, 1), 1);
    assert_eq!(host.receive().unwrap(), whole);
    assert_eq!(pool.in_use(), 0);
    drop((rx, tx));
    port.close().unwrap();
}

fn attaching_again_leaves_nothing_behind(pool: &Mempool) {
    let host = Host::on("far0");
    let open = open_descriptors();
    for seed in 0..20 {
        let error = Port::attach(eal(MEMORY), "net_af_packet0,iface=nonexistent0").unwrap_err();
        assert!(matches!(error, DpdkError::NoInterface { .. }), "{error}");
        let error = Port::attach(eal(MEMORY), "net_af_packet0,iface=near0,framesz=0").unwrap_err();
        assert!(error.to_string().contains("invalid framesize"), "{error}");
        let (port, mut rx, tx) = started(eal(MEMORY), "net_af_packet0,iface=near0", pool);
        host.send(&frame(port.mac(), 60, seed));
        assert_eq!(receive(&mut rx, 1).len(), 1);
        assert_eq!(port.descriptors().len(), 1);
        drop((rx, tx));
        port.close().unwrap();
    }
    assert_eq!(open_descriptors(), open);

    // The interface vanishes under the port, and comes back.
    cable("near1", "far1", 1500);
    let (port, mut rx, tx) = started(eal(MEMORY), "net_af_packet1,iface=near1", pool);
    run("ip link del near1");
    let mut slots = burst();
    assert_eq!(rx.rx(&mut slots), 0);
    drop((rx, tx));
    port.close().unwrap();
    cable("near1", "far1", 1500);
    let (_port, mut rx, _tx) = started(eal(MEMORY), "net_af_packet1,iface=near1", pool);
    Host::on("far1").send(&frame([0xff; 6], 60, 1));
    assert_eq!(receive(&mut rx, 1).len(), 1);
}

fn an_interface_is_taken_once(_: &Mempool) {
    let _taken = Port::attach(eal(MEMORY), "net_af_packet0,iface=near0").unwrap();
    for (device, wanted) in [
        ("net_af_packet1,iface=near0", "used by \"net_af_packet0,iface=near0\" already"),
        ("net_af_xdp1,iface=near0", "used by \"net_af_packet0,iface=near0\" already"),
        ("net_af_packet0,iface=near9", "attached already"),
    ] {
        let error = Port::attach(eal(MEMORY), device).unwrap_err().to_string();
        assert!(error.contains(wanted), "{error}");
    }
}

/// Capabilities are a thread's own, so that one can be without.
fn capabilities_are_named() {
    eal(MEMORY);
    std::thread::scope(|scope| {
        scope
            .spawn(|| {
                // struct __user_cap_header_struct of version 3, and two sets of three masks.
                let header: [u32; 2] = [0x2008_0522, 0];
                let none = [0u32; 6];
                // SAFETY: both are of the size that version 3 has.
                let failed =
                    unsafe { libc::syscall(libc::SYS_capset, header.as_ptr(), none.as_ptr()) };
                assert_eq!(failed, 0);
                for (device, wanted) in [
                    ("net_af_packet7,iface=near0", "CAP_NET_RAW"),
                    ("net_af_xdp7,iface=near0", "CAP_NET_ADMIN and CAP_NET_RAW and CAP_BPF"),
                    ("net_tap7", "CAP_NET_ADMIN"),
                ] {
                    let error = Port::attach(eal(MEMORY), device).unwrap_err().to_string();
                    assert!(error.contains(wanted), "{error}");
                }
            })
            .join()
            .unwrap();
    });
}
