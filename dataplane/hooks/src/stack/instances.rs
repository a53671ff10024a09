//! Instances of the network stack, and the modules that live in each of them.
//!
//! A module's life in an instance is `create`, `shutdown`, `destroy`: each once, in this order, one
//! at a time (`net_instance_t`).

use std::any::Any;
use std::collections::BTreeMap;
use std::time::Instant;

use sluice_policy::model::Name;
use sluice_policy::{Event, Protocol};

use super::notices::{Notice, Topic};
use super::{Api, Plane, SharedModule, Stack, StackError, VERSION};

/// An instance (`netid_t`). The number is not used again.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct InstanceHandle(pub(super) u32);

impl InstanceHandle {
    /// The instance of a number, for what knows instances by number.
    pub(crate) fn of(number: u32) -> InstanceHandle {
        InstanceHandle(number)
    }

    /// Its number.
    pub(crate) fn number(self) -> u32 {
        self.0
    }
}

impl std::fmt::Display for InstanceHandle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

/// A protocol of an instance (`net_handle_t`). It is a number to hold, not a thing to release: once
/// the instance shuts down, every call with it says so.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct ProtocolHandle {
    /// The instance.
    pub instance: InstanceHandle,
    /// The protocol.
    pub protocol: Protocol,
}

/// What a module keeps for an instance.
pub type ModuleContext = Box<dyn Any + Send>;

/// Something that wants to live in every instance (`net_instance_t`). Its callbacks run on the
/// agent's thread, never on a worker, and may call everything of the [`Api`].
pub trait Module: Send + Sync {
    /// The version of the interface that it was written for.
    fn version(&self) -> u32 {
        VERSION
    }

    /// Its name, unique among modules.
    fn name(&self) -> &str;

    /// An instance has come to be, or is there when the module is registered. No packet of a new
    /// instance has reached a worker yet: a hook registered here sees the first. What is returned
    /// is handed to the other two.
    ///
    /// # Errors
    /// Why the module does not live in this instance; it is counted and shown.
    fn create(&self, api: &mut Api<'_>, instance: InstanceHandle) -> Result<ModuleContext, String>;

    /// The instance is about to go, or the module is being unregistered. Lookups already find
    /// nothing; unregistering works.
    fn shutdown(&self, api: &mut Api<'_>, instance: InstanceHandle, context: &mut ModuleContext) {
        let _ = (api, instance, context);
    }

    /// Nothing of the module runs in the instance any more.
    fn destroy(&self, api: &mut Api<'_>, instance: InstanceHandle, context: ModuleContext);
}

/// How far an instance has come.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Phase {
    Live,
    /// Shutting down: nothing new is registered.
    Condemned,
}

struct Instance {
    handle: InstanceHandle,
    name: Name,
    phase: Phase,
    /// The protocols that have appeared, each with its events that have.
    protocols: Vec<(Protocol, Vec<Event>)>,
}

/// The instances, in the order in which they came.
#[derive(Default)]
pub(super) struct Instances {
    all: Vec<Instance>,
    next: u32,
}

impl Instances {
    fn get(&self, handle: InstanceHandle) -> Option<&Instance> {
        self.all.iter().find(|instance| instance.handle == handle)
    }

    fn get_mut(&mut self, handle: InstanceHandle) -> Option<&mut Instance> {
        self.all.iter_mut().find(|instance| instance.handle == handle)
    }

    /// The instances that are not shutting down.
    pub(super) fn live(&self) -> impl Iterator<Item = (InstanceHandle, &Name)> {
        let live = self.all.iter().filter(|instance| instance.phase == Phase::Live);
        live.map(|instance| (instance.handle, &instance.name))
    }

    pub(super) fn name(&self, handle: InstanceHandle) -> Option<&Name> {
        self.get(handle).map(|instance| &instance.name)
    }

    /// The name of an instance that takes something new.
    pub(super) fn open(&self, handle: InstanceHandle) -> Result<&Name, StackError> {
        match self.get(handle) {
            None => Err(StackError::NotFound(format!("instance {handle}"))),
            Some(Instance { phase: Phase::Condemned, .. }) => Err(StackError::Shutdown),
            Some(instance) => Ok(&instance.name),
        }
    }

    /// The protocols of an instance; none once it shuts down.
    pub(super) fn protocols(&self, handle: InstanceHandle) -> impl Iterator<Item = Protocol> {
        let live = self.get(handle).filter(|instance| instance.phase == Phase::Live);
        live.into_iter().flat_map(|instance| instance.protocols.iter().map(|(p, _)| *p))
    }

