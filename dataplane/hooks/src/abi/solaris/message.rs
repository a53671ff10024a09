//! Messages: packets as `mblk_t`, with `b_rptr`, `b_wptr` and `b_cont`.
//!
//! Every message block that a module knows stands in the object's table. It has a packet of its own
//! (`allocb`, or a packet that the module kept), or it stands for the packet in hand, or for a part of
//! it. What the module has done to the addresses is looked at when it gives the message back, and
//! every one of them has to lie within the block's buffer.

use std::ffi::{c_int, c_long};
use std::ptr;

use sluice_dpdk::Mbuf;

use super::frame::{self, Reach};
use super::types::{Message, mblk_t};
use crate::abi::lent::Lent;
use crate::metadata::Metadata;
use crate::packet::OwnedPacket;

/// Blocks of one message.
const LONGEST: usize = 64;

/// Why a message is no packet.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Malformed;

impl Message {
    /// Has it show bytes.
    pub(super) fn show(&mut self, bytes: &[u8]) {
        let start = bytes.as_ptr().cast_mut();
        *self = Message::default();
        self.mblk.b_datap = &raw mut self.dblk;
        (self.mblk.b_rptr, self.dblk.db_base) = (start, start);
        // One behind the last byte, which is of the same buffer.
        let end = start.wrapping_add(bytes.len());
        (self.mblk.b_wptr, self.dblk.db_lim) = (end, end);
    }

    /// The place of its bytes in what it shows.
    pub(super) fn window(&self) -> Result<(usize, usize), Malformed> {
        let (base, end) = (self.dblk.db_base.addr(), self.dblk.db_lim.addr());
        let (from, to) = (self.mblk.b_rptr.addr(), self.mblk.b_wptr.addr());
        if base <= from && from <= to && to <= end {
            Ok((from - base, to - base))
        } else {
            Err(Malformed)
        }
    }
}

/// The message of a block: the block is the first of it.
pub(super) fn of(mblk: *const mblk_t) -> *mut Message {
    mblk.cast_mut().cast()
}

/// An empty buffer of whichever thread this is.
fn buffer() -> Option<Mbuf> {
    frame::reach(|_, reach| match reach {
        Reach::Agent(api) => api.buffer(),
        Reach::Worker(cx, ..) => cx.buffer(),
    })?
}

/// Hands a packet of its own to the module.
pub(super) fn lend(lent: &Lent<Message>, packet: OwnedPacket) -> Option<*mut mblk_t> {
    let see = |message: &mut Message, packet: &mut OwnedPacket| message.show(packet.mbuf.data());
    // One that finds no place is freed.
    lent.lend(packet, see).ok().map(<*mut Message>::cast)
}

pub(super) unsafe extern "C" fn allocb(size: usize) -> *mut mblk_t {
    let made = frame::foreign(|foreign| {
        let mut mbuf = buffer()?;
        mbuf.append(size)?;
        let mblk = lend(&foreign.shared.lent, OwnedPacket { mbuf, metadata: Metadata::default() })?;
        // SAFETY: it was lent just now, and nobody else knows it yet. It is empty for now.
        unsafe { (*mblk).b_wptr = (*mblk).b_rptr };
        Some(mblk)
    });
    made.flatten().unwrap_or(ptr::null_mut())
}

pub(super) unsafe extern "C" fn freeb(message: *mut mblk_t) {
    if !message.is_null() {
        // What is not there is counted, and the packet is freed here.
        frame::foreign(|foreign| drop(foreign.shared.lent.give_up(of(message))));
    }
}

/// Copies the bytes of a message out, as far as they are what they say that they are.
pub(super) fn gather(
    lent: &Lent<Message>,
    head: *const mblk_t,
    mbuf: &mut Mbuf,
) -> Result<(), Malformed> {
    for block in blocks(lent, head)?.iter() {
        // SAFETY: the block is held, so that it is a message of ours; its buffer is as long as its
        // limits say, which `window` looks at.
        let bytes = unsafe {
            let message = &*of(block);
            let (from, to) = message.window()?;
            std::slice::from_raw_parts(message.dblk.db_base.add(from), to - from)
        };
        mbuf.append(bytes.len()).ok_or(Malformed)?.copy_from_slice(bytes);
    }
    Ok(())
}

/// The blocks of a message, in their order.
struct Blocks {
    all: [*const mblk_t; LONGEST],
    count: usize,
}

impl Blocks {
    fn iter(&self) -> impl Iterator<Item = *const mblk_t> {
        self.all[..self.count].iter().copied()
    }
}

