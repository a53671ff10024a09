//! Notifications: a protocol, an event or a hook has appeared or has gone.
//!
//! Who registers hears of everything that is there already, then of every change, each exactly
//! once and in order; who unregisters hears that everything has gone. That holds also when callbacks
//! themselves change what they are told of: notices for a watcher that is being called wait until
//! its callback returns.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use sluice_policy::model::Name;
use sluice_policy::{Event, Protocol};

use super::instances::{InstanceHandle, ProtocolHandle};
use super::{Api, StackError};

/// A callback that takes longer is counted as slow.
pub const SLOW: Duration = Duration::from_millis(10);

/// What a notice is about.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum What {
    /// A protocol of an instance.
    Protocol,
    /// An event of a protocol.
    Event,
    /// A hook at an event.
    Hook,
}

/// A notification (`hook_notify_fn_t`, with names in place of three strings).
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct Notice {
    /// Whether it has appeared (`HN_REGISTER`) or gone (`HN_UNREGISTER`).
    pub appeared: bool,
    /// What has.
    pub what: What,
    /// The instance.
    pub instance: InstanceHandle,
    /// The instance's name.
    pub instance_name: Name,
    /// The protocol.
    pub protocol: Option<Protocol>,
    /// The event, for events and hooks.
    pub event: Option<Event>,
    /// The hook's name, for hooks.
    pub hook: Option<Name>,
}

impl Notice {
    /// Of a protocol of the instance `of`; with `event` of an event of it, with `hook` too of a hook
    /// at that event.
    pub(super) fn new(
        appeared: bool,
        of: (InstanceHandle, &Name),
        protocol: Protocol,
        event: Option<Event>,
        hook: Option<Name>,
    ) -> Notice {
        let what = match (event, &hook) {
            (None, _) => What::Protocol,
            (Some(_), None) => What::Event,
            (Some(_), Some(_)) => What::Hook,
        };
        let (instance, instance_name) = (of.0, of.1.clone());
        Notice { appeared, what, instance, instance_name, protocol: Some(protocol), event, hook }
    }
}

/// A notification's callback. It runs on the agent's thread and should be quick. What it does not
/// know it leaves alone: later versions may tell of more.
pub type Notify = Arc<dyn Fn(&mut Api<'_>, &Notice) + Send + Sync>;

/// What a watcher hears of.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Topic {
    pub(super) instance: InstanceHandle,
    protocol: Option<Protocol>,
    event: Option<Event>,
}

impl Topic {
    /// The protocols of an instance.
    pub(super) fn protocols(instance: InstanceHandle) -> Topic {
        Topic { instance, protocol: None, event: None }
    }

    /// The events of a protocol.
    pub(super) fn events(handle: ProtocolHandle) -> Topic {
        Topic { instance: handle.instance, protocol: Some(handle.protocol), event: None }
    }

    /// The hooks of an event.
    pub(super) fn hooks(handle: ProtocolHandle, event: Event) -> Topic {
        let ProtocolHandle { instance, protocol } = handle;
        Topic { instance, protocol: Some(protocol), event: Some(event) }
    }
}

struct Watcher {
    topic: Topic,
    /// What the author knows it by; unique for the topic.
    key: Name,
    /// The module that registered it.
    module: Option<Name>,
    callback: Notify,
    waiting: VecDeque<Notice>,
    in_callback: bool,
    /// It hears what waits, and then no more.
    leaving: bool,
}

/// All watchers, in the order of their registration.
#[derive(Default)]
pub(super) struct Watchers(Vec<Watcher>);

impl Watchers {
    fn find(&mut self, topic: Topic, key: &str) -> Option<&mut Watcher> {
        self.0.iter_mut().find(|w| w.topic == topic && &*w.key == key && !w.leaving)
    }

    /// Takes out watchers without another word to them.
    pub(super) fn forget(&mut self, which: impl Fn(&Topic, Option<&str>) -> bool) {
        self.0.retain(|w| !which(&w.topic, w.module.as_deref()));
    }
}

