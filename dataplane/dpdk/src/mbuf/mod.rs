//! A packet buffer that is owned: not `Clone`, freed once, given up by value to a queue.
//!
//! Fields are read and written here, inlined, at offsets that the compiler took from the installed
//! headers. The invariants that the `unsafe` blocks rest on:
//!
//! * the pointer is to an mbuf that this value owns alone, with all its segments (reference count 1);
//! * `data_off + data_len <= buf_len` in each segment, `buf_addr` points to `buf_len` bytes;
//! * `pkt_len` and `nb_segs` of the first segment are the sums over the chain of `next`;
//! * the memory of a pool is zeroed when it is made, so that every byte is initialised.

use std::fmt;
use std::mem;
use std::ptr::{self, NonNull};
use std::slice;

use sluice_dpdk_sys as sys;
use sluice_dpdk_sys::rte_mbuf;

mod chain;
mod segment;

pub use chain::Segments;
use segment::{Segment, get, set};

/// A packet in one or more buffers of a pool.
#[repr(transparent)]
pub struct Mbuf(NonNull<rte_mbuf>);

// The drivers are handed arrays of `Option<Mbuf>` as arrays of pointers that may be null.
const _: () = assert!(mem::size_of::<Option<Mbuf>>() == mem::size_of::<*mut rte_mbuf>());
const _: () = assert!(mem::align_of::<Option<Mbuf>>() == mem::align_of::<*mut rte_mbuf>());

// SAFETY: an mbuf is memory that only its owner touches; pools take mbufs back from any thread.
unsafe impl Send for Mbuf {}

impl Mbuf {
    /// Takes over a packet that a driver or a pool gave away.
    ///
    /// # Safety
    ///
    /// The mbuf is valid, and the caller gives up every other use of it and its segments.
    #[inline]
    pub(crate) unsafe fn from_raw(mbuf: NonNull<rte_mbuf>) -> Mbuf {
        Mbuf(mbuf)
    }

    #[inline(always)]
    fn first(&self) -> Segment {
        Segment(self.0)
    }

    fn last(&self) -> Segment {
        let mut segment = self.first();
        while let Some(next) = segment.next() {
            segment = next;
        }
        segment
    }

    #[inline(always)]
    fn set_pkt_len(&mut self, len: usize) {
        // SAFETY: the field is a u32 of an mbuf that this value owns.
        unsafe { set(self.0, sys::SLUICE_MBUF_PKT_LEN, len as u32) }
    }

    fn set_segment_count(&mut self, count: usize) {
        // SAFETY: the field is a u16 of an mbuf that this value owns.
        unsafe { set(self.0, sys::SLUICE_MBUF_NB_SEGS, count as u16) }
    }

    /// The bytes of the first segment: all of the packet, unless [`is_contiguous`](Self::is_contiguous)
    /// says no.
    #[inline]
    #[must_use]
    pub fn data(&self) -> &[u8] {
        // SAFETY: `self` is borrowed as long as the slice.
        unsafe { self.first().bytes() }
    }

    /// The bytes of the first segment.
    #[inline]
    #[must_use]
    pub fn data_mut(&mut self) -> &mut [u8] {
        let first = self.first();
        // SAFETY: offset and length are within the buffer, which is initialised; `self` is
        // borrowed mutably as long as the slice.
        unsafe { slice::from_raw_parts_mut(first.start(), first.len()) }
    }

    /// The length of the first segment.
    #[inline]
    #[must_use]
    pub fn data_len(&self) -> usize {
        self.first().len()
    }

    /// The length of the packet, over all segments.
    #[inline]
    #[must_use]
    pub fn pkt_len(&self) -> usize {
        // SAFETY: the field is a u32 of a valid mbuf.
        unsafe { get::<u32>(self.0, sys::SLUICE_MBUF_PKT_LEN) as usize }
    }

    /// How many buffers the packet is in.
    #[inline]
    #[must_use]
    pub fn segment_count(&self) -> usize {
        // SAFETY: the field is a u16 of a valid mbuf.
        usize::from(unsafe { get::<u16>(self.0, sys::SLUICE_MBUF_NB_SEGS) })
    }

    /// Whether [`data`](Self::data) is the whole packet.
    #[inline]
    #[must_use]
    pub fn is_contiguous(&self) -> bool {
        self.segment_count() == 1
    }

