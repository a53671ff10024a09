//! A ring of words with one producer and one consumer that do not trust each other.
//!
//! `head` counts the words ever produced and `tail` those ever consumed; both only grow. Each
//! side keeps its own count for itself and never reads it back from shared memory; of the other
//! side's count it believes only that the ring holds between nothing and everything, and refuses
//! to go on otherwise. Words are copied one by one through relaxed atomics and published by the
//! release store of an index, so a peer that scribbles over the ring can garble what is read, and
//! nothing else.
//!
//! The words live elsewhere ([`Ring`] only borrows them), so that all of this is tested without
//! shared memory, and what a [`Word`] is can be chosen, so that the very same code is run by the
//! model checker.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::frame::Malformed;

/// A word that two threads, or processes, share.
pub(crate) trait Word {
    fn load(&self, order: Ordering) -> u64;
    fn store(&self, value: u64, order: Ordering);
}

impl Word for AtomicU64 {
    #[inline]
    fn load(&self, order: Ordering) -> u64 {
        AtomicU64::load(self, order)
    }

    #[inline]
    fn store(&self, value: u64, order: Ordering) {
        AtomicU64::store(self, value, order);
    }
}

/// Where a ring lies.
pub(crate) struct Ring<'a, W = AtomicU64> {
    /// Words produced.
    pub(crate) head: &'a W,
    /// Words consumed.
    pub(crate) tail: &'a W,
    /// The words; a power of two of them.
    pub(crate) data: &'a [W],
}

impl<W> Clone for Ring<'_, W> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<W> Copy for Ring<'_, W> {}

impl<'a, W: Word> Ring<'a, W> {
    /// The word at a position.
    fn word(&self, position: u64) -> &'a W {
        &self.data[position as usize & (self.data.len() - 1)]
    }

    /// Words in use, if that can be.
    fn used(&self, head: u64, tail: u64) -> Result<usize, Malformed> {
        let used = head.wrapping_sub(tail);
        let capacity = self.data.len() as u64;
        if used > capacity {
            return Err(Malformed::Indices { used, capacity });
        }
        Ok(used as usize)
    }
}

/// The producing side's own count.
#[derive(Debug, Default)]
pub(crate) struct Producer {
    head: u64,
}

impl Producer {
    /// Words that there is room for.
    pub(crate) fn room<W: Word>(&self, ring: Ring<'_, W>) -> Result<usize, Malformed> {
        // Acquire: the consumer has copied out what lies before its tail.
        let tail = ring.tail.load(Ordering::Acquire);
        Ok(ring.data.len() - ring.used(self.head, tail)?)
    }

    /// Appends all of `words`, or nothing if there is no room for all.
    pub(crate) fn push<W: Word>(
        &mut self,
        ring: Ring<'_, W>,
        words: &[u64],
    ) -> Result<bool, Malformed> {
        if words.len() > self.room(ring)? {
            return Ok(false);
        }
        for word in words {
            ring.word(self.head).store(*word, Ordering::Relaxed);
            self.head = self.head.wrapping_add(1);
        }
        ring.head.store(self.head, Ordering::Release);
        Ok(true)
    }
}

/// The consuming side's own count.
#[derive(Debug, Default)]
pub(crate) struct Consumer {
    tail: u64,
}

impl Consumer {
    /// Words that wait.
    pub(crate) fn filled<W: Word>(&self, ring: Ring<'_, W>) -> Result<usize, Malformed> {
        // Acquire: the producer has written what lies before its head.
        ring.used(ring.head.load(Ordering::Acquire), self.tail)
    }

    /// Copies out the waiting word `offset` places on.
    pub(crate) fn peek<W: Word>(&self, ring: Ring<'_, W>, offset: usize) -> u64 {
        ring.word(self.tail.wrapping_add(offset as u64)).load(Ordering::Relaxed)
    }

    /// Gives back the first `words` of those that wait.
    pub(crate) fn release<W: Word>(&mut self, ring: Ring<'_, W>, words: usize) {
        self.tail = self.tail.wrapping_add(words as u64);
        ring.tail.store(self.tail, Ordering::Release);
    }
}

