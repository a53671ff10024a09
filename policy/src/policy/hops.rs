//! Where next hops lead: to a neighbour on a link, or, if their address is on none, wherever the
//! routes of the instance's main table lead from there.
//!
//! An address that is on no link *resolves* through the longest route that covers it, default
//! routes aside, and takes over that route's next hops, or its blackhole. A route does not resolve
//! through itself, nor two through each other (RFC 4271 section 9.1.2.1), nor through more than
//! [`MAX_DEPTH`] others. What does not resolve is not used, as if its port were down.
//!
//! There are few such addresses, however many routes name them, so they are resolved apart from
//! the routes, and all together: from nothing, in rounds each of which knows what the one before
//! found. What comes of it depends on the state alone, not on the commits that led there.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::net::IpAddr;
use std::sync::Arc;

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use sluice_packet::Family;
use sluice_packet::descriptor::number_of;

use super::TableEntry;
use super::error::Mistake;
use super::links::{Links, family_of, no_host, not_a_station};
use super::routes::{self, member};
use super::shared::{Lists, Places};
use crate::fib::Leaf;
use crate::ids::{InstanceId, InterfaceId, TableId};
use crate::instance::{Connected, Instance};
use crate::interface::is_link_local;
use crate::model::{Delta, Name, NextHop, Operation, PolicyAction, Route, RouteKey, State, Target};
use crate::route::{MAX_TABLES, ResolvedNextHop, leaf};

/// The most routes that one resolves through.
const MAX_DEPTH: usize = 8;
/// The most next hops that are told apart behind one route.
pub(super) const MAX_HOPS: usize = 256;
/// What a weight of 1 counts: a share of a share must not come to nothing.
const UNIT: u32 = 1 << 16;

/// An address that routes of an instance name as their next hop and that is on no link.
pub(super) type Via = (IpAddr, InstanceId);

/// The next hops that are on no link, and what they resolve to.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(super) struct Recursive(BTreeMap<Via, Entry>);

#[derive(Clone, PartialEq, Eq, Debug, Default)]
struct Entry {
    /// How many next hops of routes name it.
    users: usize,
    to: Option<Resolution>,
}

/// What an address resolves to.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Resolution {
    /// The prefix of the instance's main table that it resolves through.
    pub(super) through: IpNet,
    ways: Ways,
}

/// What is behind a route.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Ways {
    /// Neighbours, with their shares of the flows.
    Out(Vec<(ResolvedNextHop, u32)>),
    /// None: the leaf of a route that drops.
    Drop(Leaf),
}

/// Where a route stands.
#[derive(Clone, Copy)]
pub(super) struct At {
    pub(super) table: TableId,
    pub(super) prefix: IpNet,
}

impl At {
    /// In no table: a policy route, for the packets of an IP version.
    pub(super) fn no_table(family: Family) -> At {
        At { table: TableId(u16::MAX), prefix: any_destination(family) }
    }
}

/// All destinations of an IP version.
pub(super) fn any_destination(family: Family) -> IpNet {
    match family {
        Family::Inet => Ipv4Net::default().into(),
        Family::Inet6 => Ipv6Net::default().into(),
    }
}

/// Where a next hop leads.
pub(super) enum Leads {
    /// To a neighbour, or to all that is on the link.
    OnLink(ResolvedNextHop),
    /// As the routes to this address.
    Recursive(IpAddr),
}

