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
use std::mem::{self, ManuallyDrop};
use std::ptr::{self, NonNull};
use std::slice;

use sluice_dpdk_sys as sys;
use sluice_dpdk_sys::rte_mbuf;

use crate::mempool::Mempool;

/// A packet in one or more buffers of a pool.
#[repr(transparent)]
pub struct Mbuf(NonNull<rte_mbuf>);

// The drivers are handed arrays of `Option<Mbuf>` as arrays of pointers that may be null.
const _: () = assert!(mem::size_of::<Option<Mbuf>>() == mem::size_of::<*mut rte_mbuf>());
const _: () = assert!(mem::align_of::<Option<Mbuf>>() == mem::align_of::<*mut rte_mbuf>());

// SAFETY: an mbuf is memory that only its owner touches; pools take mbufs back from any thread.
unsafe impl Send for Mbuf {}

/// Reads a field of an mbuf at one of the `SLUICE_MBUF_*` offsets.
///
/// # Safety
///
/// `mbuf` is valid, and a field of type `T` is at `offset`.
#[inline(always)]
unsafe fn get<T: Copy>(mbuf: NonNull<rte_mbuf>, offset: u32) -> T {
    // SAFETY: by the contract the field is within the mbuf and aligned as in C.
    unsafe { mbuf.byte_add(offset as usize).cast::<T>().read() }
}

/// Writes a field of an mbuf.
///
/// # Safety
///
/// As [`get`], and `mbuf` is owned by the caller.
#[inline(always)]
unsafe fn set<T: Copy>(mbuf: NonNull<rte_mbuf>, offset: u32, value: T) {
    // SAFETY: by the contract the field is within the mbuf and aligned as in C.
    unsafe { mbuf.byte_add(offset as usize).cast::<T>().write(value) }
}

/// A segment of a packet; what the mbuf's header says about its own buffer.
#[derive(Clone, Copy)]
struct Segment(NonNull<rte_mbuf>);

impl Segment {
    #[inline(always)]
    fn buffer(self) -> *mut u8 {
        // SAFETY: a segment is valid while its packet is borrowed; the field is a pointer.
        unsafe { get(self.0, sys::SLUICE_MBUF_BUF_ADDR) }
    }

    #[inline(always)]
    fn buffer_len(self) -> usize {
        // SAFETY: as above; the field is a u16.
        usize::from(unsafe { get::<u16>(self.0, sys::SLUICE_MBUF_BUF_LEN) })
    }

    #[inline(always)]
    fn offset(self) -> usize {
        // SAFETY: as above; the field is a u16.
        usize::from(unsafe { get::<u16>(self.0, sys::SLUICE_MBUF_DATA_OFF) })
    }

    #[inline(always)]
    fn len(self) -> usize {
        // SAFETY: as above; the field is a u16.
        usize::from(unsafe { get::<u16>(self.0, sys::SLUICE_MBUF_DATA_LEN) })
    }

    #[inline(always)]
    fn next(self) -> Option<Segment> {
        // SAFETY: as above; the field is a pointer that may be null.
        unsafe { get::<Option<NonNull<rte_mbuf>>>(self.0, sys::SLUICE_MBUF_NEXT) }.map(Segment)
    }

    #[inline(always)]
    fn set_offset(self, offset: usize) {
        debug_assert!(offset <= self.buffer_len());
        // SAFETY: as above; the callers own the packet.
        unsafe { set(self.0, sys::SLUICE_MBUF_DATA_OFF, offset as u16) }
    }

    #[inline(always)]
    fn set_len(self, len: usize) {
        debug_assert!(self.offset() + len <= self.buffer_len());
        // SAFETY: as above; the callers own the packet.
        unsafe { set(self.0, sys::SLUICE_MBUF_DATA_LEN, len as u16) }
    }

    #[inline(always)]
    fn set_next(self, next: Option<Segment>) {
        // SAFETY: as above; the callers own the packet.
        unsafe { set(self.0, sys::SLUICE_MBUF_NEXT, next.map(|segment| segment.0)) }
    }

    #[inline(always)]
    fn tailroom(self) -> usize {
        self.buffer_len() - self.offset() - self.len()
    }

    /// The segment's bytes.
    #[inline(always)]
    fn start(self) -> *mut u8 {
        // SAFETY: the offset is within the buffer, by the invariant of an mbuf.
        unsafe { self.buffer().add(self.offset()) }
    }

