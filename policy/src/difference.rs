//! The step from one desired state to another.

use serde::Serialize;

use crate::digest::{Digests, Table};
use crate::model::{Delta, Entries, Operation, State};

impl State {
    /// What leads from this state to `to`: nothing for what is equal in both.
    pub fn difference(&self, to: &State) -> Delta {
        let mut operations = Vec::new();
        steps(&self.ports, &to.ports, Operation::Port, &mut operations);
        steps(&self.interfaces, &to.interfaces, Operation::Interface, &mut operations);
        steps(&self.instances, &to.instances, Operation::Instance, &mut operations);
        steps(&self.routes, &to.routes, Operation::Route, &mut operations);
        steps(&self.filters, &to.filters, Operation::Filter, &mut operations);
        steps(&self.neighbours, &to.neighbours, Operation::Neighbour, &mut operations);
        steps(&self.policy_routes, &to.policy_routes, Operation::PolicyRoutes, &mut operations);
        steps(&self.hooks, &to.hooks, Operation::Hook, &mut operations);
        steps(&self.timeouts, &to.timeouts, Operation::Timeout, &mut operations);
        Delta { operations }
    }

    /// Takes the steps of a delta.
    pub fn apply(&mut self, delta: &Delta) {
        for operation in &delta.operations {
            match operation {
                Operation::Port(key, value) => drop(set(&mut self.ports, key, value)),
                Operation::Interface(key, value) => drop(set(&mut self.interfaces, key, value)),
                Operation::Instance(key, value) => drop(set(&mut self.instances, key, value)),
                Operation::Route(key, value) => drop(set(&mut self.routes, key, value)),
                Operation::Filter(key, value) => drop(set(&mut self.filters, key, value)),
                Operation::Neighbour(key, value) => drop(set(&mut self.neighbours, key, value)),
                Operation::PolicyRoutes(key, value) => {
                    drop(set(&mut self.policy_routes, key, value));
                }
                Operation::Hook(key, value) => drop(set(&mut self.hooks, key, value)),
                Operation::Timeout(key, value) => drop(set(&mut self.timeouts, key, value)),
            }
        }
    }

    /// [`apply`](Self::apply), and keeps the state's digests along with it.
    pub(crate) fn apply_digested(&mut self, delta: &Delta, digests: &mut Digests) {
        let d = digests;
        for operation in &delta.operations {
            match operation {
                Operation::Port(k, v) => follow(&mut self.ports, k, v, Table::Ports, d),
                Operation::Interface(k, v) => {
                    follow(&mut self.interfaces, k, v, Table::Interfaces, d);
                }
                Operation::Instance(k, v) => follow(&mut self.instances, k, v, Table::Instances, d),
                Operation::Route(k, v) => follow(&mut self.routes, k, v, Table::Routes, d),
                Operation::Filter(k, v) => follow(&mut self.filters, k, v, Table::Filters, d),
                Operation::Neighbour(k, v) => {
                    follow(&mut self.neighbours, k, v, Table::Neighbours, d);
                }
                Operation::PolicyRoutes(k, v) => {
                    follow(&mut self.policy_routes, k, v, Table::PolicyRoutes, d);
                }
                Operation::Hook(k, v) => follow(&mut self.hooks, k, v, Table::Hooks, d),
                Operation::Timeout(k, v) => follow(&mut self.timeouts, k, v, Table::Timeouts, d),
            }
        }
    }
}

fn steps<K: Ord + Clone, V: PartialEq + Clone>(
    from: &Entries<K, V>,
    to: &Entries<K, V>,
    operation: impl Fn(K, Option<V>) -> Operation,
    into: &mut Vec<Operation>,
) {
    let gone = from.keys().filter(|&key| !to.contains_key(key));
    into.extend(gone.map(|key| operation(key.clone(), None)));
    let new = to.iter().filter(|&(key, value)| from.get(key) != Some(value));
    into.extend(new.map(|(key, value)| operation(key.clone(), Some(value.clone()))));
}

/// Sets or removes an entry; returns what was there.
fn set<K: Ord + Clone, V: Clone>(map: &mut Entries<K, V>, key: &K, value: &Option<V>) -> Option<V> {
    match value {
        Some(value) => map.insert(key.clone(), value.clone()),
        None => map.remove(key),
    }
}

fn follow<K: Ord + Clone + Serialize, V: Clone + Serialize>(
    map: &mut Entries<K, V>,
    key: &K,
    value: &Option<V>,
    table: Table,
    digests: &mut Digests,
) {
    let was = set(map, key, value);
    digests.change(table, key, was.as_ref(), value.as_ref());
}

#[cfg(test)]
mod tests;
