//! Both ends of a virtio device in one process: `virtio_user` connects to `net_vhost`.

mod common;

use std::time::{Duration, Instant};

use common::{burst, eal, is_root, packet, receive, started};
use sluice_dpdk::{BURST, Driver, Mempool, Port, PortSetup, device_with_queues};

#[test]
fn packets_pass_from_the_driver_to_the_device_and_back() {
    if !is_root() {
        return;
    }
    let pool = Mempool::new(eal(128), "virtio", 8191, 2048).unwrap();
    let socket = std::env::temp_dir().join(format!("sluice-dpdk-vhost-{}", std::process::id()));
    for _ in 0..5 {
        let device = format!("net_vhost0,iface={}", socket.display());
        let (vhost, mut vhost_rx, mut vhost_tx) = started(eal(128), &device, &pool);
        let driver = format!("virtio_user0,path={}", socket.display());
        let (virtio, mut virtio_rx, mut virtio_tx) = started(eal(128), &driver, &pool);
        assert_eq!(virtio.device().driver(), Driver::VirtioUser);

        wait_for_link(&vhost);
        let mut slots = burst();
        for (tx, rx) in [(&mut virtio_tx, &mut vhost_rx), (&mut vhost_tx, &mut virtio_rx)] {
            for (i, slot) in slots.iter_mut().enumerate() {
                *slot = Some(packet(&pool, &[i as u8; 200]));
            }
            assert_eq!(tx.tx(&mut slots, BURST), BURST);
            let received = receive(rx, BURST);
            assert_eq!(received.len(), BURST);
            for (i, packet) in received.iter().enumerate() {
                assert_eq!(packet.data(), [i as u8; 200]);
            }
        }
        drop((virtio_rx, virtio_tx, vhost_rx, vhost_tx));
        virtio.close().unwrap();
        vhost.close().unwrap();
    }
    assert_eq!(pool.in_use(), 0);
    assert!(!socket.exists());
}

#[test]
fn several_queues_are_asked_for_in_the_device_string() {
    if !is_root() {
        return;
    }
    let pool = Mempool::new(eal(128), "queues", 8191, 2048).unwrap();
    let socket = std::env::temp_dir().join(format!("sluice-dpdk-queues-{}", std::process::id()));
    let configured = |device: &str| {
        let device = device_with_queues(device, 2);
        let mut port = Port::attach(eal(128), &device).unwrap();
        let setup = PortSetup { rx_queues: 2, tx_queues: 2, ..PortSetup::new(&pool) };
        let queues = port.configure(setup).unwrap();
        port.start().unwrap();
        (port, queues)
    };
    let (vhost, (mut vhost_rx, _vhost_tx)) =
        configured(&format!("net_vhost_q,iface={}", socket.display()));
    let (virtio, (_virtio_rx, mut virtio_tx)) =
        configured(&format!("virtio_user_q,path={}", socket.display()));
    wait_for_link(&vhost);
    for queue in 0..2 {
        let mut slots = burst();
        slots[0] = Some(packet(&pool, &[queue as u8; 100]));
        assert_eq!(virtio_tx[queue].tx(&mut slots, 1), 1);
        assert_eq!(receive(&mut vhost_rx[queue], 1)[0].data(), [queue as u8; 100]);
    }
    drop((vhost_rx, _vhost_tx, _virtio_rx, virtio_tx));
    virtio.close().unwrap();
    vhost.close().unwrap();
    assert_eq!(pool.in_use(), 0);
}

/// What is sent before the two ends have agreed on their rings is not taken.
fn wait_for_link(port: &Port) {
    let until = Instant::now() + Duration::from_secs(5);
    while !port.link().up {
        assert!(Instant::now() < until, "no link");
        std::thread::sleep(Duration::from_millis(10));
    }
}