    /// The bytes of each segment in turn.
    #[inline]
    #[must_use]
    pub fn segments(&self) -> Segments<'_> {
        Segments { next: Some(self.first()), packet: self }
    }

    /// Bytes that [`prepend`](Self::prepend) can still take.
    #[inline]
    #[must_use]
    pub fn headroom(&self) -> usize {
        self.first().offset()
    }

    /// Bytes that [`append`](Self::append) can still take, in the last segment.
    #[inline]
    #[must_use]
    pub fn tailroom(&self) -> usize {
        self.last().tailroom()
    }

    /// Makes the packet `n` bytes longer in front and returns the new bytes, with whatever was there
    /// before. None, and no change, without the headroom.
    #[inline]
    #[must_use]
    pub fn prepend(&mut self, n: usize) -> Option<&mut [u8]> {
        let first = self.first();
        let len = first.len() + n;
        if n > first.offset() || len > usize::from(u16::MAX) {
            return None;
        }
        first.set_offset(first.offset() - n);
        first.set_len(len);
        self.set_pkt_len(self.pkt_len() + n);
        Some(&mut self.data_mut()[..n])
    }

    /// Makes the packet `n` bytes longer at the end and returns the new bytes, with whatever was there
    /// before. None, and no change, without the room in the last segment.
    #[inline]
    #[must_use]
    pub fn append(&mut self, n: usize) -> Option<&mut [u8]> {
        let last = self.last();
        if n > last.tailroom() {
            return None;
        }
        let len = last.len();
        last.set_len(len + n);
        self.set_pkt_len(self.pkt_len() + n);
        // SAFETY: the tailroom was checked; `self` is borrowed mutably as long as the slice.
        Some(unsafe { slice::from_raw_parts_mut(last.start().add(len), n) })
    }

    /// Cuts `n` bytes off the front. False, and no change, if the first segment is shorter.
    #[inline]
    #[must_use]
    pub fn trim_front(&mut self, n: usize) -> bool {
        let first = self.first();
        if n > first.len() {
            return false;
        }
        first.set_len(first.len() - n);
        first.set_offset(first.offset() + n);
        self.set_pkt_len(self.pkt_len() - n);
        true
    }

    /// Cuts `n` bytes off the end. False, and no change, if the packet is shorter.
    #[inline]
    #[must_use]
    pub fn trim_tail(&mut self, n: usize) -> bool {
        let len = self.pkt_len();
        if n > len {
            return false;
        }
        self.truncate(len - n);
        true
    }

    /// What the driver found out about the packet, or what it is asked to do with it
    /// (`RTE_MBUF_F_RX_*` and `RTE_MBUF_F_TX_*`).
    #[inline]
    #[must_use]
    pub fn ol_flags(&self) -> u64 {
        // SAFETY: the field is a u64 of a valid mbuf.
        unsafe { get(self.0, sys::SLUICE_MBUF_OL_FLAGS) }
    }

    /// Forgets what receiving set and asks the sending device for nothing. Without this a flag of the
    /// receiving driver would reach the sending one.
    #[inline]
    pub fn clear_offloads(&mut self) {
        // SAFETY: both fields are u64 of an mbuf that this value owns.
        unsafe {
            set(self.0, sys::SLUICE_MBUF_OL_FLAGS, 0u64);
            set(self.0, sys::SLUICE_MBUF_TX_OFFLOAD, 0u64);
        }
    }

    /// The hash that the device steered the packet by, where it has one.
    #[inline]
    #[must_use]
    pub fn rss_hash(&self) -> Option<u32> {
        (self.ol_flags() & sys::SLUICE_RX_RSS_HASH != 0).then(|| {
            // SAFETY: the field is a u32 of a valid mbuf.
            unsafe { get(self.0, sys::SLUICE_MBUF_RSS_HASH) }
        })
    }

    /// Whether the device has verified the layer-4 checksum.
    #[inline]
    #[must_use]
    pub fn l4_checksum_good(&self) -> bool {
        self.ol_flags() & sys::SLUICE_RX_L4_CKSUM_MASK == sys::SLUICE_RX_L4_CKSUM_GOOD
    }

    /// Whether the device says that the layer-4 checksum is not in the packet, which is intact all
    /// the same: the sender left it to hardware (`RTE_MBUF_F_RX_L4_CKSUM_NONE`, virtio's
    /// `NEEDS_CSUM`).
    #[inline]
    #[must_use]
    pub fn l4_checksum_missing(&self) -> bool {
        self.ol_flags() & sys::SLUICE_RX_L4_CKSUM_MASK == sys::SLUICE_RX_L4_CKSUM_NONE
    }

    /// Fetches the mbuf's own fields into the cache, for a packet that is touched soon.
    #[inline]
    pub fn prefetch_fields(&self) {
        prefetch(self.0.as_ptr().cast());
    }

    /// Fetches the packet's headers into the cache, for a packet that is touched soon. Reads the
    /// mbuf's own fields.
    #[inline]
    pub fn prefetch_header(&self) {
        prefetch(self.first().start());
    }
}

#[inline(always)]
fn prefetch(address: *const u8) {
    #[cfg(target_arch = "x86_64")]
    {
        use core::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        // SAFETY: a prefetch has no effect that a program can see, whatever the address.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(address.cast()) }
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = address;
}

impl Drop for Mbuf {
    #[inline]
    fn drop(&mut self) {
        // SAFETY: this value owns the packet and is not used again.
        unsafe { sys::sluice_free(self.0.as_ptr()) }
    }
}

impl fmt::Debug for Mbuf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Mbuf")
            .field("pkt_len", &self.pkt_len())
            .field("segments", &self.segment_count())
            .field("ol_flags", &format_args!("{:#x}", self.ol_flags()))
            .finish_non_exhaustive()
    }
}

/// Frees the packets among the slots in one call, and leaves the slots empty.
#[inline]
pub fn free_bulk(packets: &mut [Option<Mbuf>]) {
    let count = u32::try_from(packets.len()).expect("a burst is short");
    // SAFETY: `Option<Mbuf>` is a pointer or null, both of which the function takes; the pointers
    // are owned, and overwritten below before anyone sees them.
    unsafe {
        sys::rte_pktmbuf_free_bulk(packets.as_mut_ptr().cast::<*mut rte_mbuf>(), count);
        forget_all(packets);
    }
}

/// Empties slots whose packets someone else owns now.
///
/// # Safety
///
/// No packet is left in the slots that this process still owns; else it leaks.
#[inline]
pub(crate) unsafe fn forget_all(packets: &mut [Option<Mbuf>]) {
    for slot in packets {
        // SAFETY: a plain write, as dropping the old value is what must not happen.
        unsafe { ptr::write(slot, None) };
    }
}
