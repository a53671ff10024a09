//! The operator's hooks: part of the desired state, they come, stay and go with the policy.

use std::sync::Arc;

use sluice_channel::statistics::MAX_HOOKS;
use sluice_policy::order::ForeignHook;

use super::hooks::{Entry, HookState, Objects, Origin};
use super::{Plane, Stack};
use crate::program::{Made, Wants};
use crate::registry::{RegistryError, Standing};

/// A hook of the desired state: in which order these are given is the order of registration.
pub struct Configured {
    /// Where it stands, for whom, and what it wants.
    pub hook: ForeignHook,
    /// What runs.
    pub body: Body,
}

/// What runs as a hook of the desired state.
pub enum Body {
    /// It is as it was, and what runs goes on.
    AsItWas,
    /// It is new.
    New(Made),
    /// It was committed once and cannot be any more, for this reason: it has its place, and nothing
    /// runs there.
    Missing(String),
}

/// What becomes of the operator's hooks with the next policy: made by [`Stack::plan`], which can
/// fail; carried out by [`Stack::adopt`], which cannot.
pub struct Plan(Vec<Configured>);

/// Why the operator's hooks cannot be.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum PlanError {
    /// The hints contradict each other.
    #[error(transparent)]
    Order(#[from] RegistryError),
    /// More hooks than fit.
    #[error("{0} hooks are loaded, {MAX_HOOKS} fit: unload some")]
    Full(usize),
}

impl Stack {
    /// Looks whether the operator's hooks of `policy` can stand beside those of modules. Nothing
    /// changes.
    ///
    /// # Errors
    /// [`PlanError`].
    pub fn plan(
        &self,
        policy: &sluice_policy::Policy,
        hooks: Vec<Configured>,
    ) -> Result<Plan, PlanError> {
        let others = self.entries.iter().filter(|e| e.origin != Origin::Configured);
        let new = hooks.iter().filter(|hook| matches!(hook.body, Body::New(_))).count();
        // What is replaced is given back after the new ones have been given out.
        if self.slots.used() + new > MAX_HOOKS {
            return Err(PlanError::Full(hooks.len()));
        }
        let standing = |hook| Standing { hook, slot: None, wants: Wants::EveryPacket };
        let running = others.filter(|e| e.runs()).map(|e| &e.hook);
        let all: Vec<_> =
            hooks.iter().map(|hook| &hook.hook).chain(running).map(standing).collect();
        self.registry.order(policy, &all)?;
        Ok(Plan(hooks))
    }

    /// Registers the hooks of a plan and gives their objects out; the policy of `plane` is the next
    /// one. Returns those that have gone: they are to be [retired](Stack::retire) once the next
    /// order is published.
    pub fn adopt(&mut self, plane: &mut dyn Plane, plan: Plan) -> Vec<Entry> {
        let (old, others): (Vec<Entry>, Vec<Entry>) = std::mem::take(&mut self.entries)
            .into_iter()
            .partition(|entry| entry.origin == Origin::Configured);
        let mut old: Vec<Option<Entry>> = old.into_iter().map(Some).collect();
        let mut added = Vec::new();
        let mut new = Vec::with_capacity(plan.0.len() + others.len());
        for Configured { hook, body } in plan.0 {
            let place =
                old.iter().position(|e| e.as_ref().is_some_and(|e| e.hook.name == hook.name));
            let made = match body {
                Body::New(made) => made,
                Body::AsItWas => {
                    // But the order of registration may have changed.
                    new.extend(place.and_then(|place| old[place].take()));
                    continue;
                }
                Body::Missing(reason) => {
                    let none = Arc::default();
                    let mut entry = self.entry(hook, Origin::Configured, None, none, None, None);
                    entry.state = HookState::TakenOut(reason);
                    added.push(entry.id);
                    new.push(entry);
                    continue;
                }
            };
            let Some(slot) = self.slots.free() else {
                debug_assert!(false, "the plan has counted the free slots");
                continue;
            };
            // A worker that takes none is stuck, and says so elsewhere; it passes the hook over.
            let objects = Objects::make(&made, plane.workers());
            let wants = objects.wants();
            self.give(plane, slot, true, objects).ok();
            let origin = Origin::Configured;
            let mut entry = self.entry(hook, origin, Some(slot), made.counters.clone(), None, None);
            entry.wants = wants;
            added.push(entry.id);
            new.push(entry);
        }
        new.extend(others);
        self.entries = new;
        let gone: Vec<Entry> = old.into_iter().flatten().collect();
        for entry in &gone {
            self.tell_of(plane, entry, false);
        }
        for id in added {
            self.tell_of_id(plane, id, true);
        }
        gone
    }
}
