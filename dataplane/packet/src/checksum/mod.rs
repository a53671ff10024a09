//! Internet checksums: full (RFC 1071), incremental (RFC 1624) and partial ones completed.
//!
//! [`Sum`] is the ones' complement sum under way; it takes a packet in any number of slices of
//! any length, so that a chain of segments needs no copy. Checksums that functions take and return
//! are in host byte order, as the number that the header's field says.
//!
//! What is done with TCP, UDP and ICMP checksums of a decoded packet is in [`transport`],
//! re-exported here.

pub mod transport;

pub use transport::{Completion, complete, completion, full, verify};

use crate::descriptor::{Family, FlowKey};

/// A ones' complement sum under way (RFC 1071).
///
/// The sum is kept of little-endian words, since a ones' complement sum does not care
/// (RFC 1071 section 2(B)), and turned around once at the end.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Sum {
    /// Less than 2^33: every addition brings around what goes over.
    sum: u64,
    /// Whether an odd number of bytes went in: the next byte is a low one.
    odd: bool,
}

impl Sum {
    /// The sum of nothing.
    #[inline]
    pub const fn new() -> Sum {
        Sum { sum: 0, odd: false }
    }

    /// The sum of one slice.
    #[inline]
    pub fn of(bytes: &[u8]) -> Sum {
        Sum { sum: carried(words(bytes)), odd: bytes.len() & 1 == 1 }
    }

    /// The sum of the pseudo-header of TCP, UDP and ICMPv6 (RFC 9293 section 3.1, RFC 768,
    /// RFC 8200 section 8.1): the addresses and the protocol of `key`, and the `length` of header
    /// and payload.
    #[inline]
    pub fn pseudo_header(key: &FlowKey, length: usize) -> Sum {
        let words = |address: u128| {
            let low = address as u64;
            let high = (address >> 64) as u64;
            (low & 0xffff_ffff) + (low >> 32) + (high & 0xffff_ffff) + (high >> 32)
        };
        // Host order words; the halves of an IPv4 address beyond the low one are 0.
        let addresses = match key.family {
            Family::Inet => u64::from(key.src as u32) + u64::from(key.dst as u32),
            Family::Inet6 => words(key.src) + words(key.dst),
        };
        let sum = fold(addresses + u64::from(key.protocol) + (length as u64 & 0xffff_ffff));
        Sum { sum: u64::from(sum.swap_bytes()), odd: false }
    }

    /// Adds the next bytes of the packet.
    #[inline]
    pub fn add(&mut self, bytes: &[u8]) {
        let part = fold(words(bytes));
        let part = u64::from(if self.odd { part.swap_bytes() } else { part });
        self.sum = carried(self.sum + part);
        self.odd ^= bytes.len() & 1 == 1;
    }

    /// Adds another sum, whose bytes begin at an even place of the packet.
    #[inline]
    pub fn combine(&mut self, other: Sum) {
        self.sum = carried(self.sum + other.sum);
    }

    /// The sum, folded to 16 bits.
    #[inline]
    pub fn value(self) -> u16 {
        fold(self.sum).swap_bytes()
    }

    /// The checksum: the sum's complement.
    #[inline]
    pub fn checksum(self) -> u16 {
        !self.value()
    }

    /// Whether a sum that took the checksum field in, too, says that the packet is intact.
    #[inline]
    pub fn is_intact(self) -> bool {
        fold(self.sum) == 0xffff
    }
}

/// What went over 32 bits, brought around to the other end.
#[inline]
const fn carried(sum: u64) -> u64 {
    (sum & 0xffff_ffff) + (sum >> 32)
}

/// Folds a sum of words to 16 bits, carries brought around to the other end.
#[inline]
const fn fold(sum: u64) -> u16 {
    // The upper half of a number added to itself with the halves swapped is the sum of the two,
    // with the carry that the lower half handed up: the one that is to come around.
    fold32((sum.wrapping_add(sum.rotate_left(32)) >> 32) as u32)
}

