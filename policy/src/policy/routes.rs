//! Checks routes and puts them into the tables.

use std::iter::Peekable;
use std::net::IpAddr;

use ipnet::IpNet;
use sluice_packet::Family;

use super::TableEntry;
use super::error::{Mistake, Thing};
use super::hops::{self, At, Leads, MAX_HOPS, Ways};
use super::links::{Links, family_of, unknown_instance};
use super::report::{Report, known};
use super::shared::{Lists, Places};
use crate::digest;
use crate::fib::Leaf;
use crate::ids::{InstanceId, InterfaceId, TableId};
use crate::instance::{Connected, Instance};
use crate::interface::{Interface, is_link_local};
use crate::model::{Name, NextHop, Owner, Route, RouteKey, State, Target};
use crate::route::{NextHops, ResolvedNextHop, leaf};

/// Checks routes, of which many share a list of next hops.
pub(super) struct Checker<'a> {
    links: &'a Links,
    places: Places<'a>,
    on_link: Lists<'a, bool>,
}

impl<'a> Checker<'a> {
    pub(super) fn new(links: &'a Links) -> Checker<'a> {
        Checker { links, places: Places::new(links), on_link: Lists::new() }
    }

    /// Checks one route. What depends on other things than the route itself is a mistake only for
    /// one that `must_resolve`.
    pub(super) fn check(
        &mut self,
        key: &'a RouteKey,
        route: &'a Route,
        must_resolve: impl FnOnce() -> bool,
        report: &mut Report<'_>,
    ) {
        let (prefix, links) = (key.prefix, self.links);
        let sound = key.owner != Owner::Connected
            && prefix == prefix.trunc()
            && unroutable(prefix).is_none();
        if sound
            && let Target::NextHops(list) = &route.target
            && let Some((instance, _)) = self.places.of(key)
        {
            let family = family_of(prefix.addr());
            let find = || hops::all_on_link(list, family, instance, links);
            if self.on_link.get(list, instance.id, family, find) {
                return;
            }
        }
        check(key, route, must_resolve(), links, report);
    }
}

/// Checks one route, whatever is known.
pub(super) fn check(
    key: &RouteKey,
    route: &Route,
    must_resolve: bool,
    links: &Links,
    report: &mut Report<'_>,
) {
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
    let Some(table) = instance.table_named(&key.table) else {
        report.add(&thing, "table", unknown_table(instance, &key.table));
        return;
    };
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
    if hops.len() > MAX_HOPS {
        let (what, count, most) = ("next hops in the route", hops.len(), MAX_HOPS);
        report.add(&thing, "via", Mistake::TooMany { what, count, most });
    }
    check_hops(&thing, hops, report, |hop| {
        hops::unsound(hop, prefix).or_else(|| {
            let at = At { table, prefix };
            if must_resolve { unresolved(hop, at, instance, links) } else { None }
        })
    });
}

/// Checks next hops, of which `wrong` says what is wrong with each alone.
pub(super) fn check_hops(
    thing: &Thing,
    hops: &[NextHop],
    report: &mut Report<'_>,
    wrong: impl Fn(&NextHop) -> Option<(&'static str, Mistake)>,
) {
    for (i, hop) in hops.iter().enumerate() {
        if !(1..=256).contains(&hop.weight) {
            report.add_item(thing, "via", i, Mistake::Weight(hop.weight));
        }
        if let Some((field, mistake)) = wrong(hop) {
            report.add_item(thing, field, i, mistake);
        } else if hops[..i].iter().any(|h| h.via == hop.via && h.interface == hop.interface) {
            let what = match (hop.via, &hop.interface) {
                (Some(via), _) => via.to_string(),
                (None, interface) => interface.as_deref().unwrap_or_default().to_owned(),
            };
            report.add_item(thing, "via", i, Mistake::NextHopTwice(what));
        }
    }
}

/// Why a sound next hop leads nowhere, if so.
pub(super) fn unresolved(
    hop: &NextHop,
    at: At,
    instance: &Instance,
    links: &Links,
) -> Option<(&'static str, Mistake)> {
    match hops::leads(hop, family_of(at.prefix.addr()), instance, links) {
        Ok(Leads::OnLink(_)) => None,
        Ok(Leads::Recursive(via)) => match hops::resolved(via, at, instance, links) {
            Some(_) => None,
            None => Some(("via", Mistake::NobodysNetwork(via))),
        },
        Err(wrong) => Some(wrong),
    }
}

/// Whether every next hop of a route leads somewhere; ports that are down do not count.
pub(super) fn resolves(key: &RouteKey, route: &Route, links: &Links) -> bool {
    let Target::NextHops(list) = &route.target else { return true };
    let Some(instance) = links.instance_named(&key.instance) else { return false };
    let Some(table) = instance.table_named(&key.table) else { return false };
    let at = At { table, prefix: key.prefix };
    list.iter().all(|hop| unresolved(hop, at, instance, links).is_none())
}

/// Whether no next hop of a route leads anywhere, whether ports work or not.
pub(super) fn is_unresolved(at: At, route: &Route, instance: &Instance, links: &Links) -> bool {
    let Target::NextHops(list) = &route.target else { return false };
    let lost = |hop| {
        hops::unsound(hop, at.prefix).is_some() || unresolved(hop, at, instance, links).is_some()
    };
    list.iter().all(lost)
}

/// The prefixes of the main table that a route's next hops resolve through.
pub(super) fn through(at: At, route: &Route, instance: &Instance, links: &Links) -> Vec<IpNet> {
    let vias = hops::recursive_vias(at.prefix, route, instance, links);
    let mut through: Vec<IpNet> = vias
        .filter_map(|(via, _)| Some(hops::resolved(via, at, instance, links)?.through))
        .collect();
    through.sort();
    through.dedup();
    through
}

/// What is wrong with a reference to a table.
pub(super) fn unknown_table(instance: &Instance, name: &Name) -> Mistake {
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

/// The leaf of lists of next hops that are all on links, `None` for one that has no way out; and
/// `None` for a list of which each prefix has to be asked.
pub(super) type Leaves<'a> = Lists<'a, Option<Option<Leaf>>>;

/// The leaf that a prefix has in a table: of what is `set` there and has a way out, what is
/// preferred.
pub(super) fn winner<'a>(
    prefix: IpNet,
    table: &TableEntry,
    instance: &Instance,
    links: &Links,
    set: &[(&'a RouteKey, &'a Route)],
    known: &mut Leaves<'a>,
    next_hops: &mut NextHops,
) -> Option<Leaf> {
    if let Some(connected) = connected(prefix, table.id, instance, links) {
        return Some(connected_leaf(connected, prefix, next_hops));
    }
    let at = At { table: table.id, prefix };
    set.iter().find_map(|(_, route)| {
        Some(match &route.target {
            Target::Blackhole => leaf::BLACKHOLE,
            Target::Reject => leaf::REJECT,
            Target::Prohibit => leaf::PROHIBIT,
            Target::Table { instance, table } => leaf::table(links.table_named(instance, table)?),
            Target::NextHops(list) => {
                let family = family_of(prefix.addr());
                let mut leaf = || match hops::ways(list, at, instance, links)? {
                    Ways::Out(ways) => Some(next_hops.leaf(&ways, |hop| links.member_key(hop))),
                    Ways::Drop(leaf) => Some(leaf),
                };
                let find = || hops::all_on_link(list, family, instance, links).then(&mut leaf);
                match known.get(list, instance.id, family, find) {
                    Some(leaf) => leaf?,
                    None => leaf()?,
                }
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
    set_from(&first(instance, table.into(), prefix), state)
}

/// The first that a prefix of a table may have.
fn first(instance: &Instance, table: Name, prefix: IpNet) -> RouteKey {
    RouteKey { instance: instance.name.clone(), table, prefix, owner: Owner::Connected }
}

fn set_from<'a>(first: &RouteKey, state: &'a State) -> Vec<(&'a RouteKey, &'a Route)> {
    let same = |key: &RouteKey| key.stands_with(first) && key.prefix == first.prefix;
    let from = state.routes.range::<_, RouteKey>(first..);
    let mut set: Vec<_> = from.take_while(|(key, _)| same(key)).collect();
    by_preference(&mut set);
    set
}

/// What was set for prefixes of a table that are asked for one after the other, ascending.
pub(super) struct Set<'a> {
    state: &'a State,
    /// The first that there may be for the prefix that was asked for last.
    first: RouteKey,
    /// All of the table, where so many are asked for that to look at each is quicker than to look
    /// for some.
    walk: Option<Peekable<Walk<'a>>>,
    found: Vec<(&'a RouteKey, &'a Route)>,
}

type Walk<'a> = Box<dyn Iterator<Item = (&'a RouteKey, &'a Route)> + 'a>;

impl<'a> Set<'a> {
    /// Of a table; so many prefixes are to be asked for.
    pub(super) fn new(
        instance: &Instance,
        table: &Name,
        prefixes: usize,
        state: &'a State,
    ) -> Set<'a> {
        /// To look for one takes as long as to look at so many.
        const SEARCH: usize = 16;
        let first = first(instance, table.clone(), IpNet::default());
        let walk = (prefixes * SEARCH > state.routes.len()).then(|| {
            let walk: Walk<'a> = Box::new(state.routes.range::<_, RouteKey>(&first..));
            walk.peekable()
        });
        Set { state, first, walk, found: Vec::new() }
    }

    /// What was set for the next prefix, what is preferred at the front.
    pub(super) fn at(&mut self, prefix: IpNet) -> &[(&'a RouteKey, &'a Route)] {
        self.first.prefix = prefix;
        let Some(walk) = &mut self.walk else {
            self.found = set_from(&self.first, self.state);
            return &self.found;
        };
        let first = &self.first;
        while walk.next_if(|(key, _)| key.stands_with(first) && key.prefix < prefix).is_some() {}
        self.found.clear();
        let here = |key: &RouteKey| key.stands_with(first) && key.prefix == prefix;
        while let Some(route) = walk.next_if(|(key, _)| here(key)) {
            self.found.push(route);
        }
        by_preference(&mut self.found);
        &self.found
    }
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
pub(super) fn is_usable(at: At, route: &Route, instance: &Instance, links: &Links) -> bool {
    match &route.target {
        Target::NextHops(list) => hops::has_way(list, at, instance, links),
        Target::Blackhole | Target::Reject | Target::Prohibit | Target::Table { .. } => true,
    }
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

    /// What a next hop is called in the choice among several: the same in every process.
    pub(super) fn member_key(&self, hop: &ResolvedNextHop) -> u64 {
        let interface = self.interface(hop.interface).map(|interface| &interface.name);
        digest::of(&(interface, hop.via, hop.family == Family::Inet6))
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

    /// A table, for people.
    pub(super) fn table_words(&self, id: TableId) -> Option<String> {
        let table = self.tables.get(id.index())?.as_ref()?;
        let instance = self.instances.get(table.instance.index())?.as_ref()?;
        Some(format!("table {} of instance {}", table.name, instance.name))
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
