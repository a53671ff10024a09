//! The control side of hooks: instances and their protocols, modules, notifications, and which
//! hooks stand where. After Solaris' `neti` and `hook` (net_instance_register(9F),
//! net_protocol_lookup(9F), net_hook_register(9F), net_protocol_notify_register(9F)).
//!
//! All of it runs on one thread, the agent's. A callback gets an [`Api`] and may call everything
//! again: no lock is held while it runs, because there is none. What runs on a worker has no way
//! to come here, so that a hook which registers hooks out of a packet's callback does not compile.
//!
//! The author holds numbers ([`InstanceHandle`], [`ProtocolHandle`], [`HookId`]), never references
//! to what the stack owns. A number is not used again: one that has outlived its object is answered
//! with an error.
//!
//! How a hook gets to the workers and back is the [`Plane`]'s affair: an object for each worker is
//! handed over before an order that names it is published, and asked back once an order without it
//! is. That the object is here again is the proof that no worker runs it or will.

mod api;
mod configured;
mod hooks;
mod instances;
mod nic;
mod notices;
mod slots;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::Arc;

use sluice_dpdk::Mbuf;
use sluice_policy::model::Name;
use sluice_policy::{Event, InstanceId, Policy, Protocol};

use crate::hook::Hook;
use crate::inject::{InjectError, Injection};
use crate::packet::OwnedPacket;
use crate::ports::Ports;
use crate::registry::{HookOrder, Registry};

pub use api::Api;
pub use configured::{Body, Configured, Plan, PlanError};
pub use hooks::{Entry, HookId, HookSpec, HookState, Origin};
pub use instances::{InstanceHandle, Module, ModuleContext, ProtocolHandle};
pub use nic::{NicChange, NicEvent, NicListener, NicWatch, Nics};
pub use notices::{Notice, Notify, What};

use instances::{Instances, Modules};
use notices::Watchers;
use slots::Slots;

/// The version of this interface (`NETINFO_VERSION`, `HOOK_VERSION`). Everything that an author
/// makes says for which it was written.
pub const VERSION: u32 = 1;

/// Which of the authors' hooks an object is of: its place among their counters.
pub type Slot = usize;

/// Workers that do not answer.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{} not answered in time: {}", if .0.len() == 1 { "a worker has" } else { "workers have" },
    .0.iter().map(|w| format!("worker {w}")).collect::<Vec<_>>().join(", "))]
pub struct Unanswered(pub Vec<usize>);

/// What the stack needs of the dataplane to make a change real.
pub trait Plane {
    /// The policy that orders are resolved for.
    fn policy(&self) -> &Policy;
    /// The ports as workers see them.
    fn ports(&self) -> &Ports;
    /// How many objects a hook needs.
    fn workers(&self) -> usize;
    /// An empty buffer for a packet; `None` when there is none.
    fn buffer(&self) -> Option<Mbuf>;
    /// Has a worker put a packet on its way.
    ///
    /// # Errors
    /// [`InjectError`]; the packet is freed.
    fn inject(
        &mut self,
        instance: InstanceId,
        packet: OwnedPacket,
        how: Injection,
    ) -> Result<(), InjectError>;
    /// Hands each worker its object of the hook in `slot`; `guarded` says that its panics are to
    /// be caught. No order that names the slot has been published yet.
    ///
    /// # Errors
    /// [`Unanswered`] when a worker does not take it.
    fn give(
        &mut self,
        slot: Slot,
        guarded: bool,
        objects: Vec<Box<dyn Hook>>,
    ) -> Result<(), Unanswered>;
    /// Publishes an order: workers run it from their next burst on.
    fn publish(&mut self, order: HookOrder);
    /// Asks the objects of `slot` back, drops them, and waits until all are there. The order that
    /// is published does not name the slot any more.
    ///
    /// # Errors
    /// [`Unanswered`] with the workers that still have theirs. Those are told to
    /// [`Stack::came_back`] when they come.
    fn take_back(&mut self, slot: Slot) -> Result<(), Unanswered>;
}

/// Why a call is refused.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StackError {
    /// Written for a version of this interface that this is not.
    #[error("`{what}` is written for version {version} of the hooks; this is version {VERSION}")]
    UnknownVersion {
        /// What.
        what: String,
        /// Its version.
        version: u32,
    },
    /// There is one of that name (`EEXIST`).
    #[error("`{0}` is already there")]
    AlreadyExists(String),
    /// There is none of that name (`ESRCH`, `ENXIO`).
    #[error("`{0}` is not there")]
    NotFound(String),
    /// The protocol does not have the event (`ENXIO`).
    #[error("{protocol:?} has no event {}", event.name())]
    NoSuchEvent {
        /// The protocol.
        protocol: Protocol,
        /// The event.
        event: Event,
    },
    /// NIC_EVENTS takes listeners, OBSERVING takes observers, every other event takes any hook over
    /// packets.
    #[error("{} takes {}", event.name(), match event {
        Event::NicEvents => "listeners, not hooks over packets",
        Event::Observing => "observers: make the hook by `Made::observer`",
        _ => "hooks over packets, not listeners",
    })]
    WrongKind {
        /// The event.
        event: Event,
    },
    /// The hint contradicts those of the hooks that are there (`EBUSY`).
    #[error("{0}")]
    Order(#[from] crate::registry::RegistryError),
    /// The instance is shutting down: nothing new is taken (`ESHUTDOWN`).
    #[error("the instance is shutting down")]
    Shutdown,
    /// A callback waits for its own end.
    #[error("`{0}` is in a callback of its own: it cannot wait for that to end")]
    WouldDeadlock(String),
    /// As many hooks are there as fit.
    #[error("{0} hooks are there, more do not fit")]
    Full(usize),
    /// Taken out of the order, but workers are still inside: nothing of it has been freed.
    #[error("the hook is out of the order, but {0}: its objects stay until they do")]
    Timeout(#[from] Unanswered),
}

/// The control side of hooks.
#[derive(Default)]
pub struct Stack {
    registry: Registry,
    entries: Vec<Entry>,
    slots: Slots,
    next_hook: u32,
    instances: Instances,
    modules: Modules,
    watchers: Watchers,
    /// Hooks registered and unregistered at each event (`hooksAdded`, `hooksRemoved`).
    changes: BTreeMap<(Name, Protocol, Event), (u64, u64)>,
    /// Callbacks that took longer than a callback may.
    slow_callbacks: u64,
}

impl Stack {
    /// A stack over the built-in stages of `registry`, without instances.
    pub fn new(registry: Registry) -> Stack {
        Stack { registry, ..Stack::default() }
    }

    /// The built-in stages.
    pub fn registry(&self) -> &Registry {
        &self.registry
    }

    /// The interface that callbacks get, for calls from outside of one.
    pub fn api<'a>(&'a mut self, plane: &'a mut dyn Plane) -> Api<'a> {
        Api { stack: self, plane, module: None }
    }

    /// Callbacks that took longer than [`SLOW`](notices::SLOW).
    pub fn slow_callbacks(&self) -> u64 {
        self.slow_callbacks
    }

    /// Notes how long a callback took.
    fn took(&mut self, started: std::time::Instant) {
        self.slow_callbacks += u64::from(started.elapsed() > notices::SLOW);
    }
}

/// A module that is registered, shared while a callback of it runs.
type SharedModule = Arc<dyn Module>;
