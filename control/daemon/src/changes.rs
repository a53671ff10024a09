//! How much a step changes, in numbers for people.

use std::collections::BTreeMap;

use sluice_control_api::{Change, Changes};
use sluice_policy::model::{Delta, Filter, Interface, Name, Operation, Port, Rule, State};

/// Counts what `delta` does to `from`. Where in a file a thing stands does not count: a line
/// inserted above it is no change of the thing.
pub(crate) fn count(from: &State, delta: &Delta) -> Changes {
    let mut changes = Changes::default();
    for operation in &delta.operations {
        match operation {
            Operation::Port(name, to) => {
                note(&mut changes.ports, from.ports.get(name), to.as_ref(), |was, is| {
                    *was == Port { position: was.position.clone(), ..is.clone() }
                });
            }
            Operation::Interface(name, to) => {
                note(&mut changes.interfaces, from.interfaces.get(name), to.as_ref(), |was, is| {
                    *was == Interface { position: was.position.clone(), ..is.clone() }
                });
            }
            Operation::Instance(name, to) => {
                note(&mut changes.instances, from.instances.get(name), to.as_ref(), PartialEq::eq);
            }
            Operation::Route(key, to) => {
                note(&mut changes.routes, from.routes.get(key), to.as_ref(), |was, is| {
                    was.target == is.target
                });
            }
            Operation::Neighbour(key, to) => {
                note(&mut changes.neighbours, from.neighbours.get(key), to.as_ref(), PartialEq::eq);
            }
            Operation::Filter(key, to) => filter(&mut changes, from.filters.get(key), to.as_ref()),
        }
    }
    changes
}

fn note<T>(change: &mut Change, was: Option<&T>, is: Option<&T>, same: impl Fn(&T, &T) -> bool) {
    match (was, is) {
        (None, Some(_)) => change.added += 1,
        (Some(_), None) => change.removed += 1,
        (Some(was), Some(is)) => change.changed += u32::from(!same(was, is)),
        (None, None) => {}
    }
}

fn filter(changes: &mut Changes, from: Option<&Filter>, to: Option<&Filter>) {
    note(&mut changes.filters, from, to, |was, is| was.default == is.default);
    let (old, new) = (rules(from), rules(to));
    let (old_names, new_names) = (names(old), names(new));
    // What stayed, in the old order and in the new: where they differ, something moved.
    let old_order = old.iter().filter(|rule| new_names.contains_key(&rule.name));
    let new_order = new.iter().filter(|rule| old_names.contains_key(&rule.name));
    for (was, is) in old_order.zip(new_order) {
        let moved = was.name != is.name;
        let different = old_names.get(&is.name).is_some_and(|rule| !same(rule, is));
        changes.rules.changed += u32::from(moved || different);
    }
    changes.rules.added += new.iter().filter(|r| !old_names.contains_key(&r.name)).count() as u32;
    changes.rules.removed += old.iter().filter(|r| !new_names.contains_key(&r.name)).count() as u32;
}

fn rules(filter: Option<&Filter>) -> &[Rule] {
    filter.map_or(&[], |filter| &filter.rules)
}

fn names(rules: &[Rule]) -> BTreeMap<&Name, &Rule> {
    rules.iter().map(|rule| (&rule.name, rule)).collect()
}

/// Whether two rules do the same; where they stand in their files does not matter.
fn same(one: &Rule, other: &Rule) -> bool {
    *one == Rule { position: one.position.clone(), ..other.clone() }
}

#[cfg(test)]
mod tests {
    use sluice_policy::config;

    use super::*;

    fn state(rules: &str, routes: &str) -> State {
        let text = format!(
            "ports:\n  lan: {{ device: net_null0, addresses: [10.0.1.1/24] }}\n\
             routes: [{routes}]\nfilters:\n  forward:\n    default: accept\n    rules: [{rules}]\n"
        );
        config::read(text.as_bytes(), "test.yaml").unwrap_or_else(|e| panic!("{e}")).state
    }

    fn between(from: &State, to: &State) -> String {
        count(from, &from.difference(to)).to_string()
    }

    #[test]
    fn counts_are_what_an_operator_expects() {
        let one = state("{ name: a, protocol: tcp, action: drop }", "");
        let two = state(
            "{ name: b, protocol: udp, action: drop }, { name: a, protocol: tcp, action: drop }",
            "{ to: 10.9.0.0/16, blackhole: true }",
        );
        assert_eq!(between(&one, &two), "+1 route, +1 rule");
        assert_eq!(between(&two, &one), "-1 route, -1 rule");
        assert_eq!(between(&two, &two), "no change");
        let turned = state(
            "{ name: a, protocol: tcp, action: drop }, { name: b, protocol: udp, action: reject }",
            "{ to: 10.9.0.0/16, reject: true }",
        );
        assert_eq!(between(&two, &turned), "~1 route, ~2 rules");
        let first = between(&State::default(), &one);
        assert!(first.starts_with("+1 port, +1 interface"), "{first}");
    }
}
