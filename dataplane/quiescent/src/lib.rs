//! Publishes a value to threads that must never wait, and frees the replaced one once none of
//! them can see it: quiescent-state based reclamation (McKenney and Slingwine, 1998; Hart et al.,
//! *Performance of memory reclamation for lockless synchronization*, 2007).
//!
//! A [`Publisher`] belongs to the agent; each worker has a [`Reader`]. A worker calls
//! [`Reader::refresh`] once a burst and reads through [`Reader::get`] in between: one atomic load
//! a burst when nothing has changed, and a plain pointer otherwise. A worker that is about to
//! sleep does it inside [`Reader::offline`], so that nobody waits for it.
//!
//! # Invariants
//!
//! * A reader never waits, locks, allocates, counts references or frees.
//! * What a reader has from [`Reader::get`] stays valid until its next `refresh` or `offline`;
//!   the borrow checker holds the worker to that, for both take `&mut self`.
//! * Values are dropped by the publisher's thread, in [`Publisher::reclaim`]. (A publisher that
//!   is dropped before its readers leaves the rest to the last of them.)
//! * A reader that comes back online sees the latest value before it sees a packet.
//!
//! # Why it is sound
//!
//! Each reader has a cell with the epoch of the value that it uses. A value of epoch `e` is freed
//! when it has been replaced and every cell shows more than `e`. A reader stores a larger epoch
//! with release order after its last use of the older value, and the publisher loads it with
//! acquire order, so the last use happens before the freeing; and a reader that has once loaded a
//! newer pointer can never again load an older one.
//!
//! An offline reader's cell shows the largest number, so it holds up nothing. When it comes
//! online it stores `JOINING` and then loads the pointer, while a publisher stores the pointer
//! and then loads the cells. Both put a sequentially consistent fence between the two, so that at
//! least one sees the other: either the publisher sees that the reader is joining and frees
//! nothing, or the reader loads the new pointer.

#[cfg(all(test, loom))]
mod loom_tests;
mod reader;
mod sync;
#[cfg(all(test, not(loom)))]
mod tests;

use std::collections::VecDeque;
use std::ptr::NonNull;
use std::sync::Mutex;

pub use reader::Reader;
use sync::{Arc, AtomicPtr, AtomicU64, Ordering, fence};

/// A cell's value while its reader is coming online: older than every epoch.
const JOINING: u64 = 0;

/// A cell's value once its reader is gone: free for another one.
const GONE: u64 = u64::MAX - 1;

/// A cell's value while its reader is offline.
const OFFLINE: u64 = u64::MAX;

/// When a value was published: later ones are larger.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Epoch(u64);

/// A value and when it was published.
struct Node<T> {
    epoch: u64,
    value: Box<T>,
}

/// What one reader tells the publisher: the epoch that it uses, or one of the three states above.
/// Two cache lines, because the processor fetches them in pairs.
#[repr(align(128))]
struct Cell(AtomicU64);

/// What the publisher and its readers share. It owns the current node, and those that a dropped
/// publisher left behind.
struct Shared<T> {
    current: AtomicPtr<Node<T>>,
    left: Mutex<Vec<Owned<T>>>,
}

/// A node that has been replaced; dropping it frees the value.
struct Owned<T>(NonNull<Node<T>>);

// SAFETY: an `Owned` is the sole owner of its node, like a `Box`, and nodes go to the readers'
// threads, which share them.
unsafe impl<T: Send + Sync> Send for Owned<T> {}

impl<T> Owned<T> {
    fn epoch(&self) -> u64 {
        // SAFETY: the node lives until `self` is dropped, and nobody ever writes to it.
        unsafe { self.0.as_ref() }.epoch
    }
}

impl<T> Drop for Owned<T> {
    fn drop(&mut self) {
        // SAFETY: the node came from `Box::into_raw`. Whoever drops an `Owned` has made sure that
        // no reader uses the node: `reclaim` by the cells, `Shared::drop` because nobody is left.
        drop(unsafe { Box::from_raw(self.0.as_ptr()) });
    }
}

impl<T> Drop for Shared<T> {
    fn drop(&mut self) {
        // The last of publisher and readers is going, so there is no other thread to order with.
        let current = self.current.load(Ordering::Relaxed);
        drop(NonNull::new(current).map(Owned));
    }
}

