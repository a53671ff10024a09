//! Modules, notifications and hooks: what a module's callbacks call on the agent's thread. Out of a
//! packet's callback they all refuse.

use std::ffi::{CStr, CString, c_char, c_int, c_void};
use std::ptr;
use std::sync::Arc;

use sluice_policy::Event;
use sluice_policy::order::Hint;

use super::Foreign;
use super::frame::{self, Frame, event_named, family, number_of, protocol_named, protocol_of};
use super::hook::Registered;
use super::types::{hook_notify_fn_t, hook_t, net_handle_t, net_instance_t, netid_t};
use crate::hook::PerPacket;
use crate::program::Made;
use crate::stack::{
    Api, HookSpec, InstanceHandle, Module, ModuleContext, Notice, Notify, StackError, VERSION, What,
};

const DDI_SUCCESS: c_int = 0;
const DDI_FAILURE: c_int = -1;

/// `hook_hint_t`.
const HH_NONE: c_int = 0;
const HH_FIRST: c_int = 1;
const HH_LAST: c_int = 2;
const HH_BEFORE: c_int = 3;
const HH_AFTER: c_int = 4;

/// Linux' numbers, as `errno.h` has them for the module.
mod errno {
    use std::ffi::c_int;

    pub(super) const ENOENT: c_int = 2;
    pub(super) const ESRCH: c_int = 3;
    pub(super) const ENXIO: c_int = 6;
    pub(super) const ENOMEM: c_int = 12;
    pub(super) const EBUSY: c_int = 16;
    pub(super) const EEXIST: c_int = 17;
    pub(super) const EINVAL: c_int = 22;
    pub(super) const EDEADLK: c_int = 35;
    pub(super) const EOPNOTSUPP: c_int = 95;
    pub(super) const ESHUTDOWN: c_int = 108;
    pub(super) const ETIMEDOUT: c_int = 110;
}

/// What the original answers.
fn number(error: &StackError) -> c_int {
    match error {
        StackError::UnknownVersion { .. } => errno::EINVAL,
        StackError::AlreadyExists(_) => errno::EEXIST,
        StackError::NotFound(_) => errno::ESRCH,
        StackError::NoSuchEvent { .. } => errno::ENXIO,
        StackError::WrongKind { .. } => errno::EINVAL,
        StackError::Order(error) if error.is_duplicate() => errno::EEXIST,
        StackError::Order(_) => errno::EBUSY,
        StackError::Shutdown => errno::ESHUTDOWN,
        StackError::WouldDeadlock(_) => errno::EDEADLK,
        StackError::Full(_) => errno::ENOMEM,
        StackError::Timeout(_) => errno::ETIMEDOUT,
    }
}

fn answer(result: Option<Result<(), StackError>>) -> c_int {
    match result {
        Some(Ok(())) => 0,
        Some(Err(error)) => number(&error),
        None => errno::EOPNOTSUPP,
    }
}

/// # Safety
/// It is NULL or a text.
pub(super) unsafe fn text<'a>(text: *const c_char) -> Option<&'a str> {
    // SAFETY: by the contract.
    (!text.is_null()).then(|| unsafe { CStr::from_ptr(text) }.to_str().ok()).flatten()
}

pub(super) fn instance_of(id: netid_t) -> Option<InstanceHandle> {
    u32::try_from(id).ok().map(InstanceHandle::of)
}

fn id_of(instance: InstanceHandle) -> netid_t {
    instance.number() as netid_t
}

pub(super) unsafe extern "C" fn log(level: c_int, words: *const c_char) {
    // SAFETY: the header gives a text.
    let Some(words) = (unsafe { text(words) }) else { return };
    let words = words.trim();
    // Not from a worker: a packet's path does not log.
    frame::api(|foreign, _| {
        let file = &*foreign.shared.object.name;
        match level {
            0 | 1 => tracing::info!(file, "{words}"),
            2 => tracing::warn!(file, "{words}"),
            _ => tracing::error!(file, "{words}"),
        }
    });
}

/// A module that an object has registered.
struct Instance {
    name: String,
    create: unsafe extern "C" fn(netid_t) -> *mut c_void,
    destroy: unsafe extern "C" fn(netid_t, *mut c_void),
    shutdown: Option<unsafe extern "C" fn(netid_t, *mut c_void)>,
    foreign: Arc<Foreign>,
}

