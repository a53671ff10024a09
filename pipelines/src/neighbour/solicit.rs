//! What the agent has a worker send: ARP requests, neighbour solicitations, announcements.

use std::net::{Ipv4Addr, Ipv6Addr};

use sluice_dpdk::Mbuf;
use sluice_hooks::{Originated, Ports, Way};
use sluice_packet::{Family, build};
use sluice_policy::InterfaceId;
use sluice_policy::Policy;

use crate::nd::own_descriptor;

/// Bytes that the largest of these frames needs.
const ROOM: usize = 128;

/// A frame about neighbours that a worker is to send.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Solicit {
    /// Asks who has `address`: all stations of the link, or the one that had it last.
    Ask {
        /// The interface to ask on.
        interface: InterfaceId,
        /// ARP for IPv4, neighbour discovery for IPv6.
        family: Family,
        /// The neighbour's address.
        address: u128,
        /// The station to ask; `None` asks all.
        station: Option<[u8; 6]>,
    },
    /// Tells the link that an own address is here (gratuitous ARP, RFC 5227 section 3; unsolicited
    /// advertisement, RFC 4861 section 7.2.6).
    Announce {
        /// The interface.
        interface: InterfaceId,
        /// IP version.
        family: Family,
        /// The own address.
        address: u128,
    },
}

impl Solicit {
    fn interface(&self) -> InterfaceId {
        match *self {
            Solicit::Ask { interface, .. } | Solicit::Announce { interface, .. } => interface,
        }
    }

    /// Writes the frame into an empty buffer. `None` when the interface is gone, its port is not
    /// attached, or it has no address to ask with.
    pub fn build(&self, policy: &Policy, ports: &Ports, mut mbuf: Mbuf) -> Option<Originated> {
        let interface = policy.interface(self.interface())?;
        let facts = ports.get(interface.port)?;
        let (vlan, mac) = (interface.vlan, facts.mac);
        let buffer = mbuf.append(ROOM)?;
        let (family, length) = match *self {
            Solicit::Ask { family: Family::Inet, address, station, .. } => {
                // RFC 1122 section 3.3.4: from the network that the one asked is in.
                let source = interface.source_towards(Family::Inet, address)?;
                let source = Ipv4Addr::from_bits(source as u32);
                let target = Ipv4Addr::from_bits(address as u32);
                let built = match station {
                    None => build::arp::request(buffer, vlan, mac, source, target),
                    Some(at) => build::arp::probe(buffer, vlan, mac, source, target, at),
                };
                (Family::Inet, built)
            }
            Solicit::Ask { family: Family::Inet6, address, station, .. } => {
                let source = Ipv6Addr::from_bits(facts.link_local);
                let target = Ipv6Addr::from_bits(address);
                let built = match station {
                    None => build::nd::solicitation(buffer, vlan, mac, source, target),
                    Some(at) => build::nd::probe(buffer, vlan, mac, source, target, at),
                };
                (Family::Inet6, built)
            }
            Solicit::Announce { family: Family::Inet, address, .. } => {
                let address = Ipv4Addr::from_bits(address as u32);
                (Family::Inet, build::arp::announcement(buffer, vlan, mac, address))
            }
            Solicit::Announce { family: Family::Inet6, address, .. } => {
                let address = Ipv6Addr::from_bits(address);
                (Family::Inet6, build::nd::advertisement(buffer, vlan, mac, address, None))
            }
        };
        let length = length.ok()?;
        mbuf.truncate(length);
        let descriptor = own_descriptor(interface, family, mbuf.data());
        Some(Originated {
            mbuf,
            descriptor,
            instance: interface.instance,
            way: Way::Frame(interface.id),
            arp: family == Family::Inet,
        })
    }
}
