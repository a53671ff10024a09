//! The memory of cells: 64 KiB at a time, on huge pages.
//!
//! The cells of a million routes span 14 MiB, of which each lookup reads one byte: on pages of 4 KiB it
//! would miss the TLB as well as the cache. The heap has no huge pages, so that cells are cut from regions
//! of their own; large pages for all of the heap made the load of a large table slower. What is let go of is used again, and never given back to the system: a table that was
//! large once will be again.

use std::fmt;
use std::ops::{Deref, DerefMut};
use std::sync::{Mutex, MutexGuard, PoisonError};

use sluice_flow::Pages;

/// How many cells a block has: one for each value of two bytes.
pub(super) const COUNT: usize = 1 << 16;

/// From the cells of one block to those of the next: like bytes of addresses should not stand in like sets
/// of the cache, which a power of two would have them do.
const STRIDE: usize = COUNT + 33 * 64;

type Array = [u8; STRIDE];

/// Blocks in a region: it is one huge page.
const REGION: usize = (2 << 20) / STRIDE;

/// Blocks are made and dropped by those who change tables, not by those who look up.
static MEMORY: Mutex<Memory> = Mutex::new(Memory { spare: Vec::new(), bytes: 0 });

struct Memory {
    /// What no block has.
    spare: Vec<&'static mut Array>,
    /// Of all that there is.
    bytes: usize,
}

/// The cells of one block.
pub(super) struct Cells(
    /// `None` only while it is dropped.
    Option<&'static mut Array>,
);

impl Cells {
    /// As many of one value.
    pub(super) fn of(value: u8) -> Cells {
        let mut cells = Cells::any();
        cells.fill(value);
        cells
    }

    /// Cells that say anything.
    fn any() -> Cells {
        let mut memory = memory();
        if memory.spare.is_empty() {
            let region = match Pages::new(REGION, [0; STRIDE], true) {
                Ok(region) => &mut **Box::leak(Box::new(region)),
                // The heap answers for what cannot be had.
                Err(_) => Box::leak(Box::new([[0; STRIDE]])),
            };
            memory.bytes += size_of_val(region);
            memory.spare.extend(region);
        }
        Cells(memory.spare.pop())
    }
}

/// Bytes that the cells of all tables of this process take, beside the heap.
pub fn cell_memory() -> usize {
    let memory = memory();
    memory.bytes - memory.spare.len() * STRIDE
}

fn memory() -> MutexGuard<'static, Memory> {
    MEMORY.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Deref for Cells {
    type Target = Array;

    #[inline(always)]
    fn deref(&self) -> &Array {
        let Some(cells) = &self.0 else { unreachable!("cells that are dropped are not looked at") };
        cells
    }
}

impl DerefMut for Cells {
    fn deref_mut(&mut self) -> &mut Array {
        let Some(cells) = &mut self.0 else { unreachable!("dropped cells are not written to") };
        cells
    }
}

impl Clone for Cells {
    fn clone(&self) -> Cells {
        let mut cells = Cells::any();
        cells.copy_from_slice(&**self);
        cells
    }
}

impl Drop for Cells {
    fn drop(&mut self) {
        memory().spare.extend(self.0.take());
    }
}

impl fmt::Debug for Cells {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Cells")
    }
}
