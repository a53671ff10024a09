//! Memory of a fixed length, on huge pages where the kernel has them, written to when it is made.
//!
//! A table of a million connections spans hundreds of megabytes, one of a million routes tens; on pages of
//! 4 KiB nearly every packet of a random flow would miss the TLB as well as the cache.

use core::ops::{Deref, DerefMut};
use core::ptr::{self, NonNull};

use rustix::mm::{Advice, MapFlags, ProtFlags, madvise, mmap_anonymous, munmap};

/// Bytes of a huge page, to which large arrays are aligned.
const HUGE: usize = 2 << 20;

/// The memory of a table cannot be had.
#[derive(Debug, thiserror::Error)]
#[error(
    "{bytes} bytes for a flow table of {connections} connections cannot be had ({source}): \
     ask for fewer connections, or give the process more memory"
)]
pub struct AllocationError {
    /// How many bytes were asked for.
    pub bytes: usize,
    /// Connections of the table.
    pub connections: u32,
    /// What the kernel says.
    pub source: std::io::Error,
}

/// A slice that owns its memory, which never moves.
pub struct Pages<T> {
    values: NonNull<T>,
    length: usize,
    mapping: NonNull<core::ffi::c_void>,
    mapped: usize,
}

// SAFETY: it owns its values as a `Box<[T]>` does.
unsafe impl<T: Send> Send for Pages<T> {}
// SAFETY: as for a `Box<[T]>`: a shared reference gives shared references to values alone.
unsafe impl<T: Sync> Sync for Pages<T> {}

impl<T: Copy> Pages<T> {
    /// `length` times `value`. Every page is written to, so that none is missing later.
    ///
    /// # Errors
    ///
    /// The bytes that were asked for and what the kernel says when it has no such memory.
    pub fn new(length: usize, value: T, huge: bool) -> Result<Pages<T>, (usize, std::io::Error)> {
        const { assert!(size_of::<T>() > 0 && align_of::<T>() <= 4096) };
        let bytes = length.max(1).saturating_mul(size_of::<T>());
        let large = bytes >= HUGE;
        let mapped = if large { bytes.next_multiple_of(HUGE).saturating_add(HUGE) } else { bytes };
        let failed = |error: rustix::io::Errno| (bytes, error.into());
        // SAFETY: a new mapping, at an address that the kernel chooses, touches nothing of ours.
        let mapping = unsafe {
            mmap_anonymous(
                ptr::null_mut(),
                mapped,
                ProtFlags::READ | ProtFlags::WRITE,
                MapFlags::PRIVATE | MapFlags::NORESERVE,
            )
        };
        let mapping = mapping.map_err(failed)?;
        let skip = if large { mapping.align_offset(HUGE) } else { 0 };
        let start = mapping.wrapping_byte_add(skip);
        if large && huge {
            // A kernel without huge pages says no; small pages do as well, slower.
            // SAFETY: the range is within the mapping, to which nobody else has a pointer.
            let _ = unsafe { madvise(start, mapped - HUGE, Advice::LinuxHugepage) };
        } else if large {
            // SAFETY: as above.
            let _ = unsafe { madvise(start, mapped - HUGE, Advice::LinuxNoHugepage) };
        }
        let values = start.cast::<T>();
        for i in 0..length {
            // SAFETY: `i * size_of::<T>()` is within the `bytes` that follow `start`, which is
            // aligned to a page at least.
            unsafe { values.add(i).write(value) };
        }
        let (Some(values), Some(mapping)) = (NonNull::new(values), NonNull::new(mapping)) else {
            return Err((bytes, std::io::ErrorKind::OutOfMemory.into()));
        };
        Ok(Pages { values, length, mapping, mapped })
    }
}

impl<T> Drop for Pages<T> {
    fn drop(&mut self) {
        // SAFETY: the mapping is ours, and values that are `Copy` need no drop of their own.
        let _ = unsafe { munmap(self.mapping.as_ptr(), self.mapped) };
    }
}

impl<T> Deref for Pages<T> {
    type Target = [T];

    #[inline(always)]
    fn deref(&self) -> &[T] {
        // SAFETY: `length` values were written when the mapping was made, and it lives as long as
        // `self`.
        unsafe { core::slice::from_raw_parts(self.values.as_ptr(), self.length) }
    }
}

impl<T> DerefMut for Pages<T> {
    #[inline(always)]
    fn deref_mut(&mut self) -> &mut [T] {
        // SAFETY: as for `deref`; `&mut self` makes the reference the only one.
        unsafe { core::slice::from_raw_parts_mut(self.values.as_ptr(), self.length) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_value_is_there() {
        for length in [0, 1, 7, 100_000, HUGE / 8, HUGE / 8 + 1] {
            for huge in [false, true] {
                let mut pages = Pages::new(length, 7_u64, huge).expect("memory");
                assert_eq!(pages.len(), length);
                assert!(pages.iter().all(|&value| value == 7));
                if let Some(last) = pages.last_mut() {
                    *last = 8;
                }
                assert_eq!(pages.iter().filter(|&&value| value == 8).count(), length.min(1));
            }
        }
    }

    #[test]
    fn too_much_is_refused() {
        assert!(Pages::new(usize::MAX / 64, 0_u64, true).is_err());
    }
}
