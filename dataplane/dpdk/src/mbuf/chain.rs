//! Packets in several buffers: a chain of segments, read, written, cut and joined.

use std::fmt;
use std::mem::ManuallyDrop;
use std::ptr;

use super::Mbuf;
use super::segment::Segment;
use crate::mempool::Mempool;

impl Mbuf {
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

    /// Copies `bytes` over those from `offset` on, across segments. False, and no change, if the
    /// packet ends before.
    #[must_use]
    pub fn write(&mut self, offset: usize, bytes: &[u8]) -> bool {
        if offset.checked_add(bytes.len()).is_none_or(|end| end > self.pkt_len()) {
            return false;
        }
        let (mut skip, mut left) = (offset, bytes);
        let mut segment = Some(self.first());
        while let Some(to) = segment
            && !left.is_empty()
        {
            if let Some(room) = to.len().checked_sub(skip) {
                let (now, later) = left.split_at(left.len().min(room));
                // SAFETY: `skip` and the bytes are within the segment, which `self` owns; a slice
                // that the caller has borrowed is not part of it.
                unsafe {
                    ptr::copy_nonoverlapping(now.as_ptr(), to.start().add(skip), now.len());
                }
                (skip, left) = (0, later);
            } else {
                skip -= to.len();
            }
            segment = to.next();
        }
        true
    }

    /// Moves bytes of the later segments into the first until that holds `n` bytes, so that they can
    /// be looked at as one slice (`m_pullup`, `pullupmsg`). Segments that are empty then are freed.
    /// False, and no change, if the packet is shorter or the first buffer has no room for them.
    #[must_use]
    pub fn pull_up(&mut self, n: usize) -> bool {
        let first = self.first();
        let mut missing = n.saturating_sub(first.len());
        if n > self.pkt_len() || missing > first.tailroom() {
            return false;
        }
        let mut count = self.segment_count();
        let mut next = first.next();
        while missing > 0
            && let Some(from) = next
        {
            let taken = missing.min(from.len());
            // SAFETY: the room was checked; buffers of two mbufs do not overlap.
            unsafe {
                ptr::copy_nonoverlapping(from.start(), first.start().add(first.len()), taken);
            }
            first.set_len(first.len() + taken);
            missing -= taken;
            if taken < from.len() {
                from.set_len(from.len() - taken);
                from.set_offset(from.offset() + taken);
                break;
            }
            next = from.next();
            count -= 1;
            from.set_next(None);
            first.set_next(next);
            // SAFETY: the segment was unlinked above, and nothing else refers to it.
            drop(unsafe { Mbuf::from_raw(from.0) });
        }
        self.set_segment_count(count);
        true
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
}

/// The segments of a packet: see [`Mbuf::segments`].
#[derive(Clone)]
pub struct Segments<'a> {
    pub(super) next: Option<Segment>,
    pub(super) packet: &'a Mbuf,
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
