//! How much a step changes, in numbers for people.

use std::collections::BTreeMap;

use sluice_control_api::{Change, Changes};
use sluice_policy::model::{Delta, Filter, Name, Operation, Rule, State};

/// Counts what `delta` does to `from`.
pub(crate) fn count(from: &State, delta: &Delta) -> Changes {
    let mut changes = Changes::default();
    for operation in &delta.operations {
        match operation {
            Operation::Port(name, to) => {
                note(&mut changes.ports, from.ports.get(name).is_some(), to.is_some());
            }
            Operation::Interface(name, to) => {
                note(&mut changes.interfaces, from.interfaces.contains_key(name), to.is_some());
            }
            Operation::Instance(name, to) => {
                note(&mut changes.instances, from.instances.contains_key(name), to.is_some());
            }
            Operation::Route(key, to) => {
                note(&mut changes.routes, from.routes.contains_key(key), to.is_some());
            }
            Operation::Neighbour(key, to) => {
                note(&mut changes.neighbours, from.neighbours.contains_key(key), to.is_some());
            }
            Operation::Filter(key, to) => filter(&mut changes, from.filters.get(key), to.as_ref()),
        }
    }
    changes
}

fn note(change: &mut Change, was: bool, is: bool) {
    match (was, is) {
        (false, true) => change.added += 1,
        (true, false) => change.removed += 1,
        (true, true) => change.changed += 1,
        (false, false) => {}
    }
}

fn filter(changes: &mut Changes, from: Option<&Filter>, to: Option<&Filter>) {
    if from.map(|filter| filter.default) != to.map(|filter| filter.default) {
        note(&mut changes.filters, from.is_some(), to.is_some());
    }
    let (old, new) = (rules(from), rules(to));
    let (old_names, new_names) = (names(&old), names(&new));
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
        assert_eq!(
            between(&State::default(), &one).contains("+1 port, +1 interface"),
            true,
            "{}",
            between(&State::default(), &one)
        );
    }
}