    /// The events of a protocol of an instance; none once it shuts down.
    pub(super) fn events(&self, handle: ProtocolHandle) -> impl Iterator<Item = Event> {
        let live = self.get(handle.instance).filter(|instance| instance.phase == Phase::Live);
        let of = |instance: &Instance| {
            instance.protocols.iter().find(|(p, _)| *p == handle.protocol).map(|(_, e)| e.clone())
        };
        live.and_then(of).unwrap_or_default().into_iter()
    }
}

/// A module's life in one instance.
enum Life {
    /// A callback is running.
    InCallback,
    Created(ModuleContext),
    ShutDown(ModuleContext),
    /// `create` refused, for this reason.
    Failed(String),
}

/// The modules, in the order of their registration.
#[derive(Default)]
pub(super) struct Modules {
    all: Vec<SharedModule>,
    lives: BTreeMap<(Name, InstanceHandle), Life>,
    failures: u64,
}

impl Stack {
    /// The instances that are not shutting down.
    pub fn instances(&self) -> impl Iterator<Item = (InstanceHandle, &Name)> {
        self.instances.live()
    }

    /// The live instance of that name.
    pub fn instance_named(&self, name: &str) -> Option<InstanceHandle> {
        self.instances.live().find(|(_, n)| &***n == name).map(|(handle, _)| handle)
    }

    /// The modules, each with what it is in every instance, in words.
    pub fn modules(&self) -> impl Iterator<Item = (&str, Vec<(Name, String)>)> {
        self.modules.all.iter().map(|module| {
            let mut of = Vec::new();
            for instance in &self.instances.all {
                let key = (Name::from(module.name()), instance.handle);
                let state = match self.modules.lives.get(&key) {
                    None => continue,
                    Some(Life::InCallback) => "in a callback".to_owned(),
                    Some(Life::Created(_)) => "created".to_owned(),
                    Some(Life::ShutDown(_)) => "shut down".to_owned(),
                    Some(Life::Failed(reason)) => format!("failed: {reason}"),
                };
                of.push((instance.name.clone(), state));
            }
            (module.name(), of)
        })
    }

    /// Times that a module's `create` has failed.
    pub fn module_failures(&self) -> u64 {
        self.modules.failures
    }

    /// An instance comes to be: every module's `create` runs, then its protocols and events appear.
    /// The policy of `plane` has the instance; no worker does yet.
    pub fn create_instance(&mut self, plane: &mut dyn Plane, name: &Name) -> InstanceHandle {
        let handle = InstanceHandle(self.instances.next);
        self.instances.next += 1;
        let phase = Phase::Live;
        self.instances.all.push(Instance {
            handle,
            name: name.clone(),
            phase,
            protocols: Vec::new(),
        });
        for module in self.modules.all.clone() {
            self.api(plane).create_in(&module, handle);
        }
        for protocol in Protocol::ALL {
            let Some(instance) = self.instances.get_mut(handle) else { return handle };
            instance.protocols.push((protocol, Vec::new()));
            let notice = Notice::new(true, (handle, name), protocol, None, None);
            self.api(plane).tell(Topic::protocols(handle), &notice);
            for event in Event::ALL.into_iter().filter(|&event| protocol.has(event)) {
                let Some(instance) = self.instances.get_mut(handle) else { return handle };
                let of = instance.protocols.iter_mut().find(|(p, _)| *p == protocol);
                of.into_iter().for_each(|(_, events)| events.push(event));
                let notice = Notice::new(true, (handle, name), protocol, Some(event), None);
                let topic = Topic::events(ProtocolHandle { instance: handle, protocol });
                self.api(plane).tell(topic, &notice);
            }
        }
        handle
    }

    /// The instance takes nothing new any more, says goodbye, and every module's `shutdown` runs.
    /// What modules leave registered is taken out.
    pub fn shut_down_instance(&mut self, plane: &mut dyn Plane, handle: InstanceHandle) {
        let Some(instance) = self.instances.get_mut(handle) else { return };
        if instance.phase == Phase::Condemned {
            return;
        }
        instance.phase = Phase::Condemned;
        let name = instance.name.clone();
        let protocols = std::mem::take(&mut instance.protocols);
        for (protocol, events) in protocols.into_iter().rev() {
            for event in events.into_iter().rev() {
                let notice = Notice::new(false, (handle, &name), protocol, Some(event), None);
                let topic = Topic::events(ProtocolHandle { instance: handle, protocol });
                self.api(plane).tell(topic, &notice);
            }
            let notice = Notice::new(false, (handle, &name), protocol, None, None);
            self.api(plane).tell(Topic::protocols(handle), &notice);
        }
        for module in self.modules.all.clone() {
            self.api(plane).shut_down_in(&module, handle);
        }
        self.forget_hooks(plane, |entry| {
            entry.of_module().is_some() && entry.hook.instance.as_ref() == Some(&name)
        });
    }

