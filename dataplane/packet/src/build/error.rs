//! ICMP and ICMPv6 error messages, and when they may be sent.

use core::net::{Ipv4Addr, Ipv6Addr};

use super::{BuildError, LinkHeader};
use crate::descriptor::Descriptor;

/// An ICMP error message (RFC 792, RFC 1812 section 5.2.7).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum IcmpError {
    /// No route (3/0).
    NetworkUnreachable,
    /// The neighbour does not answer (3/1).
    HostUnreachable,
    /// Nothing here speaks the protocol (3/2).
    ProtocolUnreachable,
    /// Nothing listens on the port (3/3).
    PortUnreachable,
    /// Larger than the next link takes, and may not be fragmented (3/4; RFC 1191).
    FragmentationNeeded {
        /// What the next link takes.
        mtu: u16,
    },
    /// Forbidden by policy (3/13).
    Prohibited,
    /// TTL ran out (11/0).
    TimeExceeded,
    /// The header is wrong (12/0).
    ParameterProblem {
        /// Which byte of it.
        pointer: u8,
    },
}

/// An ICMPv6 error message (RFC 4443 section 3).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Icmpv6Error {
    /// No route (1/0).
    NoRoute,
    /// Forbidden by policy (1/1).
    Prohibited,
    /// The source address does not reach that far (1/2).
    BeyondScope,
    /// The neighbour does not answer (1/3).
    AddressUnreachable,
    /// Nothing listens on the port (1/4).
    PortUnreachable,
    /// A reject route (1/6).
    RejectRoute,
    /// Larger than the next link takes (2/0).
    PacketTooBig {
        /// What the next link takes.
        mtu: u32,
    },
    /// Hop limit ran out (3/0).
    HopLimitExceeded,
    /// A header is wrong (4/`code`).
    ParameterProblem {
        /// 0 erroneous field, 1 unknown next header, 2 unknown option.
        code: u8,
        /// Which byte of the packet.
        pointer: u32,
    },
}

/// Whether any ICMP error may be sent about the packet.
pub fn may_answer_v4(d: &Descriptor) -> bool {
    let _ = d;
    false
}

/// Whether this ICMPv6 error may be sent about the packet.
pub fn may_answer_v6(d: &Descriptor, error: Icmpv6Error) -> bool {
    let _ = (d, error);
    false
}

/// Writes an ICMP error about the packet that `d` describes, from `source` to its source.
pub fn icmp(
    buffer: &mut [u8],
    link: &LinkHeader,
    source: Ipv4Addr,
    error: IcmpError,
    d: &Descriptor,
    frame: &[u8],
) -> Result<usize, BuildError> {
    let _ = (buffer, link, source, error, d, frame);
    Err(BuildError::Unanswerable("packet"))
}

/// Writes an ICMPv6 error about the packet that `d` describes, from `source` to its source.
pub fn icmpv6(
    buffer: &mut [u8],
    link: &LinkHeader,
    source: Ipv6Addr,
    error: Icmpv6Error,
    d: &Descriptor,
    frame: &[u8],
) -> Result<usize, BuildError> {
    let _ = (buffer, link, source, error, d, frame);
    Err(BuildError::Unanswerable("packet"))
}