/// The blocks of a message that the module holds.
fn blocks(lent: &Lent<Message>, head: *const mblk_t) -> Result<Blocks, Malformed> {
    let mut blocks = Blocks { all: [ptr::null(); LONGEST], count: 0 };
    let mut next = head;
    while !next.is_null() {
        if blocks.count == LONGEST || !lent.holds(of(next)) {
            return Err(Malformed);
        }
        // SAFETY: it is held, so that it is a message of ours.
        let message = unsafe { &*of(next) };
        // Its data block is its own: that of another would be freed with the other.
        if !ptr::eq(message.mblk.b_datap, &raw const message.dblk) {
            return Err(Malformed);
        }
        blocks.all[blocks.count] = next;
        blocks.count += 1;
        next = message.mblk.b_cont;
    }
    Ok(blocks)
}

/// Frees a message.
pub(super) fn free(lent: &Lent<Message>, head: *const mblk_t) {
    if let Ok(blocks) = blocks(lent, head) {
        blocks.iter().for_each(|block| drop(lent.give_up(of(block))));
    }
}

/// A packet of a message's bytes; the message is freed.
pub(super) fn packet(lent: &Lent<Message>, head: *const mblk_t) -> Result<OwnedPacket, Malformed> {
    let mut made = Err(Malformed);
    if let Some(mut mbuf) = buffer() {
        made = gather(lent, head, &mut mbuf).map(|()| OwnedPacket::from(mbuf));
    }
    free(lent, head);
    made
}

pub(super) unsafe extern "C" fn pullupmsg(head: *mut mblk_t, length: c_long) -> c_int {
    let done = frame::foreign(|foreign| {
        let lent = &foreign.shared.lent;
        let all = blocks(lent, head).ok()?;
        let mut total = 0;
        for block in all.iter() {
            // SAFETY: it is held, so that it is a message of ours.
            let (from, to) = unsafe { (*of(block)).window() }.ok()?;
            total += to - from;
        }
        let wanted = usize::try_from(length).unwrap_or(total);
        // SAFETY: as above.
        let (from, to) = unsafe { (*of(head)).window() }.ok()?;
        if wanted > total {
            return None;
        }
        if to - from >= wanted {
            return Some(());
        }
        let mut mbuf = buffer()?;
        gather(lent, head, &mut mbuf).ok()?;
        // All of it is in the first block afterwards, which may hold more than was asked for.
        let metadata = Metadata::default();
        lent.put(of(head), OwnedPacket { mbuf, metadata }, |message, packet| {
            message.show(packet.mbuf.data());
        })
        .ok()?;
        for block in all.iter().skip(1) {
            drop(lent.give_up(of(block)));
        }
        Some(())
    });
    c_int::from(done.flatten().is_some())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_have_to_lie_within_the_block() {
        let bytes = [0; 40];
        let mut message = Message::default();
        message.show(&bytes);
        assert_eq!(message.window(), Ok((0, 40)));
        message.mblk.b_rptr = message.mblk.b_rptr.wrapping_add(20);
        assert_eq!(message.window(), Ok((20, 40)));
        message.mblk.b_wptr = message.mblk.b_rptr.wrapping_sub(1);
        assert_eq!(message.window(), Err(Malformed), "it ends before it begins");
        message.mblk.b_wptr = message.dblk.db_lim.wrapping_add(1);
        assert_eq!(message.window(), Err(Malformed), "it ends behind its buffer");
        message.show(&bytes);
        message.mblk.b_rptr = message.dblk.db_base.wrapping_sub(1);
        assert_eq!(message.window(), Err(Malformed), "it begins before its buffer");
    }

    #[test]
    fn a_message_that_is_no_message_is_not_followed() {
        let lent = Lent::<Message>::new();
        let (first, second) = ([1; 20], [2; 20]);
        let (head, _) = lent.reserve(|message| message.show(&first)).unwrap();
        let (tail, _) = lent.reserve(|message| message.show(&second)).unwrap();
        let head = head.cast::<mblk_t>();
        let count = move |lent: &Lent<Message>| blocks(lent, head).map(|blocks| blocks.count);
        assert_eq!(count(&lent), Ok(1));
        // SAFETY: both are places of the table above, and nobody else has them.
        unsafe { (*head).b_cont = tail.cast() };
        assert_eq!(count(&lent), Ok(2));
        // SAFETY: as above.
        unsafe { (*tail).mblk.b_cont = head };
        assert_eq!(count(&lent), Err(Malformed), "a circle");
        // SAFETY: as above.
        unsafe { (*tail).mblk.b_cont = ptr::dangling_mut() };
        assert_eq!(count(&lent), Err(Malformed), "no place of ours");
        // SAFETY: as above.
        unsafe {
            (*tail).mblk.b_cont = ptr::null_mut();
            (*tail).mblk.b_datap = (*head).b_datap;
        }
        assert_eq!(count(&lent), Err(Malformed), "the data block of another");
    }
}
