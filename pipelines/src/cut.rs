//! Fragmentation: an IPv4 packet that is longer than the MTU of its egress, and may be cut, leaves in
//! pieces (RFC 791 section 3.2; where the cuts are says [`Pieces`]).
//!
//! This stands behind all that looks at packets: filters, hooks and taps at PHYSICAL_OUT, and the
//! hold queue, have the packet whole, with its ports. Its hop limit is lowered, and its link header
//! written, when it is cut, so that each piece has both. The pieces follow each other, in the place
//! that the packet has among those of its port.
//!
//! The pieces are in buffers of the worker's own pool: what was received stays as it is until the last
//! of them is written, whatever its segments. Either all of them are sent or none, as long as they
//! need no more than a burst of buffers; an MTU that asks for more can run out of buffers on the way.
//! The packet is booked as consumed, and each piece as generated.

use sluice_channel::statistics::WorkerBlock;
use sluice_dpdk::{BURST, Mbuf, Mempool};
use sluice_packet::pieces::{Piece, Pieces};
use sluice_packet::{Descriptor, Mask};
use sluice_policy::evaluate::{self, Fit};
use sluice_policy::{DropReason, Interface};

use crate::tx::Output;

/// Those of `packets` that have to be cut for an egress of this MTU.
#[cold]
pub fn to_cut(descriptors: &[Descriptor; BURST], packets: Mask, mtu: u16) -> Mask {
    let mut long = Mask::EMPTY;
    for slot in packets {
        if is_to_cut(&descriptors[slot], mtu) {
            long.insert(slot);
        }
    }
    long
}

/// Whether a packet has to be cut for an egress of this MTU.
#[inline]
pub fn is_to_cut(descriptor: &Descriptor, mtu: u16) -> bool {
    evaluate::mtu(descriptor, mtu) == Ok(Fit::Fragments)
}

/// Sends a packet, whose frame is ready but for its length, in pieces; the IP header begins at
/// `l3_offset`. The caller books the packet, whether it was sent or not.
///
/// # Errors
/// Why it was not sent, or not to its end.
pub fn send(
    frame: &Mbuf,
    l3_offset: u8,
    egress: &Interface,
    pool: &Mempool,
    output: &mut Output,
    statistics: WorkerBlock<'_>,
) -> Result<(), DropReason> {
    const SPLIT: DropReason = DropReason::FrameSplit;
    let (link, packet) = frame.data().split_at_checked(l3_offset.into()).ok_or(SPLIT)?;
    let pieces = Pieces::new(packet, egress.mtu).ok_or(SPLIT)?;
    let payload = link.len() + pieces.header_length();
    let longest = link.len() + usize::from(egress.mtu);
    let each = longest.div_ceil(pool.data_room().into());
    let mut buffers = Buffers::new(pool, pieces.len() * each);
    for piece in pieces {
        let mbuf = write(frame, link, &piece, payload, &mut buffers);
        let mbuf = mbuf.ok_or(DropReason::FragmentNoBuffer)?;
        statistics.core().generated.add(1);
        output.push(egress.port, mbuf, statistics);
    }
    Ok(())
}

/// One piece; the payload of `frame` begins at the byte `payload`. `None` when the pool is empty.
fn write(
    frame: &Mbuf,
    link: &[u8],
    piece: &Piece,
    payload: usize,
    buffers: &mut Buffers<'_>,
) -> Option<Mbuf> {
    let mut mbuf = buffers.take()?;
    let (to_link, to_header) =
        mbuf.append(link.len() + piece.header().len())?.split_at_mut_checked(link.len())?;
    to_link.copy_from_slice(link);
    to_header.copy_from_slice(piece.header());
    let (mut from, end) = (payload + piece.payload.start, payload + piece.payload.end);
    from += fill(&mut mbuf, frame, from, end)?;
    while from < end {
        let mut more = buffers.take()?;
        from += fill(&mut more, frame, from, end)?;
        mbuf.chain(more).ok()?;
    }
    Some(mbuf)
}

/// Appends as many of the bytes from `from` to `end` as there is room for; says how many.
fn fill(mbuf: &mut Mbuf, frame: &Mbuf, from: usize, end: usize) -> Option<usize> {
    let n = mbuf.tailroom().min(end - from);
    let to = mbuf.append(n)?;
    frame.read(from, to).then_some(n)
}

/// Buffers for pieces, taken from the pool a burst at a time.
struct Buffers<'a> {
    pool: &'a Mempool,
    slots: [Option<Mbuf>; BURST],
    /// Those in the slots, from 0 on.
    here: usize,
    /// Those that are not in the slots yet.
    wanted: usize,
}

impl Buffers<'_> {
    fn new(pool: &Mempool, wanted: usize) -> Buffers<'_> {
        Buffers { pool, slots: [const { None }; BURST], here: 0, wanted }
    }

    fn take(&mut self) -> Option<Mbuf> {
        if self.here == 0 {
            let n = self.wanted.min(BURST);
            if !self.pool.alloc_bulk(&mut self.slots, n) {
                return None;
            }
            (self.here, self.wanted) = (n, self.wanted - n);
        }
        self.here = self.here.checked_sub(1)?;
        self.slots[self.here].take()
    }
}
