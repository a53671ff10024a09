//! What differs between two states, thing by thing, for people: counted for a commit's line, and
//! in the configuration's words for `diff`.
//!
//! Where in a file a thing stands is no difference: a line inserted above it does not change it.

mod words;

use std::collections::{BTreeMap, BTreeSet};

use sluice_control_api::{Change, Changes, DiffEntry, DiffKind};
use sluice_policy::model::{
    Delta, Filter, Instance, Interface, LoadedHook, MacAddress, Name, Operation, Owner,
    PolicyRoute, Port, Route, Rule, Set, State,
};

/// How much `delta` changes in `from`.
pub(crate) fn count(from: &State, delta: &Delta) -> Changes {
    let mut changes = Changes::default();
    // One operation at a time: of a million routes no list is made.
    let mut found = Vec::new();
    for operation in &delta.operations {
        differences(from, operation, &mut found);
        found.drain(..).for_each(|difference| tally(&mut changes, &difference));
    }
    changes
}

fn tally(changes: &mut Changes, difference: &Difference<'_>) {
    let change = match difference.kind {
        DiffKind::Port => &mut changes.ports,
        DiffKind::Interface => &mut changes.interfaces,
        DiffKind::Instance => &mut changes.instances,
        DiffKind::Route => &mut changes.routes,
        DiffKind::Filter => &mut changes.filters,
        DiffKind::Set => &mut changes.sets,
        DiffKind::Rule => &mut changes.rules,
        DiffKind::Neighbour => &mut changes.neighbours,
        DiffKind::PolicyRoute => &mut changes.policy_routes,
        DiffKind::Hook => &mut changes.hooks,
        DiffKind::Timeout => &mut changes.timeouts,
    };
    let Change { added, removed, changed } = change;
    match (&difference.before, &difference.after) {
        (None, _) => *added += 1,
        (_, None) => *removed += 1,
        _ => *changed += 1,
    }
}

/// What `delta` changes in `from`, in the configuration's words.
pub(crate) fn entries(from: &State, delta: &Delta) -> Vec<DiffEntry> {
    let mut found = Vec::new();
    delta.operations.iter().for_each(|operation| differences(from, operation, &mut found));
    let mut entries: Vec<DiffEntry> = found
        .into_iter()
        .map(|difference| DiffEntry {
            kind: difference.kind,
            name: difference.name(),
            before: difference.before.map(|value| value.to_string()),
            after: difference.after.map(|value| value.to_string()),
        })
        .collect();
    // Gone and new things of a table come apart in a delta, and belong together for a reader.
    entries.sort_by(|one, other| (one.kind, &one.name).cmp(&(other.kind, &other.name)));
    entries
}

/// A thing that differs.
struct Difference<'a> {
    kind: DiffKind,
    key: Key<'a>,
    before: Option<Value<'a>>,
    after: Option<Value<'a>>,
}

/// What a thing is named by: what stands before the rule's name, and the rule's name.
struct Key<'a>(&'a Operation, Option<&'a Name>);