/// A field of a next hop, and what is wrong with it.
type Wrong = (&'static str, Mistake);

/// What is wrong with a next hop whatever else there is.
pub(super) fn unsound(hop: &NextHop, prefix: IpNet) -> Option<Wrong> {
    let Some(via) = hop.via else {
        return hop.interface.is_none().then_some(("", Mistake::NoNextHop));
    };
    let mistake = if family_of(via) != family_of(prefix.addr()) {
        Mistake::NextHopFamily { via, prefix }
    } else if let Some(why) = not_a_station(via) {
        Mistake::NextHopNoStation(via, why)
    } else if hop.interface.is_none() && via.is_ipv6() && is_link_local(number_of(via)) {
        Mistake::LinkLocalNextHop(via)
    } else {
        return None;
    };
    Some(("via", mistake))
}

/// Where a sound next hop leads, as the links are.
pub(super) fn leads(
    hop: &NextHop,
    family: Family,
    instance: &Instance,
    links: &Links,
) -> Result<Leads, Wrong> {
    let named = match &hop.interface {
        Some(name) => {
            Some(member(name, instance, links).map_err(|mistake| ("interface", mistake))?)
        }
        None => None,
    };
    let Some(via) = hop.via else {
        let interface = named.ok_or(("", Mistake::NoNextHop))?.id;
        return Ok(Leads::OnLink(ResolvedNextHop { interface, via: None, family }));
    };
    let number = number_of(via);
    if let Some(own) = instance.owns(family, number).and_then(|id| links.interface(id)) {
        return Err(("via", Mistake::NextHopOwn { via, interface: own.name.clone() }));
    }
    let towards = || links.interface(instance.interface_towards(family, number)?);
    let interface = match named {
        Some(interface) if interface.on_link(family, number) => interface,
        Some(interface) => {
            let interface = interface.name.clone();
            return Err(("via", Mistake::NextHopOffLink { via, interface }));
        }
        None => match towards() {
            Some(interface) => interface,
            None => return Ok(Leads::Recursive(via)),
        },
    };
    if let Some(why) = interface.addresses.iter().find_map(|net| no_host(*net, via)) {
        return Err(("via", Mistake::NextHopNoStation(via, why)));
    }
    Ok(Leads::OnLink(ResolvedNextHop { interface: interface.id, via: Some(number), family }))
}

/// What an address that is on no link resolves to for a route that stands there.
pub(super) fn resolved<'a>(
    via: IpAddr,
    at: At,
    instance: &Instance,
    links: &'a Links,
) -> Option<&'a Resolution> {
    let resolution = links.recursive.0.get(&(via, instance.id))?.to.as_ref()?;
    let within = at.table == instance.main && at.prefix.contains(&via);
    let itself = within && resolution.through.prefix_len() <= at.prefix.prefix_len();
    (!itself).then_some(resolution)
}

/// What is behind a route's next hops: those whose ports work, or what drops.
pub(super) fn ways(hops: &[NextHop], at: At, instance: &Instance, links: &Links) -> Option<Ways> {
    let family = family_of(at.prefix.addr());
    let mut out = Vec::new();
    let mut drops = None;
    for hop in hops.iter().filter(|hop| unsound(hop, at.prefix).is_none()) {
        let weight = u32::from(hop.weight) * UNIT;
        match leads(hop, family, instance, links) {
            Ok(Leads::OnLink(hop)) if !links.is_down(hop.interface) => add(&mut out, hop, weight),
            Ok(Leads::Recursive(via)) => match resolved(via, at, instance, links) {
                Some(Resolution { ways: Ways::Out(behind), .. }) => {
                    let sum: u64 = behind.iter().map(|(_, share)| u64::from(*share)).sum();
                    for &(hop, share) in behind {
                        let share = u64::from(weight) * u64::from(share) / sum.max(1);
                        add(&mut out, hop, (share as u32).max(1));
                    }
                }
                Some(Resolution { ways: Ways::Drop(leaf), .. }) => drop(drops.get_or_insert(*leaf)),
                None => {}
            },
            _ => {}
        }
    }
    if out.is_empty() { drops.map(Ways::Drop) } else { Some(Ways::Out(out)) }
}

/// Whether there are any [`ways`]. Nothing is allocated.
pub(super) fn has_way(hops: &[NextHop], at: At, instance: &Instance, links: &Links) -> bool {
    let family = family_of(at.prefix.addr());
    let mut sound = hops.iter().filter(|hop| unsound(hop, at.prefix).is_none());
    sound.any(|hop| match leads(hop, family, instance, links) {
        Ok(Leads::OnLink(hop)) => !links.is_down(hop.interface),
        Ok(Leads::Recursive(via)) => {
            resolved(via, at, instance, links).is_some_and(|resolution| match &resolution.ways {
                Ways::Out(behind) => !behind.is_empty(),
                Ways::Drop(_) => true,
            })
        }
        Err(_) => false,
    })
}