    /// # Safety
    ///
    /// The packet is borrowed for `'a`.
    #[inline(always)]
    unsafe fn bytes<'a>(self) -> &'a [u8] {
        // SAFETY: offset and length are within the buffer, which is initialised and not written
        // while the packet is borrowed.
        unsafe { slice::from_raw_parts(self.start(), self.len()) }
    }
}

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

    /// Cuts the packet to at most `len` bytes and frees the segments that are empty then.
    #[inline]
    pub fn truncate(&mut self, len: usize) {
        if len >= self.pkt_len() {
            return;
        }
        let mut left = len;
        let mut count = 1;
        let mut segment = self.first();
        while left > segment.len() {
            left -= segment.len();
            count += 1;
            segment = segment.next().expect("pkt_len is the sum of the segments");
        }
        segment.set_len(left);
        let rest = segment.next();
        segment.set_next(None);
        self.set_segment_count(count);
        self.set_pkt_len(len);
        if let Some(rest) = rest {
            // SAFETY: the rest was unlinked above, and nothing else refers to it. The functions
            // that free a chain follow `next` and do not read the count of the first.
            drop(unsafe { Mbuf::from_raw(rest.0) });
        }
    }

    /// Copies the bytes from `offset` on into `out`, across segments. False, with `out` in an
    /// unspecified state, if the packet ends before.
    #[must_use]
    pub fn read(&self, offset: usize, out: &mut [u8]) -> bool {
        let mut skip = offset;
        let mut filled = 0;
        for bytes in self.segments() {
            if skip >= bytes.len() {
                skip -= bytes.len();
                continue;
            }
            let n = (bytes.len() - skip).min(out.len() - filled);
            out[filled..filled + n].copy_from_slice(&bytes[skip..skip + n]);
            filled += n;
            skip = 0;
            if filled == out.len() {
                return true;
            }
        }
        filled == out.len() && skip == 0
    }

    /// Puts the segments of `tail` behind those of this packet. Gives `tail` back if the packet would
    /// have more than 65,535 bytes or segments.
    ///
    /// # Errors
    ///
    /// `tail`, unchanged.
    pub fn chain(&mut self, tail: Mbuf) -> Result<(), Mbuf> {
        const MOST: usize = u16::MAX as usize;
        let segments = self.segment_count() + tail.segment_count();
        let len = self.pkt_len() + tail.pkt_len();
        if segments > MOST || len > MOST {
            return Err(tail);
        }
        let tail = ManuallyDrop::new(tail);
        self.last().set_next(Some(tail.first()));
        self.set_segment_count(segments);
        self.set_pkt_len(len);
        Ok(())
    }

    /// Copies the later segments behind the first one and frees them, so that
    /// [`data`](Self::data) is the whole packet. False, and no change, if the first buffer is too small.
    #[must_use]
    pub fn linearise(&mut self) -> bool {
        let first = self.first();
        let Some(rest) = first.next() else {
            return true;
        };
        let missing = self.pkt_len() - first.len();
        if missing > first.tailroom() {
            return false;
        }
        let mut segment = Some(rest);
        while let Some(from) = segment {
            // SAFETY: the room for all segments was checked; buffers of two mbufs do not overlap.
            unsafe {
                ptr::copy_nonoverlapping(from.start(), first.start().add(first.len()), from.len());
            }
            first.set_len(first.len() + from.len());
            segment = from.next();
        }
        first.set_next(None);
        self.set_segment_count(1);
        // SAFETY: the rest was unlinked above, and nothing else refers to it.
        drop(unsafe { Mbuf::from_raw(rest.0) });
        true
    }

    /// A copy of the packet's bytes in a new, contiguous buffer of `pool`; None if the pool is empty or
    /// its buffers are too small.
    #[must_use]
    pub fn copy(&self, pool: &Mempool) -> Option<Mbuf> {
        let mut copy = pool.alloc()?;
        let to = copy.append(self.pkt_len())?;
        self.read(0, to).then_some(copy)
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

/// The segments of a packet: see [`Mbuf::segments`].
#[derive(Clone)]
pub struct Segments<'a> {
    next: Option<Segment>,
    packet: &'a Mbuf,
}

impl<'a> Iterator for Segments<'a> {
    type Item = &'a [u8];

    #[inline]
    fn next(&mut self) -> Option<&'a [u8]> {
        let segment = self.next?;
        self.next = segment.next();
        // SAFETY: the iterator borrows the packet for 'a.
        Some(unsafe { segment.bytes() })
    }
}

impl fmt::Debug for Segments<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Segments").field(self.packet).finish()
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
