//! TCP resets.

use super::{BuildError, LinkHeader};
use crate::descriptor::Descriptor;

/// Whether a reset may answer the segment.
pub fn may_reset(d: &Descriptor) -> bool {
    let _ = d;
    false
}

/// Writes the reset that answers the TCP segment that `d` describes (RFC 9293 section 3.10.7.1).
pub fn reset(
    buffer: &mut [u8],
    link: &LinkHeader,
    d: &Descriptor,
    frame: &[u8],
) -> Result<usize, BuildError> {
    let _ = (buffer, link, d, frame);
    Err(BuildError::Unanswerable("TCP segment"))
}
