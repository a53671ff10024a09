//! The checksums of TCP, UDP, ICMP and ICMPv6 in decoded packets: verified, and completed where
//! the sender left them partial.
//!
//! A host that hands its packets to a virtual device sums the pseudo-header into the checksum
//! field and leaves the rest to hardware that is not there. Adding header and payload to what the
//! field holds, and complementing, gives the checksum. (Where a right checksum happens to equal
//! the sum of the pseudo-header, the same arithmetic gives the same checksum again: completing is
//! harmless.)
//!
//! Packets may be in several segments; the first holds all headers, as the decoder demands.
//! Fragments are left alone: one of them does not hold what its checksum covers.

use super::{Sum, is_partial, udp, update16};
use crate::descriptor::{Descriptor, DescriptorFlags, Family, Fragment};
use crate::malformed::Malformed;
use crate::protocol;
use crate::{tcp, udp as udp_header};

/// A completed checksum and where it belongs.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Completion {
    /// Bytes from the start of the frame to the field, which is in the first segment.
    pub offset: usize,
    /// The checksum.
    pub checksum: u16,
}

impl Completion {
    /// Writes the checksum into the first segment of the frame.
    #[inline]
    pub fn write(&self, first: &mut [u8]) {
        if let Some(field) = first.get_mut(self.offset..self.offset + 2) {
            field.copy_from_slice(&self.checksum.to_be_bytes());
        }
    }
}

/// Completes the checksum of TCP or UDP in a frame of one piece; says whether it was partial.
#[inline]
pub fn complete(d: &Descriptor, frame: &mut [u8]) -> bool {
    match completion(d, [&*frame]) {
        Some(completion) => {
            completion.write(frame);
            true
        }
        None => false,
    }
}

/// The checksum that the partial one of TCP or UDP is to be replaced by; `None` when the packet
/// has none or a full one. `segments` are those of the whole frame, in order.
///
/// The cost is that of the pseudo-header, unless the checksum is partial.
#[inline]
pub fn completion<'a>(
    d: &Descriptor,
    segments: impl IntoIterator<Item = &'a [u8]>,
) -> Option<Completion> {
    if !matches!(d.key.protocol, protocol::TCP | protocol::UDP) {
        return None;
    }
    let mut segments = segments.into_iter();
    let first = segments.next()?;
    let covered = Covered::of(d, first)?;
    let field = covered.field(first)?;
    if !is_partial(field, Sum::pseudo_header(&d.key, covered.length)) {
        return None;
    }
    // The field stands for the pseudo-header in this sum.
    let checksum = covered.sum(first, segments)?.checksum();
    let checksum = if d.key.protocol == protocol::UDP { udp(checksum) } else { checksum };
    Some(Completion { offset: covered.field, checksum })
}

/// The right checksum of TCP, UDP, ICMP or ICMPv6, whatever the field holds; `None` for what has
/// none that a router could make: other protocols, fragments, packets with segments left.
/// `segments` are those of the whole frame, in order.
pub fn full<'a>(
    d: &Descriptor,
    segments: impl IntoIterator<Item = &'a [u8]>,
) -> Option<Completion> {
    if !is_known(d) {
        return None;
    }
    let mut segments = segments.into_iter();
    let first = segments.next()?;
    let covered = Covered::of(d, first)?;
    let mut sum = pseudo_header(d, &covered);
    sum.combine(covered.sum(first, segments)?);
    // What the field itself put into the sum is taken out again.
    let checksum = update16(sum.checksum(), covered.field(first)?, 0);
    let checksum = if d.key.protocol == protocol::UDP { udp(checksum) } else { checksum };
    Some(Completion { offset: covered.field, checksum })
}

/// Whether the layer-4 protocol has a checksum that is known here.
#[inline]
fn is_known(d: &Descriptor) -> bool {
    match d.key.protocol {
        protocol::TCP | protocol::UDP => true,
        protocol::ICMP => d.key.family == Family::Inet,
        protocol::ICMPV6 => d.key.family == Family::Inet6,
        _ => false,
    }
}

#[inline]
fn pseudo_header(d: &Descriptor, covered: &Covered) -> Sum {
    match d.key.protocol {
        protocol::ICMP => Sum::new(),
        _ => Sum::pseudo_header(&d.key, covered.length),
    }
}

