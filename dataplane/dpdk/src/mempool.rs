//! Pools of packet buffers.

use std::ffi::CString;
use std::mem::ManuallyDrop;
use std::ptr::NonNull;
use std::sync::Arc;

use sluice_dpdk_sys as sys;
use sluice_dpdk_sys::{rte_mbuf, rte_mempool};

use crate::eal::Eal;
use crate::error::{DpdkError, errno, errno_text};
use crate::mbuf::Mbuf;

/// The most buffers that a thread keeps for itself, away from the pool's shared ring.
const CACHE: u32 = 256;

/// A pool of packet buffers of one size. Clones are handles to the same pool.
///
/// When the last handle goes the pool is freed, unless buffers of it are still in use: then it stays
/// for as long as the process does.
#[derive(Clone, Debug)]
pub struct Mempool {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    pool: NonNull<rte_mempool>,
    name: String,
    size: u32,
    data_room: u16,
    eal: Eal,
}

// SAFETY: a pool's ring takes and gives from any number of threads, its caches are one per thread.
unsafe impl Send for Inner {}
// SAFETY: as above.
unsafe impl Sync for Inner {}

impl Mempool {
    /// Makes a pool of `mbufs` buffers with room for `data_room` bytes of packet each, behind the usual
    /// headroom of 128 bytes. A power of two minus one wastes least.
    ///
    /// # Errors
    ///
    /// The memory does not suffice, or the name is taken or too long.
    pub fn new(eal: &Eal, name: &str, mbufs: u32, data_room: u16) -> Result<Mempool, DpdkError> {
        // 3 for the prefix "MP_" that DPDK adds, 1 for the final NUL.
        let longest = sys::SLUICE_MEMPOOL_NAME_SIZE as usize - 4;
        let text = |reason| DpdkError::Text { what: "mempool", value: name.to_owned(), reason };
        if name.is_empty() || name.len() > longest {
            return Err(text("1 to 22 bytes are allowed"));
        }
        let c_name = CString::new(name).map_err(|_| text("it has a NUL byte"))?;
        let refused = |reason: String| DpdkError::Pool { pool: name.to_owned(), mbufs, reason };
        let headroom = sys::SLUICE_HEADROOM as u16;
        let room = data_room.checked_add(headroom).ok_or_else(|| {
            refused(format!("a buffer holds at most {} bytes", u16::MAX - headroom))
        })?;
        if mbufs == 0 {
            return Err(refused("a pool has at least one buffer".to_owned()));
        }
        // DPDK wants a pool to be at least one and a half caches.
        let cache = (mbufs / 8).min(CACHE).min(sys::SLUICE_MEMPOOL_CACHE_MAX);

        // Without hugepages no device is given bus addresses. Buffers that may not cross a page would
        // waste half of the memory, and the af_xdp driver takes them to be packed.
        let packed = i32::from(!eal.hugepages());
        // SAFETY: the name is a C string that DPDK copies.
        let pool = unsafe { sys::sluice_pool_create(c_name.as_ptr(), mbufs, cache, room, packed) };
        let Some(pool) = NonNull::new(pool) else {
            return Err(match errno() {
                libc::ENOMEM => DpdkError::Memory {
                    pool: name.to_owned(),
                    mbufs,
                    needed_mib: needed(mbufs, room).div_ceil(1 << 20),
                    free_mib: free_memory() >> 20,
                    given_mib: eal.memory_mib(),
                },
                libc::EEXIST => refused("a pool of this name exists".to_owned()),
                other => refused(errno_text(other)),
            });
        };
        let inner = Inner { pool, name: name.to_owned(), size: mbufs, data_room, eal: eal.clone() };
        Ok(Mempool { inner: Arc::new(inner) })
    }

