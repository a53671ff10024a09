//! The stages that ship with Sluice, and the resolved order in which each event runs them and the
//! authors' hooks.

use sluice_policy::order::{ForeignHook, OrderError, Place, resolved};
use sluice_policy::{Event, InstanceId, Policy, Protocol, Stage};

use crate::hook::Hook;
use crate::program::{Factory, Wants};
use crate::stack::Slot;

/// A hook's place among a worker's hooks: the built-in stages, then the authors' slots.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct HookIndex(pub u16);

/// An author's hook, as far as the order is concerned.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Standing<'a> {
    /// Where it stands, for whom, and what it wants.
    pub hook: &'a ForeignHook,
    /// Where its objects are; one without takes part in the order and is not called.
    pub slot: Option<Slot>,
    /// Which packets it is shown.
    pub wants: Wants,
}

/// Why hooks have no order.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum RegistryError {
    /// The hints at an event cannot be satisfied together.
    #[error("at {}: {source}", event.name())]
    Order {
        /// The event.
        event: Event,
        /// What contradicts what.
        source: OrderError,
    },
}

impl RegistryError {
    /// Whether the name is taken.
    #[must_use]
    pub fn is_duplicate(&self) -> bool {
        matches!(self, RegistryError::Order { source: OrderError::Duplicate(_), .. })
    }
}

/// The stages that are hooks.
#[derive(Clone, Default)]
pub struct Registry {
    builtin: Vec<(Stage, Factory)>,
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

    /// One object of every stage, for one worker; a [`HookIndex`] is a place in it.
    pub fn instantiate(&self) -> Vec<Box<dyn Hook>> {
        self.builtin.iter().map(|(_, factory)| factory()).collect()
    }

    /// Which stage each of them is.
    pub fn stages(&self) -> Vec<Stage> {
        self.builtin.iter().map(|(stage, _)| *stage).collect()
    }

    /// The resolved order of every event of every instance of `policy`, with the authors' hooks in
    /// their slots.
    ///
    /// # Errors
    /// [`RegistryError::Order`] when the hints at an event contradict each other.
    pub fn order(
        &self,
        policy: &Policy,
        authors: &[Standing<'_>],
    ) -> Result<HookOrder, RegistryError> {
        let hooks: Vec<&ForeignHook> = authors.iter().map(|author| author.hook).collect();
        let mut order = HookOrder::default();
        for instance in policy.instances() {
            for protocol in Protocol::ALL {
                // At OBSERVING, a tap of our own is shown ARP, too.
                let meets = |&event: &Event| protocol.has(event) || event == Event::Observing;
                for event in Event::ALL.into_iter().filter(meets) {
                    let places = resolved(instance, protocol, event, &hooks)
                        .map_err(|source| RegistryError::Order { event, source })?;
                    let mut called = Vec::new();
                    let indices = places.into_iter().filter_map(|place| match place {
                        // A filter that lets everything pass holds its place, and is not called; nor
                        // is the flow stage where nothing is worth remembering.
                        Place::Stage(stage) => {
                            let open = stage.filter().is_some_and(|point| !instance.filters(point))
                                || stage == Stage::Flow && !instance.remembers();
                            let index = self.builtin.iter().position(|(s, _)| *s == stage)?;
                            (!open).then_some(HookIndex(index as u16))
                        }
                        Place::Foreign(index) => {
                            let index_of = |slot| HookIndex((self.builtin.len() + slot) as u16);
                            let index_of_author = index_of(authors[index].slot?);
                            called.push((index_of_author, authors[index].wants));
                            Some(index_of_author)
                        }
                    });
                    let indices = indices.collect();
                    order.set(instance.id, protocol, event, indices, &called);
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
pub struct HookOrder {
    lists: Vec<Lists>,
    /// Of each instance.
    authored: Vec<Authored>,
    /// The hooks to which packets of remembered flows are not shown, and all those that may choose
    /// ways.
    answered_for: Vec<(InstanceId, Protocol, Event, HookIndex)>,
    /// Whether some instance has a hook that sees what goes from one instance to another.
    between: bool,
}

/// Where authors' hooks stand in an instance, one bit an event.
#[derive(Clone, Copy, Debug, Default)]
struct Authored {
    /// Any.
    any: u8,
    /// Some that want every packet.
    each: u8,
    /// Some that are content with the first packet of a flow.
    first: u8,
}

impl HookOrder {
    fn set(
        &mut self,
        instance: InstanceId,
        protocol: Protocol,
        event: Event,
        hooks: Box<[HookIndex]>,
        authors: &[(HookIndex, Wants)],
    ) {
        if self.lists.len() <= instance.index() {
            self.lists.resize_with(instance.index() + 1, Lists::default);
            self.authored.resize(instance.index() + 1, Authored::default());
        }
        let (authored, bit) = (&mut self.authored[instance.index()], 1 << event as u8);
        for &(index, wants) in authors {
            authored.any |= bit;
            match wants {
                Wants::EveryPacket => authored.each |= bit,
                Wants::FirstOfFlow => authored.first |= bit,
            }
            if wants == Wants::FirstOfFlow || event == Event::RouteDecision {
                self.answered_for.push((instance, protocol, event, index));
            }
        }
        let sees = matches!(event, Event::LoopbackIn | Event::LoopbackOut | Event::Observing);
        self.between |= sees && !hooks.is_empty();
        self.lists[instance.index()][protocol as usize][event as usize] = hooks;
    }

    /// Whether an author's hook stands at some event of an instance.
    #[inline]
    pub fn has_authors(&self, instance: InstanceId) -> bool {
        self.authored(instance).any != 0
    }

    /// Whether an author's hook stands at an event of an instance.
    #[inline]
    pub fn has_authors_at(&self, instance: InstanceId, event: Event) -> bool {
        self.authored(instance).any & 1 << event as u8 != 0
    }

    /// Whether an author's hook that wants every packet stands at an event of an instance.
    #[inline]
    pub fn shows_each_at(&self, instance: InstanceId, event: Event) -> bool {
        self.authored(instance).each & 1 << event as u8 != 0
    }

    /// Whether an author's hook of an instance is content with the first packet of each flow.
    #[inline]
    pub fn shows_first(&self, instance: InstanceId) -> bool {
        self.authored(instance).first != 0
    }

    /// Whether what flows were told under an earlier order has to be told again under this one: they
    /// have not been shown to a hook that is content with their first packets, or a hook that may have
    /// chosen their way has come or gone.
    pub fn moves_flows_of(&self, earlier: &HookOrder) -> bool {
        self.answered_for != earlier.answered_for
    }

    #[inline]
    fn authored(&self, instance: InstanceId) -> Authored {
        self.authored.get(instance.index()).copied().unwrap_or_default()
    }

    /// Whether some instance has a hook at LOOPBACK_OUT, LOOPBACK_IN or OBSERVING.
    #[inline]
    pub fn is_asked_between_instances(&self) -> bool {
        self.between
    }

    /// Whether IP packets of an instance meet a hook at an event.
    #[inline]
    pub fn has(&self, instance: InstanceId, event: Event) -> bool {
        let hooks = |protocol| self.hooks(instance, protocol, event);
        !hooks(Protocol::Inet).is_empty() || !hooks(Protocol::Inet6).is_empty()
    }

    /// The hooks of an event in the order in which they run; empty costs its caller one branch
    /// for a burst.
    #[inline]
    pub fn hooks(&self, instance: InstanceId, protocol: Protocol, event: Event) -> &[HookIndex] {
        match self.lists.get(instance.index()) {
            Some(lists) => &lists[protocol as usize][event as usize],
            None => &[],
        }
    }
}
