//! Fills the tables that packets are looked up in.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::sync::Arc;

use ipnet::IpNet;

use super::links::Links;
use super::routes;
use crate::fib::Fib;
use crate::ids::TableId;
use crate::model::{RouteKey, State};
use crate::route::{NextHops, Tables};

/// The prefixes, by table, whose place in the tables may not be as it should.
pub(super) enum Stale {
    /// All: the tables are filled from nothing.
    All,
    /// These.
    These(BTreeSet<(TableId, IpNet)>),
}

impl Stale {
    /// The prefixes of some routes.
    pub(super) fn of<'a>(keys: impl Iterator<Item = &'a RouteKey>, links: &Links) -> Stale {
        Stale::These(prefixes(keys, links))
    }
}

/// The prefixes of some routes; it helps if those of one table follow each other.
fn prefixes<'a>(
    keys: impl Iterator<Item = &'a RouteKey>,
    links: &Links,
) -> BTreeSet<(TableId, IpNet)> {
    let mut last: Option<(&RouteKey, Option<TableId>)> = None;
    let mut table_of = |key: &'a RouteKey| match last {
        Some((other, id)) if other.instance == key.instance && other.table == key.table => id,
        _ => {
            let id = links.table_named(&key.instance, &key.table);
            last = Some((key, id));
            id
        }
    };
    keys.filter_map(|key| Some((table_of(key)?, key.prefix))).collect()
}

/// Whether next hops that no route uses any more are the most of what is held, so that it is time
/// to start afresh.
pub(super) fn is_crowded(tables: &Tables, state: &State) -> bool {
    tables.hops.len() > 1024 + 2 * state.routes.len()
}

/// Brings the tables up to date; `old` are those so far.
pub(super) fn fill_tables(
    old: &Arc<Tables>,
    stale: &Stale,
    state: &State,
    links: &mut Links,
) -> Arc<Tables> {
    let (mut hops, prefixes) = match stale {
        Stale::These(prefixes) if prefixes.is_empty() => return Arc::clone(old),
        Stale::These(prefixes) => (old.hops.clone(), Cow::Borrowed(prefixes)),
        Stale::All => {
            let mut all = prefixes(state.routes.keys(), links);
            for instance in links.instances.iter().flatten() {
                all.extend(instance.connected.keys().map(|&prefix| (instance.main, prefix)));
            }
            (NextHops::default(), Cow::Owned(all))
        }
    };
    let mut fibs = match stale {
        Stale::These(_) => old.fibs.clone(),
        Stale::All => Vec::new(),
    };
    fibs.resize_with(links.tables.len(), Fib::default);
    for (table, instance) in links.all_tables() {
        let Some(fib) = fibs.get_mut(table.id.index()) else { continue };
        let first = (table.id, IpNet::default());
        let set = prefixes.range(first..).take_while(|(id, _)| *id == table.id);
        for &(_, prefix) in set {
            match routes::winner(prefix, table, instance, links, state, &mut hops) {
                Some(leaf) => fib.insert(prefix, leaf),
                None => drop(fib.remove(prefix)),
            }
        }
    }
    let tables = Arc::new(Tables { fibs, hops });
    for instance in links.instances.iter_mut().flatten() {
        instance.fib = tables.fib(instance.main).cloned().unwrap_or_default();
        instance.tables = Arc::clone(&tables);
    }
    tables
}

#[cfg(test)]
mod tests;
