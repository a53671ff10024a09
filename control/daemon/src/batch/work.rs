//! A batch against the last commit.

use std::collections::BTreeMap;

use sluice_control_api::{CommitKind, RouteConflict};
use sluice_policy::model::{Delta, Operation, Owner, RouteKey};
use sluice_policy::{PolicyError, Thing};

use super::{Batch, Expectation, Form, Item, MOST_TOLD, What, Withdrawal};
use crate::change::Step;
use crate::error::ControlError;
use crate::head::Head;
use crate::view;

/// How many owners may be marked stale.
const MOST_MARKED: usize = 256;

/// How many owners a commit names.
const MOST_NAMED: usize = 8;

/// Which operation of a request each step of a delta comes from.
#[derive(Debug)]
pub(crate) struct Places {
    form: Form,
    at: Vec<u32>,
}

impl Places {
    /// A mistake, by the operation that made it.
    pub(crate) fn say(&self, delta: &Delta, error: &PolicyError) -> String {
        let PolicyError { subject, mistake, .. } = error;
        let step =
            delta.operations.iter().position(|operation| match (operation, &subject.thing) {
                (Operation::Route(key, _), Thing::Route(wrong)) => key == wrong,
                _ => false,
            });
        let place = step.and_then(|step| self.at.get(step));
        let place = place.map_or_else(String::new, |at| self.form.prefix(*at));
        format!("{place}{subject}: {mistake}")
    }
}

/// Works a batch out: what is to be done, or why it cannot be.
pub(crate) fn work_out(head: &Head, batch: Batch) -> Result<Step, ControlError> {
    check(head, &batch)?;
    let Batch { form, items, withdrawn, marked, swept, expected: _ } = batch;
    let gone = gone(head, &items, &withdrawn, &swept);

    let mut operations = Vec::with_capacity(items.len() + gone.len());
    let mut at = Vec::with_capacity(operations.capacity());
    for Item { at: place, key, route, .. } in items {
        let present = head.state().routes.get(&key);
        let same = match (present, &route) {
            (Some(present), Some(route)) => {
                present.asks_as(route) && !head.is_stale(&key.owner, present.generation)
            }
            _ => false,
        };
        if !same {
            operations.push(Operation::Route(key, route));
            at.push(place);
        }
    }
    for (place, key) in gone {
        operations.push(Operation::Route(key, None));
        at.push(place);
    }

    let mut stale = head.header.stale.clone();
    let whole =
        withdrawn.iter().map(|(_, w)| w).filter(|w| w.instance.is_none() && w.table.is_none());
    for owner in whole.map(|w| &w.owner).chain(swept.iter().map(|(_, owner)| owner)) {
        stale.remove(owner);
    }
    stale.extend(marked.iter().map(|(_, owner)| (owner.clone(), head.generation())));
    let notes = marked.iter().map(|(_, owner)| {
        let of_owner = head.state().routes.keys().filter(|key| key.owner == *owner).count();
        format!(
            "{of_owner} routes of {owner} are stale until they are set again; `sluice route sweep \
             --owner {owner}` removes those that are not"
        )
    });
    let notes = notes.collect();
    let kind = CommitKind::Route {
        owners: owners(&operations),
        stale: marked.into_iter().map(|(_, owner)| owner).take(MOST_NAMED).collect(),
    };
    let step = Step::of_head(head, Delta { operations }, kind);
    Ok(Step { stale, notes, places: Some(Places { form, at }), ..step })
}

/// Whether the batch finds what it needs.
fn check(head: &Head, batch: &Batch) -> Result<(), ControlError> {
    let form = batch.form;
    let mut conflicts = Told::default();
    for expectation in &batch.expected {
        known_instance(head, form, expectation.at, &expectation.instance)?;
        if !holds(head, expectation) {
            conflicts.note(|| conflict(head, form, expectation));
        }
    }
    let mut missing = Told::default();
    for item in &batch.items {
        let Item { at, key, route, replace } = item;
        match (head.state().routes.get(key), route) {
            (Some(present), Some(route)) if !replace && !present.asks_as(route) => {
                conflicts.note(|| RouteConflict {
                    expected: format!("no other route of {} (without `replace`)", key.owner),
                    ..there(head, form, *at, key)
                });
            }
            // Whoever said what they expect was told what is there instead.
            (None, None) if conflicts.total == 0 => {
                missing.note(|| format!("{}{}", form.prefix(*at), nothing_to_delete(key)));
            }
            _ => {}
        }
    }
    if conflicts.total > 0 {
        return Err(ControlError::NotAsExpected { total: conflicts.total, told: conflicts.told });
    }
    if missing.total > 0 {
        return Err(ControlError::NoSuchRoute { total: missing.total, told: missing.told });
    }
    for (at, withdrawal) in &batch.withdrawn {
        if let Some(instance) = &withdrawal.instance {
            known_instance(head, form, *at, instance)?;
        }
    }
    for (at, owner) in &batch.swept {
        if !head.header.stale.contains_key(owner) {
            return Err(ControlError::NotStale { place: form.prefix(*at), owner: owner.clone() });
        }
    }
    let marks = head.header.stale.keys().chain(batch.marked.iter().map(|(_, owner)| owner));
    if marks.collect::<std::collections::BTreeSet<_>>().len() > MOST_MARKED {
        return Err(ControlError::Request(format!(
            "at most {MOST_MARKED} owners may be marked stale: sweep or withdraw others first"
        )));
    }
    Ok(())
}

