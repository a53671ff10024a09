//! Questions about interfaces, addresses and routes (`net_phygetnext` and its kin), from inside a
//! hook or on the agent.
//!
//! | 9F | here |
//! |---|---|
//! | `net_phygetnext` | [`Interfaces::next`] |
//! | `net_phylookup` | [`Interfaces::lookup`] |
//! | `net_getifname` | [`Interfaces::name`] |
//! | `net_lifgetnext` | [`Interfaces::next_address`] |
//! | `net_getlifaddr` | [`Interfaces::address`] |
//! | `net_getlifflags` | [`Interfaces::flags`] |
//! | `net_getlifzone` | [`Interfaces::instance_of`] |
//! | `net_getmtu` | [`Interfaces::mtu`] |
//! | `net_getpmtuenabled` | [`Interfaces::path_mtu_discovery`] |
//! | `net_routeto` | [`Interfaces::route_to`]; [`Interfaces::route`] asks all of policy |
//!
//! The answers come from one generation of policy, which does not change while a hook runs: two
//! questions in one call agree with each other. None of them waits. Nothing of it is to be kept
//! beyond the call: ask again, as the next generation may say otherwise.
//!
//! -1 is [`QueryError::Unsupported`], 0 for "there is none" is [`QueryError::NotFound`] or, at the
//! end of a list, `None`.

use std::net::IpAddr;

use ipnet::IpNet;
use sluice_packet::descriptor::{ip_of, number_of};
use sluice_packet::{Descriptor, Family, FlowKey};
use sluice_policy::{
    Instance, InstanceId, Interface, InterfaceId, NoRecorder, Policy, Protocol, RouteDecision,
};

use crate::context::Context;
use crate::ports::Ports;

/// Why a question has no answer.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum QueryError {
    /// The protocol does not have what is asked for, whatever the arguments.
    #[error("ARP has no addresses, MTUs and routes: ask INET or INET6")]
    Unsupported,
    /// There is none.
    #[error("the instance has no such thing")]
    NotFound,
    /// The instance is going, or gone.
    #[error("the instance is no longer there")]
    Shutdown,
}

/// An address of an interface, by its place: 1 is the first of the protocol's.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct AddressId(pub u16);

/// Which address of a logical interface is asked for.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum AddressKind {
    /// Its own (`NA_ADDRESS`).
    Address,
    /// The other end's (`NA_PEER`). Sluice's interfaces have no single other end: there is none.
    Peer,
    /// The broadcast address of its network (`NA_BROADCAST`), of IPv4.
    Broadcast,
    /// The mask of its network (`NA_NETMASK`).
    Netmask,
}

bitflags::bitflags! {
    /// What there is to say of a logical interface (`IFF_*`).
    #[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
    pub struct AddressFlags: u32 {
        /// Its port is there (`IFF_UP`).
        const UP = 1 << 0;
        /// Its port has link (`IFF_RUNNING`).
        const RUNNING = 1 << 1;
        /// Its link has a broadcast address (`IFF_BROADCAST`).
        const BROADCAST = 1 << 2;
        /// Its link has multicast addresses (`IFF_MULTICAST`).
        const MULTICAST = 1 << 3;
        /// It forwards (`IFF_ROUTER`).
        const ROUTER = 1 << 4;
        /// Its address is IPv4 (`IFF_IPV4`).
        const INET = 1 << 5;
        /// Its address is IPv6 (`IFF_IPV6`).
        const INET6 = 1 << 6;
        /// It is a VLAN on its port.
        const VLAN = 1 << 7;
    }
}

/// Where a packet would leave.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct RouteTo {
    /// The interface; of an own address, the one that has it.
    pub interface: InterfaceId,
    /// The neighbour: a gateway, or the destination itself.
    pub next_hop: IpAddr,
}

/// The interfaces of one instance, as one protocol sees them (`net_handle_t`).
#[derive(Clone, Copy)]
pub struct Interfaces<'a> {
    policy: &'a Policy,
    ports: &'a Ports,
    instance: &'a Instance,
    protocol: Protocol,
}

