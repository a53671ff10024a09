//! Which hooks there are, and the resolved order in which each event runs them.

use std::sync::Arc;

use sluice_policy::{Event, InstanceId, Policy, Stage};

use crate::hook::Hook;
use crate::order::{Hint, OrderError, Ordered, resolve};

/// The protocol of a packet at a hook (`NHF_INET`, `NHF_INET6`, `NHF_ARP`).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
#[repr(u8)]
#[non_exhaustive]
pub enum Protocol {
    /// IPv4.
    Inet = 0,
    /// IPv6.
    Inet6 = 1,
    /// ARP: it has only PHYSICAL_IN, PHYSICAL_OUT and NIC_EVENTS.
    Arp = 2,
}

impl Protocol {
    /// All protocols.
    pub const ALL: [Protocol; 3] = [Protocol::Inet, Protocol::Inet6, Protocol::Arp];

    /// Whether the protocol has the event.
    pub const fn has(self, event: Event) -> bool {
        match self {
            Protocol::Inet | Protocol::Inet6 => true,
            Protocol::Arp => {
                matches!(event, Event::PhysicalIn | Event::PhysicalOut | Event::NicEvents)
            }
        }
    }
}

/// Makes the hook's object for one worker.
pub type Factory = Arc<dyn Fn() -> Box<dyn Hook> + Send + Sync>;

/// What an author registers.
#[derive(Clone)]
pub struct Registration {
    /// The instance whose packets the hook sees; `None` means every instance.
    pub instance: Option<InstanceId>,
    /// The protocols whose packets it sees.
    pub protocols: Vec<Protocol>,
    /// The event that it runs at.
    pub event: Event,
    /// Its name, unique at the event.
    pub name: Arc<str>,
    /// Where in the order it wants to stand.
    pub hint: Hint,
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
    hooks: Vec<Registration>,
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
        if let Some(&protocol) = hook.protocols.iter().find(|p| !p.has(hook.event)) {
            return Err(RegistryError::NoSuchEvent {
                hook: hook.name.to_string(),
                protocol,
                event: hook.event,
            });
        }
        self.hooks.push(hook);
        Ok(HookIndex((self.builtin.len() + self.hooks.len() - 1) as u16))
    }

    /// One object of every hook, for one worker; a [`HookIndex`] is a place in it.
    pub fn instantiate(&self) -> Vec<Box<dyn Hook>> {
        let builtin = self.builtin.iter().map(|(_, factory)| factory());
        builtin.chain(self.hooks.iter().map(|hook| (hook.factory)())).collect()
    }

    /// For each [`HookIndex`], the built-in stage that it is; `None` for an author's hook.
    pub fn stages(&self) -> Vec<Option<Stage>> {
        let builtin = self.builtin.iter().map(|(stage, _)| Some(*stage));
        builtin.chain(self.hooks.iter().map(|_| None)).collect()
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
                    let candidates =
                        self.candidates(instance.id, protocol, event, instance.stages(event));
                    let places = resolve(&candidates)
                        .map_err(|source| RegistryError::Order { event, source })?;
                    // A filter that lets everything pass holds its place, and is not called.
                    let open = |&index: &HookIndex| {
                        let stage = self.builtin.get(usize::from(index.0)).map(|(stage, _)| *stage);
                        stage.and_then(Stage::filter).is_some_and(|point| !instance.filters(point))
                    };
                    let hooks = places.into_iter().map(|i| candidates[i].index);
                    lists[protocol as usize][event as usize] =
                        hooks.filter(|index| !open(index)).collect();
                }
            }
        }
        Ok(order)
    }

    fn candidates(
        &self,
        instance: InstanceId,
        protocol: Protocol,
        event: Event,
        stages: &[Stage],
    ) -> Vec<Candidate> {
        let mut candidates = Vec::new();
        if protocol != Protocol::Arp {
            for (i, &stage) in stages.iter().enumerate() {
                let Some(index) = self.builtin.iter().position(|(s, _)| *s == stage) else {
                    continue;
                };
                let hint = match i {
                    0 => Hint::None,
                    _ => Hint::After(stages[i - 1].name().into()),
                };
                let name = stage.name().into();
                candidates.push(Candidate { name, hint, index: HookIndex(index as u16) });
            }
        }
        for (i, hook) in self.hooks.iter().enumerate() {
            let wanted = hook.event == event
                && hook.protocols.contains(&protocol)
                && hook.instance.is_none_or(|only| only == instance);
            if wanted {
                candidates.push(Candidate {
                    name: hook.name.clone(),
                    hint: hook.hint.clone(),
                    index: HookIndex((self.builtin.len() + i) as u16),
                });
            }
        }
        candidates
    }
}

struct Candidate {
    name: Arc<str>,
    hint: Hint,
    index: HookIndex,
}

impl Ordered for Candidate {
    fn name(&self) -> &str {
        &self.name
    }
    fn hint(&self) -> &Hint {
        &self.hint
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
