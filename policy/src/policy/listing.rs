//! Routes as they are told: all of them, those of one prefix, those that a packet takes.

use std::borrow::Cow;
use std::net::IpAddr;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use sluice_packet::descriptor::number_of;

use super::hops::At;
use super::report::Report;
use super::{Policy, PolicyError, links, routes};
use crate::fib::Leaf;
use crate::ids::TableId;
use crate::instance::{Connected, Instance};
use crate::model::{self, MAIN_TABLE, Name, Owner, Route, RouteKey};
use crate::route::{MAX_TABLES, leaf};

/// A route of any owner, the derived ones included.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RouteInfo<'a> {
    /// The instance whose table it is in.
    pub instance: &'a Name,
    /// Which of the instance's tables.
    pub table: Name,
    /// The destinations it covers.
    pub prefix: IpNet,
    /// Who put it there.
    pub owner: Owner,
    /// Of the routes of one prefix the lowest is used.
    pub preference: u32,
    /// Between routes of equal preference the lowest is used.
    pub metric: u32,
    /// A number that means something to its owner alone.
    pub tag: u32,
    /// The commit that last set it; 0 for a connected network.
    pub generation: u64,
    /// Where it leads.
    pub target: Cow<'a, model::Target>,
    /// Where it was configured; `None` for a connected network.
    pub position: Option<&'a model::Position>,
    /// Whether none of its next hops leads anywhere, whether ports work or not: it waits for what
    /// it resolves through.
    pub unresolved: bool,
    /// The prefixes of the main table that next hops resolve through which are on no link.
    pub through: Vec<IpNet>,
    /// Whether it is the one in use for its prefix: it has a way out, and none that is preferred
    /// has.
    pub active: bool,
}

/// The route of a packet, and who put it there.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, schemars::JsonSchema)]
pub struct MatchedRoute {
    /// The instance whose table it is in.
    pub instance: Name,
    /// Which of the instance's tables.
    pub table: Name,
    /// The destinations it covers.
    pub prefix: IpNet,
    /// Who put it there.
    pub owner: Owner,
    /// The prefixes of the main table that next hops resolve through which are on no link.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub through: Vec<IpNet>,
    /// Where it was configured; `None` for what follows from an interface's address.
    pub position: Option<model::Position>,
}

