//! Receive-side scaling as a device has it: what is programmed is read back through the device.
//!
//! The device is `net_bonding`, which keeps key, hash types and table as a network card does and programs
//! the devices under it. That a card's hash is the one that is reckoned here, no device without hardware
//! can show.

mod common;

use std::net::{Ipv4Addr, Ipv6Addr};

use common::eal;
use sluice_dpdk::{Mempool, Port, PortSetup, RSS_KEY_WORD, Rss};

const QUEUES: u16 = 4;

/// The Toeplitz hash: for each bit of the input that is set, the 32 bits of the key that begin there.
fn toeplitz(key: &[u8], input: &[u8]) -> u32 {
    let bits = (0..input.len() * 8).filter(|bit| input[bit / 8] & (0x80 >> (bit % 8)) != 0);
    bits.fold(0, |hash, bit| {
        let window: u64 =
            key[bit / 8..bit / 8 + 5].iter().fold(0, |all, &byte| all << 8 | u64::from(byte));
        hash ^ (window >> (8 - bit % 8)) as u32
    })
}

/// The queue that the device puts packets with this in what it hashes.
fn queue(rss: &Rss, input: &[u8]) -> u16 {
    assert!(rss.table.len().is_power_of_two());
    rss.table[toeplitz(&rss.key, input) as usize % rss.table.len()]
}

fn configured(port: &mut Port, pool: &Mempool, rss: bool) {
    let setup = PortSetup { rx_queues: QUEUES, tx_queues: QUEUES, rss, ..PortSetup::new(pool) };
    port.configure(setup).unwrap_or_else(|error| panic!("{error}"));
    port.start().unwrap_or_else(|error| panic!("{error}"));
}

#[test]
fn what_a_device_is_told_brings_both_directions_to_one_queue() {
    let pool = Mempool::new(eal(64), "rss", 4095, 2048).unwrap();
    let below = Port::attach(eal(64), "net_null_below").unwrap();
    let mut port = Port::attach(eal(64), "net_bonding_rss,mode=2,slave=net_null_below").unwrap();
    // It takes in the devices under it, and with them the length of the key, when it is set up first.
    for _ in 0..2 {
        configured(&mut port, &pool, true);
    }

    let rss = port.rss().expect("the device says what it spreads by");
    let word = RSS_KEY_WORD.to_be_bytes();
    assert!(rss.key.len() >= 40 && rss.key.chunks(2).all(|two| two == word), "{:02x?}", rss.key);
    assert!(rss.is_symmetric());
    assert!(rss.is_of_addresses(), "{:#x}", rss.hashes);
    let queues = |table: &[u16]| {
        (0..QUEUES).map(|n| table.iter().filter(|&&queue| queue == n).count()).collect::<Vec<_>>()
    };
    assert_eq!(queues(&rss.table), [rss.table.len() / usize::from(QUEUES); QUEUES as usize]);
    let under = below.rss().expect("the device under it says so, too");
    assert_eq!(queues(&under.table), [under.table.len() / usize::from(QUEUES); QUEUES as usize]);

    let mut used = [0; QUEUES as usize];
    for n in 0..10_000_u32 {
        let spread = n.wrapping_mul(0x9e37_79b9);
        let (a, b) = (Ipv4Addr::from(spread).octets(), Ipv4Addr::from(!n).octets());
        let there = queue(&rss, &[a, b].concat());
        assert_eq!(there, queue(&rss, &[b, a].concat()), "{a:?} {b:?}");
        used[usize::from(there)] += 1;
        let six =
            |n: u32| Ipv6Addr::from(u128::from(n) << 64 | u128::from(n.rotate_left(7))).octets();
        let (a, b) = (six(spread), six(!n));
        assert_eq!(queue(&rss, &[a, b].concat()), queue(&rss, &[b, a].concat()));
    }
    assert!(used.iter().all(|&flows| flows > 2_000), "{used:?}");
    port.close().unwrap();
    below.close().unwrap();
}

#[test]
fn a_key_of_the_devices_own_is_seen() {
    let pool = Mempool::new(eal(64), "own", 4095, 2048).unwrap();
    // It is told a key and keeps its own.
    let mut port = Port::attach(eal(64), "net_null_own").unwrap();
    configured(&mut port, &pool, true);
    assert!(!port.rss().expect("it says so").is_symmetric());
    port.close().unwrap();
    let mut port = Port::attach(eal(64), "net_ring_without").unwrap();
    assert_eq!(port.rss(), None);
    port.configure(PortSetup::new(&pool)).unwrap();
    port.close().unwrap();
}
