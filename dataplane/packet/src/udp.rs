//! UDP header (RFC 768).

use zerocopy::network_endian::U16;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// Bytes of the header.
pub const HEADER: usize = 8;
/// Where the length stands in the header.
pub const LENGTH: usize = 4;
/// Where the checksum stands in the header.
pub const CHECKSUM: usize = 6;

/// The UDP header.
#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned, Clone, Copy, Debug)]
#[repr(C)]
pub struct UdpHeader {
    /// Source port.
    pub src_port: U16,
    /// Destination port.
    pub dst_port: U16,
    /// Bytes of header and data.
    pub length: U16,
    /// Checksum; 0 over IPv4 means that the sender made none.
    pub checksum: U16,
}
