//! From one generation to the next.

use std::collections::{BTreeSet, HashSet};
use std::sync::Arc;

use super::error::PolicyError;
use super::links::{self, Links};
use super::policy_routes::{self, MustResolve};
use super::report::Report;
use super::rules::{self, Slots};
use super::tables::{self, Stale, fill_tables, is_crowded};
use super::{Policy, chosen, hooks, hops, limits, routes};
use crate::digest::Digests;
use crate::filter::Filter;
use crate::model::{
    Delta, Entries, FilterKey, Name, NeighbourKey, Operation, Route, RouteKey, State, Timeout,
};
use crate::steering::{Rules, Steering};

/// What a delta may change beyond the state itself.
#[derive(Default)]
struct Touched<'a> {
    /// Ports, interfaces or instances: what everything else refers to.
    links: bool,
    /// What routes are set to, ascending.
    routes: Vec<(&'a RouteKey, Option<&'a Route>)>,
    filters: Vec<&'a FilterKey>,
    neighbours: Vec<&'a NeighbourKey>,
    policy_routes: Vec<&'a Name>,
    hooks: bool,
    timeouts: Vec<(Timeout, Option<u32>)>,
}

impl<'a> Touched<'a> {
    fn new(delta: &'a Delta) -> Self {
        let mut touched = Touched::default();
        for operation in &delta.operations {
            match operation {
                Operation::Port(..) | Operation::Interface(..) | Operation::Instance(..) => {
                    touched.links = true;
                }
                Operation::Route(key, route) => touched.routes.push((key, route.as_ref())),
                Operation::Filter(key, _) => touched.filters.push(key),
                Operation::Neighbour(key, _) => touched.neighbours.push(key),
                Operation::PolicyRoutes(key, _) => touched.policy_routes.push(key),
                Operation::Hook(..) => touched.hooks = true,
                Operation::Timeout(key, value) => touched.timeouts.push((*key, *value)),
            }
        }
        let routes = &mut touched.routes;
        if !routes.is_sorted_by(|one, other| one.0 < other.0) {
            routes.sort_by_key(|(key, _)| *key);
            routes.dedup_by(|later, earlier| {
                let same = later.0 == earlier.0;
                if same {
                    *earlier = *later;
                }
                same
            });
        }
        touched
    }

    /// The routes that are there afterwards.
    fn set(&self) -> impl Iterator<Item = (&'a RouteKey, &'a Route)> {
        self.routes.iter().filter_map(|&(key, route)| Some((key, route?)))
    }
}

impl Policy {
    /// Generation 0: nothing but the empty instance `default`.
    pub fn empty() -> Policy {
        let state = Arc::new(State::default());
        let links = links::compile(&Links::default(), &mut Report::new(&state));
        let digests = Digests::default();
        let (moved, tables, limits, owners) = Default::default();
        let timeouts = limits::timeouts(&state);
        let (generation, edition) = (0, 0);
        Policy {
            generation,
            edition,
            moved,
            state,
            digests,
            links,
            tables,
            limits,
            timeouts,
            owners,
        }
    }

    /// The next generation, or everything that is wrong with it. What the delta does not touch
    /// is shared with this one.
    pub fn apply(&self, delta: &Delta) -> Result<Policy, Vec<PolicyError>> {
        self.apply_asked(self.generation + 1, delta)
    }

    /// [`apply`](Self::apply) that makes a generation of a given number. What is asked for must
    /// make sense: a route that somebody types leads somewhere when it is set, no change of links
    /// takes that from it, and none leads round in circles. Learnt routes wait for what they
    /// resolve through.
    pub fn apply_asked(&self, generation: u64, delta: &Delta) -> Result<Policy, Vec<PolicyError>> {
        self.step(generation, delta, true)
    }

    /// [`apply_asked`](Self::apply_asked) of what was asked for before, and made sense then: it is
    /// applied as it is, and routes that lead nowhere by now are not used. A dataplane that starts
    /// anew is handed its state so, under the number of the commit that it has always had.
    pub fn apply_as(&self, generation: u64, delta: &Delta) -> Result<Policy, Vec<PolicyError>> {
        self.step(generation, delta, false)
    }

