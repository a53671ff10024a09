//! TCP header (RFC 9293 section 3.1).

use zerocopy::network_endian::{U16, U32};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// Bytes of the header without options.
pub const HEADER: usize = 20;
/// Where the checksum stands in the header.
pub const CHECKSUM: usize = 16;

/// No more data from the sender.
pub const FIN: u8 = 1;
/// Synchronise sequence numbers.
pub const SYN: u8 = 2;
/// Reset the connection.
pub const RST: u8 = 4;
/// Push.
pub const PSH: u8 = 8;
/// The acknowledgement number counts.
pub const ACK: u8 = 16;
/// The urgent pointer counts.
pub const URG: u8 = 32;
/// ECN echo (RFC 3168).
pub const ECE: u8 = 64;
/// Congestion window reduced (RFC 3168).
pub const CWR: u8 = 128;

/// The fixed part of the TCP header.
#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned, Clone, Copy, Debug)]
#[repr(C)]
pub struct TcpHeader {
    /// Source port.
    pub src_port: U16,
    /// Destination port.
    pub dst_port: U16,
    /// Sequence number.
    pub sequence: U32,
    /// Acknowledgement number.
    pub acknowledgement: U32,
    /// Header length in words in the upper four bits.
    pub data_offset: u8,
    /// Flags.
    pub flags: u8,
    /// Window.
    pub window: U16,
    /// Checksum.
    pub checksum: U16,
    /// Urgent pointer.
    pub urgent: U16,
}

impl TcpHeader {
    /// Bytes of the header with options, as it says itself.
    #[inline]
    pub fn header_length(&self) -> usize {
        usize::from(self.data_offset >> 4) * 4
    }
}