    /// A packet of length 0, or None when the pool is empty.
    #[inline]
    #[must_use]
    pub fn alloc(&self) -> Option<Mbuf> {
        // SAFETY: the pool lives as long as this handle; the mbuf it returns is ours alone.
        unsafe { NonNull::new(sys::sluice_alloc(self.raw())).map(|mbuf| Mbuf::from_raw(mbuf)) }
    }

    /// Fills the first `n` slots, which must be empty, with packets of length 0. False, and no change,
    /// when the pool has fewer.
    ///
    /// # Panics
    ///
    /// There are fewer than `n` slots.
    #[inline]
    #[must_use]
    pub fn alloc_bulk(&self, slots: &mut [Option<Mbuf>], n: usize) -> bool {
        let slots = &mut slots[..n];
        debug_assert!(slots.iter().all(Option::is_none), "a packet would leak");
        // SAFETY: the slots are pointers or null and there are `n` of them; all or none are
        // overwritten, with mbufs that are ours alone.
        unsafe {
            let mbufs = slots.as_mut_ptr().cast::<*mut rte_mbuf>();
            sys::sluice_alloc_bulk(self.raw(), mbufs, slots.len() as u32) == 0
        }
    }

    /// The pool's name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.inner.name
    }

    /// How many buffers the pool has.
    #[must_use]
    pub fn size(&self) -> u32 {
        self.inner.size
    }

    /// How many of them are in use: in someone's hands or in a device's ring. What threads keep in
    /// their caches is not. Walks all caches; not for the path of a packet.
    #[must_use]
    pub fn in_use(&self) -> u32 {
        self.inner.in_use()
    }

    /// Whether the af_xdp driver can use the pool. It cannot reach buffers behind the boundary of a page that
    /// was left unfilled before them; each of the few that there may be is lost when it first gets there.
    pub(crate) fn suits_xdp(&self) -> bool {
        // SAFETY: the pool is valid as long as `self`; the function only reads.
        let outside = unsafe { sys::sluice_pool_outside(self.raw()) };
        outside <= self.size() / 256
    }

    /// The bytes of packet that fit into a buffer, behind the headroom.
    #[must_use]
    pub fn data_room(&self) -> u16 {
        self.inner.data_room
    }

    #[inline]
    pub(crate) fn raw(&self) -> *mut rte_mempool {
        self.inner.pool.as_ptr()
    }
}

impl Inner {
    fn in_use(&self) -> u32 {
        // SAFETY: the pool is valid as long as `self`; the function only reads.
        let available = unsafe { sys::rte_mempool_avail_count(self.pool.as_ptr()) };
        self.size.saturating_sub(available)
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        match self.in_use() {
            0 => {
                // SAFETY: no handle is left to take a buffer, and none is out to come back.
                unsafe { sys::rte_mempool_free(self.pool.as_ptr()) }
            }
            in_use => {
                tracing::debug!("mempool {} stays: {in_use} of its buffers are in use", self.name);
                // The buffers refer to the pool's memory, which must not go with EAL.
                let _kept = ManuallyDrop::new(self.eal.clone());
            }
        }
    }
}

/// The bytes that a pool takes, nearly.
fn needed(mbufs: u32, room: u16) -> u64 {
    let element = (u64::from(sys::SLUICE_MBUF_SIZE) + u64::from(room)).next_multiple_of(64)
        + u64::from(sys::SLUICE_MEMPOOL_HEADER_SIZE).next_multiple_of(64);
    // Elements, and the ring of pointers that holds them.
    u64::from(mbufs) * element + u64::from(mbufs).next_power_of_two() * 8
}

/// What EAL's heaps have left, over all NUMA nodes.
fn free_memory() -> u64 {
    (0..8)
        .map(|node| {
            let mut statistics = sys::rte_malloc_socket_stats::default();
            // SAFETY: writes to the struct; a node that does not exist is refused.
            let known = unsafe { sys::rte_malloc_get_socket_stats(node, &raw mut statistics) } == 0;
            if known { statistics.heap_freesz_bytes as u64 } else { 0 }
        })
        .sum()
}
