//! Which hooks there are, and the resolved order in which each event runs them.

use std::sync::Arc;

use sluice_policy::order::{ForeignHook, OrderError, Place, resolved};
use sluice_policy::{Event, InstanceId, Policy, Protocol, Stage};

use crate::hook::Hook;

/// Makes the hook's object for one worker.
pub type Factory = Arc<dyn Fn() -> Box<dyn Hook> + Send + Sync>;

/// What an author registers.
#[derive(Clone)]
pub struct Registration {
    /// Where the hook runs, and for whom.
    pub hook: ForeignHook,
    /// Makes one object for each worker.
    pub factory: Factory,
}

/// A hook's place in every worker's array of hook objects.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct HookIndex(pub u16);

/// Why a registration is refused.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum RegistryError {
    /// The protocol does not have the event.
    #[error("hook `{hook}`: {protocol:?} has no event {}", event.name())]
    NoSuchEvent {
        /// The hook.
        hook: String,
        /// The protocol.
        protocol: Protocol,
        /// The event.
        event: Event,
    },
    /// The hints at an event cannot be satisfied together.
    #[error("at {}: {source}", event.name())]
    Order {
        /// The event.
        event: Event,
        /// What contradicts what.
        source: OrderError,
    },
}

/// All registered hooks: the built-in stages first, then the authors'.
#[derive(Clone, Default)]
pub struct Registry {
    builtin: Vec<(Stage, Factory)>,
    foreign: Vec<ForeignHook>,
    /// Of each of those.
    factories: Vec<Factory>,
}

impl Registry {
    /// A registry without hooks.
    pub fn new() -> Registry {
        Registry::default()
    }

    /// Adds a stage that ships with Sluice. Its event is [`Stage::event`]; its place in each
    /// instance's order is what the configuration's `pipeline` says.
    pub fn builtin(&mut self, stage: Stage, factory: Factory) {
        self.builtin.push((stage, factory));
    }

    /// Adds an author's hook. Hooks are registered while the dataplane starts, before the first
    /// worker runs.
    ///
    /// # Errors
    /// [`RegistryError::NoSuchEvent`] when a protocol lacks the event. Whether the hint fits the
    /// others is known once an instance is resolved ([`Registry::order`]).
    pub fn register(&mut self, hook: Registration) -> Result<HookIndex, RegistryError> {
        let ForeignHook { protocols, event, name, .. } = &hook.hook;
        if let Some(&protocol) = protocols.iter().find(|p| !p.has(*event)) {
            let (hook, event) = (name.to_string(), *event);
            return Err(RegistryError::NoSuchEvent { hook, protocol, event });
        }
        self.foreign.push(hook.hook);
        self.factories.push(hook.factory);
        Ok(HookIndex((self.builtin.len() + self.foreign.len() - 1) as u16))
    }

    /// The authors' hooks.
    pub fn foreign(&self) -> &[ForeignHook] {
        &self.foreign
    }

    /// One object of every hook, for one worker; a [`HookIndex`] is a place in it.
    pub fn instantiate(&self) -> Vec<Box<dyn Hook>> {
        let builtin = self.builtin.iter().map(|(_, factory)| factory());
        builtin.chain(self.factories.iter().map(|factory| factory())).collect()
    }

    /// For each [`HookIndex`], the built-in stage that it is; `None` for an author's hook.
    pub fn stages(&self) -> Vec<Option<Stage>> {
        let builtin = self.builtin.iter().map(|(stage, _)| Some(*stage));
        builtin.chain(self.foreign.iter().map(|_| None)).collect()
    }

    /// The resolved order of every event of every instance of `policy`.
    ///
    /// # Errors
    /// [`RegistryError::Order`] when the hints at an event contradict each other.
    pub fn order(&self, policy: &Policy) -> Result<HookOrder, RegistryError> {
        let mut order = HookOrder::default();
        for instance in policy.instances() {
            let lists = order.of_mut(instance.id);
            for protocol in Protocol::ALL {
                for event in Event::ALL.into_iter().filter(|&event| protocol.has(event)) {
                    let places = resolved(instance, protocol, event, &self.foreign)
                        .map_err(|source| RegistryError::Order { event, source })?;
                    let hooks = places.into_iter().filter_map(|place| match place {
                        // A filter that lets everything pass holds its place, and is not called.
                        Place::Stage(stage) => {
                            let open = stage.filter().is_some_and(|point| !instance.filters(point));
                            let index = self.builtin.iter().position(|(s, _)| *s == stage)?;
                            (!open).then_some(index)
                        }
                        Place::Foreign(index) => Some(self.builtin.len() + index),
                    });
                    lists[protocol as usize][event as usize] =
                        hooks.map(|index| HookIndex(index as u16)).collect();
                }
            }
        }
        Ok(order)
    }
}

const PROTOCOLS: usize = Protocol::ALL.len();
const EVENTS: usize = Event::ALL.len();
type Lists = [[Box<[HookIndex]>; EVENTS]; PROTOCOLS];

/// The resolved order of hooks, by instance, protocol and event. Immutable; published with the
/// policy that it was resolved for.
#[derive(Clone, Debug, Default)]
pub struct HookOrder(Vec<Lists>);

impl HookOrder {
    fn of_mut(&mut self, instance: InstanceId) -> &mut Lists {
        if self.0.len() <= instance.index() {
            self.0.resize_with(instance.index() + 1, Lists::default);
        }
        &mut self.0[instance.index()]
    }

    /// The hooks of an event in the order in which they run; empty costs its caller one branch
    /// for a burst.
    #[inline]
    pub fn hooks(&self, instance: InstanceId, protocol: Protocol, event: Event) -> &[HookIndex] {
        match self.0.get(instance.index()) {
            Some(lists) => &lists[protocol as usize][event as usize],
            None => &[],
        }
    }
}
