//! The kernel's routes as they were last heard of, and what they mean here.
//!
//! A change that leaves it open what is there now (one next hop of several goes, a route is appended to
//! another, links or addresses change, which takes routes along in silence) is not guessed at: everything
//! is asked for anew.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::IpAddr;

use ipnet::IpNet;
use netlink_packet_core::{NLM_F_APPEND, NLM_F_REPLACE};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::route::{
    RouteAddress, RouteAttribute, RouteFlags, RouteMessage, RouteNextHopFlags, RouteType, RouteVia,
};
use sluice_policy::Policy;
use sluice_policy::config::KernelRoutes;
use sluice_policy::device::Device;
use sluice_policy::model::{Name, NextHop, Owner, Position, Route, RouteKey, Target};

use super::socket::{self, Snapshot};
use super::work::FILE;

/// A table of the kernel and a prefix in it.
pub(super) type Place = (u32, IpNet);

/// The kernel's routes.
#[derive(Debug, Default)]
pub(super) struct Table {
    links: HashMap<u32, String>,
    /// By place, then by metric and protocol: the kernel uses the one with the lowest metric.
    routes: BTreeMap<Place, BTreeMap<(u32, u8), Way>>,
}

/// Where a route of the kernel leads.
#[derive(Clone, PartialEq, Eq, Debug)]
enum Way {
    Out(Vec<Hop>),
    Blackhole,
    Unreachable,
    Prohibit,
}

#[derive(Clone, PartialEq, Eq, Debug)]
struct Hop {
    gateway: Option<IpAddr>,
    link: Option<u32>,
    weight: u16,
}

/// What a message changes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum News {
    /// Nothing of interest.
    Nothing,
    /// The routes at a place.
    At(Place),
    /// It is not known what: ask for everything.
    Unknown,
}

/// A route as a message has it.
struct Heard {
    place: Place,
    metric: u32,
    protocol: u8,
    way: Way,
}

impl Table {
    /// What there is.
    pub(super) fn new(snapshot: Snapshot) -> Table {
        let mut table = Table { links: snapshot.links, routes: BTreeMap::new() };
        for message in &snapshot.routes {
            if let Some(Heard { place, metric, protocol, way }) = heard(message) {
                // Of equal ones the kernel uses the first.
                let at = table.routes.entry(place).or_default();
                at.entry((metric, protocol)).or_insert(way);
            }
        }
        table
    }

    /// Takes a change in.
    pub(super) fn hear(&mut self, flags: u16, message: &RouteNetlinkMessage) -> News {
        match message {
            RouteNetlinkMessage::NewRoute(route) => match heard(route) {
                Some(heard) => self.set(flags, heard),
                None => News::Nothing,
            },
            RouteNetlinkMessage::DelRoute(route) => match heard(route) {
                Some(heard) => self.remove(&heard),
                None => News::Nothing,
            },
            RouteNetlinkMessage::NewLink(link) => {
                let known = self.links.get(&link.header.index).map(String::as_str);
                match (known, socket::name(link)) {
                    // Its flags may say that its routes are gone.
                    (Some(known), Some(name)) if known == name => News::Unknown,
                    (_, Some(name)) => {
                        self.links.insert(link.header.index, name.to_owned());
                        News::Unknown
                    }
                    (_, None) => News::Nothing,
                }
            }
            RouteNetlinkMessage::DelLink(_) | RouteNetlinkMessage::DelAddress(_) => News::Unknown,
            _ => News::Nothing,
        }
    }

    fn set(&mut self, flags: u16, heard: Heard) -> News {
        let Heard { place, metric, protocol, way } = heard;
        let at = self.routes.entry(place).or_default();
        if flags & NLM_F_REPLACE != 0 {
            at.retain(|(other, _), _| *other != metric);
        }
        match at.insert((metric, protocol), way.clone()) {
            Some(known) if known == way => News::Nothing,
            // Beside the one that is there, before it or behind it.
            Some(_) => News::Unknown,
            None if flags & NLM_F_APPEND != 0 && at.len() > 1 => News::Unknown,
            None => News::At(place),
        }
    }

