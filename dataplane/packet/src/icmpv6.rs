//! ICMPv6 header and message types (RFC 4443).

use zerocopy::network_endian::{U16, U32};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// Bytes of the header that all messages have.
pub const HEADER: usize = 8;

/// Destination unreachable.
pub const UNREACHABLE: u8 = 1;
/// Packet too big.
pub const PACKET_TOO_BIG: u8 = 2;
/// Time exceeded.
pub const TIME_EXCEEDED: u8 = 3;
/// Parameter problem.
pub const PARAMETER_PROBLEM: u8 = 4;
/// Echo request.
pub const ECHO_REQUEST: u8 = 128;
/// Echo reply.
pub const ECHO_REPLY: u8 = 129;
/// Router solicitation (RFC 4861).
pub const ROUTER_SOLICITATION: u8 = 133;
/// Router advertisement (RFC 4861).
pub const ROUTER_ADVERTISEMENT: u8 = 134;
/// Neighbour solicitation (RFC 4861).
pub const NEIGHBOUR_SOLICITATION: u8 = 135;
/// Neighbour advertisement (RFC 4861).
pub const NEIGHBOUR_ADVERTISEMENT: u8 = 136;
/// Redirect (RFC 4861).
pub const REDIRECT: u8 = 137;

/// The first eight bytes of an ICMPv6 message.
#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned, Clone, Copy, Debug)]
#[repr(C)]
pub struct Icmpv6Header {
    /// Type.
    pub icmp_type: u8,
    /// Code.
    pub code: u8,
    /// Checksum over pseudo-header and message.
    pub checksum: U16,
    /// Depends on the type: identifier and sequence of an echo, MTU, pointer.
    pub rest: U32,
}

/// Whether the type is an error message: below 128 (RFC 4443 section 2.1).
#[inline]
pub const fn is_error(icmp_type: u8) -> bool {
    icmp_type < 128
}

/// Whether the message is an echo request or reply, which carries an identifier.
#[inline]
pub const fn is_echo(icmp_type: u8) -> bool {
    matches!(icmp_type, ECHO_REQUEST | ECHO_REPLY)
}