#[inline]
const fn fold32(sum: u32) -> u16 {
    (sum.wrapping_add(sum.rotate_left(16)) >> 16) as u16
}

/// Sum of the 32-bit words of `bytes`, the last one filled with zeros. A slice of 16 GiB would
/// be needed to overflow it. What is short, as nearly all headers are, is summed where it is asked for.
#[inline]
fn words(bytes: &[u8]) -> u64 {
    let (blocks, short) = bytes.as_chunks::<64>();
    let long = if blocks.is_empty() { 0 } else { block_words(blocks) };
    let (pairs, rest) = short.as_chunks::<8>();
    let mut sum = u128::from(tail(bytes, rest));
    for pair in pairs {
        sum += u128::from(u64::from_le_bytes(*pair));
    }
    let low = sum as u64;
    long + (low & 0xffff_ffff) + (low >> 32) + (sum >> 64) as u64
}

/// The last of `bytes`, fewer than eight, as the low bytes of a word: the last eight, and those shifted
/// out that are no part of it.
#[inline]
fn tail(bytes: &[u8], rest: &[u8]) -> u64 {
    match bytes.last_chunk() {
        Some(last) => u64::from_le_bytes(*last) >> 1 >> (63 - 8 * (rest.len() & 7)),
        None => rest.iter().rev().fold(0, |word, byte| word << 8 | u64::from(*byte)),
    }
}

/// The sum of whole blocks; the compiler makes vector code of it.
#[inline(never)]
fn block_words(blocks: &[[u8; 64]]) -> u64 {
    let block_sum = |block: &[u8; 64]| {
        let (words, _) = block.as_chunks::<4>();
        words.iter().map(|word| u64::from(u32::from_le_bytes(*word))).sum::<u64>()
    };
    blocks.iter().map(block_sum).sum()
}

/// Whether the checksum of an IPv4 header, options included, is right.
#[inline]
pub fn ipv4_header_is_valid(header: &[u8]) -> bool {
    Sum::of(header).is_intact()
}

/// The same for a header without options, which nearly every packet has.
#[inline(always)]
pub fn ipv4_plain_header_is_valid(header: &[u8; 20]) -> bool {
    let (words, _) = header.as_chunks::<8>();
    let (sum, carry) = u64::from_be_bytes(words[0]).overflowing_add(u64::from_be_bytes(words[1]));
    let last = u32::from_be_bytes([header[16], header[17], header[18], header[19]]);
    let (sum, second) = sum.overflowing_add(u64::from(last) + u64::from(carry));
    fold(sum + u64::from(second)) == 0xffff
}

/// The checksum of an IPv4 header, whatever its checksum field holds.
#[inline]
pub fn ipv4_header(header: &[u8]) -> u16 {
    const FIELD: usize = 10;
    let (before, after) = header.split_at(header.len().min(FIELD));
    let mut sum = Sum::of(before);
    sum.add(after.get(2..).unwrap_or_default());
    sum.checksum()
}

/// The checksum after a 16-bit word of what it covers changed from `old` to `new` (RFC 1624
/// equation 3). Of use for every checksum but a UDP one of 0, which means that there is none.
#[inline]
pub const fn update16(checksum: u16, old: u16, new: u16) -> u16 {
    !fold32(!checksum as u32 + !old as u32 + new as u32)
}

/// The same for a 32-bit word, at an even place.
#[inline]
pub const fn update32(checksum: u16, old: u32, new: u32) -> u16 {
    !fold(!checksum as u64 + !old as u64 + new as u64)
}

/// Lowers the TTL of the IPv4 packet at the start of `packet` by one and updates the header
/// checksum. A TTL of 0, and less than a header, stay as they are.
#[inline]
pub fn decrement_ttl(packet: &mut [u8]) {
    let Some(header) = packet.first_chunk_mut::<20>() else { return };
    let (words, _) = header.as_chunks_mut::<4>();
    // TTL, protocol, checksum.
    let word = u32::from_be_bytes(words[2]);
    let Some(lowered) = word.checked_sub(1 << 24) else { return };
    // The word of TTL and protocol went down by 0x0100, whatever it was, so the complement of the
    // sum goes up by as much; a result of 0xffff is written as 0 (RFC 1624 section 3).
    let raised = (word & 0xffff) + 0x0100;
    let checksum = (raised + u32::from(raised >= 0xffff)) & 0xffff;
    words[2] = (lowered & 0xffff_0000 | checksum).to_be_bytes();
}

