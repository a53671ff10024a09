//! Echo replies, made of their requests in place.

use super::BuildError;
use crate::descriptor::Descriptor;

/// Turns the ICMP echo request that `d` describes into its reply (RFC 792, RFC 1812 section
/// 4.3.3.6).
pub fn reply_v4(frame: &mut [u8], d: &Descriptor) -> Result<(), BuildError> {
    let _ = (frame, d);
    Err(BuildError::Unanswerable("echo request"))
}

/// Turns the ICMPv6 echo request that `d` describes into its reply (RFC 4443 section 4.2).
pub fn reply_v6(frame: &mut [u8], d: &Descriptor) -> Result<(), BuildError> {
    let _ = (frame, d);
    Err(BuildError::Unanswerable("echo request"))
}