    fn step(
        &self,
        generation: u64,
        delta: &Delta,
        asked: bool,
    ) -> Result<Policy, Vec<PolicyError>> {
        let mut state = State::clone(&self.state);
        let mut digests = self.digests;
        state.apply_digested(delta, &mut digests);
        let touched = Touched::new(delta);
        let mut report = Report::new(&state);
        let mut links = match touched.links {
            true => links::compile(&self.links, &mut report),
            false => self.links.clone(),
        };

        let mut slots = self.slots(&touched, &state);
        let filters = self.compile_filters(&touched, &links, &mut slots, &mut report);
        let changed = match touched.links {
            true => {
                hops::find_all(&state, &mut links);
                BTreeSet::new()
            }
            false => hops::follow(delta, &self.state, &state, &mut links),
        };
        let steering = self.compile_policy_routes(&touched, asked, &links, &mut slots, &mut report);
        let set: HashSet<&RouteKey> = match asked && touched.links {
            true => touched.set().map(|(key, _)| key).collect(),
            false => HashSet::new(),
        };
        let must_resolve = |key: &RouteKey, route: &Route| {
            let set = || !touched.links || set.contains(key);
            asked && !key.owner.learns() && (set() || routes::resolves(key, route, &self.links))
        };
        let mut checker = routes::Checker::new(&links);
        let mut check = |(key, route)| {
            checker.check(key, route, || must_resolve(key, route), &mut report);
        };
        match touched.links {
            true => state.routes.iter().for_each(&mut check),
            false => touched.set().for_each(&mut check),
        }
        for (key, &mac) in existing(&state.neighbours, &touched.neighbours, touched.links) {
            rules::check_neighbour(key, mac, &links, &mut report);
        }
        if touched.hooks || touched.links {
            hooks::check(&links, &mut report);
        }
        limits::check_timeouts(&touched.timeouts, &mut report);
        if !report.errors.is_empty() {
            return Err(report.errors);
        }

        for (key, filter) in filters {
            if let Some(instance) = links.instance_named_mut(&key.instance) {
                instance.filters[key.point as usize] = filter;
            }
        }
        let edition = self.edition + 1;
        let mut moved = self.moved.next(edition);
        let another = |key: &FilterKey| state.filters.get(key) != self.state.filters.get(key);
        if touched.filters.iter().any(|key| another(key)) {
            moved.filters();
        }
        if !steering.is_empty() || !changed.is_empty() {
            moved.steering();
        }
        let limits = match touched.links || !touched.filters.is_empty() {
            true => limits::of_rules(&state, &links),
            false => Arc::clone(&self.limits),
        };
        let steer = touched.links || !steering.is_empty() || !changed.is_empty();
        for (name, rules) in steering {
            if let Some(instance) = links.instance_named_mut(&name) {
                instance.steering = rules.map(|rules| Arc::new(Steering::new(rules)));
            }
        }
        let stale = match touched.links || is_crowded(&self.tables, &state) {
            true => Stale::All,
            false => {
                let keys = touched.routes.iter().map(|(key, _)| *key);
                Stale::of(keys, &changed, &state, &links)
            }
        };
        let tables = fill_tables(&self.tables, &stale, steer, &state, &mut links, &mut moved);
        if asked {
            tables::check_loops(touched.set(), &tables, &links, &mut report);
        }
        if !report.errors.is_empty() {
            return Err(report.errors);
        }
        let state = Arc::new(state);
        let timeouts = limits::timeouts(&state);
        let owners = chosen::owners(&self.owners, touched.set().map(|(key, _)| &key.owner));
        Ok(Policy {
            generation,
            edition,
            moved,
            state,
            digests,
            links,
            tables,
            limits,
            timeouts,
            owners,
        })
    }

    /// The filters that are not as they were; `None` for one that is gone.
    fn compile_filters(
        &self,
        touched: &Touched<'_>,
        links: &Links,
        slots: &mut Slots,
        report: &mut Report<'_>,
    ) -> Vec<(FilterKey, Option<Arc<Filter>>)> {
        let state = report.state;
        let gone = touched.filters.iter().filter(|key| !state.filters.contains_key(**key));
        let mut filters: Vec<_> = gone.map(|&key| (key.clone(), None)).collect();
        for (key, spec) in existing(&state.filters, &touched.filters, touched.links) {
            let filter = rules::compile(key, spec, self.filter(key), links, slots, report);
            filters.push((key.clone(), filter.map(Arc::new)));
        }
        filters
    }

    /// The policy routes that are not as they were; `None` for an instance that has none any more.
    fn compile_policy_routes(
        &self,
        touched: &Touched<'_>,
        asked: bool,
        links: &Links,
        slots: &mut Slots,
        report: &mut Report<'_>,
    ) -> Vec<(Name, Option<Rules>)> {
        let state = report.state;
        let gone =
            touched.policy_routes.iter().filter(|key| !state.policy_routes.contains_key(**key));
        let mut compiled: Vec<_> = gone.map(|&name| (name.clone(), None)).collect();
        for (name, specs) in existing(&state.policy_routes, &touched.policy_routes, touched.links) {
            let old = self.instance_named(name).and_then(|instance| instance.steering.as_deref());
            let old = old.map(|steering| &*steering.rules);
            let must = match asked {
                false => MustResolve::Nothing,
                true if touched.policy_routes.contains(&name) => MustResolve::Everything,
                true => MustResolve::What(&self.links),
            };
            let rules = policy_routes::compile(name, specs, (old, must), links, slots, report);
            compiled.push((name.clone(), rules));
        }
        compiled
    }

    /// The slots that are free for rules which this generation does not have.
    fn slots(&self, touched: &Touched<'_>, state: &State) -> Slots {
        if !touched.links && touched.filters.is_empty() && touched.policy_routes.is_empty() {
            return Slots::default();
        }
        let of_filters = state.filters.iter().flat_map(|(key, spec)| {
            let old = self.filter(key);
            old.into_iter().flat_map(move |old| {
                let rules = spec.rules.iter().filter_map(|rule| old.slots.get(&rule.name));
                let stateful = old.stateful_slots().filter(|_| spec.stateful.is_some());
                let own = stateful.map(|(_, slot)| slot).chain([old.default_slot()]);
                rules.copied().chain(own)
            })
        });
        let of_policy_routes = state.policy_routes.iter().flat_map(|(name, specs)| {
            let old = self.instance_named(name).and_then(|instance| instance.steering.as_deref());
            let rules = old.map(|steering| &steering.rules);
            rules.into_iter().flat_map(move |rules| {
                specs.iter().filter_map(|spec| rules.slots.get(&spec.name).copied())
            })
        });
        Slots::new(of_filters.chain(of_policy_routes))
    }
}

/// The entries of a table that `keys` names, or all.
fn existing<'a, K: Ord, V>(
    table: &'a Entries<K, V>,
    keys: &[&K],
    all: bool,
) -> Vec<(&'a K, &'a V)> {
    match all {
        true => table.iter().collect(),
        false => keys.iter().filter_map(|&key| table.get_key_value(key)).collect(),
    }
}
