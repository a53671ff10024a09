//! Internet checksums (RFC 1071, RFC 1624).

use crate::descriptor::Descriptor;
use crate::malformed::Malformed;

/// Where a completed checksum belongs.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Completion {
    /// Bytes from the start of the frame; always in its first segment.
    pub offset: usize,
    /// The checksum.
    pub checksum: u16,
}

/// Lowers the TTL of the IPv4 packet at the start of `packet` by one and updates its checksum.
#[inline]
pub fn decrement_ttl(packet: &mut [u8]) {
    let _ = packet;
}

/// Lowers the hop limit of the IPv6 packet at the start of `packet` by one.
#[inline]
pub fn decrement_hop_limit(packet: &mut [u8]) {
    let _ = packet;
}

/// Completes a partial TCP or UDP checksum of a frame in one piece; whether there was one.
#[inline]
pub fn complete(d: &Descriptor, frame: &mut [u8]) -> bool {
    let _ = (d, frame);
    false
}

/// The same for a frame in segments: what to write, or `None` when the sum is not partial.
pub fn completion<'a>(
    d: &Descriptor,
    segments: impl IntoIterator<Item = &'a [u8]>,
) -> Option<Completion> {
    let _ = (d, segments.into_iter());
    None
}

/// Verifies the checksum of TCP, UDP, ICMP or ICMPv6; what has none, or is a fragment, passes.
pub fn verify<'a>(
    d: &Descriptor,
    segments: impl IntoIterator<Item = &'a [u8]>,
) -> Result<(), Malformed> {
    let _ = (d, segments.into_iter());
    Ok(())
}
