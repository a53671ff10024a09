//! Ethernet II header (RFC 894, RFC 2464) and MAC addresses.

use core::net::{Ipv4Addr, Ipv6Addr};

use zerocopy::network_endian::U16;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// A MAC address, as on the wire.
pub type Mac = [u8; 6];

/// Bytes of the header without a VLAN tag.
pub const HEADER: usize = 14;

/// The broadcast address.
pub const BROADCAST: Mac = [0xff; 6];

/// EtherType of IPv4.
pub const IPV4: u16 = 0x0800;
/// EtherType of ARP.
pub const ARP: u16 = 0x0806;
/// EtherType of an 802.1Q tag.
pub const VLAN: u16 = 0x8100;
/// EtherType of IPv6.
pub const IPV6: u16 = 0x86dd;
/// EtherType of an 802.1ad service tag.
pub const SERVICE_VLAN: u16 = 0x88a8;
/// EtherType that some equipment put on the outer of two tags before 802.1ad.
pub const STACKED_VLAN: u16 = 0x9100;

/// The Ethernet II header.
#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned, Clone, Copy, Debug)]
#[repr(C)]
pub struct EthernetHeader {
    /// Destination address.
    pub dst: Mac,
    /// Source address.
    pub src: Mac,
    /// EtherType.
    pub ethertype: U16,
}

/// Whether the address is one of a group; the broadcast address is too.
#[inline]
pub const fn is_multicast(mac: &Mac) -> bool {
    mac[0] & 1 != 0
}

/// Whether the address is the broadcast address.
#[inline]
pub const fn is_broadcast(mac: &Mac) -> bool {
    matches!(mac, [0xff, 0xff, 0xff, 0xff, 0xff, 0xff])
}

/// Whether a station may have the address: neither a group's nor all zero.
#[inline]
pub const fn is_station(mac: &Mac) -> bool {
    !is_multicast(mac) && !matches!(mac, [0, 0, 0, 0, 0, 0])
}

/// The group address that an IPv4 multicast is sent to (RFC 1112 section 6.4): 01:00:5e and the
/// low 23 bits of the IP address.
#[inline]
pub const fn multicast_v4(group: Ipv4Addr) -> Mac {
    let [_, b, c, d] = group.octets();
    [0x01, 0x00, 0x5e, b & 0x7f, c, d]
}

/// The group address that an IPv6 multicast is sent to (RFC 2464 section 7): 33:33 and the low 32
/// bits of the IP address.
#[inline]
pub const fn multicast_v6(group: Ipv6Addr) -> Mac {
    let [.., a, b, c, d] = group.octets();
    [0x33, 0x33, a, b, c, d]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn group_addresses_follow_rfc_1112_and_rfc_2464() {
        // 224.129.2.3: bit 23 of the IP address does not reach the wire.
        assert_eq!(multicast_v4(Ipv4Addr::new(224, 129, 2, 3)), [1, 0, 0x5e, 1, 2, 3]);
        let group = "ff02::1:ffa1:b2c3".parse().unwrap();
        assert_eq!(multicast_v6(group), [0x33, 0x33, 0xff, 0xa1, 0xb2, 0xc3]);
    }

    #[test]
    fn kinds_of_address() {
        assert!(is_broadcast(&BROADCAST) && is_multicast(&BROADCAST));
        assert!(is_multicast(&[0x33, 0x33, 0, 0, 0, 1]));
        assert!(is_station(&[2, 0, 0, 0, 0, 1]));
        assert!(!is_station(&[0; 6]) && !is_station(&BROADCAST));
    }
}
