//! Pools, devices in memory, and what a thread has to do with them.

mod common;

use common::{burst, eal, packet, receive, started};
use sluice_dpdk::{
    BURST, DpdkError, Eal, EalOptions, Link, Mempool, Port, PortSetup, free_bulk, register_thread,
    tsc, tsc_hz,
};

const MEMORY: u32 = 128;

#[test]
fn eal_is_started_once_and_says_so() {
    let eal = eal(MEMORY);
    assert_eq!(eal.hugepages(), std::env::var_os("SLUICE_TEST_HUGEPAGES").is_some());
    assert_eq!(eal.memory_mib(), MEMORY);
    assert!(matches!(Eal::init(&EalOptions::default()), Err(DpdkError::EalTwice)));
    let left =
        std::path::PathBuf::from(format!("/var/run/dpdk/sluice-test-{}", std::process::id()));
    assert!(!left.exists(), "{}", left.display());
    assert!(Eal::version().starts_with("DPDK "), "{}", Eal::version());
    assert!(tsc_hz() > 100_000_000);
    assert!(tsc() < tsc());
}

#[test]
fn every_buffer_comes_back() {
    let pool = Mempool::new(eal(MEMORY), "level", 255, 2048).unwrap();
    assert_eq!((pool.size(), pool.in_use(), pool.data_room()), (255, 0, 2048));
    let one = pool.alloc().unwrap();
    assert_eq!(pool.in_use(), 1);
    assert_eq!((one.pkt_len(), one.headroom(), one.tailroom()), (0, 128, 2048));
    drop(one);
    assert_eq!(pool.in_use(), 0);

    let mut slots = burst();
    assert!(pool.alloc_bulk(&mut slots, 40));
    assert_eq!(slots.iter().flatten().count(), 40);
    assert_eq!(pool.in_use(), 40);
    slots[7] = None;
    assert_eq!(pool.in_use(), 39);
    free_bulk(&mut slots);
    assert!(slots.iter().all(Option::is_none));
    assert_eq!(pool.in_use(), 0);
}

#[test]
fn an_empty_pool_gives_nothing_and_all_or_none() {
    let pool = Mempool::new(eal(MEMORY), "empty", 100, 256).unwrap();
    let all: Vec<_> = std::iter::from_fn(|| pool.alloc()).collect();
    assert_eq!(all.len(), 100);
    assert!(pool.alloc().is_none());
    let mut slots = burst();
    assert!(!pool.alloc_bulk(&mut slots, 1));
    drop(all);
    assert!(pool.alloc_bulk(&mut slots, BURST));
    assert!(!pool.alloc_bulk(&mut burst(), BURST), "64 of 36");
    free_bulk(&mut slots);
    assert_eq!(pool.in_use(), 0);
}

#[test]
fn a_pool_with_buffers_out_outlives_its_handle() {
    let pool = Mempool::new(eal(MEMORY), "outlived", 63, 512).unwrap();
    let mut held = packet(&pool, b"still here");
    drop(pool);
    assert_eq!(held.data(), b"still here");
    held.data_mut()[0] = b'S';
    drop(held);
    // Its name is taken, as it is still there; one that was empty has gone.
    assert!(Mempool::new(eal(MEMORY), "outlived", 63, 512).is_err());
    drop(Mempool::new(eal(MEMORY), "gone", 63, 512).unwrap());
    Mempool::new(eal(MEMORY), "gone", 63, 512).unwrap();
}

#[test]
fn too_little_memory_names_what_is_needed_and_what_there_is() {
    let error = Mempool::new(eal(MEMORY), "large", 262_143, 2048).unwrap_err();
    let DpdkError::Memory { needed_mib, given_mib, free_mib, .. } = &error else {
        panic!("{error}");
    };
    assert!((580..640).contains(needed_mib), "{error}");
    assert_eq!(*given_mib, MEMORY);
    assert!(*free_mib <= u64::from(MEMORY), "{error}");
    for (name, mbufs) in [("", 10), ("a-name-that-is-much-too-long", 10), ("none", 0)] {
        assert!(Mempool::new(eal(MEMORY), name, mbufs, 2048).is_err(), "{name}");
    }
}

#[test]
fn registered_threads_keep_buffers_to_themselves() {
    let pool = Mempool::new(eal(MEMORY), "threads", 4095, 512).unwrap();
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                let _registered = register_thread().unwrap();
                let mut slots = burst();
                for _ in 0..1000 {
                    assert!(pool.alloc_bulk(&mut slots, BURST));
                    free_bulk(&mut slots);
                }
            });
        }
    });
    assert_eq!(pool.in_use(), 0);
}

#[test]
fn a_ring_gives_back_what_it_is_given_in_order() {
    let pool = Mempool::new(eal(MEMORY), "ring", 1023, 2048).unwrap();
    let (port, mut rx, mut tx) = started(eal(MEMORY), "net_ring0", &pool);
    let mut slots = burst();
    for (i, slot) in slots.iter_mut().take(10).enumerate() {
        *slot = Some(packet(&pool, &[i as u8; 60]));
    }
    assert_eq!(tx.tx(&mut slots, 10), 10);
    assert!(slots.iter().all(Option::is_none));
    let received = receive(&mut rx, 10);
    assert_eq!(received.len(), 10);
    for (i, packet) in received.iter().enumerate() {
        assert_eq!(packet.data(), [i as u8; 60]);
    }
    drop(received);
    assert_eq!(pool.in_use(), 0);

    let error = port.close().expect_err("queues are out");
    assert!(error.to_string().contains("2 of its queues"), "{error}");
    drop((rx, tx));
    error.port.close().unwrap();
}

