//! Which hooks are registered, and how one comes and goes while packets flow.

use sluice_channel::statistics::MAX_HOOKS;
use sluice_policy::model::Name;
use sluice_policy::order::{ForeignHook, Hint};
use sluice_policy::{Event, Protocol};

use std::sync::Arc;

use super::instances::{InstanceHandle, ProtocolHandle};
use super::notices::{Notice, Topic};
use super::{Api, NicListener, Plane, Slot, Stack, StackError, Unanswered, VERSION};
use crate::hook::Hook;
use crate::program::{Made, Wants};
use crate::registry::{HookOrder, RegistryError, Standing};

/// A registered hook. The number is not used again.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct HookId(u32);

/// Who registered a hook.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Origin {
    /// The operator: it is in the configuration, or was loaded by command.
    Configured,
    /// A module.
    Module(Name),
    /// `--fault`: a panic of it is a crash, as it is meant to be.
    Fault,
    /// The dataplane itself, for somebody who captures.
    Capture,
}

/// How a hook is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum HookState {
    /// It runs.
    Running,
    /// It is out of the order for this reason, and still registered.
    TakenOut(String),
}

/// What a module registers (`hook_t`). The stack keeps a copy: the author's own can change or go.
#[derive(Clone)]
pub struct HookSpec {
    version: u32,
    name: Name,
    hint: Hint,
    body: Body,
}

/// What runs.
#[derive(Clone)]
enum Body {
    Packets(Made),
    Nics(Arc<dyn NicListener>),
}

impl HookSpec {
    /// A hook over packets, written for `version` of the interface.
    ///
    /// # Errors
    /// [`StackError::UnknownVersion`] unless that is [`VERSION`].
    pub fn new(version: u32, name: &str, made: Made) -> Result<HookSpec, StackError> {
        HookSpec::with_body(version, name, Body::Packets(made))
    }

    /// A listener for NIC_EVENTS, which runs on the agent's thread.
    ///
    /// # Errors
    /// As [`new`](HookSpec::new).
    pub fn listener(
        version: u32,
        name: &str,
        listener: Arc<dyn NicListener>,
    ) -> Result<HookSpec, StackError> {
        HookSpec::with_body(version, name, Body::Nics(listener))
    }

    fn with_body(version: u32, name: &str, body: Body) -> Result<HookSpec, StackError> {
        if version != VERSION {
            return Err(StackError::UnknownVersion { what: name.to_owned(), version });
        }
        Ok(HookSpec { version, name: name.into(), hint: Hint::None, body })
    }

    /// The same with a wish for its place in the order.
    #[must_use]
    pub fn hint(mut self, hint: Hint) -> HookSpec {
        self.hint = hint;
        self
    }
}

/// A registered hook, as reports show it.
pub struct Entry {
    /// Its number.
    pub id: HookId,
    /// Where it stands, for whom, and what it wants.
    pub hook: ForeignHook,
    /// Who registered it.
    pub origin: Origin,
    /// Its place among the hooks' counters; `None` for a listener.
    pub slot: Option<Slot>,
    /// Names of the counters that it has of its own.
    pub counters: Arc<[Name]>,
    /// Whether it runs.
    pub state: HookState,
    /// Version of the interface that it was written for.
    pub version: u32,
    /// Which packets it is shown.
    pub(super) wants: Wants,
    /// The instance that it was registered in, for a module's.
    pub(super) handle: Option<InstanceHandle>,
    /// For NIC_EVENTS, who listens.
    pub(super) listener: Option<Arc<dyn NicListener>>,
}

impl Entry {
    /// The module that registered it, if one did.
    pub(super) fn of_module(&self) -> Option<&str> {
        match &self.origin {
            Origin::Module(name) => Some(name),
            Origin::Configured | Origin::Fault | Origin::Capture => None,
        }
    }

    /// Whether it stands at an event of an instance.
    pub(super) fn stands_at(&self, instance: &Name, protocol: Protocol, event: Event) -> bool {
        self.hook.event == event
            && self.hook.protocols.contains(&protocol)
            && self.hook.instance.as_ref().is_none_or(|only| only == instance)
    }

    pub(super) fn standing(&self) -> Standing<'_> {
        Standing { hook: &self.hook, slot: self.slot, wants: self.wants }
    }

    pub(super) fn runs(&self) -> bool {
        self.state == HookState::Running
    }
}