impl Api<'_> {
    /// Tells `callback` of the protocols of an instance (`net_instance_notify_register`): of those
    /// that are there before this returns, later of every change. `key` is what
    /// [`unwatch_protocols`](Api::unwatch_protocols) knows it by.
    ///
    /// # Errors
    /// [`StackError::NotFound`], [`StackError::Shutdown`]; [`StackError::AlreadyExists`] for a key
    /// that is in use.
    pub fn watch_protocols(
        &mut self,
        instance: InstanceHandle,
        key: &str,
        callback: Notify,
    ) -> Result<(), StackError> {
        self.watch(Topic::protocols(instance), key, callback)
    }

    /// Ends [`watch_protocols`](Api::watch_protocols): the callback hears that all of them have
    /// gone, and then no more.
    ///
    /// # Errors
    /// [`StackError::NotFound`].
    pub fn unwatch_protocols(
        &mut self,
        instance: InstanceHandle,
        key: &str,
    ) -> Result<(), StackError> {
        self.unwatch(Topic::protocols(instance), key)
    }

    /// Tells `callback` of the events of a protocol (`net_protocol_notify_register`).
    ///
    /// # Errors
    /// As [`watch_protocols`](Api::watch_protocols).
    pub fn watch_events(
        &mut self,
        handle: ProtocolHandle,
        key: &str,
        callback: Notify,
    ) -> Result<(), StackError> {
        self.watch(Topic::events(handle), key, callback)
    }

    /// Ends [`watch_events`](Api::watch_events).
    ///
    /// # Errors
    /// [`StackError::NotFound`].
    pub fn unwatch_events(&mut self, handle: ProtocolHandle, key: &str) -> Result<(), StackError> {
        self.unwatch(Topic::events(handle), key)
    }

    /// Tells `callback` of the hooks at an event (`net_event_notify_register`): authors' and
    /// operators' hooks, not the stages that ship with Sluice.
    ///
    /// # Errors
    /// As [`watch_protocols`](Api::watch_protocols), and [`StackError::NoSuchEvent`].
    pub fn watch_hooks(
        &mut self,
        handle: ProtocolHandle,
        event: Event,
        key: &str,
        callback: Notify,
    ) -> Result<(), StackError> {
        let protocol = handle.protocol;
        if !protocol.has(event) {
            return Err(StackError::NoSuchEvent { protocol, event });
        }
        self.watch(Topic::hooks(handle, event), key, callback)
    }

    /// Ends [`watch_hooks`](Api::watch_hooks).
    ///
    /// # Errors
    /// [`StackError::NotFound`].
    pub fn unwatch_hooks(
        &mut self,
        handle: ProtocolHandle,
        event: Event,
        key: &str,
    ) -> Result<(), StackError> {
        self.unwatch(Topic::hooks(handle, event), key)
    }

    fn watch(&mut self, topic: Topic, key: &str, callback: Notify) -> Result<(), StackError> {
        self.stack.instances.open(topic.instance)?;
        if self.stack.watchers.find(topic, key).is_some() {
            return Err(StackError::AlreadyExists(key.to_owned()));
        }
        let waiting = self.there(topic).into();
        let (key, module) = (Name::from(key), self.module.clone());
        let (in_callback, leaving) = (false, false);
        let watcher =
            Watcher { topic, key: key.clone(), module, callback, waiting, in_callback, leaving };
        self.stack.watchers.0.push(watcher);
        self.deliver(topic, &key);
        Ok(())
    }

    fn unwatch(&mut self, topic: Topic, key: &str) -> Result<(), StackError> {
        let there = self.there(topic);
        let watcher = self.stack.watchers.find(topic, key);
        let watcher = watcher.ok_or_else(|| StackError::NotFound(key.to_owned()))?;
        watcher.waiting.extend(there.into_iter().map(|n| Notice { appeared: false, ..n }));
        watcher.leaving = true;
        self.deliver(topic, key);
        Ok(())
    }

    /// A notice for each thing of the topic that is there.
    fn there(&self, topic: Topic) -> Vec<Notice> {
        let stack = &*self.stack;
        let instance = topic.instance;
        let Some(name) = stack.instances.name(instance) else { return Vec::new() };
        let there =
            |protocol, event, hook| Notice::new(true, (instance, name), protocol, event, hook);
        match (topic.protocol, topic.event) {
            (None, _) => {
                let protocols = stack.instances.protocols(instance);
                protocols.map(|p| there(p, None, None)).collect()
            }
            (Some(protocol), None) => {
                let events = stack.instances.events(ProtocolHandle { instance, protocol });
                events.map(|e| there(protocol, Some(e), None)).collect()
            }
            (Some(protocol), Some(event)) => {
                let hooks = stack.entries.iter().filter(|e| e.stands_at(name, protocol, event));
                hooks.map(|e| there(protocol, Some(event), Some(e.hook.name.clone()))).collect()
            }
        }
    }

    /// Tells everyone who watches the topic.
    pub(super) fn tell(&mut self, topic: Topic, notice: &Notice) {
        let mut keys = Vec::new();
        for watcher in self.stack.watchers.0.iter_mut().filter(|w| w.topic == topic && !w.leaving) {
            watcher.waiting.push_back(notice.clone());
            keys.push(watcher.key.clone());
        }
        for key in keys {
            self.deliver(topic, &key);
        }
    }

    /// Has a watcher hear what waits for it, unless it is being called further up.
    fn deliver(&mut self, topic: Topic, key: &str) {
        loop {
            let watchers = &mut self.stack.watchers.0;
            let Some(at) = watchers.iter().position(|w| w.topic == topic && &*w.key == key) else {
                return;
            };
            let watcher = &mut watchers[at];
            if watcher.in_callback {
                return;
            }
            let Some(notice) = watcher.waiting.pop_front() else {
                if watcher.leaving {
                    watchers.remove(at);
                }
                return;
            };
            watcher.in_callback = true;
            let (callback, module) = (watcher.callback.clone(), watcher.module.clone());
            let started = Instant::now();
            callback(&mut Api { stack: self.stack, plane: self.plane, module }, &notice);
            self.stack.took(started);
            let back = self.stack.watchers.0.iter_mut();
            back.filter(|w| w.topic == topic && &*w.key == key).for_each(|w| w.in_callback = false);
        }
    }
}
