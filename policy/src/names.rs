//! Names, and lists of next hops, that are kept once, however many refer to them.
//!
//! A route names its instance, its table and the file that it stands in, and has a list of next hops.
//! What is read from a channel or a disk has a copy of each for each of a million routes, until
//! [`Names::share`] makes them one: that saves the memory, keys that share their names are compared
//! without reading them, and what is found out about a list of next hops need not be found out again.

use std::collections::HashSet;
use std::sync::Arc;

use crate::model::{Delta, Name, NextHop, Operation, Owner, Route, RouteKey, Target};
use crate::policy::Policy;

/// Names that were seen, and lists of next hops.
#[derive(Debug, Default)]
pub struct Names {
    names: HashSet<Name>,
    next_hops: HashSet<Arc<[NextHop]>>,
}

/// More different lists than this are not few: further ones stay as they are.
const MOST_LISTS: usize = 1 << 14;

impl Names {
    /// Those of the instances and tables of a policy, whose routes will stand beside.
    pub fn of(policy: &Policy) -> Names {
        let instances = policy.instances().map(|instance| &instance.name);
        let names = instances.chain(policy.tables().map(|table| &table.name)).cloned().collect();
        Names { names, next_hops: HashSet::new() }
    }

    /// Makes the routes of a delta share their names with each other and with those seen before.
    pub fn share(&mut self, delta: &mut Delta) {
        for operation in &mut delta.operations {
            let Operation::Route(key, route) = operation else { continue };
            let RouteKey { instance, table, prefix: _, owner } = key;
            self.share_route((instance, table, owner), route.as_mut());
        }
    }

    /// Makes a route share its names.
    pub(crate) fn share_route(
        &mut self,
        (instance, table, owner): (&mut Name, &mut Name, &mut Owner),
        route: Option<&mut Route>,
    ) {
        self.one(instance);
        self.one(table);
        if let Owner::Named(name) = owner {
            self.one(name);
        }
        let Some(route) = route else { return };
        self.one(&mut route.position.file);
        match &mut route.target {
            Target::NextHops(hops) => self.next_hops(hops),
            Target::Table { instance, table } => {
                self.one(instance);
                self.one(table);
            }
            Target::Blackhole | Target::Reject | Target::Prohibit => {}
        }
    }

    /// Makes a list of next hops one with the equal one that was seen before.
    pub fn next_hops(&mut self, hops: &mut Arc<[NextHop]>) {
        match self.next_hops.get(hops) {
            Some(known) => hops.clone_from(known),
            None if self.next_hops.len() < MOST_LISTS => {
                // There is no other yet, so that this one can be changed.
                for interface in
                    Arc::make_mut(hops).iter_mut().filter_map(|hop| hop.interface.as_mut())
                {
                    self.one(interface);
                }
                self.next_hops.insert(hops.clone());
            }
            None => {}
        }
    }

    fn one(&mut self, name: &mut Name) {
        match self.names.get(name) {
            Some(known) => name.clone_from(known),
            None => drop(self.names.insert(name.clone())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::State;
    use crate::policy::tests::{policy, state};

    #[test]
    fn equal_names_are_one() {
        let policy = policy("ports: { a: { device: net_null0, addresses: 10.1.0.1/24 } }");
        let routes = "
ports: { a: { device: net_null0, addresses: 10.1.0.1/24 } }
routes:
  - { to: 10.8.0.0/16, via: { address: 10.1.0.2, interface: a } }
  - { to: 10.9.0.0/16, via: 10.1.0.3 }
";
        let mut names = Names::of(&policy);
        let shared = |names: &mut Names| {
            let bytes = postcard::to_stdvec(&State::default().difference(&state(routes))).unwrap();
            let read: Delta = postcard::from_bytes(&bytes).unwrap();
            let mut delta = read.clone();
            names.share(&mut delta);
            assert_eq!(delta, read);
            delta
        };
        let main = policy.tables().next().unwrap().name.clone();
        let mut files = Vec::new();
        let mut lists = Vec::new();
        for delta in [shared(&mut names), shared(&mut names)] {
            for operation in &delta.operations {
                if let Operation::Route(key, Some(route)) = operation {
                    assert!(Arc::ptr_eq(&key.table, &main));
                    files.push(route.position.file.clone());
                    let Target::NextHops(hops) = &route.target else { panic!("{route:?}") };
                    lists.push(hops.clone());
                }
            }
        }
        assert_eq!(files.len(), 4);
        assert!(files.iter().all(|file| Arc::ptr_eq(file, &files[0])));
        let same = |one: usize, other: usize| Arc::ptr_eq(&lists[one], &lists[other]);
        assert!(same(0, 2) && same(1, 3) && !same(0, 1));
    }
}