/// An object of a hook for each worker.
pub(super) struct Objects(Vec<Box<dyn Hook>>);

impl Objects {
    pub(super) fn make(made: &Made, workers: usize) -> Objects {
        Objects((0..workers).map(|_| (made.factory)()).collect())
    }

    /// Which packets they are to be shown: they are all alike.
    pub(super) fn wants(&self) -> Wants {
        self.0.first().map(|object| object.wants()).unwrap_or_default()
    }
}

impl Stack {
    /// The registered hooks: the operator's first, then the others in the order of registration.
    pub fn hooks(&self) -> &[Entry] {
        &self.entries
    }

    /// The hook whose objects are in `slot`.
    pub fn hook_in(&self, slot: Slot) -> Option<&Entry> {
        self.entries.iter().find(|entry| entry.slot == Some(slot))
    }

    /// Hooks registered and unregistered at an event of an instance.
    pub fn changes(&self, instance: &Name, protocol: Protocol, event: Event) -> (u64, u64) {
        self.changes.get(&(instance.clone(), protocol, event)).copied().unwrap_or_default()
    }

    /// The order that `policy` and the registered hooks give.
    ///
    /// # Errors
    /// [`RegistryError`] when hints contradict each other.
    pub fn order(&self, policy: &sluice_policy::Policy) -> Result<HookOrder, RegistryError> {
        self.registry.order(policy, &self.standing())
    }

