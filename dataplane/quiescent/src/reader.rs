//! The reading end.

use std::ptr::NonNull;

use crate::sync::{Arc, Ordering, fence};
use crate::{Cell, Epoch, GONE, JOINING, Node, OFFLINE, Shared};

/// The reading end: one for each worker thread. None of its methods waits, locks, allocates or
/// frees.
pub struct Reader<T> {
    /// The value in use. Its epoch is what `cell` shows while the reader is online, and the
    /// reader is online whenever `self` is not borrowed by `offline`.
    node: NonNull<Node<T>>,
    cell: Arc<Cell>,
    shared: Arc<Shared<T>>,
}

// SAFETY: a reader only reads the value, which other threads read too (`T: Sync`), and as the
// last one left it drops what there is (`T: Send`).
unsafe impl<T: Send + Sync> Send for Reader<T> {}

impl<T> Reader<T> {
    /// An online reader of `node`, which is current and whose epoch `cell` shows.
    pub(crate) fn new(shared: Arc<Shared<T>>, cell: Arc<Cell>, node: NonNull<Node<T>>) -> Self {
        Reader { node, cell, shared }
    }

    /// Adopts the latest value. Call it once a burst: what it costs when nothing has changed is
    /// one load of a line that nobody writes to.
    #[inline]
    pub fn refresh(&mut self) {
        let latest = self.shared.current.load(Ordering::Acquire);
        // A node in use is not freed, so equal addresses are the same node.
        if latest != self.node.as_ptr() {
            self.adopt(latest);
        }
    }

    /// The value that the reader has adopted.
    #[inline]
    pub fn get(&self) -> &T {
        &self.node().value
    }

    /// When that value was published.
    #[inline]
    pub fn epoch(&self) -> Epoch {
        Epoch(self.node().epoch)
    }

    /// Runs `sleep` while nobody waits for this reader, and adopts the latest value before it
    /// returns. It takes a function and returns no guard, because a guard could be forgotten and
    /// leave a reader that is offline and still reads.
    pub fn offline<R>(&mut self, sleep: impl FnOnce() -> R) -> R {
        /// Comes back online even when `sleep` panics.
        struct Online<'a, T>(&'a mut Reader<T>);

        impl<T> Drop for Online<'_, T> {
            fn drop(&mut self) {
                let Reader { cell, shared, .. } = &*self.0;
                cell.0.store(JOINING, Ordering::Relaxed);
                // Between the store above and the load below: see the crate's docs.
                fence(Ordering::SeqCst);
                let latest = shared.current.load(Ordering::Acquire);
                self.0.adopt(latest);
            }
        }

        // From here on the node may be freed; nobody can read it while `self` is borrowed.
        self.cell.0.store(OFFLINE, Ordering::Release);
        let _online = Online(self);
        sleep()
    }

    /// Gives up the value in use for `latest`, which was loaded from `shared.current` while the
    /// cell showed an epoch no newer than its own.
    fn adopt(&mut self, latest: *mut Node<T>) {
        // SAFETY: `shared.current` is never null.
        self.node = unsafe { NonNull::new_unchecked(latest) };
        self.cell.0.store(self.node().epoch, Ordering::Release);
    }

    fn node(&self) -> &Node<T> {
        // SAFETY: the node was current when it was loaded, and the cell has shown its epoch, an
        // older one or `JOINING` since before that, so the publisher has not freed it: nobody
        // frees a node while a cell shows its epoch or less, or while `shared` is alive and the
        // node is current. Nobody writes to a published node.
        unsafe { self.node.as_ref() }
    }
}

impl<T> Drop for Reader<T> {
    fn drop(&mut self) {
        self.cell.0.store(GONE, Ordering::Release);
    }
}