impl Policy {
    /// All routes: of each instance the connected networks, then those that were set, by table and
    /// prefix and what is preferred first.
    pub fn routes(&self) -> impl Iterator<Item = RouteInfo<'_>> {
        self.instances().flat_map(move |instance| {
            let connected = instance.connected.iter();
            let connected =
                connected.filter_map(move |(&prefix, what)| self.derived(instance, prefix, *what));
            connected.chain(self.routes_set(instance))
        })
    }

    /// The routes of one prefix of a table, the derived one included, what is preferred first;
    /// nothing for a table that is not there.
    pub fn routes_at(&self, instance: &str, table: &str, prefix: IpNet) -> Vec<RouteInfo<'_>> {
        let Some(instance) = self.instance_named(instance) else { return Vec::new() };
        let connected = instance.connected.get(&prefix).filter(|_| table == MAIN_TABLE);
        let derived = connected.and_then(|what| self.derived(instance, prefix, *what));
        let set = routes::set(prefix, instance, table, &self.state);
        derived.into_iter().chain(self.informed(instance, set)).collect()
    }

    /// What is wrong with a route by itself, whatever it leads to at present; nothing for one that can
    /// be set.
    pub fn unsound(&self, key: &RouteKey, route: &model::Route) -> Vec<PolicyError> {
        let mut report = Report::new(&self.state);
        routes::check(key, route, false, &self.links, &mut report);
        report.errors
    }

    /// The route that follows from an interface's network.
    fn derived<'a>(
        &'a self,
        instance: &'a Instance,
        prefix: IpNet,
        what: Connected,
    ) -> Option<RouteInfo<'a>> {
        let Connected::Network(id) = what else { return None };
        let interface = Some(self.interface(id)?.name.clone());
        let hop = model::NextHop { via: None, interface, weight: 1 };
        Some(RouteInfo {
            instance: &instance.name,
            table: MAIN_TABLE.into(),
            prefix,
            owner: Owner::Connected,
            preference: Owner::Connected.preference(),
            metric: 0,
            tag: 0,
            generation: 0,
            target: Cow::Owned(model::Target::NextHops([hop].into())),
            position: None,
            unresolved: false,
            through: Vec::new(),
            active: routes::carried(what, &self.links),
        })
    }

    fn routes_set<'a>(&'a self, instance: &'a Instance) -> impl Iterator<Item = RouteInfo<'a>> {
        let first = RouteKey {
            instance: instance.name.clone(),
            table: "".into(),
            prefix: IpNet::default(),
            owner: Owner::Connected,
        };
        let mut set = self
            .state
            .routes
            .range(first..)
            .take_while(|(key, _)| key.instance == instance.name)
            .peekable();
        let groups = std::iter::from_fn(move || {
            let first = set.next()?;
            let mut group = vec![first];
            let same = |key: &RouteKey| key.prefix == first.0.prefix && key.table == first.0.table;
            while let Some(next) = set.next_if(|(key, _)| same(key)) {
                group.push(next);
            }
            routes::by_preference(&mut group);
            Some(group)
        });
        groups.flat_map(move |group| self.informed(instance, group))
    }

    /// Routes of one prefix, what is preferred at the front, with what there is to say about them.
    fn informed<'a>(
        &'a self,
        instance: &'a Instance,
        group: Vec<(&'a RouteKey, &'a Route)>,
    ) -> impl Iterator<Item = RouteInfo<'a>> {
        let table = group.first().and_then(|(key, _)| instance.table_named(&key.table));
        let at = |key: &RouteKey| table.map(|table| At { table, prefix: key.prefix });
        let usable = |&(key, route): &(&RouteKey, &Route)| {
            at(key).is_some_and(|at| routes::is_usable(at, route, instance, &self.links))
        };
        let connected = group
            .first()
            .and_then(|(key, _)| routes::connected(key.prefix, table?, instance, &self.links));
        let used = if connected.is_some() { None } else { group.iter().position(usable) };
        group.into_iter().enumerate().map(move |(i, (key, route))| {
            let at = table.map(|table| At { table, prefix: key.prefix });
            let unresolved =
                at.is_some_and(|at| routes::is_unresolved(at, route, instance, &self.links));
            let through = at.map(|at| routes::through(at, route, instance, &self.links));
            RouteInfo {
                instance: &key.instance,
                table: key.table.clone(),
                prefix: key.prefix,
                owner: key.owner.clone(),
                preference: route.preference,
                metric: route.metric,
                tag: route.tag,
                generation: route.generation,
                target: Cow::Borrowed(&route.target),
                position: Some(&route.position),
                unresolved,
                through: through.unwrap_or_default(),
                active: Some(i) == used,
            }
        })
    }

    /// The routes that a packet to `address` takes from a table on: one of each table that it is
    /// looked up in, the last of which decides, unless the table that it leads to has none.
    pub fn routes_to(&self, table: TableId, address: IpAddr) -> Vec<MatchedRoute> {
        let mut matched = Vec::new();
        let mut next = Some(table);
        while let Some(table) = next.filter(|_| matched.len() < MAX_TABLES) {
            let Some((route, leaf)) = self.route_in(table, address) else { break };
            matched.push(route);
            next = leaf::next_table(leaf);
        }
        matched
    }

    /// The route of one table, and its leaf.
    fn route_in(&self, table: TableId, address: IpAddr) -> Option<(MatchedRoute, Leaf)> {
        let entry = self.table(table)?;
        let instance = self.instance(entry.instance)?;
        let family = links::family_of(address);
        let (length, leaf) = self.tables.fib(table)?.longest(family, number_of(address))?;
        let prefix = IpNet::new(address, length).ok()?.trunc();
        let at = At { table, prefix };
        let mut matched = MatchedRoute {
            instance: instance.name.clone(),
            table: entry.name.clone(),
            prefix,
            owner: Owner::Connected,
            through: Vec::new(),
            position: None,
        };
        if routes::connected(prefix, table, instance, &self.links).is_none() {
            let (key, route) = routes::set(prefix, instance, &entry.name, &self.state)
                .into_iter()
                .find(|(_, route)| routes::is_usable(at, route, instance, &self.links))?;
            matched.owner = key.owner.clone();
            matched.through = routes::through(at, route, instance, &self.links);
            matched.position = Some(route.position.clone());
        }
        Some((matched, leaf))
    }

    /// The routes of a table that cover `address` and would come before the one that is in use,
    /// if only their next hops resolved.
    pub fn unresolved_to(&self, table: TableId, address: IpAddr) -> Vec<RouteInfo<'_>> {
        let Some(entry) = self.table(table) else { return Vec::new() };
        let Some(instance) = self.instance(entry.instance) else { return Vec::new() };
        let family = links::family_of(address);
        let fib = self.tables.fib(table);
        let used = fib.and_then(|fib| fib.longest(family, number_of(address)));
        let shortest = used.map_or(0, |(length, _)| length);
        let lengths = (shortest..=IpNet::from(address).max_prefix_len()).rev();
        let prefixes = lengths.filter_map(|length| Some(IpNet::new(address, length).ok()?.trunc()));
        prefixes
            .flat_map(|prefix| {
                let set = routes::set(prefix, instance, &entry.name, &self.state);
                self.informed(instance, set).take_while(|route| !route.active)
            })
            .filter(|route| route.unresolved)
            .collect()
    }

    /// The route that decides about a packet to `address`, from an instance's main table on;
    /// `None` where there is none.
    pub fn route_to(&self, instance: &Instance, address: IpAddr) -> Option<MatchedRoute> {
        self.routes_to(instance.main, address).pop()
    }
}
