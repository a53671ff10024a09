//! Fills the tables that packets are looked up in, and finds routes that lead round in circles.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use ipnet::IpNet;
use sluice_packet::Family;
use sluice_packet::descriptor::number_of;

use super::error::{Mistake, Thing};
use super::hops::{self, Leads, Via};
use super::links::{Links, family_of};
use super::moved::Editions;
use super::report::Report;
use super::shared::{Lists, Places};
use super::{policy_routes, routes};
use crate::fib::Fib;
use crate::ids::{InstanceId, TableId};
use crate::instance::Instance;
use crate::model::{NextHop, Route, RouteKey, State, Target};
use crate::route::{MAX_TABLES, NextHops, Tables, leaf};
use crate::steering::Steering;

/// The prefixes, by table, whose place in the tables may not be as it should.
pub(super) enum Stale {
    /// All: the tables are filled from nothing.
    All,
    /// These.
    These(Prefixes),
}

/// Prefixes of tables, each once, ascending.
#[derive(Default)]
pub(super) struct Prefixes(Vec<(TableId, IpNet)>);

impl FromIterator<(TableId, IpNet)> for Prefixes {
    fn from_iter<I: IntoIterator<Item = (TableId, IpNet)>>(prefixes: I) -> Self {
        let mut list: Vec<_> = prefixes.into_iter().collect();
        // Those that come from the state are in its order, which is this for each table.
        list.sort();
        list.dedup();
        Prefixes(list)
    }
}

impl Prefixes {
    /// Those of one table.
    fn of(&self, table: TableId) -> &[(TableId, IpNet)] {
        let first = self.0.partition_point(|(id, _)| *id < table);
        let rest = &self.0[first..];
        &rest[..rest.partition_point(|(id, _)| *id == table)]
    }
}

impl Stale {
    /// The prefixes of some routes, and of those whose next hops do not resolve as they did.
    pub(super) fn of<'a>(
        keys: impl Iterator<Item = &'a RouteKey>,
        changed: &'a BTreeSet<Via>,
        state: &'a State,
        links: &'a Links,
    ) -> Stale {
        if changed.is_empty() {
            return Stale::These(prefixes(keys, links).collect());
        }
        let users = prefixes_by(state, links, |hop, family, instance| {
            match hops::leads(hop, family, instance, links) {
                Ok(Leads::Recursive(via)) => changed.contains(&(via, instance.id)),
                _ => false,
            }
        });
        Stale::These(prefixes(keys, links).chain(users).collect())
    }
}

/// The prefixes for which some route, whether in use or not, has a next hop of which `is` holds. All
/// routes are looked at, but lists of next hops are few: each is asked about once.
pub(super) fn prefixes_by(
    state: &State,
    links: &Links,
    is: impl Fn(&NextHop, Family, &Instance) -> bool,
) -> Vec<(TableId, IpNet)> {
    let mut prefixes = Vec::new();
    let (mut places, mut lists) = (Places::new(links), Lists::new());
    for (key, route) in &state.routes {
        let Target::NextHops(hops) = &route.target else { continue };
        let Some((instance, table)) = places.of(key) else { continue };
        let family = family_of(key.prefix.addr());
        let any = || hops.iter().any(|hop| is(hop, family, instance));
        if lists.get(hops, instance.id, family, any) {
            prefixes.push((table, key.prefix));
        }
    }
    prefixes
}

/// The prefixes of some routes; it helps if those of one table follow each other.
fn prefixes<'a>(
    keys: impl Iterator<Item = &'a RouteKey>,
    links: &'a Links,
) -> impl Iterator<Item = (TableId, IpNet)> {
    let mut places = Places::new(links);
    keys.filter_map(move |key| Some((places.of(key)?.1, key.prefix)))
}

/// Whether next hops that no route uses any more are the most of what is held, so that it is time
/// to start afresh.
pub(super) fn is_crowded(tables: &Tables, state: &State) -> bool {
    let policy_routes: usize = state.policy_routes.values().map(Vec::len).sum();
    tables.hops.len() > 1024 + 2 * state.routes.len() + 4 * policy_routes
}

