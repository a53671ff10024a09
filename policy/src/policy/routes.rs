//! Checks routes and puts them into the tables.

use std::net::IpAddr;

use ipnet::IpNet;
use sluice_packet::Family;
use sluice_packet::descriptor::number_of;

use super::TableEntry;
use super::error::{Mistake, Thing};
use super::links::{Links, family_of, no_host, not_a_station, unknown_instance};
use super::report::{Report, known};
use crate::fib::Leaf;
use crate::ids::{InstanceId, InterfaceId, TableId};
use crate::instance::{Connected, Instance};
use crate::interface::{Interface, is_link_local};
use crate::model::{Name, NextHop, Owner, Route, RouteKey, State, Target};
use crate::route::{NextHops, ResolvedNextHop, leaf};

/// Checks one route.
pub(super) fn check(key: &RouteKey, route: &Route, links: &Links, report: &mut Report<'_>) {
    let thing = Thing::Route(key.clone());
    let prefix = key.prefix;
    if key.owner == Owner::Connected {
        report.add(&thing, "", Mistake::ConnectedRoute);
    }
    if prefix != prefix.trunc() {
        report.add(&thing, "to", Mistake::HostBits { prefix, right: prefix.trunc() });
    } else if let Some(why) = unroutable(prefix) {
        report.add(&thing, "to", Mistake::UnroutablePrefix { prefix, why });
    }
    let Some(instance) = links.instance_named(&key.instance) else {
        report.add(&thing, "instance", unknown_instance(report.state, &key.instance));
        return;
    };
    if instance.table_named(&key.table).is_none() {
        report.add(&thing, "table", unknown_table(instance, &key.table));
    }
    let hops = match &route.target {
        Target::NextHops(hops) => hops,
        Target::Table { instance, table } => {
            if (instance, table) == (&key.instance, &key.table) {
                report.add(&thing, "lookup", Mistake::OwnTable);
            }
            match links.instance_named(instance) {
                Some(to) if to.table_named(table).is_some() => {}
                Some(to) => report.add(&thing, "lookup", unknown_table(to, table)),
                None => report.add(&thing, "lookup", unknown_instance(report.state, instance)),
            }
            return;
        }
        Target::Blackhole | Target::Reject | Target::Prohibit => return,
    };
    if hops.is_empty() {
        report.add(&thing, "", Mistake::NoNextHop);
    }
    for (i, hop) in hops.iter().enumerate() {
        if !(1..=256).contains(&hop.weight) {
            report.add_item(&thing, "via", i, Mistake::Weight(hop.weight));
        }
        if let Err((field, mistake)) = resolve(hop, prefix, instance, links) {
            report.add_item(&thing, field, i, mistake);
        } else if hops[..i].iter().any(|h| h.via == hop.via && h.interface == hop.interface) {
            let what = match (hop.via, &hop.interface) {
                (Some(via), _) => via.to_string(),
                (None, interface) => interface.as_deref().unwrap_or_default().to_owned(),
            };
            report.add_item(&thing, "via", i, Mistake::NextHopTwice(what));
        }
    }
}

/// What is wrong with a reference to a table.
fn unknown_table(instance: &Instance, name: &Name) -> Mistake {
    let known = known(instance.table_ids.keys());
    Mistake::UnknownTable { name: name.clone(), instance: instance.name.clone(), known }
}

/// Why packets to this prefix never come to the table, if so.
fn unroutable(prefix: IpNet) -> Option<&'static str> {
    let network = prefix.network();
    // 0.0.0.0/0 and ::/0 are the default routes.
    let (multicast, local) = match network {
        IpAddr::V4(v4) => (v4.is_multicast() && prefix.prefix_len() >= 4, v4.is_loopback()),
        IpAddr::V6(v6) => {
            let link = is_link_local(v6.to_bits()) && prefix.prefix_len() >= 10;
            (v6.is_multicast() && prefix.prefix_len() >= 8, v6.is_loopback() || link)
        }
    };
    if multicast {
        Some("multicast is not routed")
    } else if local && prefix.prefix_len() >= 8 {
        Some("such addresses do not leave their host or link")
    } else {
        None
    }
}

