//! The last commit: what the appliance should be. It has two layers, what the configuration file
//! says and on top of it the live changes, which are the routes and hooks of all other owners.
//!
//! Both layers are in one compiled [`Policy`]: a route's key carries its owner, so that the layers
//! cannot collide, and the dataplane keeps them apart the same way. A [`Head`] is always
//! consistent; every change goes through [`Policy::apply`], which finds what does not fit before
//! the dataplane hears of it.

use std::sync::{Arc, OnceLock};

use sluice_control_api::{Commit, Confirm};
use sluice_policy::Policy;
use sluice_policy::model::{Delta, LoadedHook, Name, Operation, Owner, Route, RouteKey, State};

use crate::store::Header;

/// A commit and its compiled state.
#[derive(Clone, Debug)]
pub(crate) struct Head {
    /// Who, when, what.
    pub(crate) header: Header,
    /// Both layers, compiled under the commit's number.
    pub(crate) policy: Arc<Policy>,
    /// How many live changes there are, once somebody has asked.
    live: OnceLock<usize>,
}

impl Head {
    /// A commit and its compiled state.
    pub(crate) fn new(header: Header, policy: Policy) -> Head {
        Head { header, policy: Arc::new(policy), live: OnceLock::new() }
    }

    /// Generation 0: an appliance that does nothing.
    pub(crate) fn nothing() -> Head {
        Head::new(Header::nothing(), Policy::empty())
    }

    /// A commit of a state; or why that makes no sense.
    pub(crate) fn compile(header: Header, state: &State) -> Result<Head, String> {
        let delta = State::default().difference(state);
        let policy = Policy::empty().apply_as(header.generation, &delta).map_err(|errors| {
            errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
        })?;
        Ok(Head::new(header, policy))
    }

    /// Its number.
    pub(crate) fn generation(&self) -> u64 {
        self.header.generation
    }

    /// Both layers by name.
    pub(crate) fn state(&self) -> &State {
        self.policy.state()
    }

    /// The step to what another configuration file asks for; the live changes stay.
    pub(crate) fn towards(&self, configured: &State) -> Delta {
        let mut to = configured.clone();
        to.routes.extend(live_routes(self.state()).map(|(key, r)| (key.clone(), r.clone())));
        for (name, hook) in live_hooks(self.state()) {
            // A hook that was tried live and has been written into the file is the file's.
            to.hooks.entry(name.clone()).or_insert_with(|| hook.clone());
        }
        self.asked(&to)
    }

    /// The step to what is asked for: a route or a hook that is there as it is asked for stays as
    /// it was committed.
    pub(crate) fn asked(&self, to: &State) -> Delta {
        let mut delta = self.state().difference(to);
        for operation in &mut delta.operations {
            if let Operation::Hook(name, Some(hook)) = operation {
                self.keep_place(name, hook);
            }
        }
        delta.operations.retain(|operation| match operation {
            Operation::Route(key, Some(route)) => {
                self.state().routes.get(key).is_none_or(|present| !present.asks_as(route))
            }
            Operation::Hook(name, Some(hook)) => {
                let as_it_is = |present: &LoadedHook| {
                    present.asks_as(hook) && present.generation == hook.generation
                };
                !self.state().hooks.get(name).is_some_and(as_it_is)
            }
            _ => true,
        });
        delta
    }

    /// A hook that is there keeps its place in the order of registration while its program stays;
    /// one that comes back from an earlier commit takes the place that it had.
    fn keep_place(&self, name: &Name, hook: &mut LoadedHook) {
        let present = self.state().hooks.get(name).filter(|_| hook.generation == 0);
        if let Some(present) = present.filter(|present| present.program == hook.program) {
            hook.generation = present.generation;
        }
    }

    /// Whether a route of an owner that a commit set is stale.
    pub(crate) fn is_stale(&self, owner: &Owner, generation: u64) -> bool {
        self.header.stale.get(owner).is_some_and(|&mark| generation <= mark)
    }

    /// How many live changes there are; counted once.
    pub(crate) fn live(&self) -> usize {
        let count = || live_routes(self.state()).count() + live_hooks(self.state()).count();
        *self.live.get_or_init(count)
    }

    /// What waits to be confirmed.
    pub(crate) fn confirm(&self) -> Option<Confirm> {
        self.header.confirm.as_ref().map(|deadline| deadline.confirm())
    }

    /// Whether nobody confirmed in time.
    pub(crate) fn overdue(&self) -> bool {
        self.header.confirm.as_ref().is_some_and(|deadline| deadline.remaining().is_none())
    }

    /// As it is told; it is the last commit.
    pub(crate) fn commit(&self) -> Commit {
        Commit { confirm: self.confirm(), live: true, ..told(&self.header) }
    }
}

/// A commit of the past, as it is told.
pub(crate) fn told(header: &Header) -> Commit {
    Commit {
        generation: header.generation,
        time: header.time.clone(),
        author: header.author.clone(),
        message: header.message.clone(),
        kind: header.kind.clone(),
        changes: header.changes,
        confirm: None,
        live: false,
    }
}

fn live_routes(state: &State) -> impl Iterator<Item = (&RouteKey, &Route)> {
    state.routes.iter().filter(|(key, _)| key.owner != Owner::Static)
}

fn live_hooks(state: &State) -> impl Iterator<Item = (&Name, &LoadedHook)> {
    state.hooks.iter().filter(|(_, hook)| hook.owner != Owner::Static)
}