    fn remove(&mut self, heard: &Heard) -> News {
        let Heard { place, metric, protocol, way } = heard;
        let Some(at) = self.routes.get_mut(place) else { return News::Nothing };
        match at.get(&(*metric, *protocol)) {
            None => News::Nothing,
            Some(known) if known == way => {
                at.remove(&(*metric, *protocol));
                if at.is_empty() {
                    self.routes.remove(place);
                }
                News::At(*place)
            }
            Some(_) => News::Unknown,
        }
    }

    /// What the routes at some places mean: those that should be set, and those that should not.
    pub(super) fn meaning(
        &self,
        places: &BTreeSet<Place>,
        followed: &[KernelRoutes],
        policy: &Policy,
    ) -> BTreeMap<RouteKey, Option<Route>> {
        let names = self.interfaces(policy);
        let mut meaning = BTreeMap::new();
        for place in places {
            for source in followed.iter().filter(|source| source.table == place.0) {
                for owner in OWNERS {
                    let key = key(source, place.1, owner);
                    meaning.insert(key, None);
                }
                self.mean(place, source, &names, &mut meaning);
            }
        }
        meaning
    }

    /// What all routes mean.
    pub(super) fn all(
        &self,
        followed: &[KernelRoutes],
        policy: &Policy,
    ) -> BTreeMap<RouteKey, Option<Route>> {
        let names = self.interfaces(policy);
        let mut meaning = BTreeMap::new();
        for source in followed {
            let of_table = self.routes.keys().filter(|place| place.0 == source.table);
            of_table.for_each(|place| self.mean(place, source, &names, &mut meaning));
        }
        meaning
    }

    fn mean(
        &self,
        place: &Place,
        source: &KernelRoutes,
        names: &HashMap<u32, Name>,
        meaning: &mut BTreeMap<RouteKey, Option<Route>>,
    ) {
        // Those that are preferred come last, and take the place of the others.
        for ((metric, protocol), way) in self.routes.get(place).into_iter().flatten().rev() {
            if !source.follows(*protocol) {
                continue;
            }
            let owner = owner(*protocol);
            let Some(target) = way.target(place.1, names) else { continue };
            let position = Position { file: FILE.into(), line: 0, column: 0 };
            let route = Route::new(target, &owner, position);
            let route = Route { metric: *metric, tag: (*protocol).into(), ..route };
            meaning.insert(key(source, place.1, owner), Some(route));
        }
    }

    /// Our interfaces by the numbers of the kernel's: a port is that of its device, and another may
    /// have the same name.
    fn interfaces(&self, policy: &Policy) -> HashMap<u32, Name> {
        let by_device: HashMap<String, &Name> = policy
            .ports()
            .filter_map(|port| {
                let device = Device::parse(&port.spec.device).kernel_interface()??.to_owned();
                Some((device, &port.name))
            })
            .collect();
        let ours = |name: &String| {
            let port = by_device.get(name).map_or(name.as_str(), |port| port);
            policy.interface_named(port).map(|interface| interface.name.clone())
        };
        self.links.iter().filter_map(|(&index, name)| Some((index, ours(name)?))).collect()
    }
}

impl Way {
    /// Where the route leads here; `None` where it leads nowhere that we know.
    fn target(&self, prefix: IpNet, names: &HashMap<u32, Name>) -> Option<Target> {
        let hops = match self {
            Way::Blackhole => return Some(Target::Blackhole),
            Way::Unreachable => return Some(Target::Reject),
            Way::Prohibit => return Some(Target::Prohibit),
            Way::Out(hops) => hops,
        };
        let of_family = |gateway: &IpAddr| gateway.is_ipv4() == prefix.addr().is_ipv4();
        let hop = |hop: &Hop| {
            let interface = || names.get(&hop.link?).cloned();
            let via = hop.gateway.filter(of_family);
            let interface = match via {
                // A neighbour is found by its address alone, whatever its link is called there.
                Some(IpAddr::V4(_)) => None,
                Some(IpAddr::V6(via)) if !via.is_unicast_link_local() => None,
                Some(_) => Some(interface()?),
                // The gateway is of the other IP version, which we do not have.
                None if hop.gateway.is_some() => return None,
                None => Some(interface()?),
            };
            Some(NextHop { via, interface, weight: hop.weight })
        };
        let mut known: Vec<NextHop> = Vec::new();
        for next in hops.iter().filter_map(hop) {
            // The same gateway over another link of the kernel's is no other one here.
            let same =
                |other: &NextHop| (other.via, &other.interface) == (next.via, &next.interface);
            if !known.iter().any(same) {
                known.push(next);
            }
        }
        (!known.is_empty()).then(|| Target::NextHops(known.into()))
    }
}