impl<'a> Interfaces<'a> {
    /// The interfaces of an instance in a generation.
    ///
    /// # Errors
    /// [`QueryError::Shutdown`] when the generation does not have the instance.
    pub fn of(
        policy: &'a Policy,
        ports: &'a Ports,
        instance: InstanceId,
        protocol: Protocol,
    ) -> Result<Interfaces<'a>, QueryError> {
        let instance = policy.instance(instance).ok_or(QueryError::Shutdown)?;
        Ok(Interfaces { policy, ports, instance, protocol })
    }

    /// The interface after `previous`, or the first; `None` at the end (`net_phygetnext`).
    #[must_use]
    pub fn next(&self, previous: Option<InterfaceId>) -> Option<InterfaceId> {
        let mut all = self.iter().map(|interface| interface.id);
        all.find(|&id| previous.is_none_or(|previous| id > previous))
    }

    /// All interfaces, by number.
    pub fn iter(&self) -> impl Iterator<Item = &'a Interface> + use<'a> {
        let id = self.instance.id;
        self.policy.interfaces().filter(move |interface| interface.instance == id)
    }

    /// The interface of a name (`net_phylookup`).
    ///
    /// # Errors
    /// [`QueryError::NotFound`].
    pub fn lookup(&self, name: &str) -> Result<InterfaceId, QueryError> {
        let named = self.policy.interface_named(name);
        let here = named.filter(|interface| interface.instance == self.instance.id);
        here.map(|interface| interface.id).ok_or(QueryError::NotFound)
    }

    /// The name of an interface (`net_getifname`).
    ///
    /// # Errors
    /// [`QueryError::NotFound`].
    pub fn name(&self, interface: InterfaceId) -> Result<&'a str, QueryError> {
        self.interface(interface).map(|interface| &*interface.name)
    }

    /// The address after `previous` on an interface, or the first; `None` at the end
    /// (`net_lifgetnext`).
    ///
    /// # Errors
    /// [`QueryError`].
    pub fn next_address(
        &self,
        interface: InterfaceId,
        previous: Option<AddressId>,
    ) -> Result<Option<AddressId>, QueryError> {
        let family = self.family()?;
        let count = addresses(self.interface(interface)?, family).count();
        let next = previous.map_or(1, |AddressId(place)| usize::from(place) + 1);
        Ok((next <= count).then_some(AddressId(next as u16)))
    }

    /// One of the addresses that belong to a logical interface (`net_getlifaddr`).
    ///
    /// # Errors
    /// [`QueryError`]; `NotFound` also for what this address does not have.
    pub fn address(
        &self,
        interface: InterfaceId,
        address: AddressId,
        kind: AddressKind,
    ) -> Result<IpAddr, QueryError> {
        let net = self.net(interface, address)?;
        match (kind, net) {
            (AddressKind::Address, net) => Ok(net.addr()),
            (AddressKind::Netmask, net) => Ok(net.netmask()),
            // Networks of one and two addresses have none (RFC 3021).
            (AddressKind::Broadcast, IpNet::V4(net)) if net.prefix_len() < 31 => {
                Ok(net.broadcast().into())
            }
            (AddressKind::Broadcast | AddressKind::Peer, _) => Err(QueryError::NotFound),
        }
    }

    /// What there is to say of a logical interface (`net_getlifflags`).
    ///
    /// # Errors
    /// [`QueryError`].
    pub fn flags(
        &self,
        interface: InterfaceId,
        address: AddressId,
    ) -> Result<AddressFlags, QueryError> {
        let net = self.net(interface, address)?;
        let interface = self.interface(interface)?;
        let mut flags = AddressFlags::MULTICAST | AddressFlags::ROUTER;
        flags.set(AddressFlags::UP, self.ports.get(interface.port).is_some());
        flags.set(AddressFlags::RUNNING, self.ports.link(interface.port));
        flags.set(AddressFlags::BROADCAST | AddressFlags::INET, net.addr().is_ipv4());
        flags.set(AddressFlags::INET6, net.addr().is_ipv6());
        flags.set(AddressFlags::VLAN, interface.vlan != 0);
        Ok(flags)
    }

    /// The instance that a logical interface belongs to (`net_getlifzone`).
    ///
    /// # Errors
    /// [`QueryError`].
    pub fn instance_of(
        &self,
        interface: InterfaceId,
        address: AddressId,
    ) -> Result<InstanceId, QueryError> {
        self.net(interface, address)?;
        self.interface(interface).map(|interface| interface.instance)
    }

    /// The largest IP packet that an interface takes, in bytes (`net_getmtu`). Not to be kept: a
    /// commit can change it.
    ///
    /// # Errors
    /// [`QueryError`].
    pub fn mtu(&self, interface: InterfaceId) -> Result<u16, QueryError> {
        self.family()?;
        self.interface(interface).map(|interface| interface.mtu)
    }

    /// Whether path MTU discovery works through the router: senders of what is too big are told
    /// (`net_getpmtuenabled`). Always so; there is no knob to break it.
    ///
    /// # Errors
    /// [`QueryError::Unsupported`].
    pub fn path_mtu_discovery(&self) -> Result<bool, QueryError> {
        self.family().map(|_| true)
    }

    /// Where the instance's main table leads an address: the destination alone is asked
    /// (`net_routeto`). Of several next hops, it is the one of a packet without source and ports.
    ///
    /// # Errors
    /// [`QueryError`]; `NotFound` also where routes refuse it, and for the other IP version.
    pub fn route_to(&self, destination: IpAddr) -> Result<RouteTo, QueryError> {
        let family = self.family()?;
        if destination.is_ipv4() != (family == Family::Inet) {
            return Err(QueryError::NotFound);
        }
        let key = FlowKey { dst: number_of(destination), family, ..FlowKey::default() };
        let d = Descriptor { key, ..Descriptor::default() };
        let table = self.instance.main_table();
        let decision = self.instance.look_up_in(table, &d, &mut NoRecorder);
        self.routed(&d, decision.ok_or(QueryError::NotFound)?)
    }

    /// Where a packet would be routed by all that policy says: policy routes, tables, and what may
    /// not be routed at all.
    ///
    /// # Errors
    /// [`QueryError`]; `NotFound` also where it is refused.
    pub fn route(&self, d: &Descriptor) -> Result<RouteTo, QueryError> {
        if d.key.family != self.family()? {
            return Err(QueryError::NotFound);
        }
        self.routed(d, self.instance.route(d, &mut NoRecorder))
    }

    fn routed(&self, d: &Descriptor, decision: RouteDecision) -> Result<RouteTo, QueryError> {
        let (interface, number) = match decision {
            RouteDecision::Forward(id) => {
                let hop = self.policy.next_hop(id);
                (hop.interface, hop.via.unwrap_or(d.key.dst))
            }
            RouteDecision::Local(interface) => (interface, d.key.dst),
            RouteDecision::Drop(_) => return Err(QueryError::NotFound),
        };
        Ok(RouteTo { interface, next_hop: ip_of(d.key.family, number) })
    }

    fn interface(&self, id: InterfaceId) -> Result<&'a Interface, QueryError> {
        let interface = self.policy.interface(id);
        interface.filter(|i| i.instance == self.instance.id).ok_or(QueryError::NotFound)
    }

    fn net(&self, interface: InterfaceId, address: AddressId) -> Result<IpNet, QueryError> {
        let family = self.family()?;
        let place = usize::from(address.0).checked_sub(1).ok_or(QueryError::NotFound)?;
        let net = addresses(self.interface(interface)?, family).nth(place);
        net.ok_or(QueryError::NotFound)
    }

    fn family(&self) -> Result<Family, QueryError> {
        match self.protocol {
            Protocol::Inet => Ok(Family::Inet),
            Protocol::Inet6 => Ok(Family::Inet6),
            _ => Err(QueryError::Unsupported),
        }
    }
}

/// The addresses of an interface of one IP version.
fn addresses(interface: &Interface, family: Family) -> impl Iterator<Item = IpNet> + '_ {
    let all = interface.addresses.iter().copied();
    all.filter(move |net| net.addr().is_ipv4() == (family == Family::Inet))
}

impl<'a> Context<'a> {
    /// The interfaces of the hook's instance, as a protocol sees them.
    #[must_use]
    pub fn interfaces(&self, protocol: Protocol) -> Interfaces<'a> {
        Interfaces { policy: self.policy, ports: self.ports, instance: self.instance, protocol }
    }
}
