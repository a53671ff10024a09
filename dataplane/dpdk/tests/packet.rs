//! Packet buffers against a model: what a sequence of operations does to an `Mbuf` is what it does
//! to a vector of bytes.

mod common;

use std::sync::LazyLock;

use common::{eal, packet};
use proptest::prelude::*;
use sluice_dpdk::{Mbuf, Mempool};

const HEADROOM: usize = 128;
const ROOM: usize = 256;

static POOL: LazyLock<Mempool> =
    LazyLock::new(|| Mempool::new(eal(64), "packets", 2047, ROOM as u16).unwrap());

/// The pool of the test that counts what is in use.
static COUNTED: LazyLock<Mempool> =
    LazyLock::new(|| Mempool::new(eal(64), "counted", 2047, ROOM as u16).unwrap());

#[derive(Clone, Debug)]
enum Operation {
    Prepend(Vec<u8>),
    Append(Vec<u8>),
    TrimFront(usize),
    TrimTail(usize),
    Truncate(usize),
    Write(usize, u8),
    WriteAll(usize, Vec<u8>),
    Chain(Vec<u8>),
    PullUp(usize),
    Linearise,
    Copy,
}

fn operation() -> impl Strategy<Value = Operation> {
    let bytes = || proptest::collection::vec(any::<u8>(), 0..150);
    prop_oneof![
        bytes().prop_map(Operation::Prepend),
        bytes().prop_map(Operation::Append),
        (0usize..150).prop_map(Operation::TrimFront),
        (0usize..300).prop_map(Operation::TrimTail),
        (0usize..400).prop_map(Operation::Truncate),
        (0usize..300, any::<u8>()).prop_map(|(at, byte)| Operation::Write(at, byte)),
        (0usize..300, bytes()).prop_map(|(at, with)| Operation::WriteAll(at, with)),
        bytes().prop_map(Operation::Chain),
        (0usize..400).prop_map(Operation::PullUp),
        Just(Operation::Linearise),
        Just(Operation::Copy),
    ]
}

/// The whole packet's bytes, in both ways that there are to get them.
fn bytes(packet: &Mbuf) -> Vec<u8> {
    let joined = packet.segments().collect::<Vec<_>>().concat();
    let mut read = vec![0; packet.pkt_len()];
    assert!(packet.read(0, &mut read));
    assert_eq!(joined, read);
    assert_eq!(packet.segments().count(), packet.segment_count());
    joined
}

/// Bytes that fit behind those of the first segment.
fn first_tailroom(packet: &Mbuf) -> usize {
    HEADROOM + ROOM - packet.headroom() - packet.data_len()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn an_mbuf_is_a_vector_of_bytes(operations in proptest::collection::vec(operation(), 0..40)) {
        let mut mbuf = COUNTED.alloc().unwrap();
        let mut model: Vec<u8> = Vec::new();
        for operation in operations {
            match operation {
                Operation::Prepend(new) => {
                    let fits = new.len() <= mbuf.headroom();
                    let front = mbuf.prepend(new.len());
                    prop_assert_eq!(front.is_some(), fits);
                    if let Some(front) = front {
                        front.copy_from_slice(&new);
                        model.splice(0..0, new);
                    }
                }
                Operation::Append(new) => {
                    let fits = new.len() <= mbuf.tailroom();
                    let end = mbuf.append(new.len());
                    prop_assert_eq!(end.is_some(), fits);
                    if let Some(end) = end {
                        end.copy_from_slice(&new);
                        model.extend(new);
                    }
                }
                Operation::TrimFront(n) => {
                    let fits = n <= mbuf.data_len();
                    prop_assert_eq!(mbuf.trim_front(n), fits);
                    if fits {
                        model.drain(..n);
                    }
                }
                Operation::TrimTail(n) => {
                    prop_assert_eq!(mbuf.trim_tail(n), n <= model.len());
                    if n <= model.len() {
                        model.truncate(model.len() - n);
                    }
                }
                Operation::Truncate(len) => {
                    mbuf.truncate(len);
                    model.truncate(len);
                }
                Operation::Write(at, byte) => {
                    if let Some(place) = mbuf.data_mut().get_mut(at) {
                        *place = byte;
                        model[at] = byte;
                    }
                }
                Operation::Chain(new) => {
                    mbuf.chain(packet(&COUNTED, &new)).unwrap();
                    model.extend(new);
                }
                Operation::WriteAll(at, with) => {
                    let fits = at + with.len() <= model.len();
                    prop_assert_eq!(mbuf.write(at, &with), fits);
                    if fits {
                        model[at..at + with.len()].copy_from_slice(&with);
                    }
                }
                Operation::PullUp(n) => {
                    let (tailroom, had) = (first_tailroom(&mbuf), mbuf.data_len());
                    let possible = n <= model.len() && n.saturating_sub(had) <= tailroom;
                    prop_assert_eq!(mbuf.pull_up(n), possible);
                    prop_assert_eq!(mbuf.data_len(), if possible { had.max(n) } else { had });
                }
                Operation::Linearise => {
                    let contiguous = mbuf.is_contiguous();
                    let room = HEADROOM + ROOM - mbuf.headroom();
                    let fits = contiguous || model.len() <= room;
                    prop_assert_eq!(mbuf.linearise(), fits);
                    prop_assert_eq!(mbuf.is_contiguous(), fits);
                }
                Operation::Copy => {
                    let copy = mbuf.copy(&COUNTED);
                    prop_assert_eq!(copy.is_some(), model.len() <= ROOM);
                    if let Some(copy) = copy {
                        prop_assert!(copy.is_contiguous());
                        mbuf = copy;
                    }
                }
            }
            prop_assert_eq!(mbuf.pkt_len(), model.len());
            prop_assert_eq!(&bytes(&mbuf), &model);
        }
        drop(mbuf);
        prop_assert_eq!(COUNTED.in_use(), 0);
    }

    #[test]
    fn reading_across_segments_is_slicing(
        parts in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..60), 1..6),
        offset in 0usize..300,
        length in 0usize..300,
    ) {
        let mut mbuf = packet(&POOL, &parts[0]);
        for part in &parts[1..] {
            mbuf.chain(packet(&POOL, part)).unwrap();
        }
        let whole = parts.concat();
        let mut out = vec![0; length];
        let expected = whole.get(offset..offset + length);
        prop_assert_eq!(mbuf.read(offset, &mut out), expected.is_some());
        if let Some(expected) = expected {
            prop_assert_eq!(out, expected);
        }
    }
}

#[test]
fn what_receiving_set_can_be_forgotten() {
    let mut packet = packet(&POOL, b"x");
    assert_eq!((packet.ol_flags(), packet.rss_hash(), packet.l4_checksum_good()), (0, None, false));
    packet.clear_offloads();
    packet.prefetch_fields();
    packet.prefetch_header();
    assert!(format!("{packet:?}").contains("pkt_len: 1"));
}

#[test]
fn a_chain_has_a_bound_and_the_tail_survives_it() {
    let big = Mempool::new(eal(64), "big", 15, 40_000).unwrap();
    let mut first = packet(&big, &[1; 40_000]);
    let tail = first.chain(packet(&big, &[2; 40_000])).unwrap_err();
    assert_eq!((first.pkt_len(), tail.pkt_len()), (40_000, 40_000));
    assert_eq!(first.segment_count(), 1);
}
