//! A compiled layer-3 interface.

use ipnet::IpNet;
use sluice_packet::Family;
use sluice_packet::descriptor::number_of;

use crate::ids::{InstanceId, InterfaceId, PortId};
use crate::model::{ChecksumMode, Name};

/// A layer-3 interface: a port itself, or a VLAN on one.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Interface {
    /// Its number.
    pub id: InterfaceId,
    /// Its name: the port's, or `port.vlan`.
    pub name: Name,
    /// The port it is on.
    pub port: PortId,
    /// 802.1Q VLAN identifier; 0 is untagged.
    pub vlan: u16,
    /// The instance it belongs to.
    pub instance: InstanceId,
    /// Largest IP packet in bytes.
    pub mtu: u16,
    /// Layer-4 checksums of packets received from the port.
    pub checksum: ChecksumMode,
    /// Own addresses, each with the length of its connected network.
    pub addresses: Vec<IpNet>,
}

impl Interface {
    /// The address that the router's own packets of this family bear: the first configured one.
    #[inline]
    pub fn source(&self, family: Family) -> Option<u128> {
        self.of(family).next().map(|net| number_of(net.addr()))
    }

    /// The address to ask `neighbour` from: the one whose network holds it, else
    /// [`source`](Self::source).
    pub fn source_towards(&self, family: Family, neighbour: u128) -> Option<u128> {
        let near = self.of(family).find(|net| holds(net, neighbour));
        near.map(|net| number_of(net.addr())).or_else(|| self.source(family))
    }

    /// Whether the address lies in a connected network of this interface; so does every
    /// link-local IPv6 address.
    #[inline]
    pub fn on_link(&self, family: Family, address: u128) -> bool {
        (family == Family::Inet6 && is_link_local(address))
            || self.of(family).any(|net| holds(net, address))
    }

    /// Whether the address is one of the interface's configured own.
    #[inline]
    pub fn owns(&self, family: Family, address: u128) -> bool {
        self.of(family).any(|net| number_of(net.addr()) == address)
    }

    fn of(&self, family: Family) -> impl Iterator<Item = &IpNet> {
        self.addresses.iter().filter(move |net| net.addr().is_ipv4() == (family == Family::Inet))
    }
}

/// Whether `net`, of the same family, covers the address.
#[inline]
fn holds(net: &IpNet, address: u128) -> bool {
    address & number_of(net.netmask()) == number_of(net.network())
}

/// Whether an IPv6 address is in fe80::/10 (RFC 4291 section 2.5.6).
#[inline]
pub(crate) const fn is_link_local(address: u128) -> bool {
    address >> 118 == 0xfe80 >> 6
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_by_family_and_network() {
        let interface = Interface {
            id: InterfaceId(1),
            name: "lan".into(),
            port: PortId(0),
            vlan: 0,
            instance: InstanceId(0),
            mtu: 1500,
            checksum: ChecksumMode::Trust,
            addresses: ["10.0.1.1/24", "fd00:1::1/64", "10.9.0.1/16"]
                .map(|a| a.parse().unwrap())
                .to_vec(),
        };
        let n = |text: &str| number_of(text.parse().unwrap());
        assert_eq!(interface.source(Family::Inet), Some(n("10.0.1.1")));
        assert_eq!(interface.source(Family::Inet6), Some(n("fd00:1::1")));
        assert_eq!(interface.source_towards(Family::Inet, n("10.9.3.4")), Some(n("10.9.0.1")));
        assert_eq!(interface.source_towards(Family::Inet, n("10.8.3.4")), Some(n("10.0.1.1")));
        assert!(interface.on_link(Family::Inet, n("10.0.1.255")));
        assert!(!interface.on_link(Family::Inet, n("10.0.2.1")));
        assert!(interface.on_link(Family::Inet6, n("fe80::7")));
        assert!(interface.on_link(Family::Inet6, n("fd00:1::7")));
        assert!(
            interface.owns(Family::Inet, n("10.9.0.1"))
                && !interface.owns(Family::Inet6, n("10.9.0.1"))
        );
    }
}
