//! Capture files in and out.

mod common;

use std::fs;

use common::{burst, eal, packet, receive, started};
use sluice_dpdk::{BURST, Mempool, free_bulk};

/// A capture of Ethernet frames, microsecond format.
fn capture(frames: &[Vec<u8>]) -> Vec<u8> {
    let mut file: Vec<u8> = Vec::new();
    for word in [0xa1b2_c3d4u32, 0x0004_0002, 0, 0, 65_535, 1] {
        file.extend(word.to_ne_bytes());
    }
    for frame in frames {
        for word in [0, 0, frame.len() as u32, frame.len() as u32] {
            file.extend(word.to_ne_bytes());
        }
        file.extend(frame);
    }
    file
}

/// The frames of a capture of nanosecond or microsecond format.
fn frames(file: &[u8]) -> Vec<Vec<u8>> {
    let mut rest = &file[24..];
    let mut frames = Vec::new();
    while let Some((header, behind)) = rest.split_first_chunk::<16>() {
        let length = u32::from_ne_bytes(header[8..12].try_into().unwrap()) as usize;
        frames.push(behind[..length].to_vec());
        rest = &behind[length..];
    }
    frames
}

#[test]
fn a_file_is_read_once_or_for_ever_and_written() {
    let pool = Mempool::new(eal(64), "pcap", 2047, 2048).unwrap();
    let directory = std::env::temp_dir().join(format!("sluice-dpdk-pcap-{}", std::process::id()));
    fs::create_dir_all(&directory).unwrap();
    let (input, output) = (directory.join("in.pcap"), directory.join("out.pcap"));
    let sent: Vec<Vec<u8>> = (0..100u8).map(|i| vec![i; 60 + usize::from(i)]).collect();
    // One that does not fit into a buffer comes in several, and is written whole.
    let large: Vec<u8> = (0..5000u32).map(|i| i as u8).collect();
    fs::write(&input, capture(&[sent.clone(), vec![large.clone()]].concat())).unwrap();

    let device = format!("net_pcap0,rx_pcap={},tx_pcap={}", input.display(), output.display());
    let (port, mut rx, mut tx) = started(eal(64), &device, &pool);
    let received = receive(&mut rx, 101);
    assert_eq!(received.len(), 101);
    for (packet, sent) in received.iter().zip(&sent) {
        assert_eq!(packet.data(), sent);
    }
    let jumbo = &received[100];
    assert_eq!((jumbo.pkt_len(), jumbo.segment_count()), (5000, 3));
    assert_eq!(jumbo.segments().collect::<Vec<_>>().concat(), large);

    let mut slots = burst();
    let mut received = received.into_iter();
    loop {
        let mut n = 0;
        for (slot, packet) in slots.iter_mut().zip(received.by_ref().take(BURST)) {
            *slot = Some(packet);
            n += 1;
        }
        if n == 0 {
            break;
        }
        assert_eq!(tx.tx(&mut slots, n), n);
    }
    drop((rx, tx));
    port.close().unwrap();
    let written = frames(&fs::read(&output).unwrap());
    assert!(written == [sent, vec![large]].concat(), "{} frames", written.len());
    assert_eq!(pool.in_use(), 0);

    fs::write(&input, capture(&[vec![7; 60]])).unwrap();
    let device = format!("net_pcap0,rx_pcap={},infinite_rx=1", input.display());
    let (port, mut rx, mut tx) = started(eal(64), &device, &pool);
    for _ in 0..100 {
        assert_eq!(rx.rx(&mut slots), BURST);
        assert_eq!(slots[63].as_ref().unwrap().data(), [7; 60]);
        free_bulk(&mut slots);
    }
    slots[0] = Some(packet(&pool, b"swallowed: there is no file to write"));
    assert_eq!(tx.tx(&mut slots, 1), 1);
    drop((rx, tx));
    port.close().unwrap();
    fs::remove_dir_all(&directory).unwrap();
}