/// The publishing end.
pub struct Publisher<T> {
    shared: Arc<Shared<T>>,
    cells: Vec<Arc<Cell>>,
    /// What `shared.current` points to; only the publisher changes it.
    current: NonNull<Node<T>>,
    /// Replaced values that some reader may still use, oldest first.
    retired: VecDeque<Owned<T>>,
}

// SAFETY: the publisher owns its values and shares them with readers on other threads; what it
// points to is only ever read, and freed by whoever holds the publisher.
unsafe impl<T: Send + Sync> Send for Publisher<T> {}

impl<T: Send + Sync> Publisher<T> {
    /// Starts with a value, and no readers.
    pub fn new(initial: Box<T>) -> Self {
        let current = node(JOINING + 1, initial);
        let shared = Arc::new(Shared {
            current: AtomicPtr::new(current.as_ptr()),
            left: Mutex::new(Vec::new()),
        });
        Publisher { shared, cells: Vec::new(), current, retired: VecDeque::new() }
    }

    /// Makes a reader, online and at the current value. It may be made, and dropped, at any time.
    pub fn reader(&mut self) -> Reader<T> {
        let epoch = self.epoch().0;
        let free = self.cells.iter().find(|cell| cell.0.load(Ordering::Acquire) == GONE);
        let cell = match free {
            Some(cell) => {
                cell.0.store(epoch, Ordering::Relaxed);
                cell.clone()
            }
            None => {
                let cell = Arc::new(Cell(AtomicU64::new(epoch)));
                self.cells.push(cell.clone());
                cell
            }
        };
        Reader::new(self.shared.clone(), cell, self.current)
    }

    /// Makes `value` the one that readers see from their next refresh on. The replaced one stays
    /// until [`reclaim`](Self::reclaim) finds that nobody can see it.
    pub fn publish(&mut self, value: Box<T>) -> Epoch {
        let epoch = Epoch(self.epoch().0 + 1);
        let replaced = std::mem::replace(&mut self.current, node(epoch.0, value));
        self.shared.current.store(self.current.as_ptr(), Ordering::Release);
        // Between the store above and every later look at the cells: see the crate's docs.
        fence(Ordering::SeqCst);
        self.retired.push_back(Owned(replaced));
        epoch
    }

    /// Whether every reader has adopted `epoch` or a later one. An offline reader counts as
    /// having adopted: it will before it reads anything.
    pub fn adopted(&self, epoch: Epoch) -> bool {
        self.oldest() >= epoch.0
    }

    /// The readers that have not adopted `epoch`, numbered in the order in which they were made.
    pub fn waiting(&self, epoch: Epoch) -> Vec<usize> {
        let seen = self.cells.iter().map(|cell| cell.0.load(Ordering::Acquire));
        seen.enumerate().filter(|&(_, seen)| seen < epoch.0).map(|(reader, _)| reader).collect()
    }

    /// Drops the replaced values that no reader can see, and returns how many.
    pub fn reclaim(&mut self) -> usize {
        let oldest = self.oldest();
        let free = self.retired.iter().take_while(|node| node.epoch() < oldest).count();
        self.retired.drain(..free);
        free
    }

    /// How many replaced values wait for readers.
    pub fn retired(&self) -> usize {
        self.retired.len()
    }

    /// The current value.
    pub fn current(&self) -> &T {
        // SAFETY: the current node is freed neither by `reclaim`, which frees replaced ones, nor
        // by `Shared`, which this publisher keeps alive; nobody writes to it.
        &unsafe { self.current.as_ref() }.value
    }

    /// When the current value was published.
    pub fn epoch(&self) -> Epoch {
        // SAFETY: as for `current`.
        Epoch(unsafe { self.current.as_ref() }.epoch)
    }

    /// The oldest epoch that a reader may use.
    fn oldest(&self) -> u64 {
        let seen = self.cells.iter().map(|cell| cell.0.load(Ordering::Acquire));
        seen.min().unwrap_or(OFFLINE)
    }
}

impl<T> Drop for Publisher<T> {
    fn drop(&mut self) {
        // Readers may live on: what they may still use goes with whoever goes last.
        let mut left = self.shared.left.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        left.extend(self.retired.drain(..));
    }
}

fn node<T>(epoch: u64, value: Box<T>) -> NonNull<Node<T>> {
    NonNull::from(Box::leak(Box::new(Node { epoch, value })))
}