#[test]
fn what_a_full_device_does_not_take_moves_to_the_front() {
    let pool = Mempool::new(eal(MEMORY), "full", 4095, 256).unwrap();
    let (_port, mut rx, mut tx) = started(eal(MEMORY), "net_ring_full", &pool);
    let mut slots = burst();
    let mut next = 0u32;
    let rest = loop {
        for slot in &mut slots {
            *slot = Some(packet(&pool, &next.to_be_bytes()));
            next += 1;
        }
        let sent = tx.tx(&mut slots, BURST);
        if sent < BURST {
            break sent;
        }
    };
    let left = BURST - rest;
    assert_eq!(slots.iter().flatten().count(), left);
    for (i, slot) in slots[..left].iter().enumerate() {
        let expected = next - (left - i) as u32;
        assert_eq!(slot.as_ref().unwrap().data(), expected.to_be_bytes());
    }
    free_bulk(&mut slots);
    let accepted = next as usize - left;
    assert_eq!(receive(&mut rx, accepted).len(), accepted);
    assert_eq!(pool.in_use(), 0);
}

#[test]
fn nothing_moves_before_the_start_and_queues_exist_once() {
    let pool = Mempool::new(eal(MEMORY), "start", 255, 512).unwrap();
    let mut port = Port::attach(eal(MEMORY), "net_null_start").unwrap();
    assert!(port.start().is_err(), "not configured");
    let setup = PortSetup { rx_queues: 2, tx_queues: 2, ..PortSetup::new(&pool) };
    let (mut rx, mut tx) = port.configure(setup.clone()).unwrap();
    assert_eq!((rx.len(), tx.len()), (2, 2));
    assert_eq!((rx[1].index(), tx[1].index()), (1, 1));
    let mut slots = burst();
    assert_eq!(rx[0].rx(&mut slots), 0);
    slots[0] = Some(packet(&pool, b"x"));
    assert_eq!(tx[0].tx(&mut slots, 1), 0);
    assert!(slots[0].is_some());
    port.start().unwrap();
    assert_eq!(tx[0].tx(&mut slots, 1), 1);
    assert_eq!(rx[0].rx(&mut slots), BURST);
    free_bulk(&mut slots);

    let error = port.configure(setup.clone()).unwrap_err();
    assert!(matches!(error, DpdkError::InUse { handles: 4, .. }), "{error}");
    assert!(port.stop().is_err());
    drop((rx, tx));
    let (rx, _tx) = port.configure(setup).unwrap();
    assert_eq!(rx.len(), 2);
    assert!(port.descriptors().is_empty());
    assert_eq!(pool.in_use(), 0);
}

#[test]
fn a_port_says_what_it_is() {
    let pool = Mempool::new(eal(MEMORY), "info", 255, 512).unwrap();
    let mut port = Port::attach(eal(MEMORY), "net_null_info,size=128").unwrap();
    let info = port.info();
    assert_eq!(info.driver, "net_null");
    assert_eq!(info.device, "net_null_info,size=128");
    assert!(info.max_rx_queues >= 1 && info.interface.is_none());
    let error = port.configure(PortSetup { rx_queues: 2000, ..PortSetup::new(&pool) }).unwrap_err();
    assert!(matches!(error, DpdkError::Queues { asked: 2000, .. }), "{error}");

    let mac = [2, 0, 0, 0, 0, 9];
    let (mut rx, _tx) =
        port.configure(PortSetup { mac: Some(mac), ..PortSetup::new(&pool) }).unwrap();
    port.start().unwrap();
    port.promiscuous(true).unwrap();
    assert_eq!((port.mac(), port.info().mac), (mac, mac));
    assert_eq!(port.link(), Link { up: true, speed_mbps: Some(10_000) });
    let mut slots = burst();
    let n = rx[0].rx(&mut slots);
    assert_eq!(slots[0].as_ref().unwrap().pkt_len(), 128);
    assert_eq!(port.stats().ipackets, n as u64);
    free_bulk(&mut slots);
}

#[test]
fn attach_and_detach_twenty_times() {
    let pool = Mempool::new(eal(MEMORY), "again", 255, 512).unwrap();
    for _ in 0..20 {
        let (port, rx, tx) = started(eal(MEMORY), "net_null_again", &pool);
        drop((rx, tx));
        port.close().unwrap();
    }
    // Dropping detaches as well.
    drop(Port::attach(eal(MEMORY), "net_null_again").unwrap());
    Port::attach(eal(MEMORY), "net_null_again").unwrap();
}

#[test]
fn what_cannot_be_attached_is_explained_and_can_be_tried_again() {
    let eal = eal(MEMORY);
    let _held = Port::attach(eal, "net_null_held").unwrap();
    for _ in 0..2 {
        for (device, wanted) in [
            ("net_null_held,size=100", "attached already, as port \"net_null_held\""),
            ("net_nonsense0", "no driver is called \"net_nonsense0\""),
            ("eth0", "known are net_af_packet"),
            ("0000:00:1f.0", "0000:00:1f.0"),
            ("net_pcap_missing,rx_pcap=/nonexistent.pcap", "/nonexistent.pcap"),
            ("net_null_args,colour=blue", "net_null_args"),
            ("net_af_packet_no,iface=nonexistent0", "nonexistent0"),
            ("virtio_user_no,path=/nonexistent.sock", "/nonexistent.sock"),
        ] {
            let error = Port::attach(eal, device).expect_err(device).to_string();
            assert!(error.contains(wanted), "{device}: {error}");
            println!("{error}");
        }
    }
    Port::attach(eal, "net_null_args").unwrap();
}