/// Brings the tables up to date, and with `steer` where policy routes lead; `old` are the tables so
/// far. Says in `moved` what has changed.
pub(super) fn fill_tables(
    old: &Arc<Tables>,
    stale: &Stale,
    steer: bool,
    state: &State,
    links: &mut Links,
    moved: &mut Editions,
) -> Arc<Tables> {
    let all: Prefixes;
    let (mut hops, prefixes) = match stale {
        Stale::These(prefixes) if prefixes.0.is_empty() && !steer => return Arc::clone(old),
        Stale::These(prefixes) => (old.hops.clone(), prefixes),
        Stale::All => {
            moved.everything();
            let connected = links.instances.iter().flatten().flat_map(|instance| {
                instance.connected.keys().map(|&prefix| (instance.main, prefix))
            });
            all = prefixes(state.routes.keys(), links).chain(connected).collect();
            (NextHops::default(), &all)
        }
    };
    let mut fibs = match stale {
        Stale::These(_) => old.fibs.clone(),
        Stale::All => Vec::new(),
    };
    let anew = matches!(stale, Stale::All);
    fibs.resize_with(links.tables.len(), Fib::default);
    let mut leaves = routes::Leaves::new();
    for (table, instance) in links.all_tables() {
        let Some(fib) = fibs.get_mut(table.id.index()) else { continue };
        let prefixes = prefixes.of(table.id);
        let mut set = routes::Set::new(instance, &table.name, prefixes.len(), state);
        let changes = prefixes.iter().map(|&(_, prefix)| {
            let set = set.at(prefix);
            let leaf = routes::winner(prefix, table, instance, links, set, &mut leaves, &mut hops);
            (prefix, leaf)
        });
        fib.change(changes, |prefix| {
            if !anew {
                moved.route(prefix);
            }
        });
    }
    let steered = match steer || anew {
        true => steer_anew(state, links, &mut hops),
        false => Vec::new(),
    };
    let tables = Arc::new(Tables { fibs, hops });
    for instance in links.instances.iter_mut().flatten() {
        instance.fib = tables.fib(instance.main).cloned().unwrap_or_default();
        instance.tables = Arc::clone(&tables);
    }
    for (id, steering) in steered {
        if let Some(instance) = links.instances.get_mut(id.index()).and_then(Option::as_mut) {
            if instance.steering.as_ref().is_some_and(|old| !old.leads_as(&steering)) {
                moved.steering();
            }
            instance.steering = Some(steering);
        }
    }
    tables
}

/// The policy routes of all instances that have some, leading where they should.
fn steer_anew(
    state: &State,
    links: &Links,
    hops: &mut NextHops,
) -> Vec<(InstanceId, Arc<Steering>)> {
    let mut steered = Vec::new();
    for instance in links.instances.iter().flatten() {
        let specs = state.policy_routes.get(&instance.name);
        if let (Some(steering), Some(specs)) = (&instance.steering, specs) {
            let ways = policy_routes::ways(specs, instance, links, hops);
            steered.push((instance.id, Arc::new(steering.leading(ways))));
        }
    }
    steered
}

/// Complains about routes of `set` by which packets are looked up round and round, where the first
/// or the last address of a route between tables shows it. What only addresses in between would
/// show is seen when packets come.
pub(super) fn check_loops<'a>(
    set: impl Iterator<Item = (&'a RouteKey, &'a Route)>,
    tables: &Tables,
    links: &Links,
    report: &mut Report<'_>,
) {
    let state = report.state;
    let leads_on = |route: &Route| matches!(route.target, Target::Table { .. });
    let place = |key: &RouteKey| Some((links.table_named(&key.instance, &key.table)?, key.prefix));
    let new = set.filter(|(_, route)| leads_on(route));
    let new: BTreeMap<(TableId, IpNet), &RouteKey> =
        new.filter_map(|(key, _)| Some((place(key)?, key))).collect();
    if new.is_empty() {
        return;
    }
    let mut blamed = BTreeSet::new();
    for (key, _) in state.routes.iter().filter(|(_, route)| leads_on(route)) {
        let Some((start, _)) = place(key) else { continue };
        for address in [key.prefix.network(), key.prefix.broadcast()] {
            let way = way_between(start, address, tables);
            let by = way.iter().find_map(|place| new.get(place)).filter(|_| way.len() > MAX_TABLES);
            let Some(&by) = by.filter(|by| blamed.insert(**by)) else { continue };
            let again = way.iter().skip(1).position(|(table, _)| *table == start);
            let round = &way[..again.map_or(way.len(), |at| at + 2)];
            let names: Vec<String> =
                round.iter().filter_map(|(table, _)| links.table_words(*table)).collect();
            let mistake = Mistake::TableLoop { address, round: names.join(", then ") };
            report.add(&Thing::Route(by.clone()), "lookup", mistake);
        }
    }
}

/// The tables that an address is looked up in, and the prefixes that are found there: one more than
/// packets are, if there is no end.
fn way_between(start: TableId, address: IpAddr, tables: &Tables) -> Vec<(TableId, IpNet)> {
    let (family, number) = (family_of(address), number_of(address));
    let mut way = Vec::new();
    let mut next = Some(start);
    while let Some(table) = next.filter(|_| way.len() <= MAX_TABLES) {
        let found = tables.fib(table).and_then(|fib| fib.longest(family, number));
        let Some((length, leaf)) = found else { break };
        let Ok(prefix) = IpNet::new(address, length) else { break };
        way.push((table, prefix.trunc()));
        next = leaf::next_table(leaf);
    }
    way
}

#[cfg(test)]
mod tests;
