//! Names that are kept once, however many refer to them.
//!
//! A route names its instance, its table and the file that it stands in. What is read from a channel
//! or a disk has a copy of each for each of a million routes, until [`Names::share`] makes them one:
//! that saves the memory, and keys that share their names are compared without reading them.

use std::collections::HashSet;

use crate::model::{Delta, Name, Operation, Owner, Target};
use crate::policy::Policy;

/// Names that were seen.
#[derive(Debug, Default)]
pub struct Names(HashSet<Name>);

impl Names {
    /// Those of the instances and tables of a policy, whose routes will stand beside.
    pub fn of(policy: &Policy) -> Names {
        let instances = policy.instances().map(|instance| &instance.name);
        Names(instances.chain(policy.tables().map(|table| &table.name)).cloned().collect())
    }

    /// Makes the routes of a delta share their names with each other and with those seen before.
    pub fn share(&mut self, delta: &mut Delta) {
        for operation in &mut delta.operations {
            let Operation::Route(key, route) = operation else { continue };
            self.one(&mut key.instance);
            self.one(&mut key.table);
            if let Owner::Named(name) = &mut key.owner {
                self.one(name);
            }
            let Some(route) = route else { continue };
            self.one(&mut route.position.file);
            match &mut route.target {
                Target::NextHops(hops) => {
                    hops.iter_mut()
                        .filter_map(|hop| hop.interface.as_mut())
                        .for_each(|i| self.one(i));
                }
                Target::Table { instance, table } => {
                    self.one(instance);
                    self.one(table);
                }
                Target::Blackhole | Target::Reject | Target::Prohibit => {}
            }
        }
    }

    fn one(&mut self, name: &mut Name) {
        match self.0.get(name) {
            Some(known) => name.clone_from(known),
            None => drop(self.0.insert(name.clone())),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

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
        for delta in [shared(&mut names), shared(&mut names)] {
            for operation in &delta.operations {
                if let Operation::Route(key, Some(route)) = operation {
                    assert!(Arc::ptr_eq(&key.table, &main));
                    files.push(route.position.file.clone());
                }
            }
        }
        assert_eq!(files.len(), 4);
        assert!(files.iter().all(|file| Arc::ptr_eq(file, &files[0])));
    }
}
