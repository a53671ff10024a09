//! Memory that two processes share, as words.
//!
//! The other process may write anywhere in it at any time. So nothing here, or built on it, ever
//! makes a reference to plain memory inside: all access is through atomics of one width, for
//! which a concurrent write is an ordinary event. The file behind a mapping cannot shrink
//! ([`Mapping::shared`] insists on the seals), so that an access never faults.

use std::os::fd::{AsFd, OwnedFd};
use std::ptr::{self, NonNull};
use std::slice;
use std::sync::atomic::AtomicU64;

use rustix::fs::{FallocateFlags, MemfdFlags, SealFlags};
use rustix::io::Errno;
use rustix::mm::{MapFlags, ProtFlags};

use crate::ChannelError;

/// What keeps the size of shared memory fixed for good.
const SEALS: SealFlags = SealFlags::SHRINK.union(SealFlags::GROW).union(SealFlags::SEAL);

/// A readable and writable mapping of whole words.
#[derive(Debug)]
pub(crate) struct Mapping {
    start: NonNull<AtomicU64>,
    words: usize,
}

// SAFETY: the mapping belongs to no thread, and is accessed through atomics only.
unsafe impl Send for Mapping {}
// SAFETY: as above.
unsafe impl Sync for Mapping {}

impl Mapping {
    /// Zeroed memory of this process alone.
    pub(crate) fn anonymous(bytes: usize) -> Result<Mapping, ChannelError> {
        let map = |bytes| {
            // SAFETY: a fresh mapping at an address of the kernel's choice touches nothing else.
            unsafe {
                rustix::mm::mmap_anonymous(
                    ptr::null_mut(),
                    bytes,
                    ProtFlags::READ | ProtFlags::WRITE,
                    MapFlags::PRIVATE,
                )
            }
        };
        Mapping::of(bytes, map).map_err(|source| memory(bytes, source))
    }

    /// Zeroed memory that another process can map by the descriptor. It is allocated whole, so
    /// that writing to it cannot fail later and takes no page fault in this process.
    pub(crate) fn create(name: &str, bytes: usize) -> Result<(Mapping, OwnedFd), ChannelError> {
        let create = || {
            let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
            let file = rustix::fs::memfd_create(name, flags)?;
            rustix::fs::fallocate(&file, FallocateFlags::empty(), 0, bytes as u64)?;
            rustix::fs::fcntl_add_seals(&file, SEALS)?;
            let mapping = Mapping::file(&file, bytes, MapFlags::SHARED | MapFlags::POPULATE)?;
            Ok((mapping, file))
        };
        create().map_err(|source| memory(bytes, source))
    }

    /// Maps at least `bytes` that another process created. Refuses a file whose size is not
    /// sealed: truncating it would kill whoever reads past its end.
    pub(crate) fn shared(file: impl AsFd, bytes: usize) -> Result<Mapping, ChannelError> {
        let seals = rustix::fs::fcntl_get_seals(&file).map_err(|source| memory(bytes, source))?;
        let size = rustix::fs::fstat(&file).map_err(|source| memory(bytes, source))?.st_size;
        if !seals.contains(SEALS) || u64::try_from(size).is_ok_and(|size| size < bytes as u64) {
            return Err(ChannelError::Segment);
        }
        Mapping::file(&file, bytes, MapFlags::SHARED).map_err(|source| memory(bytes, source))
    }

    fn file(file: impl AsFd, bytes: usize, flags: MapFlags) -> Result<Mapping, Errno> {
        Mapping::of(bytes, |bytes| {
            // SAFETY: a fresh mapping at an address of the kernel's choice touches nothing else.
            unsafe {
                rustix::mm::mmap(
                    ptr::null_mut(),
                    bytes,
                    ProtFlags::READ | ProtFlags::WRITE,
                    flags,
                    file,
                    0,
                )
            }
        })
    }

    /// Takes over what `map` maps.
    fn of(
        bytes: usize,
        map: impl FnOnce(usize) -> Result<*mut core::ffi::c_void, Errno>,
    ) -> Result<Mapping, Errno> {
        let words = bytes / size_of::<AtomicU64>();
        let start = NonNull::new(map(words * size_of::<AtomicU64>())?).ok_or(Errno::NOMEM)?;
        Ok(Mapping { start: start.cast(), words })
    }

    /// The words. What they hold may change at any time, and may be anything.
    #[inline]
    pub(crate) fn words(&self) -> &[AtomicU64] {
        // SAFETY: `start` is the page-aligned start of a mapping of `words` words, readable and
        // writable and, by the seals, backed by its file for as long as `self` lives. Every bit
        // pattern is a valid `AtomicU64`, and atomics may be written while they are shared.
        unsafe { slice::from_raw_parts(self.start.as_ptr(), self.words) }
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: the mapping is ours alone, and all borrows of its words have ended. Unmapping
        // what was mapped cannot fail.
        let _ = unsafe {
            rustix::mm::munmap(self.start.as_ptr().cast(), self.words * size_of::<AtomicU64>())
        };
    }
}

fn memory(bytes: usize, source: Errno) -> ChannelError {
    ChannelError::Memory { bytes, source: source.into() }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::Ordering;

    use super::*;

    #[test]
    fn both_ends_see_the_same_words() {
        let (ours, file) = Mapping::create("test", 8192).unwrap();
        let theirs = Mapping::shared(&file, 8192).unwrap();
        ours.words()[1023].store(7, Ordering::Relaxed);
        assert_eq!(theirs.words()[1023].load(Ordering::Relaxed), 7);
    }

    #[test]
    fn a_segment_cannot_be_truncated() {
        let (_mapping, file) = Mapping::create("test", 8192).unwrap();
        for size in [0, 4096, 16384] {
            assert_eq!(rustix::fs::ftruncate(&file, size), Err(Errno::PERM));
        }
    }

    #[test]
    fn an_unsealed_or_short_file_is_not_mapped() {
        let (_mapping, file) = Mapping::create("test", 8192).unwrap();
        assert!(matches!(Mapping::shared(&file, 8193), Err(ChannelError::Segment)));

        let unsealed = rustix::fs::memfd_create("test", MemfdFlags::ALLOW_SEALING).unwrap();
        rustix::fs::ftruncate(&unsealed, 8192).unwrap();
        assert!(matches!(Mapping::shared(&unsealed, 8192), Err(ChannelError::Segment)));
    }
}
