//! Both ends of a virtio device in one process: `virtio_user` connects to `net_vhost`.

mod common;

use common::{burst, eal, is_root, packet, receive, started};
use sluice_dpdk::{BURST, Driver, Mempool};

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

        // What is sent before the two have agreed on their rings is not taken.
        let until = std::time::Instant::now() + std::time::Duration::from_secs(5);
        let mut slots = burst();
        while !vhost.link().up {
            assert!(std::time::Instant::now() < until, "no link");
            std::thread::sleep(std::time::Duration::from_millis(10));
        }
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
