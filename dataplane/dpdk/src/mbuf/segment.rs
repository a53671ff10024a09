//! One buffer of a packet, and the fields of its header.

use std::ptr::NonNull;
use std::slice;

use sluice_dpdk_sys as sys;
use sluice_dpdk_sys::rte_mbuf;

/// Reads a field of an mbuf at one of the `SLUICE_MBUF_*` offsets.
///
/// # Safety
///
/// `mbuf` is valid, and a field of type `T` is at `offset`.
#[inline(always)]
pub(super) unsafe fn get<T: Copy>(mbuf: NonNull<rte_mbuf>, offset: u32) -> T {
    // SAFETY: by the contract the field is within the mbuf and aligned as in C.
    unsafe { mbuf.byte_add(offset as usize).cast::<T>().read() }
}

/// Writes a field of an mbuf.
///
/// # Safety
///
/// As [`get`], and `mbuf` is owned by the caller.
#[inline(always)]
pub(super) unsafe fn set<T: Copy>(mbuf: NonNull<rte_mbuf>, offset: u32, value: T) {
    // SAFETY: by the contract the field is within the mbuf and aligned as in C.
    unsafe { mbuf.byte_add(offset as usize).cast::<T>().write(value) }
}

/// A segment of a packet; what the mbuf's header says about its own buffer.
#[derive(Clone, Copy)]
pub(super) struct Segment(pub(super) NonNull<rte_mbuf>);

impl Segment {
    #[inline(always)]
    pub(super) fn buffer(self) -> *mut u8 {
        // SAFETY: a segment is valid while its packet is borrowed; the field is a pointer.
        unsafe { get(self.0, sys::SLUICE_MBUF_BUF_ADDR) }
    }

    #[inline(always)]
    pub(super) fn buffer_len(self) -> usize {
        // SAFETY: as above; the field is a u16.
        usize::from(unsafe { get::<u16>(self.0, sys::SLUICE_MBUF_BUF_LEN) })
    }

    #[inline(always)]
    pub(super) fn offset(self) -> usize {
        // SAFETY: as above; the field is a u16.
        usize::from(unsafe { get::<u16>(self.0, sys::SLUICE_MBUF_DATA_OFF) })
    }

    #[inline(always)]
    pub(super) fn len(self) -> usize {
        // SAFETY: as above; the field is a u16.
        usize::from(unsafe { get::<u16>(self.0, sys::SLUICE_MBUF_DATA_LEN) })
    }

    #[inline(always)]
    pub(super) fn next(self) -> Option<Segment> {
        // SAFETY: as above; the field is a pointer that may be null.
        unsafe { get::<Option<NonNull<rte_mbuf>>>(self.0, sys::SLUICE_MBUF_NEXT) }.map(Segment)
    }

    #[inline(always)]
    pub(super) fn set_offset(self, offset: usize) {
        debug_assert!(offset <= self.buffer_len());
        // SAFETY: as above; the callers own the packet.
        unsafe { set(self.0, sys::SLUICE_MBUF_DATA_OFF, offset as u16) }
    }

    #[inline(always)]
    pub(super) fn set_len(self, len: usize) {
        debug_assert!(self.offset() + len <= self.buffer_len());
        // SAFETY: as above; the callers own the packet.
        unsafe { set(self.0, sys::SLUICE_MBUF_DATA_LEN, len as u16) }
    }

    #[inline(always)]
    pub(super) fn set_next(self, next: Option<Segment>) {
        // SAFETY: as above; the callers own the packet.
        unsafe { set(self.0, sys::SLUICE_MBUF_NEXT, next.map(|segment| segment.0)) }
    }

    #[inline(always)]
    pub(super) fn tailroom(self) -> usize {
        self.buffer_len() - self.offset() - self.len()
    }

    /// The segment's bytes.
    #[inline(always)]
    pub(super) fn start(self) -> *mut u8 {
        // SAFETY: the offset is within the buffer, by the invariant of an mbuf.
        unsafe { self.buffer().add(self.offset()) }
    }

    /// # Safety
    ///
    /// The packet is borrowed for `'a`.
    #[inline(always)]
    pub(super) unsafe fn bytes<'a>(self) -> &'a [u8] {
        // SAFETY: offset and length are within the buffer, which is initialised and not written
        // while the packet is borrowed.
        unsafe { slice::from_raw_parts(self.start(), self.len()) }
    }
}