/// Verifies the checksum of TCP, UDP, ICMP or ICMPv6. `segments` are those of the whole frame, in
/// order. What has no checksum that a router could verify passes: other protocols, fragments,
/// packets with segments left (RFC 8200 section 8.1), and UDP with checksum 0, which IPv4 allows
/// (RFC 768) and tunnels over IPv6 do, too (RFC 6935).
#[inline(always)]
pub fn verify<'a>(
    d: &Descriptor,
    segments: impl IntoIterator<Item = &'a [u8]>,
) -> Result<(), Malformed> {
    if !is_known(d) || !is_whole(d) {
        return Ok(());
    }
    match is_intact(d, segments.into_iter()) {
        Some(true) => Ok(()),
        _ => Err(Malformed::L4Checksum),
    }
}

#[inline(always)]
fn is_intact<'a>(d: &Descriptor, mut segments: impl Iterator<Item = &'a [u8]>) -> Option<bool> {
    let first = segments.next()?;
    let covered = Covered::of(d, first)?;
    if d.key.protocol == protocol::UDP && covered.field(first)? == 0 {
        return Some(true);
    }
    let mut sum = pseudo_header(d, &covered);
    sum.combine(covered.sum(first, segments)?);
    Some(sum.is_intact())
}

#[inline]
fn is_whole(d: &Descriptor) -> bool {
    d.fragment == Fragment::Whole && !d.flags.contains(DescriptorFlags::SEGMENTS_LEFT)
}

/// What a layer-4 checksum covers, apart from the pseudo-header.
struct Covered {
    /// Bytes from the start of the frame to the layer-4 header.
    start: usize,
    /// Bytes of header and payload.
    length: usize,
    /// Bytes from the start of the frame to the checksum field.
    field: usize,
}

impl Covered {
    /// `None` for a fragment, and for a UDP length that the packet does not have.
    #[inline]
    fn of(d: &Descriptor, first: &[u8]) -> Option<Covered> {
        if !is_whole(d) {
            return None;
        }
        let start = usize::from(d.l3_offset) + usize::from(d.l4_offset);
        let length = usize::from(d.l3_length).checked_sub(usize::from(d.l4_offset))?;
        match d.key.protocol {
            protocol::TCP => Some(Covered { start, length, field: start + tcp::CHECKSUM }),
            protocol::UDP => {
                // RFC 768: the length of the pseudo-header is the one that UDP says itself.
                let said = usize::from(read_u16(first, start + udp_header::LENGTH)?);
                let covered = Covered { start, length: said, field: start + udp_header::CHECKSUM };
                (udp_header::HEADER..=length).contains(&said).then_some(covered)
            }
            _ => Some(Covered { start, length, field: start + 2 }),
        }
    }

    #[inline]
    fn field(&self, first: &[u8]) -> Option<u16> {
        read_u16(first, self.field)
    }

    /// The sum of all covered bytes, the checksum field among them; `None` when the segments end
    /// before.
    #[inline(always)]
    fn sum<'a>(&self, first: &'a [u8], rest: impl Iterator<Item = &'a [u8]>) -> Option<Sum> {
        match first.get(self.start..self.start + self.length) {
            Some(all) => Some(Sum::of(all)),
            None => self.sum_of_many(first, rest),
        }
    }

    #[inline(never)]
    fn sum_of_many<'a>(
        &self,
        first: &'a [u8],
        rest: impl Iterator<Item = &'a [u8]>,
    ) -> Option<Sum> {
        let mut missing = self.length;
        let mut sum = Sum::new();
        for segment in std::iter::once(first.get(self.start..)?).chain(rest) {
            let taken = segment.get(..missing).unwrap_or(segment);
            sum.add(taken);
            missing -= taken.len();
            if missing == 0 {
                return Some(sum);
            }
        }
        None
    }
}

#[inline]
fn read_u16(bytes: &[u8], offset: usize) -> Option<u16> {
    Some(u16::from_be_bytes(*bytes.get(offset..)?.first_chunk()?))
}

#[cfg(test)]
#[path = "transport_tests.rs"]
mod tests;