/// The interface and neighbour that a next hop means.
pub(super) fn resolve(
    hop: &NextHop,
    prefix: IpNet,
    instance: &Instance,
    links: &Links,
) -> Result<ResolvedNextHop, (&'static str, Mistake)> {
    let family = family_of(prefix.addr());
    let named = match &hop.interface {
        Some(name) => {
            Some(member(name, instance, links).map_err(|mistake| ("interface", mistake))?)
        }
        None => None,
    };
    let Some(via) = hop.via else {
        let interface = named.ok_or(("", Mistake::NoNextHop))?.id;
        return Ok(ResolvedNextHop { interface, via: None, family });
    };
    let number = number_of(via);
    let link_local = family == Family::Inet6 && is_link_local(number);
    if family_of(via) != family {
        return Err(("via", Mistake::NextHopFamily { via, prefix }));
    }
    if let Some(why) = not_a_station(via) {
        return Err(("via", Mistake::NextHopNoStation(via, why)));
    }
    if let Some(own) = instance.owns(family, number).and_then(|id| links.interface(id)) {
        return Err(("via", Mistake::NextHopOwn { via, interface: own.name.clone() }));
    }
    let interface = match named {
        Some(interface) if interface.on_link(family, number) => interface,
        Some(interface) => {
            let interface = interface.name.clone();
            return Err(("via", Mistake::NextHopOffLink { via, interface }));
        }
        None if link_local => return Err(("via", Mistake::LinkLocalNextHop(via))),
        None => {
            let towards = instance.interface_towards(family, number);
            let interface = towards.and_then(|id| links.interface(id));
            interface.ok_or(("via", Mistake::NobodysNetwork(via)))?
        }
    };
    if let Some(why) = interface.addresses.iter().find_map(|net| no_host(*net, via)) {
        return Err(("via", Mistake::NextHopNoStation(via, why)));
    }
    Ok(ResolvedNextHop { interface: interface.id, via: Some(number), family })
}

/// The interface of that name in the instance.
pub(super) fn member<'a>(
    name: &Name,
    instance: &Instance,
    links: &'a Links,
) -> Result<&'a Interface, Mistake> {
    let found = links.by_name.get(name).and_then(|id| links.interface(*id));
    found.filter(|interface| interface.instance == instance.id).ok_or_else(|| {
        let members = links.interfaces.iter().flatten().filter(|i| i.instance == instance.id);
        let known = known(members.map(|interface| &interface.name));
        Mistake::InterfaceNotMember { name: name.clone(), instance: instance.name.clone(), known }
    })
}

/// The leaf that a prefix has in a table: of what stands there and has a way out, what is
/// preferred.
pub(super) fn winner(
    prefix: IpNet,
    table: &TableEntry,
    instance: &Instance,
    links: &Links,
    state: &State,
    hops: &mut NextHops,
) -> Option<Leaf> {
    if let Some(connected) = connected(prefix, table.id, instance, links) {
        return Some(connected_leaf(connected, prefix, hops));
    }
    set(prefix, instance, &table.name, state).into_iter().find_map(|(_, route)| {
        Some(match &route.target {
            Target::Blackhole => leaf::BLACKHOLE,
            Target::Reject => leaf::REJECT,
            Target::Prohibit => leaf::PROHIBIT,
            Target::Table { instance, table } => leaf::table(links.table_named(instance, table)?),
            Target::NextHops(list) => {
                let usable: Vec<_> = usable(list, prefix, instance, links).collect();
                if usable.is_empty() {
                    return None;
                }
                hops.leaf(&usable)
            }
        })
    })
}