/// What `nin_create` has made.
struct Kept(*mut c_void);

// SAFETY: it is only handed back to the module, on the agent's thread.
unsafe impl Send for Kept {}

fn kept(context: &ModuleContext) -> *mut c_void {
    context.downcast_ref::<Kept>().map_or(ptr::null_mut(), |kept| kept.0)
}

impl Module for Instance {
    fn name(&self) -> &str {
        &self.name
    }

    fn create(&self, api: &mut Api<'_>, instance: InstanceHandle) -> Result<ModuleContext, String> {
        let frame = Frame::agent(&self.foreign, api);
        // SAFETY: the code is there as long as `foreign`.
        let made = frame.enter(|| unsafe { (self.create)(id_of(instance)) });
        if made.is_null() {
            Err("nin_create returned NULL".into())
        } else {
            Ok(Box::new(Kept(made)))
        }
    }

    fn shutdown(&self, api: &mut Api<'_>, instance: InstanceHandle, context: &mut ModuleContext) {
        let Some(shutdown) = self.shutdown else { return };
        let frame = Frame::agent(&self.foreign, api);
        // SAFETY: as above; the module gets what it has made.
        frame.enter(|| unsafe { shutdown(id_of(instance), kept(context)) });
    }

    fn destroy(&self, api: &mut Api<'_>, instance: InstanceHandle, context: ModuleContext) {
        let frame = Frame::agent(&self.foreign, api);
        // SAFETY: as above.
        frame.enter(|| unsafe { (self.destroy)(id_of(instance), kept(&context)) });
    }
}

pub(super) unsafe extern "C" fn register(module: *const net_instance_t) -> c_int {
    // SAFETY: the module gives one of its own, or NULL.
    let Some(given) = (unsafe { module.as_ref() }) else { return DDI_FAILURE };
    // SAFETY: its name is a text, or NULL.
    let name = unsafe { text(given.nin_name) };
    let (Some(name), Some(create), Some(destroy)) = (name, given.nin_create, given.nin_destroy)
    else {
        return DDI_FAILURE;
    };
    if given.nin_version != VERSION as c_int {
        return DDI_FAILURE;
    }
    let registered = frame::api(|foreign, api| {
        let (name, shutdown) = (name.to_owned(), given.nin_shutdown);
        let foreign = foreign.me.upgrade()?;
        let of = Arc::clone(&foreign);
        let instance = Instance { name: name.clone(), create, destroy, shutdown, foreign: of };
        api.register_module(Arc::new(instance)).ok()?;
        foreign.modules().push((module.addr(), name));
        Some(())
    });
    if registered.flatten().is_some() { DDI_SUCCESS } else { DDI_FAILURE }
}

pub(super) unsafe extern "C" fn unregister(module: *const net_instance_t) -> c_int {
    let gone = frame::api(|foreign, api| {
        let found = foreign.modules().iter().find(|(at, _)| *at == module.addr()).cloned();
        let (at, name) = found?;
        api.unregister_module(&name).ok()?;
        foreign.modules().retain(|(other, _)| *other != at);
        Some(())
    });
    if gone.flatten().is_some() { DDI_SUCCESS } else { DDI_FAILURE }
}

/// An argument of a notification's callback.
#[derive(Clone, Copy)]
struct Argument(*mut c_void);

// SAFETY: it is only handed to the callback, on the agent's thread.
unsafe impl Send for Argument {}
// SAFETY: as above.
unsafe impl Sync for Argument {}

impl Argument {
    /// As the callback is given it. (A method, so that a closure takes all of it along.)
    fn get(self) -> *mut c_void {
        self.0
    }
}