fn add(out: &mut Vec<(ResolvedNextHop, u32)>, hop: ResolvedNextHop, weight: u32) {
    if let Some((_, share)) = out.iter_mut().find(|(other, _)| *other == hop) {
        *share = share.saturating_add(weight);
    } else if out.len() < MAX_HOPS {
        out.push((hop, weight));
    }
}

/// Whether a list of next hops is right for every route of a family in an instance, and each of them
/// on a link: what its routes lead to has nothing to do with their prefixes then.
pub(super) fn all_on_link(
    hops: &[NextHop],
    family: Family,
    instance: &Instance,
    links: &Links,
) -> bool {
    // Longer lists are compared with themselves too often for this.
    const FEW: usize = 16;
    let any = any_destination(family);
    let on_link = |hop: &NextHop| {
        (1..=256).contains(&hop.weight)
            && unsound(hop, any).is_none()
            && matches!(leads(hop, family, instance, links), Ok(Leads::OnLink(_)))
    };
    let twice = |at: usize, hop: &NextHop| {
        hops[..at].iter().any(|other| other.via == hop.via && other.interface == hop.interface)
    };
    (1..=FEW).contains(&hops.len())
        && hops.iter().all(on_link)
        && !hops.iter().enumerate().any(|(at, hop)| twice(at, hop))
}

/// The addresses on no link that a route's next hops name.
pub(super) fn recursive_vias<'a>(
    prefix: IpNet,
    route: &'a Route,
    instance: &'a Instance,
    links: &'a Links,
) -> impl Iterator<Item = Via> + use<'a> {
    let hops = match &route.target {
        Target::NextHops(hops) => &**hops,
        _ => &[],
    };
    recursive_in(hops, prefix, instance, links)
}

/// The addresses on no link among the next hops of a route of a prefix.
fn recursive_in<'a>(
    hops: &'a [NextHop],
    prefix: IpNet,
    instance: &'a Instance,
    links: &'a Links,
) -> impl Iterator<Item = Via> + use<'a> {
    let family = family_of(prefix.addr());
    // Nearly all next hops are on a link, which is quickly seen.
    let hops = hops.iter().filter(|hop| hop.interface.is_none());
    hops.filter(move |hop| unsound(hop, prefix).is_none()).filter_map(move |hop| {
        match leads(hop, family, instance, links) {
            Ok(Leads::Recursive(via)) => Some((via, instance.id)),
            _ => None,
        }
    })
}

/// Takes in what `delta` does to the next hops that are on no link; `old` is the state before and
/// `state` the one after. Yields those that were there and do not resolve as they did.
pub(super) fn follow(
    delta: &Delta,
    old: &State,
    state: &State,
    links: &mut Links,
) -> BTreeSet<Via> {
    let (mut places, mut lists) = (Places::new(links), Lists::new());
    let mut vias = |key, route| vias_of(key, route, &mut places, &mut lists, links);
    let mut counts: BTreeMap<Via, (usize, usize)> = BTreeMap::new();
    let mut seen: HashSet<&RouteKey> = HashSet::new();
    let mut steered: HashSet<&Name> = HashSet::new();
    let none_yet = links.recursive.0.is_empty();
    let mut covers = false;
    for operation in &delta.operations {
        let (key, to) = match operation {
            Operation::Route(key, to) => (key, to),
            Operation::PolicyRoutes(name, _) if steered.insert(name) => {
                for via in vias_of_policy_routes(name, old, links) {
                    counts.entry(via).or_default().0 += 1;
                }
                for via in vias_of_policy_routes(name, state, links) {
                    counts.entry(via).or_default().1 += 1;
                }
                continue;
            }
            _ => continue,
        };
        let news = to.as_ref().is_some_and(|route| !vias(key, route).is_empty());
        if (none_yet && !news) || !seen.insert(key) {
            continue;
        }
        covers = covers || links.recursive.covers(key.prefix);
        let (was, is) = (old.routes.get(key), state.routes.get(key));
        for via in was.map(|route| vias(key, route)).into_iter().flatten() {
            counts.entry(via).or_default().0 += 1;
        }
        for via in is.map(|route| vias(key, route)).into_iter().flatten() {
            counts.entry(via).or_default().1 += 1;
        }
    }
    let before = Arc::clone(&links.recursive);
    let mut recursive = Recursive::clone(&before);
    let mut new = false;
    for (via, (less, more)) in counts {
        new |= !recursive.0.contains_key(&via) && more > 0;
        let users = &mut recursive.0.entry(via).or_default().users;
        *users = (*users + more).saturating_sub(less);
        if *users == 0 {
            recursive.0.remove(&via);
        }
    }
    if recursive != *before {
        links.recursive = Arc::new(recursive);
    }
    if !new && !covers {
        return BTreeSet::new();
    }
    let mut changed = resolve_all(state, links);
    changed.retain(|via| before.0.contains_key(via));
    changed
}