/// What was set for a prefix of a table, what is preferred at the front.
pub(super) fn set<'a>(
    prefix: IpNet,
    instance: &Instance,
    table: &str,
    state: &'a State,
) -> Vec<(&'a RouteKey, &'a Route)> {
    let (instance, table) = (instance.name.clone(), table.into());
    let first = RouteKey { instance, table, prefix, owner: Owner::Connected };
    let same = |key: &RouteKey| {
        (&key.instance, &key.table, key.prefix) == (&first.instance, &first.table, prefix)
    };
    let mut set: Vec<_> = state.routes.range(&first..).take_while(|(key, _)| same(key)).collect();
    by_preference(&mut set);
    set
}

/// Sorts routes of one prefix: what is preferred comes first.
pub(super) fn by_preference(routes: &mut [(&RouteKey, &Route)]) {
    routes.sort_by_key(|&(key, route)| (route.preference, route.metric, &key.owner));
}

/// What an interface's address puts at a prefix of a table, if that is in use.
pub(super) fn connected(
    prefix: IpNet,
    table: TableId,
    instance: &Instance,
    links: &Links,
) -> Option<Connected> {
    let connected = instance.connected.get(&prefix).filter(|_| table == instance.main);
    connected.copied().filter(|&connected| carried(connected, links))
}

/// Whether what an interface's address puts into the table is in use: a network behind a port
/// that is down is not.
pub(super) fn carried(connected: Connected, links: &Links) -> bool {
    match connected {
        Connected::Network(interface) => !links.is_down(interface),
        Connected::Own(_) | Connected::Broadcast => true,
    }
}

/// Whether a route has a way out.
pub(super) fn is_usable(prefix: IpNet, route: &Route, instance: &Instance, links: &Links) -> bool {
    match &route.target {
        Target::NextHops(_) if links.down.is_empty() => true,
        Target::NextHops(list) => usable(list, prefix, instance, links).next().is_some(),
        Target::Blackhole | Target::Reject | Target::Prohibit | Target::Table { .. } => true,
    }
}

/// The next hops that lead to a port that is not down, with their weights.
fn usable(
    list: &[NextHop],
    prefix: IpNet,
    instance: &Instance,
    links: &Links,
) -> impl Iterator<Item = (ResolvedNextHop, u16)> {
    list.iter()
        .filter_map(move |hop| Some((resolve(hop, prefix, instance, links).ok()?, hop.weight)))
        .filter(|(hop, _)| !links.is_down(hop.interface))
}

/// The leaf of what an interface's address put there.
pub(super) fn connected_leaf(connected: Connected, prefix: IpNet, hops: &mut NextHops) -> Leaf {
    match connected {
        Connected::Own(interface) => leaf::local(interface),
        Connected::Broadcast => leaf::BROADCAST,
        Connected::Network(interface) => {
            let family = family_of(prefix.addr());
            leaf::forward(hops.intern(ResolvedNextHop { interface, via: None, family }))
        }
    }
}

impl Links {
    pub(super) fn interface(&self, id: InterfaceId) -> Option<&Interface> {
        self.interfaces.get(id.index())?.as_ref()
    }

    /// Whether an interface is on a port that is down.
    pub(super) fn is_down(&self, id: InterfaceId) -> bool {
        !self.down.is_empty() && self.interface(id).is_some_and(|i| self.down.contains(&i.port))
    }

    /// All tables, with the instances that they belong to.
    pub(super) fn all_tables(&self) -> impl Iterator<Item = (&TableEntry, &Instance)> {
        let instance = |id: InstanceId| self.instances.get(id.index())?.as_ref();
        self.tables
            .iter()
            .flatten()
            .filter_map(move |table| Some((table, instance(table.instance)?)))
    }

    pub(super) fn table_named(&self, instance: &str, table: &str) -> Option<TableId> {
        self.instance_named(instance)?.table_named(table)
    }

    pub(super) fn instance_named(&self, name: &str) -> Option<&Instance> {
        self.instances.iter().flatten().find(|instance| &*instance.name == name)
    }

    pub(super) fn instance_named_mut(&mut self, name: &str) -> Option<&mut Instance> {
        self.instances.iter_mut().flatten().find(|instance| &*instance.name == name)
    }
}