/// Begins or ends telling a callback: what `watch` and `unwatch` are given is the key.
fn notify(
    callback: hook_notify_fn_t,
    arg: *mut c_void,
    begin: c_int,
    watch: impl FnOnce(&mut Api<'static>, &str, Notify) -> Result<(), StackError>,
    unwatch: impl FnOnce(&mut Api<'static>, &str) -> Result<(), StackError>,
) -> c_int {
    let done = frame::api(|foreign, api| {
        // The original knows a callback by its address.
        let key = format!("{}:{:#x}", foreign.shared.object.name, callback as usize);
        if begin == 0 {
            return unwatch(api, &key);
        }
        let (arg, foreign) = (Argument(arg), foreign.me.upgrade());
        let Some(foreign) = foreign else { return Err(StackError::Shutdown) };
        let notify = move |api: &mut Api<'_>, notice: &Notice| {
            tell(&foreign, api, callback, arg.get(), notice);
        };
        watch(api, &key, Arc::new(notify))
    });
    answer(done)
}

/// Tells a callback what the manual pages say that it is told: for a protocol the instance's number
/// and the protocol; for an event the protocol and the event; for a hook the protocol, the event and
/// the hook.
fn tell(
    foreign: &Foreign,
    api: &mut Api<'_>,
    callback: hook_notify_fn_t,
    arg: *mut c_void,
    notice: &Notice,
) {
    const HN_REGISTER: c_int = 1;
    const HN_UNREGISTER: c_int = 2;
    let cmd = if notice.appeared { HN_REGISTER } else { HN_UNREGISTER };
    let owned = |text: &str| CString::new(text).unwrap_or_default();
    let id = owned(&notice.instance.to_string());
    let protocol = notice.protocol.map_or(c"", family).to_owned();
    let event = notice.event.map(|event| owned(event.name()));
    let hook = notice.hook.as_ref().map(|hook| owned(hook));
    let (first, second, third) = match (notice.what, event, hook) {
        (What::Protocol, ..) => (id, None, protocol),
        (What::Event, Some(event), _) => (protocol, None, event),
        (What::Hook, event, Some(hook)) => (protocol, event, hook),
        // What there may be some day is nothing that a module knows.
        _ => return,
    };
    let second = second.as_ref().map_or(ptr::null(), |second| second.as_ptr());
    let frame = Frame::agent(foreign, api);
    // SAFETY: the code is there as long as the notification holds a share; the texts live until it
    // returns.
    frame.enter(|| unsafe { callback(cmd, arg, first.as_ptr(), second, third.as_ptr()) });
}

pub(super) unsafe extern "C" fn instance_notify(
    id: netid_t,
    callback: hook_notify_fn_t,
    arg: *mut c_void,
    begin: c_int,
) -> c_int {
    let Some(instance) = instance_of(id) else { return errno::ESRCH };
    notify(
        callback,
        arg,
        begin,
        |api, key, notify| api.watch_protocols(instance, key, notify),
        |api, key| api.unwatch_protocols(instance, key),
    )
}

pub(super) unsafe extern "C" fn protocol_notify(
    handle: net_handle_t,
    callback: hook_notify_fn_t,
    arg: *mut c_void,
    begin: c_int,
) -> c_int {
    let Some(handle) = protocol_of(handle) else { return errno::ESRCH };
    notify(
        callback,
        arg,
        begin,
        |api, key, notify| api.watch_events(handle, key, notify),
        |api, key| api.unwatch_events(handle, key),
    )
}

pub(super) unsafe extern "C" fn event_notify(
    handle: net_handle_t,
    event: *const c_char,
    callback: hook_notify_fn_t,
    arg: *mut c_void,
    begin: c_int,
) -> c_int {
    // SAFETY: the module gives a text, or NULL.
    let event = unsafe { text(event) }.and_then(event_named);
    let Some(handle) = protocol_of(handle) else { return errno::ESRCH };
    let Some(event) = event else { return errno::ENXIO };
    notify(
        callback,
        arg,
        begin,
        |api, key, notify| api.watch_hooks(handle, event, key, notify),
        |api, key| api.unwatch_hooks(handle, event, key),
    )
}

pub(super) unsafe extern "C" fn protocol_lookup(id: netid_t, name: *const c_char) -> net_handle_t {
    // SAFETY: the module gives a text, or NULL.
    let protocol = unsafe { text(name) }.and_then(protocol_named);
    let (Some(instance), Some(protocol)) = (instance_of(id), protocol) else { return 0 };
    let found = frame::api(|_, api| api.protocol(instance, protocol));
    found.flatten().map_or(0, number_of)
}

pub(super) unsafe extern "C" fn protocol_walk(id: netid_t, after: net_handle_t) -> net_handle_t {
    let Some(instance) = instance_of(id) else { return 0 };
    let all = frame::api(|_, api| api.protocols(instance)).unwrap_or_default();
    let mut rest = all.into_iter().map(number_of).skip_while(|at| after != 0 && *at != after);
    if after == 0 { rest.next() } else { rest.nth(1) }.unwrap_or(0)
}

pub(super) unsafe extern "C" fn protocol_release(handle: net_handle_t) -> c_int {
    // A number, which nothing has to be done about.
    if protocol_of(handle).is_some() { 0 } else { -1 }
}

/// What a module registers.
fn spec(
    foreign: &Foreign,
    given: &hook_t,
    handle: net_handle_t,
    event: Event,
) -> Result<HookSpec, c_int> {
    // SAFETY: its name is a text, or NULL.
    let name = unsafe { text(given.h_name) };
    let (Some(name), Some(func)) = (name, given.h_func) else { return Err(errno::EINVAL) };
    if given.h_flags != 0 || given.h_version != VERSION as c_int {
        return Err(errno::EINVAL);
    }
    let against = if matches!(given.h_hint, HH_BEFORE | HH_AFTER) {
        let value: *const c_char = ptr::with_exposed_provenance(given.h_hintvalue);
        // SAFETY: for these two hints the interface says that the value is a hook's name.
        unsafe { text(value) }
    } else {
        None
    };
    let hint = match (given.h_hint, against) {
        (HH_NONE, _) => Hint::None,
        (HH_FIRST, _) => Hint::First,
        (HH_LAST, _) => Hint::Last,
        (HH_BEFORE, Some(other)) => Hint::Before(other.into()),
        (HH_AFTER, Some(other)) => Hint::After(other.into()),
        _ => return Err(errno::EINVAL),
    };
    let handle = protocol_of(handle).ok_or(errno::ESRCH)?;
    let foreign = foreign.me.upgrade().ok_or(errno::ESHUTDOWN)?;
    let registered = Registered { func, arg: given.h_arg, handle, foreign };
    let spec = match event {
        Event::NicEvents => HookSpec::listener(VERSION, name, Arc::new(registered)),
        Event::Observing => {
            HookSpec::new(VERSION, name, Made::observer(move || registered.clone()))
        }
        _ => HookSpec::new(VERSION, name, Made::new(move || PerPacket(registered.clone()))),
    };
    spec.map(|spec| spec.hint(hint)).map_err(|error| number(&error))
}

pub(super) unsafe extern "C" fn hook_register(
    handle: net_handle_t,
    event: *const c_char,
    hook: *const hook_t,
) -> c_int {
    // SAFETY: the module gives a text and a hook, or NULL.
    let (event, hook) = unsafe { (text(event).and_then(event_named), hook.as_ref()) };
    let Some(hook) = hook else { return errno::EINVAL };
    let Some(event) = event else { return errno::ENXIO };
    let done = frame::api(|foreign, api| {
        let spec = spec(foreign, hook, handle, event)?;
        let handle = protocol_of(handle).ok_or(errno::ESRCH)?;
        api.register(handle, event, &spec).map(drop).map_err(|error| match error {
            // The original has a word of its own for a protocol that is not there.
            StackError::NotFound(_) => errno::ENOENT,
            error => number(&error),
        })
    });
    done.map_or(errno::EOPNOTSUPP, |done| done.err().unwrap_or(0))
}

pub(super) unsafe extern "C" fn hook_unregister(
    handle: net_handle_t,
    event: *const c_char,
    hook: *const hook_t,
) -> c_int {
    // SAFETY: the module gives a text and a hook, or NULL.
    let (event, name) = unsafe {
        (text(event).and_then(event_named), hook.as_ref().and_then(|hook| text(hook.h_name)))
    };
    let (Some(event), Some(name)) = (event, name) else { return errno::ENXIO };
    let Some(handle) = protocol_of(handle) else { return errno::ESRCH };
    let done = frame::api(|_, api| match api.hook_named(handle, event, name) {
        Some(id) => api.unregister(id).map_err(|error| number(&error)),
        None => Err(errno::ENXIO),
    });
    done.map_or(errno::EOPNOTSUPP, |done| done.err().unwrap_or(0))
}
