//! The stack against a dataplane of two workers that only keeps what it is given. The names of the
//! tests begin with the points of the checklist in `docs/hooks.md`.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use sluice_packet::Mask;
use sluice_policy::model::State;
use sluice_policy::order::{ForeignHook, Hint};
use sluice_policy::{InterfaceId, Stage, config};

use super::*;
use crate::program::Made;
use crate::{Burst, Context, Hook};

/// A hook that counts how many objects of it there are.
struct Counted(Arc<AtomicUsize>);

impl Counted {
    fn new(objects: &Arc<AtomicUsize>) -> Counted {
        objects.fetch_add(1, Ordering::Relaxed);
        Counted(Arc::clone(objects))
    }
}

impl Hook for Counted {
    fn process(&mut self, _: &mut Context<'_>, _: &mut Burst, _: Mask) {}
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// What two workers have, and what was published.
struct Fake {
    policy: Policy,
    ports: Ports,
    objects: [BTreeMap<Slot, Box<dyn Hook>>; 2],
    order: HookOrder,
    published: usize,
    stuck: bool,
    /// What a slot has to have before an order names it.
    built_in: usize,
}

impl Fake {
    fn new(instances: &[&str]) -> Fake {
        Fake {
            policy: policy(instances),
            ports: Ports::default(),
            objects: Default::default(),
            order: HookOrder::default(),
            published: 0,
            stuck: false,
            built_in: 1,
        }
    }

    /// The slots that an event of an instance runs.
    fn runs(&self, instance: &str, protocol: Protocol, event: Event) -> Vec<Slot> {
        let id = self.policy.instance_named(instance).expect("the instance").id;
        let hooks = self.order.hooks(id, protocol, event).iter();
        hooks.filter_map(|hook| usize::from(hook.0).checked_sub(self.built_in)).collect()
    }
}

impl Plane for Fake {
    fn policy(&self) -> &Policy {
        &self.policy
    }

    fn ports(&self) -> &Ports {
        &self.ports
    }

    fn workers(&self) -> usize {
        2
    }

    fn buffer(&self) -> Option<Mbuf> {
        None
    }

    fn inject(&mut self, _: InstanceId, _: OwnedPacket, _: Injection) -> Result<(), InjectError> {
        Err(InjectError::Full)
    }

    fn give(&mut self, slot: Slot, _: bool, objects: Vec<Box<dyn Hook>>) -> Result<(), Unanswered> {
        assert_eq!(objects.len(), 2);
        for (worker, object) in self.objects.iter_mut().zip(objects) {
            assert!(worker.insert(slot, object).is_none(), "the slot is free");
        }
        Ok(())
    }

    fn publish(&mut self, order: HookOrder) {
        self.order = order;
        self.published += 1;
        for instance in self.policy.instances() {
            for protocol in Protocol::ALL {
                for event in Event::ALL {
                    for slot in self.runs(&instance.name, protocol, event) {
                        assert!(self.objects[0].contains_key(&slot), "given before it is named");
                    }
                }
            }
        }
    }

    fn take_back(&mut self, slot: Slot) -> Result<(), Unanswered> {
        self.objects[0].remove(&slot);
        if self.stuck {
            return Err(Unanswered(vec![1]));
        }
        self.objects[1].remove(&slot);
        Ok(())
    }
}

fn policy(instances: &[&str]) -> Policy {
    let declared: String = instances
        .iter()
        .filter(|name| **name != "default")
        .map(|name| format!("  {name}: {{}}\n"))
        .collect();
    let text = if declared.is_empty() { String::new() } else { format!("instances:\n{declared}") };
    let state = config::read(text.as_bytes(), "test.yaml").expect("a configuration").state;
    Policy::empty().apply(&State::default().difference(&state)).expect("a policy")
}

/// A stack with the route stage, in these instances.
fn stack(plane: &mut Fake) -> (Stack, Vec<InstanceHandle>) {
    let mut registry = Registry::new();
    let none = Arc::new(AtomicUsize::new(0));
    registry.builtin(Stage::Route, Arc::new(move || Box::new(Counted::new(&none))));
    let mut stack = Stack::new(registry);
    let names: Vec<Name> = plane.policy.instances().map(|i| i.name.clone()).collect();
    let handles = names.iter().map(|name| stack.create_instance(plane, name)).collect();
    (stack, handles)
}

fn made(objects: &Arc<AtomicUsize>) -> Made {
    let objects = Arc::clone(objects);
    Made::new(move || Counted::new(&objects))
}

fn spec(name: &str, objects: &Arc<AtomicUsize>) -> HookSpec {
    HookSpec::new(VERSION, name, made(objects)).expect("this version")
}

fn inet(instance: InstanceHandle) -> ProtocolHandle {
    ProtocolHandle { instance, protocol: Protocol::Inet }
}

type Log = Arc<Mutex<Vec<String>>>;

fn line(log: &Log, text: impl Into<String>) {
    log.lock().unwrap().push(text.into());
}

fn lines(log: &Log) -> Vec<String> {
    std::mem::take(&mut log.lock().unwrap())
}

/// A module that writes down what happens to it.
struct Logged {
    name: &'static str,
    version: u32,
    log: Log,
    refuses: bool,
    create: fn(&mut Api<'_>, InstanceHandle),
}

impl Logged {
    fn new(name: &'static str, log: &Log) -> Logged {
        Logged { name, version: VERSION, log: Arc::clone(log), refuses: false, create: |_, _| {} }
    }
}

impl Module for Logged {
    fn version(&self) -> u32 {
        self.version
    }

    fn name(&self) -> &str {
        self.name
    }

    fn create(
        &self,
        api: &mut Api<'_>,
        instance: InstanceHandle,
    ) -> Result<Box<dyn std::any::Any + Send>, String> {
        line(&self.log, format!("{} create {instance}", self.name));
        if self.refuses {
            return Err("it does not like it".into());
        }
        (self.create)(api, instance);
        Ok(Box::new(format!("{} in {instance}", self.name)))
    }

    fn shutdown(
        &self,
        _: &mut Api<'_>,
        instance: InstanceHandle,
        context: &mut Box<dyn std::any::Any + Send>,
    ) {
        let context = context.downcast_ref::<String>().expect("what create returned");
        assert_eq!(*context, format!("{} in {instance}", self.name));
        line(&self.log, format!("{} shutdown {instance}", self.name));
    }

    fn destroy(
        &self,
        _: &mut Api<'_>,
        instance: InstanceHandle,
        context: Box<dyn std::any::Any + Send>,
    ) {
        assert!(context.is::<String>());
        line(&self.log, format!("{} destroy {instance}", self.name));
    }
}

#[test]
fn a1_another_version_is_refused_by_every_constructor() {
    let objects = Arc::default();
    for version in [0, 2] {
        let refused = HookSpec::new(version, "old", made(&objects)).err();
        let expected = StackError::UnknownVersion { what: "old".into(), version };
        assert_eq!(refused, Some(expected.clone()));
        let mut plane = Fake::new(&["default"]);
        let (mut stack, _) = stack(&mut plane);
        let module = Logged { version, ..Logged::new("old", &Log::default()) };
        let refused = stack.api(&mut plane).register_module(Arc::new(module));
        assert_eq!(refused, Err(expected));
    }
}

#[test]
fn a4_d3_every_instance_has_the_protocols_and_their_events() {
    let mut plane = Fake::new(&["default"]);
    let (mut stack, handles) = stack(&mut plane);
    let api = stack.api(&mut plane);
    let protocols = api.protocols(handles[0]);
    assert_eq!(protocols.iter().map(|h| h.protocol).collect::<Vec<_>>(), Protocol::ALL);
    assert_eq!(api.events(protocols[0]), Event::ALL);
    assert_eq!(api.events(protocols[1]), Event::ALL);
    let arp = [Event::PhysicalIn, Event::PhysicalOut, Event::NicEvents];
    assert_eq!(api.events(protocols[2]), arp);
}

#[test]
fn b3_b4_b6_a_module_is_created_once_in_every_live_instance() {
    let mut plane = Fake::new(&["default", "red", "blue"]);
    let (mut stack, handles) = stack(&mut plane);
    let log = Log::default();
    stack.shut_down_instance(&mut plane, handles[1]);
    let mut api = stack.api(&mut plane);
    api.register_module(Arc::new(Logged::new("m", &log))).unwrap();
    assert_eq!(lines(&log), ["m create 0", "m create 2"]);
    let again = api.register_module(Arc::new(Logged::new("m", &log)));
    assert_eq!(again, Err(StackError::AlreadyExists("m".into())));
    assert_eq!(lines(&log), [""; 0]);
}

#[test]
fn b5_b7_b10_a_life_is_create_shutdown_destroy() {
    let mut plane = Fake::new(&["default"]);
    let (mut stack, _) = stack(&mut plane);
    let log = Log::default();
    for name in ["m", "n"] {
        stack.api(&mut plane).register_module(Arc::new(Logged::new(name, &log))).unwrap();
    }
    lines(&log);
    plane.policy = policy(&["default", "red"]);
    let red = stack.create_instance(&mut plane, &"red".into());
    assert_eq!(lines(&log), ["m create 1", "n create 1"]);
    stack.api(&mut plane).unregister_module("m").unwrap();
    assert_eq!(lines(&log), ["m shutdown 0", "m destroy 0", "m shutdown 1", "m destroy 1"]);
    stack.shut_down_instance(&mut plane, red);
    stack.shut_down_instance(&mut plane, red);
    assert_eq!(lines(&log), ["n shutdown 1"], "once");
    stack.destroy_instance(&mut plane, red);
    assert_eq!(lines(&log), ["n destroy 1"]);
    let unknown = stack.api(&mut plane).unregister_module("m");
    assert_eq!(unknown, Err(StackError::NotFound("m".into())));
}

#[test]
fn b6_a_module_that_refuses_is_counted_and_not_destroyed() {
    let mut plane = Fake::new(&["default"]);
    let (mut stack, handles) = stack(&mut plane);
    let log = Log::default();
    let module = Logged { refuses: true, ..Logged::new("m", &log) };
    stack.api(&mut plane).register_module(Arc::new(module)).unwrap();
    assert_eq!(stack.module_failures(), 1);
    let shown: Vec<_> = stack.modules().collect();
    assert_eq!(shown[0].1[0].1, "failed: it does not like it");
    stack.shut_down_instance(&mut plane, handles[0]);
    stack.destroy_instance(&mut plane, handles[0]);
    assert_eq!(lines(&log), ["m create 0"]);
}

#[test]
fn b8_callbacks_may_call_everything_but_wait_for_themselves() {
    let mut plane = Fake::new(&["default", "red"]);
    let (mut stack, _) = stack(&mut plane);
    let log = Log::default();
    let create = |api: &mut Api<'_>, instance| {
        let quiet: Notify = Arc::new(|_, _| {});
        api.watch_protocols(instance, "m", quiet).unwrap();
        let handle = api.protocol(instance, Protocol::Inet).unwrap();
        let objects = Arc::default();
        api.register(handle, Event::PhysicalIn, &spec("of m", &objects)).unwrap();
        let own = api.unregister_module("m");
        assert_eq!(own, Err(StackError::WouldDeadlock("m".into())));
        let quiet = Logged::new("made by m", &Log::default());
        let made = api.register_module(Arc::new(quiet));
        assert!(matches!(made, Ok(()) | Err(StackError::AlreadyExists(_))));
    };
    let module = Logged { create, ..Logged::new("m", &log) };
    stack.api(&mut plane).register_module(Arc::new(module)).unwrap();
    assert_eq!(plane.runs("default", Protocol::Inet, Event::PhysicalIn).len(), 1);
    assert_eq!(plane.runs("red", Protocol::Inet, Event::PhysicalIn).len(), 1);
    // What it leaves behind goes with it.
    stack.api(&mut plane).unregister_module("m").unwrap();
    assert_eq!(stack.hooks().len(), 0);
    assert!(plane.objects.iter().all(BTreeMap::is_empty));
}

#[test]
fn b11_d1_h10_after_shutdown_nothing_new_is_taken_and_old_handles_say_so() {
    let mut plane = Fake::new(&["default"]);
    let (mut stack, handles) = stack(&mut plane);
    let instance = handles[0];
    let objects = Arc::default();
    let mut api = stack.api(&mut plane);
    let handle = api.protocol(instance, Protocol::Inet).unwrap();
    let old = api.register(handle, Event::PhysicalIn, &spec("old", &objects)).unwrap();
    stack.shut_down_instance(&mut plane, instance);
    let mut api = stack.api(&mut plane);
    assert_eq!(api.protocol(instance, Protocol::Inet), None);
    assert_eq!(api.protocols(instance), []);
    assert_eq!(api.events(handle), []);
    let new = api.register(handle, Event::PhysicalIn, &spec("new", &objects));
    assert_eq!(new, Err(StackError::Shutdown), "Z2: upstream answers success here");
    let quiet: Notify = Arc::new(|_, _| {});
    assert_eq!(api.watch_protocols(instance, "k", quiet.clone()), Err(StackError::Shutdown));
    assert_eq!(api.watch_hooks(handle, Event::PhysicalIn, "k", quiet), Err(StackError::Shutdown));
    // What goes may go: the shutdown took it out already.
    assert!(matches!(api.unregister(old), Err(StackError::NotFound(_))));
    stack.destroy_instance(&mut plane, instance);
    let mut api = stack.api(&mut plane);
    let gone = api.register(handle, Event::PhysicalIn, &spec("new", &objects));
    assert_eq!(gone, Err(StackError::NotFound("instance 0".into())));
    assert_eq!(objects.load(Ordering::Relaxed), 0);
}

#[test]
fn a8_the_number_of_an_instance_is_not_used_again() {
    let mut plane = Fake::new(&["default"]);
    let (mut stack, handles) = stack(&mut plane);
    stack.shut_down_instance(&mut plane, handles[0]);
    stack.destroy_instance(&mut plane, handles[0]);
    let again = stack.create_instance(&mut plane, &"default".into());
    assert_ne!(again, handles[0]);
    let api = stack.api(&mut plane);
    assert_eq!(api.instance_named("default"), Some(again));
    assert_eq!(&*api.instance_name(again).unwrap(), "default");
    assert!(api.instance_name(handles[0]).is_err());
}

/// A callback that writes notices down as `+inet`, `-PHYSICAL_IN`, `+hook`.
fn notify(log: &Log) -> Notify {
    let log = Arc::clone(log);
    Arc::new(move |_, notice| {
        let what = match (&notice.hook, notice.event, notice.protocol) {
            (Some(hook), ..) => hook.to_string(),
            (None, Some(event), _) => event.name().to_owned(),
            (None, None, protocol) => format!("{:?}", protocol.expect("a protocol")),
        };
        line(&log, format!("{}{what}", if notice.appeared { '+' } else { '-' }));
    })
}

#[test]
fn c1_c2_c4_c5_what_is_there_is_told_and_taken_back() {
    let mut plane = Fake::new(&["default"]);
    let (mut stack, handles) = stack(&mut plane);
    let log = Log::default();
    let mut api = stack.api(&mut plane);
    api.watch_protocols(handles[0], "k", notify(&log)).unwrap();
    assert_eq!(lines(&log), ["+Inet", "+Inet6", "+Arp"]);
    api.unwatch_protocols(handles[0], "k").unwrap();
    assert_eq!(lines(&log), ["-Inet", "-Inet6", "-Arp"]);
    let arp = ProtocolHandle { instance: handles[0], protocol: Protocol::Arp };
    api.watch_events(arp, "k", notify(&log)).unwrap();
    assert_eq!(lines(&log), ["+PHYSICAL_IN", "+PHYSICAL_OUT", "+NIC_EVENTS"]);
    api.unwatch_events(arp, "k").unwrap();
    assert_eq!(lines(&log), ["-PHYSICAL_IN", "-PHYSICAL_OUT", "-NIC_EVENTS"]);
}

#[test]
fn c3_c7_hooks_are_told_of_in_the_order_of_registration() {
    let mut plane = Fake::new(&["default"]);
    let (mut stack, handles) = stack(&mut plane);
    let (first, second) = (Log::default(), Log::default());
    let objects = Arc::default();
    let mut api = stack.api(&mut plane);
    let handle = inet(handles[0]);
    let a = api.register(handle, Event::Forwarding, &spec("a", &objects)).unwrap();
    api.watch_hooks(handle, Event::Forwarding, "one", notify(&first)).unwrap();
    api.watch_hooks(handle, Event::Forwarding, "two", notify(&second)).unwrap();
    api.register(handle, Event::Forwarding, &spec("b", &objects)).unwrap();
    api.register(handle, Event::PhysicalIn, &spec("elsewhere", &objects)).unwrap();
    api.unregister(a).unwrap();
    for log in [&first, &second] {
        assert_eq!(lines(log), ["+a", "+b", "-a"]);
    }
    assert_eq!(stack.changes(&"default".into(), Protocol::Inet, Event::Forwarding), (2, 1));
}

#[test]
fn c4_nothing_is_missed_or_doubled_when_a_callback_changes_what_it_is_told_of() {
    let mut plane = Fake::new(&["default"]);
    let (mut stack, handles) = stack(&mut plane);
    let handle = inet(handles[0]);
    let log = Log::default();
    let objects: Arc<AtomicUsize> = Arc::default();
    let callback: Notify = {
        let (log, objects) = (Arc::clone(&log), Arc::clone(&objects));
        Arc::new(move |api, notice| {
            let hook = notice.hook.clone().expect("a hook");
            line(&log, format!("{}{hook}", if notice.appeared { '+' } else { '-' }));
            // The first notice adds one and removes one that has not been told of yet.
            if &*hook == "a" && notice.appeared {
                api.register(handle, Event::Forwarding, &spec("c", &objects)).unwrap();
                let b = api.hook_named(handle, Event::Forwarding, "b").unwrap();
                api.unregister(b).unwrap();
            }
        })
    };
    let mut api = stack.api(&mut plane);
    for name in ["a", "b"] {
        api.register(handle, Event::Forwarding, &spec(name, &objects)).unwrap();
    }
    api.watch_hooks(handle, Event::Forwarding, "k", callback).unwrap();
    assert_eq!(lines(&log), ["+a", "+b", "+c", "-b"]);
    api.unwatch_hooks(handle, Event::Forwarding, "k").unwrap();
    assert_eq!(lines(&log), ["-a", "-c"]);
}

#[test]
fn c6_keys_are_unique_and_unknown_ones_named() {
    let mut plane = Fake::new(&["default"]);
    let (mut stack, handles) = stack(&mut plane);
    let quiet: Notify = Arc::new(|_, _| {});
    let mut api = stack.api(&mut plane);
    api.watch_protocols(handles[0], "k", quiet.clone()).unwrap();
    let again = api.watch_protocols(handles[0], "k", quiet.clone());
    assert_eq!(again, Err(StackError::AlreadyExists("k".into())));
    let unknown = api.unwatch_protocols(handles[0], "other");
    assert_eq!(unknown, Err(StackError::NotFound("other".into())));
    let elsewhere = api.watch_protocols(InstanceHandle(7), "k", quiet);
    assert_eq!(elsewhere, Err(StackError::NotFound("instance 7".into())));
}

#[test]
fn c8_a_slow_callback_is_counted() {
    let mut plane = Fake::new(&["default"]);
    let (mut stack, handles) = stack(&mut plane);
    let slow: Notify = Arc::new(|_, _| std::thread::sleep(notices::SLOW * 2));
    stack.api(&mut plane).watch_protocols(handles[0], "k", slow).unwrap();
    assert_eq!(stack.slow_callbacks(), 3, "a call for each protocol");
}

#[test]
fn c9_going_is_told_once() {
    let mut plane = Fake::new(&["default"]);
    let (mut stack, handles) = stack(&mut plane);
    let log = Log::default();
    stack.api(&mut plane).watch_protocols(handles[0], "k", notify(&log)).unwrap();
    lines(&log);
    stack.shut_down_instance(&mut plane, handles[0]);
    stack.destroy_instance(&mut plane, handles[0]);
    assert_eq!(lines(&log), ["-Arp", "-Inet6", "-Inet"]);
}

#[test]
fn e1_e16_a_hook_is_given_before_it_is_named_and_back_before_unregister_returns() {
    let mut plane = Fake::new(&["default"]);
    let (mut stack, handles) = stack(&mut plane);
    let objects = Arc::default();
    let mut api = stack.api(&mut plane);
    let id = api.register(inet(handles[0]), Event::Forwarding, &spec("a", &objects)).unwrap();
    assert_eq!(objects.load(Ordering::Relaxed), 2, "one for each worker");
    let runs = |plane: &Fake| plane.runs("default", Protocol::Inet, Event::Forwarding);
    stack.api(&mut plane).unregister(id).unwrap();
    assert_eq!(objects.load(Ordering::Relaxed), 0);
    assert_eq!(runs(&plane), [0; 0]);
    let again = stack.api(&mut plane).unregister(id);
    assert!(matches!(again, Err(StackError::NotFound(_))), "E5");
}

#[test]
fn e3_each_error_says_what_is_wrong() {
    let mut plane = Fake::new(&["default"]);
    let (mut stack, handles) = stack(&mut plane);
    let objects = Arc::default();
    let mut api = stack.api(&mut plane);
    let arp = ProtocolHandle { instance: handles[0], protocol: Protocol::Arp };
    let refused = api.register(arp, Event::Forwarding, &spec("a", &objects)).unwrap_err();
    assert_eq!(refused.to_string(), "Arp has no event FORWARDING");
    let refused = api.register(inet(handles[0]), Event::NicEvents, &spec("a", &objects));
    assert_eq!(refused, Err(StackError::WrongKind { event: Event::NicEvents }));
    let first = spec("a", &objects).hint(Hint::First);
    api.register(inet(handles[0]), Event::Forwarding, &first).unwrap();
    let same = api.register(inet(handles[0]), Event::Forwarding, &spec("a", &objects));
    let same = same.unwrap_err().to_string();
    assert_eq!(same, "at FORWARDING: two hooks are named `a`: give one of them another name");
    let elsewhere = api.register(inet(handles[0]), Event::PhysicalIn, &spec("a", &objects));
    assert!(elsewhere.is_ok(), "E4: unique at an event, not everywhere");
    let second = spec("b", &objects).hint(Hint::First);
    let refused = api.register(inet(handles[0]), Event::Forwarding, &second).unwrap_err();
    assert!(refused.to_string().contains("`a` already is"), "{refused}");
    let before = spec("c", &objects).hint(Hint::Before("a".into()));
    let refused = api.register(inet(handles[0]), Event::Forwarding, &before).unwrap_err();
    assert!(refused.to_string().contains("contradict"), "E7: {refused}");
    assert_eq!(objects.load(Ordering::Relaxed), 4, "what is refused makes nothing");
    for n in 2.. {
        let name = format!("h{n}");
        match api.register(inet(handles[0]), Event::Forwarding, &spec(&name, &objects)) {
            Ok(_) => {}
            Err(error) => {
                assert_eq!(error, StackError::Full(64));
                assert_eq!(n, 64);
                break;
            }
        }
    }
}

#[test]
fn e10_the_rest_stays_in_its_order_when_one_goes() {
    let mut plane = Fake::new(&["default"]);
    let (mut stack, handles) = stack(&mut plane);
    let objects = Arc::default();
    let mut api = stack.api(&mut plane);
    let ids: Vec<_> = ["a", "b", "c", "d"]
        .map(|name| api.register(inet(handles[0]), Event::Forwarding, &spec(name, &objects)))
        .into_iter()
        .map(Result::unwrap)
        .collect();
    api.unregister(ids[1]).unwrap();
    let names: Vec<_> = stack.hooks().iter().map(|entry| &*entry.hook.name).collect();
    assert_eq!(names, ["a", "c", "d"]);
    assert_eq!(plane.runs("default", Protocol::Inet, Event::Forwarding), [0, 2, 3]);
}

#[test]
fn a_worker_that_never_returns_keeps_its_object_and_the_slot() {
    let mut plane = Fake::new(&["default"]);
    let (mut stack, handles) = stack(&mut plane);
    let objects = Arc::default();
    let mut api = stack.api(&mut plane);
    let id = api.register(inet(handles[0]), Event::Forwarding, &spec("a", &objects)).unwrap();
    plane.stuck = true;
    let timeout = stack.api(&mut plane).unregister(id);
    assert_eq!(timeout, Err(StackError::Timeout(Unanswered(vec![1]))));
    assert_eq!(objects.load(Ordering::Relaxed), 1, "the worker's own is not freed");
    assert_eq!(plane.runs("default", Protocol::Inet, Event::Forwarding), [0; 0]);
    // Its slot is not given to another while the object is out.
    plane.stuck = false;
    let mut api = stack.api(&mut plane);
    api.register(inet(handles[0]), Event::Forwarding, &spec("b", &objects)).unwrap();
    assert_eq!(plane.runs("default", Protocol::Inet, Event::Forwarding), [1]);
    plane.objects[1].remove(&0);
    stack.came_back(0);
    let mut api = stack.api(&mut plane);
    api.register(inet(handles[0]), Event::Forwarding, &spec("c", &objects)).unwrap();
    assert_eq!(plane.runs("default", Protocol::Inet, Event::Forwarding), [1, 0]);
}

#[test]
fn what_is_registered_while_another_goes_gets_another_slot() {
    let mut plane = Fake::new(&["default", "red"]);
    let (mut stack, handles) = stack(&mut plane);
    let objects: Arc<AtomicUsize> = Arc::default();
    let handle = inet(handles[0]);
    // `Fake::give` fails the test if the slot's objects are still with the workers.
    let replaces: Notify = {
        let objects = Arc::clone(&objects);
        Arc::new(move |api, notice| {
            let name = format!("instead of {}", notice.hook.as_deref().expect("a hook"));
            if !notice.appeared {
                api.register(handle, Event::PhysicalIn, &spec(&name, &objects)).unwrap();
            }
        })
    };
    let mut api = stack.api(&mut plane);
    api.watch_hooks(handle, Event::Forwarding, "k", replaces).unwrap();
    let of_module = api.register(handle, Event::Forwarding, &spec("a", &objects)).unwrap();
    stack.api(&mut plane).unregister(of_module).unwrap();
    assert_eq!(plane.runs("default", Protocol::Inet, Event::PhysicalIn), [1]);

    // One of the operator's, which goes with a commit.
    let hooks = vec![configured("b", Hint::None, Some(made(&objects)))];
    let plan = stack.plan(&plane.policy, hooks).unwrap();
    assert!(stack.adopt(&mut plane, plan).is_empty());
    assert_eq!(stack.hooks()[0].slot, Some(0));
    let plan = stack.plan(&plane.policy, Vec::new()).unwrap();
    let gone = stack.adopt(&mut plane, plan);
    assert_eq!(plane.runs("default", Protocol::Inet, Event::PhysicalIn), [1, 2]);
    assert!(stack.retire(&mut plane, gone).is_empty());

    // One that a module leaves behind.
    let create = |api: &mut Api<'_>, instance| {
        if instance == InstanceHandle(0) {
            let left = spec("c", &Arc::default());
            api.register(inet(instance), Event::Forwarding, &left).unwrap();
        }
    };
    let module = Logged { create, ..Logged::new("m", &Log::default()) };
    stack.api(&mut plane).register_module(Arc::new(module)).unwrap();
    stack.api(&mut plane).unregister_module("m").unwrap();
    assert_eq!(plane.runs("default", Protocol::Inet, Event::PhysicalIn), [1, 2, 3]);
    assert_eq!(objects.load(Ordering::Relaxed), 6, "three hooks on two workers");
}

fn configured(name: &str, hint: Hint, made: Option<Made>) -> Configured {
    let body = made.map_or(Body::AsItWas, Body::New);
    let hook = ForeignHook {
        instance: None,
        protocols: vec![Protocol::Inet, Protocol::Inet6],
        event: Event::Forwarding,
        name: name.into(),
        hint,
    };
    Configured { hook, body }
}

#[test]
fn the_operators_hooks_come_stay_and_go_with_the_policy() {
    let mut plane = Fake::new(&["default"]);
    let (mut stack, handles) = stack(&mut plane);
    let objects = Arc::default();
    let log = Log::default();
    let handle = inet(handles[0]);
    let mut api = stack.api(&mut plane);
    api.watch_hooks(handle, Event::Forwarding, "k", notify(&log)).unwrap();
    api.register(handle, Event::Forwarding, &spec("of a module", &objects)).unwrap();

    let hooks = ["a", "b"].map(|name| configured(name, Hint::None, Some(made(&objects))));
    let plan = stack.plan(&plane.policy, hooks.into()).unwrap();
    let gone = stack.adopt(&mut plane, plan);
    assert!(gone.is_empty());
    plane.order = stack.order(&plane.policy).unwrap();
    let names = |stack: &Stack| -> Vec<String> {
        stack.hooks().iter().map(|entry| entry.hook.name.to_string()).collect()
    };
    assert_eq!(names(&stack), ["a", "b", "of a module"]);
    assert_eq!(objects.load(Ordering::Relaxed), 6);

    // One stays as it is, one is made anew, in another order.
    let hooks =
        vec![configured("b", Hint::None, Some(made(&objects))), configured("a", Hint::None, None)];
    let plan = stack.plan(&plane.policy, hooks).unwrap();
    let gone = stack.adopt(&mut plane, plan);
    assert_eq!(gone.len(), 1);
    assert!(stack.retire(&mut plane, gone).is_empty());
    assert_eq!(names(&stack), ["b", "a", "of a module"]);
    assert_eq!(objects.load(Ordering::Relaxed), 6);
    assert_eq!(lines(&log), ["+of a module", "+a", "+b", "-b", "+b"]);

    // What contradicts a module's is refused, and nothing has changed.
    let wrong = vec![configured("of a module", Hint::None, Some(made(&objects)))];
    assert!(stack.plan(&plane.policy, wrong).is_err());
    assert_eq!(objects.load(Ordering::Relaxed), 6);
}

#[test]
fn a_hook_that_is_taken_out_stays_registered() {
    let mut plane = Fake::new(&["default"]);
    let (mut stack, handles) = stack(&mut plane);
    let objects = Arc::default();
    let mut api = stack.api(&mut plane);
    api.register(inet(handles[0]), Event::Forwarding, &spec("a", &objects)).unwrap();
    stack.take_out(&mut plane, 0, "it panicked 3 times").unwrap();
    assert_eq!(objects.load(Ordering::Relaxed), 0);
    assert_eq!(stack.hooks()[0].state, HookState::TakenOut("it panicked 3 times".into()));
    assert_eq!(plane.runs("default", Protocol::Inet, Event::Forwarding), [0; 0]);
}

struct Listener(Log, &'static str);

impl NicListener for Listener {
    fn changed(&self, _: &mut Api<'_>, event: &NicEvent) {
        line(&self.0, format!("{} {:?} {}", self.1, event.protocol.protocol, event.name));
    }
}

#[test]
fn j_listeners_hear_in_the_order_of_their_hints_and_only_their_protocol() {
    let mut plane = Fake::new(&["default"]);
    let (mut stack, handles) = stack(&mut plane);
    let log = Log::default();
    let mut api = stack.api(&mut plane);
    for (name, hint) in [("late", Hint::Last), ("early", Hint::First)] {
        let listener = Arc::new(Listener(Arc::clone(&log), name));
        let spec = HookSpec::listener(VERSION, name, listener).unwrap().hint(hint);
        api.register(inet(handles[0]), Event::NicEvents, &spec).unwrap();
        let packets = api.register(inet(handles[0]), Event::PhysicalIn, &spec);
        assert_eq!(packets, Err(StackError::WrongKind { event: Event::PhysicalIn }));
    }
    let lan = Name::from("lan");
    stack.nic_event(&mut plane, handles[0], (InterfaceId(1), &lan), &NicChange::Up);
    assert_eq!(lines(&log), ["early Inet lan", "late Inet lan"]);
}

#[test]
fn isolation_a_hook_of_one_instance_is_in_no_other() {
    let mut plane = Fake::new(&["default", "red"]);
    let (mut stack, handles) = stack(&mut plane);
    let objects = Arc::default();
    let mut api = stack.api(&mut plane);
    api.register(inet(handles[1]), Event::Forwarding, &spec("a", &objects)).unwrap();
    let of = plane.policy.instances().map(|i| i.name.to_string()).collect::<Vec<_>>();
    assert_eq!(plane.runs(&of[0], Protocol::Inet, Event::Forwarding), [0; 0]);
    assert_eq!(plane.runs(&of[1], Protocol::Inet, Event::Forwarding), [0]);
}

#[test]
fn h10_queries_end_when_the_instance_shuts_down() {
    let mut plane = Fake::new(&["default", "blue"]);
    let (mut stack, instances) = stack(&mut plane);
    let handle = stack.api(&mut plane).protocol(instances[1], Protocol::Inet).unwrap();
    assert!(stack.api(&mut plane).interfaces(handle).is_ok());
    stack.shut_down_instance(&mut plane, instances[1]);
    let refused = stack.api(&mut plane).interfaces(handle).err();
    assert_eq!(refused, Some(crate::QueryError::Shutdown));
}

#[test]
fn a6_a_hook_that_changes_packets_is_not_taken_at_observing() {
    let mut plane = Fake::new(&["default"]);
    let (mut stack, instances) = stack(&mut plane);
    let mut api = stack.api(&mut plane);
    let handle = api.protocol(instances[0], Protocol::Inet).unwrap();
    let event = Event::Observing;
    let changes = HookSpec::new(VERSION, "changes", made(&Arc::default())).unwrap();
    assert_eq!(api.register(handle, event, &changes), Err(StackError::WrongKind { event }));
    let looks = HookSpec::new(VERSION, "looks", Made::observer(|| Looks)).unwrap();
    assert!(api.register(handle, event, &looks).is_ok());
}

/// A hook that changes nothing.
struct Looks;

impl crate::Observer for Looks {
    fn observe(&mut self, _: &Context<'_>, _: &crate::Packet<'_>) {}
}