#[cfg(test)]
mod model;

#[cfg(test)]
pub(crate) mod tests {
    use std::collections::VecDeque;
    use std::thread;

    use proptest::prelude::*;

    use super::*;

    /// A ring in this process's own memory.
    pub(crate) struct Memory {
        pub(crate) head: AtomicU64,
        pub(crate) tail: AtomicU64,
        pub(crate) data: Vec<AtomicU64>,
    }

    impl Memory {
        pub(crate) fn new(words: usize) -> Memory {
            let data = (0..words).map(|_| AtomicU64::new(0)).collect();
            Memory { head: AtomicU64::new(0), tail: AtomicU64::new(0), data }
        }

        pub(crate) fn ring(&self) -> Ring<'_> {
            Ring { head: &self.head, tail: &self.tail, data: &self.data }
        }
    }

    fn pop(consumer: &mut Consumer, ring: Ring<'_>, most: usize) -> Vec<u64> {
        let n = most.min(consumer.filled(ring).unwrap());
        let words = (0..n).map(|offset| consumer.peek(ring, offset)).collect();
        consumer.release(ring, n);
        words
    }

    #[derive(Clone, Debug)]
    enum Step {
        Push(Vec<u64>),
        Pop(usize),
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            prop::collection::vec(any::<u64>(), 0..20).prop_map(Step::Push),
            (0..20_usize).prop_map(Step::Pop),
        ]
    }

    proptest! {
        #[test]
        fn a_ring_is_a_bounded_queue(
            steps in prop::collection::vec(step(), 0..200),
            start in prop_oneof![Just(0), Just(u64::MAX - 20), any::<u64>()],
        ) {
            let memory = Memory::new(16);
            memory.head.store(start, Ordering::Relaxed);
            memory.tail.store(start, Ordering::Relaxed);
            let ring = memory.ring();
            let mut producer = Producer { head: start };
            let mut consumer = Consumer { tail: start };
            let mut model = VecDeque::new();
            for step in steps {
                match step {
                    Step::Push(words) => {
                        let fits = model.len() + words.len() <= 16;
                        prop_assert_eq!(producer.push(ring, &words), Ok(fits));
                        if fits {
                            model.extend(words);
                        }
                    }
                    Step::Pop(most) => {
                        let expected: Vec<_> = model.drain(..most.min(model.len())).collect();
                        prop_assert_eq!(pop(&mut consumer, ring, most), expected);
                    }
                }
                prop_assert_eq!(consumer.filled(ring), Ok(model.len()));
                prop_assert_eq!(producer.room(ring), Ok(16 - model.len()));
            }
        }

        #[test]
        fn a_peers_index_is_believed_only_within_the_ring(theirs in any::<u64>(), ours in any::<u64>()) {
            let memory = Memory::new(16);
            memory.head.store(theirs, Ordering::Relaxed);
            memory.tail.store(theirs, Ordering::Relaxed);
            let filled = Consumer { tail: ours }.filled(memory.ring());
            prop_assert_eq!(filled.is_ok(), theirs.wrapping_sub(ours) <= 16);
            let room = Producer { head: ours }.room(memory.ring());
            prop_assert_eq!(room.is_ok(), ours.wrapping_sub(theirs) <= 16);
        }
    }

    #[test]
    fn words_arrive_whole_and_in_order_from_another_thread() {
        const LAST: u64 = 200_000;
        let memory = Memory::new(64);
        thread::scope(|scope| {
            scope.spawn(|| {
                let mut producer = Producer::default();
                let mut next = 0;
                while next < LAST {
                    if producer.push(memory.ring(), &[next, next + 1]).unwrap() {
                        next += 2;
                    } else {
                        thread::yield_now();
                    }
                }
            });
            let mut consumer = Consumer::default();
            let mut next = 0;
            while next < LAST {
                let words = pop(&mut consumer, memory.ring(), 7);
                if words.is_empty() {
                    thread::yield_now();
                }
                for word in words {
                    assert_eq!(word, next);
                    next += 1;
                }
            }
        });
    }
}