    /// No worker has the instance any more: every module's `destroy` runs, and nothing is left.
    pub fn destroy_instance(&mut self, plane: &mut dyn Plane, handle: InstanceHandle) {
        for module in self.modules.all.clone() {
            self.api(plane).destroy_in(&module, handle);
        }
        self.watchers.forget(|topic, _| topic.instance == handle);
        self.instances.all.retain(|instance| instance.handle != handle);
    }
}

impl Api<'_> {
    /// Registers a module (`net_instance_register`): its `create` has run for every instance that
    /// is there when this returns.
    ///
    /// # Errors
    /// [`StackError::UnknownVersion`], [`StackError::AlreadyExists`].
    pub fn register_module(&mut self, module: SharedModule) -> Result<(), StackError> {
        let (what, version) = (module.name().to_owned(), module.version());
        if version != VERSION {
            return Err(StackError::UnknownVersion { what, version });
        }
        if self.stack.modules.all.iter().any(|other| other.name() == what) {
            return Err(StackError::AlreadyExists(what));
        }
        self.stack.modules.all.push(module.clone());
        let live: Vec<_> = self.stack.instances.live().map(|(handle, _)| handle).collect();
        for handle in live {
            self.create_in(&module, handle);
        }
        Ok(())
    }

    /// Unregisters a module (`net_instance_unregister`): `shutdown` and `destroy` have run for
    /// every instance when this returns, and no callback of it will ever run.
    ///
    /// # Errors
    /// [`StackError::NotFound`]; [`StackError::WouldDeadlock`] out of one of its own callbacks.
    pub fn unregister_module(&mut self, name: &str) -> Result<(), StackError> {
        let module = self.stack.modules.all.iter().find(|module| module.name() == name).cloned();
        let module = module.ok_or_else(|| StackError::NotFound(name.to_owned()))?;
        let of = |key: &(Name, InstanceHandle)| &*key.0 == name;
        let mut lives = self.stack.modules.lives.iter();
        if lives.any(|(key, life)| of(key) && matches!(life, Life::InCallback)) {
            return Err(StackError::WouldDeadlock(name.to_owned()));
        }
        let keys = self.stack.modules.lives.keys().filter(|key| of(key));
        let handles: Vec<_> = keys.map(|(_, handle)| *handle).collect();
        self.stack.modules.all.retain(|other| other.name() != name);
        for handle in handles {
            self.shut_down_in(&module, handle);
            self.stack.forget_hooks(self.plane, |entry| {
                entry.of_module() == Some(name) && entry.handle == Some(handle)
            });
            self.destroy_in(&module, handle);
        }
        self.stack.watchers.forget(|_, module| module == Some(name));
        Ok(())
    }

    /// A callback's surroundings: what it registers is the module's.
    fn within(&mut self, module: &SharedModule) -> Api<'_> {
        let name = Some(module.name().into());
        Api { stack: self.stack, plane: self.plane, module: name }
    }

    fn create_in(&mut self, module: &SharedModule, handle: InstanceHandle) {
        let key = (Name::from(module.name()), handle);
        let registered = self.stack.modules.all.iter().any(|m| m.name() == module.name());
        // A module that another one's callback has taken out, or that has its life here already.
        if !registered || self.stack.modules.lives.contains_key(&key) {
            return;
        }
        self.stack.modules.lives.insert(key.clone(), Life::InCallback);
        let started = Instant::now();
        let life = match module.create(&mut self.within(module), handle) {
            Ok(context) => Life::Created(context),
            Err(reason) => {
                self.stack.modules.failures += 1;
                Life::Failed(reason)
            }
        };
        self.stack.took(started);
        self.stack.modules.lives.insert(key, life);
    }

    fn shut_down_in(&mut self, module: &SharedModule, handle: InstanceHandle) {
        let key = (Name::from(module.name()), handle);
        let Some(life) = self.stack.modules.lives.get_mut(&key) else { return };
        if !matches!(life, Life::Created(_)) {
            return;
        }
        let Life::Created(mut context) = std::mem::replace(life, Life::InCallback) else { return };
        let started = Instant::now();
        module.shutdown(&mut self.within(module), handle, &mut context);
        self.stack.took(started);
        self.stack.modules.lives.insert(key, Life::ShutDown(context));
    }

    fn destroy_in(&mut self, module: &SharedModule, handle: InstanceHandle) {
        let key = (Name::from(module.name()), handle);
        match self.stack.modules.lives.insert(key.clone(), Life::InCallback) {
            Some(Life::ShutDown(context)) => {
                let started = Instant::now();
                module.destroy(&mut self.within(module), handle, context);
                self.stack.took(started);
            }
            // It never was in this instance.
            None | Some(Life::Failed(_)) => {}
            Some(Life::InCallback | Life::Created(_)) => {
                debug_assert!(false, "destroyed before it was shut down");
            }
        }
        self.stack.modules.lives.remove(&key);
    }
}