/// [`recursive_vias`] of one of many routes.
fn vias_of<'a>(
    key: &'a RouteKey,
    route: &'a Route,
    places: &mut Places<'a>,
    lists: &mut Lists<'a, bool>,
    links: &'a Links,
) -> Vec<Via> {
    let Target::NextHops(hops) = &route.target else { return Vec::new() };
    let Some((instance, _)) = places.of(key) else { return Vec::new() };
    let family = family_of(key.prefix.addr());
    match lists.get(hops, instance.id, family, || all_on_link(hops, family, instance, links)) {
        true => Vec::new(),
        false => recursive_vias(key.prefix, route, instance, links).collect(),
    }
}

/// The addresses on no link that the policy routes of an instance name.
fn vias_of_policy_routes(name: &Name, state: &State, links: &Links) -> Vec<Via> {
    let Some(instance) = links.instance_named(name) else { return Vec::new() };
    let specs = state.policy_routes.get(name).into_iter().flatten();
    let mut vias = Vec::new();
    for spec in specs {
        let PolicyAction::NextHops(hops) = &spec.action else { continue };
        for family in [Family::Inet, Family::Inet6] {
            vias.extend(recursive_in(hops, any_destination(family), instance, links));
        }
    }
    vias
}

/// Finds all next hops that are on no link, and resolves them.
pub(super) fn find_all(state: &State, links: &mut Links) {
    let mut found: BTreeMap<Via, Entry> = BTreeMap::new();
    let (mut places, mut lists) = (Places::new(links), Lists::new());
    for (key, route) in &state.routes {
        for via in vias_of(key, route, &mut places, &mut lists, links) {
            found.entry(via).or_default().users += 1;
        }
    }
    for name in state.policy_routes.keys() {
        for via in vias_of_policy_routes(name, state, links) {
            found.entry(via).or_default().users += 1;
        }
    }
    links.recursive = Arc::new(Recursive(found));
    resolve_all(state, links);
}

/// Resolves all next hops that are on no link. Yields those that do not resolve as they did.
pub(super) fn resolve_all(state: &State, links: &mut Links) -> BTreeSet<Via> {
    if links.recursive.0.is_empty() {
        return BTreeSet::new();
    }
    let before = Arc::clone(&links.recursive);
    let mut round = Recursive::clone(&before);
    round.0.values_mut().for_each(|entry| entry.to = None);
    links.recursive = Arc::new(round);
    for _ in 0..MAX_DEPTH {
        let entry = |(via, entry): (&Via, &Entry)| {
            (*via, Entry { users: entry.users, to: resolution(*via, state, links) })
        };
        let next = Recursive(links.recursive.0.iter().map(entry).collect());
        if next == *links.recursive {
            break;
        }
        links.recursive = Arc::new(next);
    }
    let after = links.recursive.0.iter();
    let changed = after.filter(|(via, entry)| before.0.get(via).is_none_or(|b| b.to != entry.to));
    changed.map(|(via, _)| *via).collect()
}

