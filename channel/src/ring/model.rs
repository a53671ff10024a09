//! Every interleaving of a producer and a consumer, and every value that the memory model lets a
//! load return: `make model`, and in small with all other tests. It is the ring's own code that
//! runs, over the model checker's words.

use std::sync::atomic::Ordering;

use loom::sync::Arc;
use loom::sync::atomic::AtomicU64;
use loom::thread;

use super::{Consumer, Producer, Ring, Word};
use crate::frame::Malformed;

impl Word for AtomicU64 {
    fn load(&self, order: Ordering) -> u64 {
        AtomicU64::load(self, order)
    }

    fn store(&self, value: u64, order: Ordering) {
        AtomicU64::store(self, value, order);
    }
}

struct Memory {
    head: AtomicU64,
    tail: AtomicU64,
    data: [AtomicU64; WORDS],
}

const WORDS: usize = 4;

impl Memory {
    fn new() -> Arc<Memory> {
        let word = || AtomicU64::new(0);
        Arc::new(Memory { head: word(), tail: word(), data: std::array::from_fn(|_| word()) })
    }

    fn ring(&self) -> Ring<'_, AtomicU64> {
        Ring { head: &self.head, tail: &self.tail, data: &self.data }
    }
}

fn model(f: impl Fn() + Sync + Send + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(3);
    builder.check(f);
}

/// Takes whatever waits, as a receiver does: looks at what is published, copies it, gives it back.
fn take(consumer: &mut Consumer, memory: &Memory, into: &mut Vec<u64>) {
    let filled = consumer.filled(memory.ring()).expect("indices that an honest peer wrote");
    into.extend((0..filled).map(|offset| consumer.peek(memory.ring(), offset)));
    if filled > 0 {
        consumer.release(memory.ring(), filled);
    }
}

#[test]
fn frames_arrive_whole_in_order_and_once() {
    model(|| {
        let memory = Memory::new();
        let shared = Arc::clone(&memory);
        let producer = thread::spawn(move || {
            let mut producer = Producer::default();
            // More than the ring holds, so that places are used again.
            for frame in [[1, 2, 3], [4, 5, 6]] {
                while !producer.push(shared.ring(), &frame).expect("an honest peer") {
                    thread::yield_now();
                }
            }
        });
        let mut consumer = Consumer::default();
        let mut taken = Vec::new();
        while taken.len() < 6 {
            take(&mut consumer, &memory, &mut taken);
            assert_eq!(taken.len() % 3, 0, "half a frame was published: {taken:?}");
            thread::yield_now();
        }
        producer.join().expect("the producer ends");
        assert_eq!(taken, [1, 2, 3, 4, 5, 6]);
    });
}

#[test]
fn a_peer_that_writes_to_the_indices_is_refused_or_harmless() {
    model(|| {
        let memory = Memory::new();
        let shared = Arc::clone(&memory);
        let peer = thread::spawn(move || {
            Word::store(&shared.head, 9, Ordering::Relaxed);
            Word::store(&shared.head, 2, Ordering::Relaxed);
        });
        let consumer = Consumer::default();
        match consumer.filled(memory.ring()) {
            Ok(filled) => assert!(filled <= WORDS),
            Err(error) => assert_eq!(error, Malformed::Indices { used: 9, capacity: 4 }),
        }
        peer.join().expect("the peer ends");
    });
}
