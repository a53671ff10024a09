//! ARP for IPv4 over Ethernet (RFC 826).

use core::net::Ipv4Addr;

use zerocopy::network_endian::{U16, U32};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use crate::ethernet::{self, Mac};

/// Bytes of an ARP packet for IPv4 over Ethernet.
pub const LENGTH: usize = 28;
/// Operation: request.
pub const REQUEST: u16 = 1;
/// Operation: reply.
pub const REPLY: u16 = 2;
/// Hardware type of Ethernet.
pub const ETHERNET: u16 = 1;

/// An ARP packet for IPv4 over Ethernet.
#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned, Clone, Copy, Debug)]
#[repr(C)]
pub struct ArpPacket {
    /// Hardware type; 1 is Ethernet.
    pub hardware: U16,
    /// Protocol type; the EtherType of IPv4.
    pub protocol: U16,
    /// Bytes of a hardware address; 6.
    pub hardware_length: u8,
    /// Bytes of a protocol address; 4.
    pub protocol_length: u8,
    /// Operation.
    pub operation: U16,
    /// MAC address of the sender.
    pub sender_mac: Mac,
    /// IP address of the sender; 0.0.0.0 in a probe (RFC 5227).
    pub sender: U32,
    /// MAC address of the target.
    pub target_mac: Mac,
    /// IP address of the target.
    pub target: U32,
}

impl ArpPacket {
    /// The ARP packet at the start of `bytes` (padding may follow), or `None` when it is not a
    /// request or reply of IPv4 over Ethernet, or its sender is no station.
    #[inline]
    pub fn parse(bytes: &[u8]) -> Option<&ArpPacket> {
        let (packet, _) = ArpPacket::ref_from_prefix(bytes).ok()?;
        let wanted = packet.hardware == ETHERNET
            && packet.protocol == ethernet::IPV4
            && packet.hardware_length == 6
            && packet.protocol_length == 4
            && matches!(packet.operation.get(), REQUEST | REPLY)
            && ethernet::is_station(&packet.sender_mac);
        wanted.then_some(packet)
    }

    /// Whether it asks.
    #[inline]
    pub fn is_request(&self) -> bool {
        self.operation == REQUEST
    }

    /// IP address of the sender.
    #[inline]
    pub fn sender_ip(&self) -> Ipv4Addr {
        Ipv4Addr::from_bits(self.sender.get())
    }

    /// IP address of the target.
    #[inline]
    pub fn target_ip(&self) -> Ipv4Addr {
        Ipv4Addr::from_bits(self.target.get())
    }

    /// Whether it announces the sender's own address (gratuitous ARP, RFC 5227 section 3).
    #[inline]
    pub fn is_announcement(&self) -> bool {
        self.sender == self.target && self.sender != 0
    }
}
