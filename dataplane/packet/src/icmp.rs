//! ICMP header and message types (RFC 792).

use zerocopy::network_endian::{U16, U32};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// Bytes of the header that all messages have.
pub const HEADER: usize = 8;

/// Echo reply.
pub const ECHO_REPLY: u8 = 0;
/// Destination unreachable.
pub const UNREACHABLE: u8 = 3;
/// Redirect.
pub const REDIRECT: u8 = 5;
/// Echo request.
pub const ECHO_REQUEST: u8 = 8;
/// Time exceeded.
pub const TIME_EXCEEDED: u8 = 11;
/// Parameter problem.
pub const PARAMETER_PROBLEM: u8 = 12;

/// The first eight bytes of an ICMP message.
#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned, Clone, Copy, Debug)]
#[repr(C)]
pub struct IcmpHeader {
    /// Type.
    pub icmp_type: u8,
    /// Code.
    pub code: u8,
    /// Checksum over the message.
    pub checksum: U16,
    /// Depends on the type: identifier and sequence of an echo, MTU, pointer.
    pub rest: U32,
}

/// Whether the type is a query or its answer. Everything else, known or not, counts as an error
/// message, about which no error may be sent (RFC 1122 section 3.2.2).
#[inline]
pub const fn is_query(icmp_type: u8) -> bool {
    // 9, 10 router discovery (RFC 1256); 13 to 18 timestamp, information, mask (RFC 792, 950);
    // 42, 43 extended echo (RFC 8335).
    matches!(icmp_type, ECHO_REPLY | ECHO_REQUEST | 9 | 10 | 13..=18 | 42 | 43)
}

/// Whether the message is an echo request or reply, which carries an identifier.
#[inline]
pub const fn is_echo(icmp_type: u8) -> bool {
    matches!(icmp_type, ECHO_REPLY | ECHO_REQUEST)
}