/// Lowers the hop limit of the IPv6 packet at the start of `packet` by one. A hop limit of 0, and
/// less than a header, stay as they are.
#[inline]
pub fn decrement_hop_limit(packet: &mut [u8]) {
    const HOP_LIMIT: usize = 7;
    if let Some(hop_limit) = packet.get_mut(HOP_LIMIT) {
        *hop_limit = hop_limit.saturating_sub(1);
    }
}

/// What to write for a UDP checksum that came out as `checksum`: a computed 0 is sent as 0xffff,
/// since 0 says that there is none (RFC 768).
#[inline]
pub const fn udp(checksum: u16) -> u16 {
    if checksum == 0 { 0xffff } else { checksum }
}

/// Whether the checksum `field` of TCP or UDP holds just the sum of the pseudo-header: what a
/// sender leaves that expects hardware to add the rest.
#[inline]
pub fn is_partial(field: u16, pseudo_header: Sum) -> bool {
    field == pseudo_header.value()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// RFC 1071 section 4.1, word by word.
    fn naive(bytes: &[u8]) -> u16 {
        let mut sum = 0u32;
        for pair in bytes.chunks(2) {
            sum += u32::from(pair[0]) << 8 | u32::from(*pair.get(1).unwrap_or(&0));
            if sum > 0xffff {
                sum = (sum & 0xffff) + 1;
            }
        }
        sum as u16
    }

    #[test]
    fn the_example_of_rfc_1071() {
        let sum = Sum::of(&[0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7]);
        assert_eq!(sum.value(), 0xddf2);
        assert_eq!(sum.checksum(), 0x220d);
    }

    #[test]
    fn the_example_of_rfc_1624() {
        // Section 4: the word 0x5555 becomes 0x3285; equation 2 of RFC 1141 gets 0xffff wrong.
        assert_eq!(update16(0xdd2f, 0x5555, 0x3285), 0x0000);
    }

    #[test]
    fn long_slices_do_not_overflow() {
        let bytes = vec![0xff; 1 << 20];
        let mut sum = Sum::new();
        for _ in 0..64 {
            sum.add(&bytes);
        }
        assert_eq!(sum.value(), 0xffff);
    }

    /// An IPv4 header whose TTL is `ttl` and whose checksum is `checksum`.
    fn header_with(checksum: u16, ttl: u8) -> [u8; 20] {
        let mut header = [0u8; 20];
        header[..12].copy_from_slice(&[0x45, 0, 0, 60, 0, 0, 0x40, 0, ttl, 6, 0, 0]);
        header[12..].copy_from_slice(&[10, 0, 0, 2, 10, 0, 1, 2]);
        // The identification takes the difference between the sum that is and the one wanted.
        let (have, want) = (!ipv4_header(&header), !checksum);
        let difference = fold(u64::from(want) + u64::from(!have));
        header[4..6].copy_from_slice(&difference.to_be_bytes());
        header[10..12].copy_from_slice(&checksum.to_be_bytes());
        header
    }

    #[test]
    fn conformance_25_decrement_at_every_edge() {
        let edges = [0x0000, 0x0001, 0x00ff, 0x0100, 0xfeff, 0xff00, 0xfffe];
        for result in edges {
            for ttl in [1, 2, 64, 255] {
                // One step back from the wanted result.
                let before = update16(result, 0, 0x0100);
                let mut header = header_with(before, ttl);
                assert!(ipv4_header_is_valid(&header), "{result:#06x} {ttl}");
                decrement_ttl(&mut header);
                assert_eq!(header[8], ttl - 1);
                assert!(ipv4_header_is_valid(&header), "{result:#06x} {ttl}");
                assert_eq!(header[10..12], ipv4_header(&header).to_be_bytes());
            }
        }
    }

    #[test]
    fn zero_stays_and_short_slices_are_left_alone() {
        let mut header = header_with(0x1234, 1);
        decrement_ttl(&mut header);
        let spent = header;
        decrement_ttl(&mut header);
        assert_eq!(header, spent);
        decrement_ttl(&mut header[..19]);
        decrement_hop_limit(&mut header[..7]);
        assert_eq!(header, spent);
    }

    #[test]
    fn udp_never_says_none() {
        assert_eq!(udp(0), 0xffff);
        assert_eq!(udp(1), 1);
    }

    proptest! {
        #[test]
        fn a_plain_header_is_judged_as_any_header(mut header: [u8; 20], right: bool) {
            if right {
                let checksum = ipv4_header(&header);
                header[10..12].copy_from_slice(&checksum.to_be_bytes());
            }
            let valid = ipv4_header_is_valid(&header);
            prop_assert_eq!(ipv4_plain_header_is_valid(&header), valid);
            prop_assert_eq!(valid, naive(&header) == 0xffff);
            prop_assert!(valid || !right);
        }

        #[test]
        fn a_sum_is_the_naive_one(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            prop_assert_eq!(Sum::of(&bytes).value(), naive(&bytes));
        }

        #[test]
        fn a_sum_does_not_mind_where_it_is_cut(
            bytes in prop::collection::vec(any::<u8>(), 0..200),
            cuts in prop::collection::vec(0usize..200, 0..5),
        ) {
            let mut cuts: Vec<_> = cuts.into_iter().map(|cut| cut.min(bytes.len())).collect();
            cuts.extend([0, bytes.len()]);
            cuts.sort_unstable();
            let mut sum = Sum::new();
            for pair in cuts.windows(2) {
                sum.add(&bytes[pair[0]..pair[1]]);
            }
            prop_assert_eq!(sum.value(), naive(&bytes));
        }

        #[test]
        fn an_update_is_a_new_sum(
            mut bytes in prop::collection::vec(any::<u8>(), 8..64),
            place in any::<prop::sample::Index>(),
            new in any::<u32>(),
        ) {
            // A packet is never all zeros, which has two checksums.
            bytes[0] |= 1;
            let place = 2 + place.index((bytes.len() - 6) / 2 + 1) / 2 * 2;
            let before = !naive(&bytes);

            let old = u16::from_be_bytes([bytes[place], bytes[place + 1]]);
            let mut changed = bytes.clone();
            changed[place..place + 2].copy_from_slice(&(new as u16).to_be_bytes());
            prop_assert_eq!(update16(before, old, new as u16), !naive(&changed));

            let mut word = [0; 4];
            word.copy_from_slice(&bytes[place..place + 4]);
            changed[place..place + 4].copy_from_slice(&new.to_be_bytes());
            prop_assert_eq!(update32(before, u32::from_be_bytes(word), new), !naive(&changed));
        }

        #[test]
        fn the_pseudo_header_is_what_the_rfcs_draw(
            src in any::<u128>(), dst in any::<u128>(), protocol in any::<u8>(), length in 0u16..,
        ) {
            let key = FlowKey { src, dst, protocol, family: Family::Inet6, ..FlowKey::default() };
            let drawn = [
                &src.to_be_bytes()[..], &dst.to_be_bytes(),
                &u32::from(length).to_be_bytes(), &[0, 0, 0, protocol],
            ].concat();
            prop_assert_eq!(Sum::pseudo_header(&key, length.into()).value(), naive(&drawn));

            let (src, dst) = (src as u32, dst as u32);
            let key = FlowKey { src: src.into(), dst: dst.into(), family: Family::Inet, ..key };
            let drawn = [
                &src.to_be_bytes()[..], &dst.to_be_bytes(),
                &[0, protocol], &length.to_be_bytes(),
            ].concat();
            prop_assert_eq!(Sum::pseudo_header(&key, length.into()).value(), naive(&drawn));
        }
    }
}
