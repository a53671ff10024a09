//! The step from one desired state to another, and a digest to tell whether two are the same.

use std::collections::BTreeMap;

use crate::digest;
use crate::model::{Delta, Operation, State};

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
        Delta { operations }
    }

    /// Takes the steps of a delta.
    pub fn apply(&mut self, delta: &Delta) {
        for operation in &delta.operations {
            match operation {
                Operation::Port(key, value) => set(&mut self.ports, key, value),
                Operation::Interface(key, value) => set(&mut self.interfaces, key, value),
                Operation::Instance(key, value) => set(&mut self.instances, key, value),
                Operation::Route(key, value) => set(&mut self.routes, key, value),
                Operation::Filter(key, value) => set(&mut self.filters, key, value),
                Operation::Neighbour(key, value) => set(&mut self.neighbours, key, value),
            }
        }
    }

    /// A number that is equal for equal states, in every process and build, and as good as
    /// certainly different for different ones. Not for use against an adversary.
    pub fn digest(&self) -> u64 {
        digest::of(self)
    }
}

fn steps<K: Ord + Clone, V: PartialEq + Clone>(
    from: &BTreeMap<K, V>,
    to: &BTreeMap<K, V>,
    operation: impl Fn(K, Option<V>) -> Operation,
    into: &mut Vec<Operation>,
) {
    let gone = from.keys().filter(|key| !to.contains_key(key));
    into.extend(gone.map(|key| operation(key.clone(), None)));
    let new = to.iter().filter(|(key, value)| from.get(key) != Some(value));
    into.extend(new.map(|(key, value)| operation(key.clone(), Some(value.clone()))));
}

fn set<K: Ord + Clone, V: Clone>(map: &mut BTreeMap<K, V>, key: &K, value: &Option<V>) {
    match value {
        Some(value) => drop(map.insert(key.clone(), value.clone())),
        None => drop(map.remove(key)),
    }
}

#[cfg(test)]
mod tests;