    fn standing(&self) -> Vec<Standing<'_>> {
        self.entries.iter().filter(|entry| entry.runs()).map(Entry::standing).collect()
    }

    /// Takes the objects of hooks that are in no order any more back from the workers. Returns the
    /// names of those that some worker still has.
    pub fn retire(&mut self, plane: &mut dyn Plane, gone: Vec<Entry>) -> Vec<(Name, Unanswered)> {
        let mut stuck = Vec::new();
        for entry in gone {
            if let Err(unanswered) = self.take_back(plane, entry.slot) {
                stuck.push((entry.hook.name, unanswered));
            }
        }
        stuck
    }

    /// An object that a worker was too late with has come.
    pub fn came_back(&mut self, slot: Slot) {
        self.slots.came_back(slot);
    }

    /// Registers a fault of `--fault`, before there are instances.
    ///
    /// # Errors
    /// [`StackError::Full`], [`StackError::Timeout`].
    pub fn register_fault(
        &mut self,
        plane: &mut dyn Plane,
        hook: ForeignHook,
        made: &Made,
    ) -> Result<(), StackError> {
        let slot = self.free_slot()?;
        let objects = Objects::make(made, plane.workers());
        let wants = objects.wants();
        self.give(plane, slot, false, objects)?;
        let mut entry =
            self.entry(hook, Origin::Fault, Some(slot), made.counters.clone(), None, None);
        entry.wants = wants;
        self.entries.push(entry);
        Ok(())
    }

    /// Has a hook of the dataplane's own look on at OBSERVING, for as long as somebody captures.
    /// Unlike an author's it may be shown ARP there. `objects` are one for each worker.
    ///
    /// # Errors
    /// [`StackError::Full`]; [`StackError::Timeout`] when a worker does not take its object.
    pub fn register_tap(
        &mut self,
        plane: &mut dyn Plane,
        name: &str,
        instance: Option<Name>,
        objects: Vec<Box<dyn Hook>>,
    ) -> Result<HookId, StackError> {
        let hook = ForeignHook {
            instance,
            protocols: Protocol::ALL.to_vec(),
            event: Event::Observing,
            name: name.into(),
            hint: Hint::None,
        };
        let slot = self.free_slot()?;
        let objects = Objects(objects);
        let wants = objects.wants();
        let mut all = self.standing();
        all.push(Standing { hook: &hook, slot: Some(slot), wants });
        let order = self.registry.order(plane.policy(), &all)?;
        if let Err(unanswered) = self.give(plane, slot, true, objects) {
            self.take_back(plane, Some(slot)).ok();
            return Err(StackError::Timeout(unanswered));
        }
        let none = Arc::default();
        let mut entry = self.entry(hook, Origin::Capture, Some(slot), none, None, None);
        entry.wants = wants;
        let id = entry.id;
        self.entries.push(entry);
        plane.publish(order);
        self.tell_of_id(plane, id, true);
        Ok(id)
    }

    /// Takes a hook out of the order, and leaves it registered: it has panicked too often.
    ///
    /// # Errors
    /// [`Unanswered`] when a worker is still inside.
    pub fn take_out(
        &mut self,
        plane: &mut dyn Plane,
        slot: Slot,
        reason: &str,
    ) -> Result<(), Unanswered> {
        let found = self.entries.iter_mut().find(|entry| entry.slot == Some(slot));
        let Some(entry) = found.filter(|entry| entry.runs()) else { return Ok(()) };
        entry.state = HookState::TakenOut(reason.to_owned());
        entry.slot = None;
        self.publish(plane);
        self.take_back(plane, Some(slot))
    }

    /// Takes hooks out and forgets them: a module has left them behind.
    pub(super) fn forget_hooks(&mut self, plane: &mut dyn Plane, which: impl Fn(&Entry) -> bool) {
        let (gone, kept): (Vec<Entry>, Vec<Entry>) =
            std::mem::take(&mut self.entries).into_iter().partition(which);
        self.entries = kept;
        if gone.is_empty() {
            return;
        }
        self.publish(plane);
        for entry in &gone {
            self.tell_of(plane, entry, false);
        }
        self.retire(plane, gone);
    }

    pub(super) fn entry(
        &mut self,
        hook: ForeignHook,
        origin: Origin,
        slot: Option<Slot>,
        counters: Arc<[Name]>,
        handle: Option<InstanceHandle>,
        listener: Option<Arc<dyn NicListener>>,
    ) -> Entry {
        let id = HookId(self.next_hook);
        self.next_hook += 1;
        let (state, version) = (HookState::Running, VERSION);
        let wants = Wants::EveryPacket;
        Entry { id, hook, origin, slot, counters, state, version, wants, handle, listener }
    }

    fn free_slot(&self) -> Result<Slot, StackError> {
        self.slots.free().ok_or(StackError::Full(MAX_HOOKS))
    }

    /// Gives the workers their objects. From here on the slot is in use.
    pub(super) fn give(
        &mut self,
        plane: &mut dyn Plane,
        slot: Slot,
        guarded: bool,
        objects: Objects,
    ) -> Result<(), Unanswered> {
        self.slots.have(slot, objects.0.len());
        plane.give(slot, guarded, objects.0)
    }

    /// Publishes the order of what is registered. That it exists was found out when the last of
    /// them came, and one that goes contradicts nobody.
    fn publish(&self, plane: &mut dyn Plane) {
        match self.order(plane.policy()) {
            Ok(order) => plane.publish(order),
            Err(error) => debug_assert!(false, "an order of fewer hooks fails: {error}"),
        }
    }

    fn take_back(&mut self, plane: &mut dyn Plane, slot: Option<Slot>) -> Result<(), Unanswered> {
        let Some(slot) = slot else { return Ok(()) };
        let taken = plane.take_back(slot);
        self.slots.have(slot, taken.as_ref().err().map_or(0, |Unanswered(workers)| workers.len()));
        taken
    }

    pub(super) fn tell_of_id(&mut self, plane: &mut dyn Plane, id: HookId, appeared: bool) {
        let Some(place) = self.entries.iter().position(|entry| entry.id == id) else { return };
        // What is told of can change the list: it is told of a copy.
        let entry = &self.entries[place];
        let (hook, handle) = (entry.hook.clone(), entry.handle);
        self.tell_of_hook(plane, &hook, handle, appeared);
    }

    pub(super) fn tell_of(&mut self, plane: &mut dyn Plane, entry: &Entry, appeared: bool) {
        self.tell_of_hook(plane, &entry.hook, entry.handle, appeared);
    }

    /// Tells who watches the hook's events, in every instance that it is for.
    fn tell_of_hook(
        &mut self,
        plane: &mut dyn Plane,
        hook: &ForeignHook,
        only: Option<InstanceHandle>,
        appeared: bool,
    ) {
        let live: Vec<(InstanceHandle, Name)> =
            self.instances.live().map(|(handle, name)| (handle, name.clone())).collect();
        for (instance, name) in live {
            let of_it = hook.instance.as_ref().is_none_or(|of| *of == name);
            if !of_it || only.is_some_and(|only| only != instance) {
                continue;
            }
            for &protocol in &hook.protocols {
                let changed = self.changes.entry((name.clone(), protocol, hook.event)).or_default();
                if appeared {
                    changed.0 += 1
                } else {
                    changed.1 += 1
                }
                let (of, at) = ((instance, &name), Some(hook.event));
                let notice = Notice::new(appeared, of, protocol, at, Some(hook.name.clone()));
                let topic = Topic::hooks(ProtocolHandle { instance, protocol }, hook.event);
                self.api(plane).tell(topic, &notice);
            }
        }
    }
}