/// What an address resolves to, as far as the round before knew.
fn resolution((address, instance): Via, state: &State, links: &Links) -> Option<Resolution> {
    let mut instance = links.instances.get(instance.index())?.as_ref()?;
    let mut table = links.tables.get(instance.main.index())?.as_ref()?;
    let mut through = None;
    for _ in 0..MAX_TABLES {
        let (prefix, found) = longest(address, table, instance, state, links)?;
        let through = *through.get_or_insert(prefix);
        let at = At { table: table.id, prefix };
        let ways = match found {
            Found::Connected(Connected::Network(interface)) => {
                Ways::Out(vec![(on_link(address, interface), UNIT)])
            }
            Found::Connected(Connected::Own(_) | Connected::Broadcast) => return None,
            Found::Route(route) => match &route.target {
                Target::Blackhole => Ways::Drop(leaf::BLACKHOLE),
                Target::Reject => Ways::Drop(leaf::REJECT),
                Target::Prohibit => Ways::Drop(leaf::PROHIBIT),
                Target::NextHops(hops) => behind(address, ways(hops, at, instance, links)?),
                Target::Table { instance: to, table: name } => {
                    instance = links.instance_named(to)?;
                    table = links.tables.get(instance.table_named(name)?.index())?.as_ref()?;
                    continue;
                }
            },
        };
        return Some(Resolution { through, ways });
    }
    None
}

/// The ways of a route to an address: where all is on the link, so is the address.
fn behind(address: IpAddr, ways: Ways) -> Ways {
    match ways {
        Ways::Out(out) => {
            let neighbour = |hop: ResolvedNextHop| match hop.via {
                Some(_) => hop,
                None => on_link(address, hop.interface),
            };
            Ways::Out(out.into_iter().map(|(hop, share)| (neighbour(hop), share)).collect())
        }
        drops @ Ways::Drop(_) => drops,
    }
}

/// The next hops that some addresses resolved to in `before`, if in `after` each of them resolves to
/// what was there for it already: through the same prefix, a shorter one, or not at all. Then whatever
/// led by one of them is known by these.
pub(super) fn lost<'a>(
    changed: &BTreeSet<Via>,
    before: &'a Links,
    after: &Links,
) -> Option<HashSet<&'a ResolvedNextHop>> {
    let mut lost = HashSet::new();
    for via in changed {
        let of = |links: &'a Links| links.recursive.0.get(via).and_then(|entry| entry.to.as_ref());
        let Some(Resolution { through, ways: Ways::Out(out) }) = of(before) else { return None };
        let now = after.recursive.0.get(via).and_then(|entry| entry.to.as_ref());
        if now.is_some_and(|now| now.through.prefix_len() > through.prefix_len()) {
            return None;
        }
        lost.extend(out.iter().map(|(hop, _)| hop));
    }
    Some(lost)
}

fn on_link(address: IpAddr, interface: InterfaceId) -> ResolvedNextHop {
    ResolvedNextHop { interface, via: Some(number_of(address)), family: family_of(address) }
}

enum Found<'a> {
    Connected(Connected),
    Route(&'a Route),
}

/// What covers an address in a table and is in use, with the longest prefix; default routes aside.
fn longest<'a>(
    address: IpAddr,
    table: &TableEntry,
    instance: &Instance,
    state: &'a State,
    links: &Links,
) -> Option<(IpNet, Found<'a>)> {
    let most = IpNet::from(address).max_prefix_len();
    (1..=most).rev().find_map(|length| {
        let prefix = IpNet::new(address, length).ok()?.trunc();
        let found = match routes::connected(prefix, table.id, instance, links) {
            Some(connected) => Found::Connected(connected),
            None => {
                let at = At { table: table.id, prefix };
                let set = routes::set(prefix, instance, &table.name, state);
                let used = |route: &Route| routes::is_usable(at, route, instance, links);
                Found::Route(set.into_iter().find(|(_, route)| used(route))?.1)
            }
        };
        Some((prefix, found))
    })
}

impl Recursive {
    /// Whether some of the addresses are in a network.
    fn covers(&self, net: IpNet) -> bool {
        let first = (net.network(), InstanceId(0));
        let last = (net.broadcast(), InstanceId(u16::MAX));
        self.0.range(first..=last).next().is_some()
    }
}

#[cfg(test)]
mod tests;