/// Mistakes, of which only some are told one by one.
struct Told<T> {
    told: Vec<T>,
    total: usize,
}

impl<T> Default for Told<T> {
    fn default() -> Self {
        Told { told: Vec::new(), total: 0 }
    }
}

impl<T> Told<T> {
    fn note(&mut self, one: impl FnOnce() -> T) {
        self.total += 1;
        if self.told.len() < MOST_TOLD {
            self.told.push(one());
        }
    }
}

fn known_instance(head: &Head, form: Form, at: u32, name: &str) -> Result<(), ControlError> {
    if head.policy.instance_named(name).is_some() {
        return Ok(());
    }
    let known: Vec<&str> = head.policy.instances().map(|known| &*known.name).collect();
    Err(ControlError::Request(format!(
        "{}there is no instance `{name}`; there are: {}",
        form.prefix(at),
        known.join(", ")
    )))
}

fn holds(head: &Head, expectation: &Expectation) -> bool {
    let Expectation { instance, table, prefix, what, .. } = expectation;
    let own = |owner: &Owner| {
        let (instance, table, prefix) = (instance.clone(), table.clone(), *prefix);
        let key = RouteKey { instance, table, prefix, owner: owner.clone() };
        head.state().routes.get(&key).map(|route| route.generation)
    };
    let in_use = || {
        let routes = head.policy.routes_at(instance, table, *prefix);
        routes.into_iter().find(|route| route.active)
    };
    match what {
        What::Generation(Some(owner), generation) => own(owner) == Some(*generation),
        What::Generation(None, generation) => {
            in_use().is_some_and(|route| route.generation == *generation)
        }
        What::Absent(Some(owner)) => own(owner).is_none(),
        What::Absent(None) => head.policy.routes_at(instance, table, *prefix).is_empty(),
        What::InUse(owner) => in_use().is_some_and(|route| route.owner == *owner),
    }
}

fn conflict(head: &Head, form: Form, expectation: &Expectation) -> RouteConflict {
    let Expectation { at, instance, table, prefix, what } = expectation;
    let (instance, table, prefix) = (instance.clone(), table.clone(), *prefix);
    // Whose route it is does not matter for what is there.
    let key = RouteKey { instance, table, prefix, owner: Owner::Cli };
    RouteConflict { expected: what.to_string(), ..there(head, form, *at, &key) }
}

/// What is there now.
fn there(head: &Head, form: Form, at: u32, key: &RouteKey) -> RouteConflict {
    let RouteKey { instance, table, prefix, owner: _ } = key.clone();
    let present = head.policy.routes_at(&instance, &table, prefix);
    let present = present.into_iter().map(|route| view::route(head, route)).collect();
    RouteConflict { at: form.place(at), instance, table, prefix, expected: String::new(), present }
}

fn nothing_to_delete(key: &RouteKey) -> String {
    let RouteKey { instance, table, prefix, owner } = key;
    format!(
        "there is no {owner} route to {prefix} in table {table} of instance {instance}; routes of \
         the configuration file are removed by applying a file without them"
    )
}

/// The routes that are removed by owner, each with the operation that does.
fn gone(
    head: &Head,
    items: &[Item],
    withdrawn: &[(u32, Withdrawal)],
    swept: &[(u32, Owner)],
) -> Vec<(u32, RouteKey)> {
    if withdrawn.is_empty() && swept.is_empty() {
        return Vec::new();
    }
    let swept: BTreeMap<&Owner, u32> = swept.iter().map(|(at, owner)| (owner, *at)).collect();
    let mut gone = Vec::new();
    for (key, route) in &head.state().routes {
        let withdrawn = withdrawn.iter().find(|(_, withdrawal)| withdrawal.covers(key));
        let swept = swept.get(&key.owner).filter(|_| head.is_stale(&key.owner, route.generation));
        let Some(at) = withdrawn.map(|(at, _)| at).or(swept) else { continue };
        if items.binary_search_by(|item| item.key.cmp(key)).is_err() {
            gone.push((*at, key.clone()));
        }
    }
    gone
}

/// Whose routes a delta changes.
fn owners(operations: &[Operation]) -> Vec<Owner> {
    let mut owners: Vec<Owner> = Vec::new();
    for operation in operations {
        if let Operation::Route(key, _) = operation
            && !owners.contains(&key.owner)
        {
            owners.push(key.owner.clone());
            if owners.len() == MOST_NAMED {
                break;
            }
        }
    }
    owners
}