impl Api<'_> {
    /// Registers a hook at an event of a protocol of an instance (`net_hook_register`). When this
    /// returns, workers run it from their next burst on; in an instance that is just coming to be,
    /// from its first packet on.
    ///
    /// # Errors
    /// [`StackError::Shutdown`], [`StackError::NotFound`], [`StackError::NoSuchEvent`],
    /// [`StackError::WrongKind`], [`StackError::Full`]; [`StackError::Order`] when the name is taken
    /// at the event or the hint contradicts the others'.
    pub fn register(
        &mut self,
        handle: ProtocolHandle,
        event: Event,
        spec: &HookSpec,
    ) -> Result<HookId, StackError> {
        let instance = self.stack.instances.open(handle.instance)?.clone();
        let protocol = handle.protocol;
        if !protocol.has(event) {
            return Err(StackError::NoSuchEvent { protocol, event });
        }
        let is_listener = matches!(spec.body, Body::Nics(_));
        if is_listener != (event == Event::NicEvents) {
            return Err(StackError::WrongKind { event });
        }
        if let Body::Packets(made) = &spec.body
            && !made.fits(event)
        {
            return Err(StackError::WrongKind { event });
        }
        let hook = ForeignHook {
            instance: Some(instance),
            protocols: vec![protocol],
            event,
            name: spec.name.clone(),
            hint: spec.hint.clone(),
        };
        let slot = if is_listener { None } else { Some(self.stack.free_slot()?) };
        let workers = self.plane.workers();
        let (counters, objects, listener) = match &spec.body {
            Body::Packets(made) => {
                (made.counters.clone(), Some(Objects::make(made, workers)), None)
            }
            Body::Nics(listener) => (Arc::default(), None, Some(listener.clone())),
        };
        let wants = objects.as_ref().map(Objects::wants).unwrap_or_default();
        let mut all = self.stack.standing();
        all.push(Standing { hook: &hook, slot, wants });
        let order = self.stack.registry.order(self.plane.policy(), &all)?;
        if let (Some(slot), Some(objects)) = (slot, objects)
            && let Err(unanswered) = self.stack.give(self.plane, slot, true, objects)
        {
            self.stack.take_back(self.plane, Some(slot)).ok();
            return Err(StackError::Timeout(unanswered));
        }
        let origin = Origin::Module(self.module.clone().unwrap_or_else(|| "dataplane".into()));
        let of = Some(handle.instance);
        let mut entry = self.stack.entry(hook, origin, slot, counters, of, listener);
        (entry.version, entry.wants) = (spec.version, wants);
        let id = entry.id;
        self.stack.entries.push(entry);
        self.plane.publish(order);
        self.stack.tell_of_id(self.plane, id, true);
        Ok(id)
    }

    /// Takes a hook out (`net_hook_unregister`). When this returns, no callback of it runs and none
    /// will, and its objects have been dropped.
    ///
    /// # Errors
    /// [`StackError::NotFound`]; [`StackError::Timeout`] when a worker is still inside: the hook is
    /// off for the others, nothing of it is freed, and that worker gives it back when it returns.
    pub fn unregister(&mut self, id: HookId) -> Result<(), StackError> {
        let place = self.stack.entries.iter().position(|entry| entry.id == id);
        let place = place.ok_or_else(|| StackError::NotFound(format!("hook {}", id.0)))?;
        let entry = self.stack.entries.remove(place);
        self.stack.publish(self.plane);
        self.stack.tell_of(self.plane, &entry, false);
        Ok(self.stack.take_back(self.plane, entry.slot)?)
    }

    /// The hook of that name at an event of a protocol.
    pub fn hook_named(&self, handle: ProtocolHandle, event: Event, name: &str) -> Option<HookId> {
        let instance = self.stack.instances.name(handle.instance)?;
        let at =
            |e: &&Entry| e.stands_at(instance, handle.protocol, event) && &*e.hook.name == name;
        self.stack.entries.iter().find(at).map(|entry| entry.id)
    }
}
