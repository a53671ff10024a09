//! C code written for Solaris' Packet Filtering Hooks: `net_instance_register(9F)` and its kin.
//!
//! A module's file is built against `include/sluice/solaris`, whose functions call a table that the
//! file is handed when it is loaded; its `_init` and `_fini` are `sluice_module_init` and
//! `sluice_module_fini` here. What it registers is registered at our own [`Api`], under its own name,
//! so that everything the [stack](crate::stack) promises holds for it too.
//!
//! A function knows for whom it is called by the [`Frame`] of its thread: every call into a module
//! stands in one. Without one, on a thread of the module's own, it refuses.
//!
//! | file | holds |
//! |---|---|
//! | `types` | structures and the table, as C sees them |
//! | `frame` | whose callback runs on this thread, and what it may reach |
//! | `message` | `mblk_t`: packets as the module sees them |
//! | `hook` | showing packets and what happens to interfaces to a module's function |
//! | `instance` | modules, notifications and hooks |
//! | `query` | questions about interfaces, addresses, routes and checksums; injecting |
//! | `kstat` | a module's own numbers |

mod frame;
mod hook;
mod instance;
mod kstat;
mod message;
mod query;
mod types;

use std::ffi::c_int;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use frame::Frame;
use kstat::Statistics;
use types::{Message, SLUICE_SOLARIS_ABI, sluice_solaris};

use super::object::{Object, ObjectError, Shared};
use super::types::MODULE_SYMBOL;
use super::{ModuleFile, Opened};
use crate::stack::Api;

/// An object written for Solaris' interface, and what it has registered.
struct Foreign {
    shared: Shared<Message>,
    /// Itself, for what is registered to hold a share.
    me: Weak<Foreign>,
    /// The modules that it has registered: the address of each `net_instance_t`, and its name.
    modules: Mutex<Vec<(usize, String)>>,
    statistics: Statistics,
}

impl Foreign {
    fn modules(&self) -> std::sync::MutexGuard<'_, Vec<(usize, String)>> {
        self.modules.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A module's file.
struct File {
    init: unsafe extern "C" fn() -> c_int,
    fini: unsafe extern "C" fn() -> c_int,
    foreign: Arc<Foreign>,
}

/// A module of an object.
pub(super) fn module(object: Object) -> Result<Opened, ObjectError> {
    let symbol = |name: &std::ffi::CStr| {
        let missing = || ObjectError::Missing(name.to_string_lossy().into_owned());
        object.symbol::<usize>(name).ok_or_else(missing)
    };
    let init = symbol(MODULE_SYMBOL)?;
    let fini = symbol(c"sluice_module_fini")?;
    let version = symbol(c"sluice_solaris_version")? as *const u32;
    let table = symbol(c"sluice_solaris")? as *mut *const sluice_solaris;
    if !version.is_aligned() || !table.is_aligned() {
        return Err(ObjectError::Missing("sluice_solaris_version".into()));
    }
    // SAFETY: the header that exports the symbols defines them so, in every version.
    let found = unsafe { version.read() };
    if found != SLUICE_SOLARIS_ABI {
        let (of, ours) = ("the Solaris interface", SLUICE_SOLARIS_ABI);
        return Err(ObjectError::Version { of, found, ours });
    }
    // SAFETY: as above; nothing of the object has run that could read it.
    unsafe { table.write(&raw const TABLE) };
    // SAFETY: the header declares both without arguments, to return a number.
    let (init, fini) = unsafe {
        type Entry = unsafe extern "C" fn() -> c_int;
        (std::mem::transmute::<usize, Entry>(init), std::mem::transmute::<usize, Entry>(fini))
    };
    let foreign = Arc::new_cyclic(|me| Foreign {
        me: me.clone(),
        statistics: Statistics::default(),
        modules: Mutex::default(),
        shared: Shared::new(object),
    });
    Ok(Opened::Module(Box::new(File { init, fini, foreign })))
}

impl File {
    /// Takes out what the object has left registered; its names.
    fn sweep(&self, api: &mut Api<'_>) -> Vec<String> {
        let left = std::mem::take(&mut *self.foreign.modules());
        for (_, name) in &left {
            // The one that is not there any more is what is wanted.
            let _ = api.unregister_module(name);
        }
        left.into_iter().map(|(_, name)| name).collect()
    }
}

impl ModuleFile for File {
    fn start(&mut self, api: &mut Api<'_>) -> Result<(), String> {
        let frame = Frame::agent(&self.foreign, api);
        // SAFETY: the code is there as long as `foreign`.
        let answer = frame.enter(|| unsafe { (self.init)() });
        if answer == 0 {
            return Ok(());
        }
        self.sweep(api);
        Err(format!("its `_init` has failed with {answer}"))
    }

    fn stop(&mut self, api: &mut Api<'_>) -> Result<(), String> {
        let frame = Frame::agent(&self.foreign, api);
        // SAFETY: as in `start`.
        let answer = frame.enter(|| unsafe { (self.fini)() });
        let left = self.sweep(api);
        match (answer, &*left) {
            (0, []) => Ok(()),
            (0, left) => Err(format!("its `_fini` has left {} registered", left.join(", "))),
            (answer, _) => {
                Err(format!("its `_fini` has failed with {answer}: it is stopped anyway"))
            }
        }
    }

    fn modules(&self) -> Vec<String> {
        self.foreign.modules().iter().map(|(_, name)| name.clone()).collect()
    }

    fn statistics(&self) -> Vec<(String, u64)> {
        self.foreign.statistics.read()
    }
}

/// What the header's functions call.
static TABLE: sluice_solaris = sluice_solaris {
    abi: SLUICE_SOLARIS_ABI,
    size: size_of::<sluice_solaris>() as u32,
    allocb: message::allocb,
    freeb: message::freeb,
    pullupmsg: message::pullupmsg,
    log: instance::log,
    instance_register: instance::register,
    instance_unregister: instance::unregister,
    instance_notify: instance::instance_notify,
    protocol_lookup: instance::protocol_lookup,
    protocol_walk: instance::protocol_walk,
    protocol_release: instance::protocol_release,
    protocol_notify: instance::protocol_notify,
    event_notify: instance::event_notify,
    hook_register: instance::hook_register,
    hook_unregister: instance::hook_unregister,
    getnetid: query::getnetid,
    is_instance: query::is_instance,
    phygetnext: query::phygetnext,
    phylookup: query::phylookup,
    getifname: query::getifname,
    lifgetnext: query::lifgetnext,
    getlifaddr: query::getlifaddr,
    getlifflags: query::getlifflags,
    getlifzone: query::getlifzone,
    getmtu: query::getmtu,
    getpmtuenabled: query::getpmtuenabled,
    routeto: query::routeto,
    inject: query::inject,
    ispartialchecksum: query::ispartialchecksum,
    isvalidchecksum: query::isvalidchecksum,
    kstat_install: kstat::install,
    kstat_delete: kstat::delete,
};
