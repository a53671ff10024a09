//! An IPv4 packet that does not fit its egress, cut into fragments (RFC 791 section 3.2).
//!
//! [`Pieces`] says where to cut and writes the headers; the caller moves the bytes. Each piece but
//! the last carries a multiple of eight bytes, as many as fit. What is cut may be a fragment itself:
//! its pieces begin where it began, and all but the last of the last one's say that more follow.
//! Options go with the first piece; later ones carry those whose copy flag is set. Everything else
//! in the header stays as it is: type of service with ECN, identification, TTL, protocol, addresses.

use core::ops::Range;

use crate::checksum;
use crate::ipv4::{self, HEADER, HEADER_MAX, Ipv4Header};
use zerocopy::FromBytes;

/// Options with this bit are carried by every fragment (RFC 791 section 3.1).
const OPTION_COPIED: u8 = 0x80;
/// Offsets count in units of so many bytes.
const UNIT: usize = 8;

/// The fragments that one packet is cut into, in order.
#[derive(Clone, Debug)]
pub struct Pieces {
    /// The header of the next piece, but for length, fragment field and checksum.
    header: Header,
    /// That of the pieces behind it.
    later: Header,
    /// Flags and offset of what is cut.
    field: u16,
    mtu: usize,
    /// The part of the payload that is not cut yet.
    left: Range<usize>,
}

/// One fragment: a header, and the bytes that follow it.
#[derive(Clone, Debug)]
pub struct Piece {
    header: Header,
    /// The bytes that it carries, counted from the end of the cut packet's header.
    pub payload: Range<usize>,
}

impl Piece {
    /// Its IP header.
    pub fn header(&self) -> &[u8] {
        self.header.bytes()
    }
}

#[derive(Clone, Debug)]
struct Header {
    bytes: [u8; HEADER_MAX],
    length: usize,
}

impl Header {
    fn bytes(&self) -> &[u8] {
        self.bytes.get(..self.length).unwrap_or_default()
    }
}

impl Pieces {
    /// The pieces of a packet that begins with `header`, its options included, for an egress of
    /// this MTU. `None` where there is no such header, the packet may not be cut, or the MTU has no
    /// room for a header and eight bytes: 68 bytes always have.
    pub fn new(header: &[u8], mtu: u16) -> Option<Pieces> {
        let (fixed, _) = Ipv4Header::ref_from_prefix(header).ok()?;
        let length = fixed.header_length();
        let field = fixed.fragment.get();
        let payload = usize::from(fixed.total_length.get()).checked_sub(length)?;
        let end = usize::from(field & ipv4::OFFSET) * UNIT + payload;
        let may = field & ipv4::DONT_FRAGMENT == 0 && end <= usize::from(u16::MAX);
        let mtu = usize::from(mtu);
        if !may || length < HEADER || mtu < length + UNIT {
            return None;
        }
        let mut first = Header { bytes: [0; HEADER_MAX], length };
        first.bytes.get_mut(..length)?.copy_from_slice(header.get(..length)?);
        let later = without_uncopied(&first);
        Some(Pieces { header: first, later, field, mtu, left: 0..payload })
    }

    /// Bytes of the header of the piece that comes next: of the cut packet's, before the first.
    pub fn header_length(&self) -> usize {
        self.header.length
    }
}

impl Iterator for Pieces {
    type Item = Piece;

    fn next(&mut self) -> Option<Piece> {
        let Range { start, end } = self.left;
        if start == end {
            return None;
        }
        let mut header = std::mem::replace(&mut self.header, self.later.clone());
        let room = self.mtu - header.length;
        let is_last = end - start <= room;
        let stop = if is_last { end } else { start + room / UNIT * UNIT };
        self.left = stop..end;

        let offset = usize::from(self.field & ipv4::OFFSET) + start / UNIT;
        let mut field = self.field & !ipv4::OFFSET | offset as u16;
        if !is_last {
            field |= ipv4::MORE_FRAGMENTS;
        }
        let total = header.length + (stop - start);
        header.bytes[2..4].copy_from_slice(&(total as u16).to_be_bytes());
        header.bytes[6..8].copy_from_slice(&field.to_be_bytes());
        let checksum = checksum::ipv4_header(header.bytes());
        header.bytes[10..12].copy_from_slice(&checksum.to_be_bytes());
        Some(Piece { header, payload: start..stop })
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        let whole = |header: &Header| (self.mtu - header.length) / UNIT * UNIT;
        let left = self.left.len();
        let count = if left <= self.mtu - self.header.length {
            usize::from(left > 0)
        } else {
            let (rest, last) = (left - whole(&self.header), self.mtu - self.later.length);
            2 + rest.saturating_sub(last).div_ceil(whole(&self.later))
        };
        (count, Some(count))
    }
}

impl ExactSizeIterator for Pieces {}

/// The header of later fragments: only the options that are to be copied.
fn without_uncopied(first: &Header) -> Header {
    let mut later = Header { bytes: first.bytes, length: HEADER };
    let mut options = first.bytes().get(HEADER..).unwrap_or_default();
    while let [kind, rest @ ..] = options {
        let length = match *kind {
            ipv4::OPTION_END => break,
            ipv4::OPTION_NOP => 1,
            _ => rest.first().map_or(0, |&length| usize::from(length)),
        };
        let (Some(option), Some(others)) = (options.get(..length), options.get(length..)) else {
            break;
        };
        if length == 0 {
            break;
        }
        if kind & OPTION_COPIED != 0 {
            later.bytes[later.length..later.length + length].copy_from_slice(option);
            later.length += length;
        }
        options = others;
    }
    // Filled up to whole words with the option that ends the list.
    let padded = later.length.next_multiple_of(4);
    later.bytes[later.length..].fill(ipv4::OPTION_END);
    later.length = padded;
    later.bytes[0] = 0x40 | (padded / 4) as u8;
    later
}

#[cfg(test)]
#[path = "pieces_tests.rs"]
mod tests;