/// A thing, to be compared and to be shown.
enum Value<'a> {
    Port(&'a Port),
    Interface(&'a Interface),
    Instance(&'a Instance),
    /// A route and its owner, whose preference goes without saying.
    Route(&'a Route, &'a Owner),
    Filter(&'a Filter),
    /// A set, and what it is on the other side.
    Set(&'a Set, Option<&'a Set>),
    /// A rule and, if it moved, its place and the number of rules.
    Rule(&'a Rule, Option<(usize, usize)>),
    Neighbour(&'a MacAddress),
    /// A policy route and, if it moved, its place and the number of policy routes.
    PolicyRoute(&'a PolicyRoute, Option<(usize, usize)>),
    Hook(&'a LoadedHook),
    /// A timeout in seconds.
    Timeout(u32),
}

impl Value<'_> {
    fn same(&self, other: &Value<'_>) -> bool {
        match (self, other) {
            (Value::Port(a), Value::Port(b)) => {
                **a == Port { position: a.position.clone(), ..(*b).clone() }
            }
            (Value::Interface(a), Value::Interface(b)) => {
                **a == Interface { position: a.position.clone(), ..(*b).clone() }
            }
            (Value::Instance(a), Value::Instance(b)) => a == b,
            (Value::Route(a, _), Value::Route(b, _)) => {
                a.asks_as(b) || {
                    let b = Route { position: a.position.clone(), ..(*b).clone() };
                    a.asks_as(&b)
                }
            }
            (Value::Filter(a), Value::Filter(b)) => {
                (a.default, a.stateful.is_some()) == (b.default, b.stateful.is_some())
            }
            (Value::Set(a, _), Value::Set(b, _)) => a == b,
            (Value::Rule(a, place), Value::Rule(b, other)) => {
                place.is_none()
                    && other.is_none()
                    && **a == Rule { position: a.position.clone(), ..(*b).clone() }
            }
            (Value::Neighbour(a), Value::Neighbour(b)) => a == b,
            (Value::PolicyRoute(a, place), Value::PolicyRoute(b, other)) => {
                place.is_none()
                    && other.is_none()
                    && **a == PolicyRoute { position: a.position.clone(), ..(*b).clone() }
            }
            (Value::Hook(a), Value::Hook(b)) => a.runs_as(b) && a.owner == b.owner,
            (Value::Timeout(a), Value::Timeout(b)) => a == b,
            _ => false,
        }
    }
}

/// What one operation changes in `from`.
fn differences<'a>(from: &'a State, operation: &'a Operation, found: &mut Vec<Difference<'a>>) {
    let mut note = |kind, before: Option<Value<'a>>, after: Option<Value<'a>>| {
        push(found, kind, Key(operation, None), before, after);
    };
    match operation {
        Operation::Port(key, to) => {
            let was = from.ports.get(key).map(Value::Port);
            note(DiffKind::Port, was, to.as_ref().map(Value::Port));
        }
        Operation::Interface(key, to) => {
            let was = from.interfaces.get(key).map(Value::Interface);
            note(DiffKind::Interface, was, to.as_ref().map(Value::Interface));
        }
        Operation::Instance(key, to) => {
            let was = from.instances.get(key).map(Value::Instance);
            note(DiffKind::Instance, was, to.as_ref().map(Value::Instance));
        }
        Operation::Route(key, to) => {
            let was = from.routes.get(key).map(|route| Value::Route(route, &key.owner));
            let to = to.as_ref().map(|route| Value::Route(route, &key.owner));
            note(DiffKind::Route, was, to);
        }
        Operation::Neighbour(key, to) => {
            let was = from.neighbours.get(key).map(Value::Neighbour);
            note(DiffKind::Neighbour, was, to.as_ref().map(Value::Neighbour));
        }
        Operation::Filter(key, to) => {
            let was = from.filters.get(key);
            note(DiffKind::Filter, was.map(Value::Filter), to.as_ref().map(Value::Filter));
            sets(operation, was, to.as_ref(), found);
            let list = |filter: Option<&'a Filter>| filter.map_or(&[][..], |f| &f.rules);
            let lists = (list(was), list(to.as_ref()));
            let rules = Listed { name: |rule: &Rule| &rule.name, value: Value::Rule };
            listed(operation, DiffKind::Rule, lists, rules, found);
        }
        Operation::PolicyRoutes(key, to) => {
            let was = from.policy_routes.get(key).map_or(&[][..], Vec::as_slice);
            let lists = (was, to.as_deref().unwrap_or_default());
            let routes =
                Listed { name: |route: &PolicyRoute| &route.name, value: Value::PolicyRoute };
            listed(operation, DiffKind::PolicyRoute, lists, routes, found);
        }
        Operation::Hook(key, to) => {
            let was = from.hooks.get(key).map(Value::Hook);
            note(DiffKind::Hook, was, to.as_ref().map(Value::Hook));
        }
        Operation::Timeout(key, to) => {
            let was = from.timeouts.get(key).copied().map(Value::Timeout);
            note(DiffKind::Timeout, was, to.map(Value::Timeout));
        }
    }
}

fn push<'a>(
    found: &mut Vec<Difference<'a>>,
    kind: DiffKind,
    key: Key<'a>,
    before: Option<Value<'a>>,
    after: Option<Value<'a>>,
) {
    let differs = match (&before, &after) {
        (Some(before), Some(after)) => !before.same(after),
        (None, None) => false,
        _ => true,
    };
    if differs {
        found.push(Difference { kind, key, before, after });
    }
}

/// The sets of a filter that differ.
fn sets<'a>(
    operation: &'a Operation,
    was: Option<&'a Filter>,
    is: Option<&'a Filter>,
    found: &mut Vec<Difference<'a>>,
) {
    let names: BTreeSet<&Name> =
        was.into_iter().chain(is).flat_map(|filter| filter.sets.keys()).collect();
    for name in names {
        let of = |filter: Option<&'a Filter>| filter.and_then(|filter| filter.sets.get(name));
        let (was, is) = (of(was), of(is));
        let before = was.map(|set| Value::Set(set, is));
        let after = is.map(|set| Value::Set(set, was));
        push(found, DiffKind::Set, Key(operation, Some(name)), before, after);
    }
}

/// Things of which the order matters: rules of a filter, policy routes.
struct Listed<'a, T> {
    name: fn(&'a T) -> &'a Name,
    value: fn(&'a T, Option<(usize, usize)>) -> Value<'a>,
}

/// Those of two lists that differ, by name, and those that moved.
fn listed<'a, T>(
    operation: &'a Operation,
    kind: DiffKind,
    (old, new): (&'a [T], &'a [T]),
    Listed { name, value }: Listed<'a, T>,
    found: &mut Vec<Difference<'a>>,
) {
    let places = |list: &'a [T]| -> BTreeMap<&'a Name, usize> {
        list.iter().enumerate().map(|(place, item)| (name(item), place)).collect()
    };
    let (old_places, new_places) = (places(old), places(new));
    // The old places of those that are in both, in the new order: what is out of order moved.
    let kept: Vec<usize> =
        new.iter().filter_map(|item| old_places.get(name(item)).copied()).collect();
    let stayed = longest_increasing(&kept);
    for item in old.iter().filter(|item| !new_places.contains_key(name(item))) {
        let key = Key(operation, Some(name(item)));
        push(found, kind, key, Some(value(item, None)), None);
    }
    for (place, item) in new.iter().enumerate() {
        let key = Key(operation, Some(name(item)));
        let Some(&before) = old_places.get(name(item)) else {
            push(found, kind, key, None, Some(value(item, None)));
            continue;
        };
        let moved = stayed.binary_search(&before).is_err();
        let at = |place, of: &[T]| moved.then_some((place + 1, of.len()));
        let before = value(&old[before], at(before, old));
        let after = value(item, at(place, new));
        push(found, kind, key, Some(before), Some(after));
    }
}

/// A longest part of a sequence of different numbers that is in order (patience sorting).
fn longest_increasing(sequence: &[usize]) -> Vec<usize> {
    // The last card of each pile, by place in the sequence, and the card under each card.
    let mut piles: Vec<usize> = Vec::new();
    let mut under: Vec<Option<usize>> = Vec::with_capacity(sequence.len());
    for (place, number) in sequence.iter().enumerate() {
        let pile = piles.partition_point(|&top| sequence[top] < *number);
        under.push(pile.checked_sub(1).map(|left| piles[left]));
        match piles.get_mut(pile) {
            Some(top) => *top = place,
            None => piles.push(place),
        }
    }
    let mut longest = Vec::with_capacity(piles.len());
    let mut next = piles.last().copied();
    while let Some(place) = next {
        longest.push(sequence[place]);
        next = under[place];
    }
    longest.reverse();
    longest
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

    const A: &str = "{ name: a, protocol: tcp, action: drop }";
    const B: &str = "{ name: b, protocol: udp, action: drop }";

    #[test]
    fn counts_are_what_an_operator_expects() {
        let one = state(A, "");
        let two = state(&format!("{B}, {A}"), "{ to: 10.9.0.0/16, blackhole: true }");
        assert_eq!(between(&one, &two), "+1 route, +1 rule");
        assert_eq!(between(&two, &one), "-1 route, -1 rule");
        assert_eq!(between(&two, &two), "no change");
        let turned = state(&format!("{A}, {B}"), "{ to: 10.9.0.0/16, reject: true }");
        assert_eq!(between(&two, &turned), "~1 route, ~1 rule");
        let first = between(&State::default(), &one);
        assert!(first.starts_with("+1 port, +1 interface"), "{first}");
    }

    #[test]
    fn entries_are_in_the_words_of_the_configuration() {
        let one = state(&format!("{A}, {B}"), "{ to: 10.9.0.0/16, blackhole: true }");
        let two = state(
            &format!("{B}, {A}"),
            "{ to: 10.8.0.0/16, via: 10.0.1.2 }, { to: 10.9.0.0/16, via: [ { address: 10.0.1.2, \
             weight: 3 }, { address: 10.0.1.3 } ] }",
        );
        let entries = entries(&one, &one.difference(&two));
        let lines: Vec<String> = entries
            .iter()
            .map(|entry| {
                let side = |text: &Option<String>| text.clone().unwrap_or_default();
                format!(
                    "{} {}: {} -> {}",
                    entry.kind.name(),
                    entry.name,
                    side(&entry.before),
                    side(&entry.after)
                )
            })
            .collect();
        assert_eq!(
            lines,
            [
                "route default 10.8.0.0/16 static:  -> { via: 10.0.1.2 }",
                "route default 10.9.0.0/16 static: { blackhole: true } -> { via: [{ address: \
                 10.0.1.2, weight: 3 }, { address: 10.0.1.3 }] }",
                "rule default forward b: { protocol: udp, action: drop } # rule 2 of 2 -> \
                 { protocol: udp, action: drop } # rule 1 of 2",
            ]
        );
    }

    #[test]
    fn only_what_moved_moved() {
        assert_eq!(longest_increasing(&[4, 0, 1, 2, 3]), [0, 1, 2, 3]);
        assert_eq!(longest_increasing(&[1, 2, 3, 0]), [1, 2, 3]);
        assert_eq!(longest_increasing(&[2, 1, 0]).len(), 1);
        assert!(longest_increasing(&[]).is_empty());
    }
}