/// The owners that routes of the kernel may have.
const OWNERS: [Owner; 4] = [Owner::Kernel, Owner::Bgp, Owner::Ospf, Owner::Dhcp];

/// Whose a route is that a protocol wrote (`RTPROT_…` of rtnetlink(7)).
fn owner(protocol: u8) -> Owner {
    match protocol {
        16 => Owner::Dhcp,
        186 => Owner::Bgp,
        188 => Owner::Ospf,
        _ => Owner::Kernel,
    }
}

fn key(source: &KernelRoutes, prefix: IpNet, owner: Owner) -> RouteKey {
    let (instance, table) = (source.instance.clone(), source.into.clone());
    RouteKey { instance, table, prefix, owner }
}

/// What a message says; `None` for what is no route of a table, or depends on more than the
/// destination.
fn heard(message: &RouteMessage) -> Option<Heard> {
    let header = &message.header;
    if header.tos != 0
        || header.source_prefix_length != 0
        || header.flags.contains(RouteFlags::Cloned)
    {
        return None;
    }
    let mut destination = None;
    let mut table = u32::from(header.table);
    let mut metric = 0;
    let mut hop = Hop { gateway: None, link: None, weight: 1 };
    let mut several = None;
    for attribute in &message.attributes {
        match attribute {
            RouteAttribute::Destination(address) => destination = Some(ip(address)?),
            RouteAttribute::Table(number) => table = *number,
            RouteAttribute::Priority(number) => metric = *number,
            RouteAttribute::MultiPath(hops) => several = Some(hops),
            other => part(other, &mut hop),
        }
    }
    let address = match (destination, u8::from(header.address_family)) {
        (Some(address), _) => address,
        (None, INET) => IpAddr::from([0; 4]),
        (None, INET6) => IpAddr::from([0; 16]),
        _ => return None,
    };
    let prefix = IpNet::new(address, header.destination_prefix_length).ok()?;
    let way = match header.kind {
        RouteType::Unicast => Way::Out(
            several.map_or_else(|| vec![hop], |hops| hops.iter().filter_map(next).collect()),
        ),
        RouteType::BlackHole => Way::Blackhole,
        RouteType::Unreachable => Way::Unreachable,
        RouteType::Prohibit => Way::Prohibit,
        _ => return None,
    };
    Some(Heard { place: (table, prefix), metric, protocol: header.protocol.into(), way })
}

/// Address families (`AF_…` of socket(2)).
const INET: u8 = 2;
const INET6: u8 = 10;

/// One of several next hops, if it is alive.
fn next(hop: &netlink_packet_route::route::RouteNextHop) -> Option<Hop> {
    if hop.flags.contains(RouteNextHopFlags::Dead) {
        return None;
    }
    let mut next =
        Hop { gateway: None, link: Some(hop.interface_index), weight: u16::from(hop.hops) + 1 };
    hop.attributes.iter().for_each(|attribute| part(attribute, &mut next));
    Some(next)
}

/// What an attribute says about a next hop.
fn part(attribute: &RouteAttribute, hop: &mut Hop) {
    match attribute {
        RouteAttribute::Gateway(address) => hop.gateway = ip(address),
        RouteAttribute::Via(RouteVia::Inet(address)) => hop.gateway = Some((*address).into()),
        RouteAttribute::Via(RouteVia::Inet6(address)) => hop.gateway = Some((*address).into()),
        RouteAttribute::Oif(index) => hop.link = Some(*index),
        _ => {}
    }
}

fn ip(address: &RouteAddress) -> Option<IpAddr> {
    match address {
        RouteAddress::Inet(address) => Some((*address).into()),
        RouteAddress::Inet6(address) => Some((*address).into()),
        _ => None,
    }
}

#[cfg(test)]
mod tests;
