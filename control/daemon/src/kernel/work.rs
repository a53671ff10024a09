//! What was learnt from the kernel against the last commit.
//!
//! The kernel's routes are told from others of their owners by where they are from: a route that
//! somebody else set under one of these owners is left alone, whatever the kernel says.

use std::collections::BTreeMap;

use sluice_control_api::CommitKind;
use sluice_policy::model::{Delta, Operation, Owner, Route, RouteKey};

use crate::change::Step;
use crate::head::Head;

/// The file of the positions of routes that were learnt from the kernel.
pub(super) const FILE: &str = "kernel";

/// Routes that were learnt.
#[derive(Clone, Debug, Default)]
pub(crate) struct Learnt {
    /// What they are; `None` is not there.
    pub(super) routes: BTreeMap<RouteKey, Option<Route>>,
    /// Whether that is all: what else was learnt earlier is gone.
    pub(super) whole: bool,
}

/// Works out what is new.
pub(crate) fn work_out(head: &Head, learnt: Learnt) -> Step {
    let Learnt { routes, whole } = learnt;
    let mut operations = Vec::new();
    if whole {
        let known = head.state().routes.iter().filter(|(key, route)| is_learnt(key, route));
        let gone = known.filter(|(key, _)| !routes.contains_key(key));
        operations.extend(gone.map(|(key, _)| Operation::Route(key.clone(), None)));
    }
    for (key, route) in routes {
        let present = head.state().routes.get(&key);
        if present.is_some_and(|present| !is_learnt(&key, present)) {
            continue;
        }
        let route = route.filter(|route| is_sound(head, &key, route));
        let same = match (present, &route) {
            (None, None) => true,
            (Some(present), Some(route)) => {
                present.asks_as(route) && !head.is_stale(&key.owner, present.generation)
            }
            _ => false,
        };
        if !same {
            operations.push(Operation::Route(key, route));
        }
    }
    let mut owners: Vec<Owner> = Vec::new();
    for operation in &operations {
        if let Operation::Route(key, _) = operation
            && !owners.contains(&key.owner)
        {
            owners.push(key.owner.clone());
        }
    }
    let kind = CommitKind::Route { owners, stale: Vec::new() };
    Step::of_head(head, Delta { operations }, kind)
}

/// Whether a route was learnt from the kernel.
pub(super) fn is_learnt(key: &RouteKey, route: &Route) -> bool {
    key.owner != Owner::Static && &*route.position.file == FILE
}

/// Whether a route can be set here. The kernel has routes that mean nothing to us: to multicast, by
/// itself.
fn is_sound(head: &Head, key: &RouteKey, route: &Route) -> bool {
    let wrong = head.policy.unsound(key, route);
    if let Some(error) = wrong.first() {
        tracing::debug!(prefix = %key.prefix, "a route of the kernel is left out: {error}");
    }
    wrong.is_empty()
}
