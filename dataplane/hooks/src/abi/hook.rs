//! A hook of a shared object: reading its description, making its objects, showing it packets.

use std::ffi::{CStr, CString, c_char, c_void};
use std::mem::{MaybeUninit, offset_of};
use std::ptr;
use std::sync::{Arc, Mutex, PoisonError};

use ::sluice_packet::Mask;
use sluice_channel::statistics::OWN_COUNTERS;
use sluice_policy::{DropReason, Event};

use super::calls::calls;
use super::hand::{Hand, Scene, Shared};
use super::object::ObjectError;
use super::types::*;
use crate::burst::Burst;
use crate::context::Context;
use crate::hook::{Hook, Verdict, settle};
use crate::observer::Observer;
use crate::packet::Packet;
use crate::program::{Loadable, Made, ProgramError, Settings};

/// The bit of each event.
pub(super) const EVENTS: [(u32, Event); 7] = [
    (SLUICE_OBSERVING, Event::Observing),
    (SLUICE_PHYSICAL_IN, Event::PhysicalIn),
    (SLUICE_LOOPBACK_IN, Event::LoopbackIn),
    (SLUICE_LOOPBACK_OUT, Event::LoopbackOut),
    (SLUICE_ROUTE_DECISION, Event::RouteDecision),
    (SLUICE_FORWARDING, Event::Forwarding),
    (SLUICE_PHYSICAL_OUT, Event::PhysicalOut),
];

/// The counter of ours behind the author's.
const NOT_HELD: &str = "packets-not-held";
/// The longest list that is read: one without its end would be read on and on.
const LONGEST: usize = 64;

/// The bit of an event.
pub(super) fn bit(event: Event) -> u32 {
    EVENTS.iter().find(|(_, known)| *known == event).map_or(0, |(bit, _)| *bit)
}

/// What is in a description, checked and copied.
#[derive(Clone)]
struct Described {
    counters: Vec<String>,
    flags: u32,
    make: Option<unsafe extern "C" fn(*const sluice_load) -> *mut c_void>,
    drop: Option<unsafe extern "C" fn(*mut c_void)>,
    shown: Shown,
}

/// How an object is shown packets.
#[derive(Clone, Copy)]
enum Shown {
    Packet(unsafe extern "C" fn(*mut c_void, *mut sluice_packet) -> u32),
    Burst(unsafe extern "C" fn(*mut c_void, *const *mut sluice_packet, *mut u32, u32)),
}

/// The size of the first description of this version, which had no `burst`.
const FIRST_SIZE: usize = offset_of!(sluice_hook_program, burst);
/// No description is larger, in whatever release.
const LARGEST_SIZE: usize = 4096;

/// Copies a description that may have been built with an earlier or a later release of this version.
///
/// # Safety
/// It begins with the version and its size, and has that size.
unsafe fn description(
    program: *const sluice_hook_program,
) -> Result<sluice_hook_program, ObjectError> {
    let mut copied = MaybeUninit::<sluice_hook_program>::zeroed();
    let ours = size_of::<sluice_hook_program>();
    // SAFETY: by the contract.
    let size = unsafe { (*program).size } as usize;
    if !(FIRST_SIZE..=LARGEST_SIZE).contains(&size) {
        let what = format!("`size` is {size}, not {FIRST_SIZE} or more: write sizeof of it");
        return Err(ObjectError::description(what));
    }
    // SAFETY: so many bytes are there by the contract, and fit; what is missing stays 0.
    unsafe {
        let to = copied.as_mut_ptr().cast::<u8>();
        ptr::copy_nonoverlapping(program.cast::<u8>(), to, size.min(ours));
    }
    // SAFETY: by the contract, what is beyond ours is there.
    let beyond = (ours..size).any(|at| unsafe { *program.cast::<u8>().add(at) } != 0);
    if beyond {
        return Err(ObjectError::description(
            "wants what this release does not have: build it with this release's header",
        ));
    }
    // SAFETY: 0 is a value of all fields, and the others are the object's.
    Ok(unsafe { copied.assume_init() })
}

/// What an operator can load of an object.
pub(super) fn loadable(shared: Arc<Shared>) -> Result<Loadable, ObjectError> {
    let program = shared.object.program().filter(|program| program.is_aligned());
    let program = program.ok_or_else(|| ObjectError::description("is not aligned"))?;
    // SAFETY: the symbol is the object's data and begins with the version in every version.
    let abi = unsafe { (*program).abi };
    if abi != SLUICE_HOOK_ABI {
        return Err(ObjectError::version(abi));
    }
    // SAFETY: by its version it is one of these; it is constant, and there as long as `shared` is.
    let program = unsafe { description(program) }?;
    // SAFETY: by the interface these are texts, and lists of texts that end.
    let (name, summary, settings, counters) = unsafe {
        let settings = list(program.settings, |setting: &sluice_setting| {
            let key = (!setting.key.is_null()).then(|| text(setting.key, "settings.key"))?;
            let help = if setting.help.is_null() {
                Ok(String::new())
            } else {
                text(setting.help, "settings.help")
            };
            Some(key.and_then(|key| Ok((key, help?))))
        })?;
        let counters = list(program.counters, |name: &*const c_char| {
            (!name.is_null()).then(|| text(*name, "counters"))
        })?;
        (text(program.name, "name")?, text(program.summary, "summary")?, settings, counters)
    };
    if counters.len() >= OWN_COUNTERS {
        let most = OWN_COUNTERS - 1;
        let what =
            format!("has {} counters of its own, at most {most} are possible", counters.len());
        return Err(ObjectError::description(what));
    }
    let known = EVENTS.iter().fold(0, |all, (bit, _)| all | bit);
    if program.events == 0 || program.events & !known != 0 {
        let what = format!("`events` is {:#x}: give some of {known:#x}", program.events);
        return Err(ObjectError::description(what));
    }
    let at = EVENTS.iter().filter(|(bit, _)| program.events & bit != 0);
    let events = at.map(|(_, event)| *event).collect();
    let shown = match (program.packet, program.burst) {
        (Some(packet), None) => Shown::Packet(packet),
        (None, Some(burst)) => Shown::Burst(burst),
        (None, None) => {
            return Err(ObjectError::description(
                "`packet` is NULL, and `burst` as well: give one",
            ));
        }
        (Some(_), Some(_)) => {
            return Err(ObjectError::description("has `packet` and `burst`: give one of them"));
        }
    };
    let (flags, make, drop) = (program.flags, program.make, program.drop);
    let described = Described { counters, flags, make, drop, shown };
    let called = name.clone();
    let make = move |settings: &Settings<'_>| made(&shared, &called, &described, settings);
    Ok(Loadable { name, summary, settings, events, make: Box::new(make) })
}

/// A list that ends where `item` finds nothing more.
///
/// # Safety
/// It is NULL or ends.
unsafe fn list<T, U>(
    first: *const T,
    item: impl Fn(&T) -> Option<Result<U, ObjectError>>,
) -> Result<Vec<U>, ObjectError> {
    let mut found = Vec::new();
    if first.is_null() {
        return Ok(found);
    }
    for at in 0..LONGEST {
        // SAFETY: by the contract, as no end has come.
        match item(unsafe { &*first.add(at) }) {
            Some(one) => found.push(one?),
            None => return Ok(found),
        }
    }
    Err(ObjectError::description(format!("a list has no end within {LONGEST}")))
}

/// A text of an object.
///
/// # Safety
/// It is NULL or a text that ends with a 0.
unsafe fn text(text: *const c_char, what: &str) -> Result<String, ObjectError> {
    if text.is_null() {
        return Err(ObjectError::description(format!("`{what}` is NULL")));
    }
    // SAFETY: by the contract.
    let text = unsafe { CStr::from_ptr(text) }.to_str();
    let text = text.map_err(|_| ObjectError::description(format!("`{what}` is not UTF-8")))?;
    Ok(text.to_owned())
}

/// Makes an object for each worker, so that what can fail has been done.
fn made(
    shared: &Arc<Shared>,
    name: &str,
    described: &Described,
    settings: &Settings<'_>,
) -> Result<Made, ProgramError> {
    let mut objects = Vec::new();
    for worker in 0..settings.workers() {
        let object = Object::make(shared, described, settings, worker);
        objects.push(
            object.map_err(|reason| ProgramError::Refused { program: name.to_owned(), reason })?,
        );
    }
    let objects = Mutex::new(objects);
    // As many are asked for as there are workers; one more would pass everything.
    let next = move || objects.lock().unwrap_or_else(PoisonError::into_inner).pop();
    let counters: Vec<&str> =
        described.counters.iter().map(String::as_str).chain([NOT_HELD]).collect();
    let made = if described.flags & SLUICE_READ_ONLY != 0 {
        Made::observer(move || Maybe(next()))
    } else {
        Made::new(move || Maybe(next()))
    };
    let made = made.with_counters(&counters);
    Ok(if described.flags & SLUICE_FIRST_OF_FLOW != 0 { made.first_of_flow() } else { made })
}

/// What an object of a file keeps for one worker.
struct Object {
    context: *mut c_void,
    shown: Shown,
    drop: Option<unsafe extern "C" fn(*mut c_void)>,
    /// The place of [`NOT_HELD`] among the counters.
    not_held: usize,
    shared: Arc<Shared>,
}

// SAFETY: the interface says that a context is used by one thread at a time, and made and freed on
// another than the one that shows it packets.
unsafe impl Send for Object {}

impl Object {
    fn make(
        shared: &Arc<Shared>,
        described: &Described,
        settings: &Settings<'_>,
        worker: usize,
    ) -> Result<Object, String> {
        let mut object = Object {
            context: ptr::null_mut(),
            shown: described.shown,
            drop: None,
            not_held: described.counters.len(),
            shared: Arc::clone(shared),
        };
        let Some(make) = described.make else { return Ok(object) };
        let texts: Vec<(CString, CString)> = settings
            .iter()
            .map(|(key, value)| {
                let c = |text| CString::new(text).map_err(|_| format!("`{key}` has a 0 in it"));
                Ok((c(key)?, c(value)?))
            })
            .collect::<Result<_, String>>()?;
        let end = sluice_told { key: ptr::null(), value: ptr::null() };
        let told = texts.iter().map(|(k, v)| sluice_told { key: k.as_ptr(), value: v.as_ptr() });
        let told: Vec<sluice_told> = told.chain([end]).collect();
        let mut error = [0; 256];
        let load = sluice_load {
            calls: calls(),
            file: Arc::as_ptr(shared).cast(),
            settings: told.as_ptr(),
            event: bit(settings.event()),
            worker: worker as u32,
            workers: settings.workers() as u32,
            error: error.as_mut_ptr().cast(),
            error_room: error.len(),
        };
        // SAFETY: the function is the object's, which `shared` keeps; what it is given is there until
        // it returns.
        object.context = unsafe { make(&raw const load) };
        if object.context.is_null() {
            let said = CStr::from_bytes_until_nul(&error).unwrap_or_default().to_string_lossy();
            return Err(if said.is_empty() { "it refuses to be made".into() } else { said.into() });
        }
        object.drop = described.drop;
        Ok(object)
    }
}

impl Drop for Object {
    fn drop(&mut self) {
        if let Some(drop) = self.drop {
            // SAFETY: the context is the one that `make` made, and nobody uses it any more; the
            // object's code is there until `shared` is dropped, behind this.
            unsafe { drop(self.context) };
        }
    }
}

/// An object, if there is one.
struct Maybe(Option<Object>);

const _: () = assert!(SLUICE_BURST == sluice_dpdk::BURST);

impl Hook for Maybe {
    fn process(&mut self, cx: &mut Context<'_>, burst: &mut Burst, packets: Mask) {
        let Some(object) = &self.0 else { return };
        let event = cx.event;
        // From here on both are used by these pointers alone: by the object's calls, and between them.
        let (burst, cx): (*mut Burst, *mut Context<'_>) = (burst, cx);
        let mut scene = Scene::of(burst, cx, event, &object.shared);
        let scene = &raw mut scene;
        match object.shown {
            Shown::Packet(packet) => {
                let mut hand = Hand::on(scene, 0);
                for slot in packets {
                    hand.turn_to(slot);
                    // SAFETY: the code is there as long as `shared`; what it is given lives until it
                    // returns, and nothing else uses it meanwhile.
                    let answer = unsafe { packet(object.context, (&raw mut hand).cast()) };
                    // SAFETY: the object has returned.
                    let (cx, burst) = unsafe { (&mut *cx, &mut *burst) };
                    settle(cx, burst, slot, object.verdict(answer));
                }
            }
            Shown::Burst(shown) => {
                let mut hands = [const { MaybeUninit::<Hand>::uninit() }; SLUICE_BURST];
                let mut addresses = [ptr::null_mut(); SLUICE_BURST];
                for ((hand, address), slot) in hands.iter_mut().zip(&mut addresses).zip(packets) {
                    *address = ptr::from_mut(hand.write(Hand::on(scene, slot))).cast();
                }
                let mut answers = [SLUICE_CONTINUE; SLUICE_BURST];
                let count = packets.len() as u32;
                // SAFETY: as above; there are so many addresses and answers.
                unsafe {
                    shown(object.context, addresses.as_ptr(), answers.as_mut_ptr(), count);
                }
                // SAFETY: the object has returned.
                let (cx, burst) = unsafe { (&mut *cx, &mut *burst) };
                for (slot, answer) in packets.into_iter().zip(answers) {
                    settle(cx, burst, slot, object.verdict(answer));
                }
            }
        }
        // SAFETY: the object has returned, and with it what changes the scene.
        let (wrong, cx) = unsafe { ((*scene).not_held(), &*cx) };
        if wrong > 0 {
            cx.count(object.not_held, wrong);
        }
    }
}

impl Object {
    /// What an answer of the object means.
    #[inline]
    fn verdict(&self, answer: u32) -> Verdict {
        match answer {
            SLUICE_CONTINUE => Verdict::Continue,
            SLUICE_CONSUMED => Verdict::Consumed,
            SLUICE_DROP_AS.. if ((answer - SLUICE_DROP_AS) as usize) < self.not_held => {
                Verdict::DropAs((answer - SLUICE_DROP_AS) as usize)
            }
            // SLUICE_DROP, and whatever else it may answer.
            _ => Verdict::Drop(DropReason::HookDropped),
        }
    }
}

impl Observer for Maybe {
    fn observe(&mut self, cx: &Context<'_>, packet: &Packet<'_>) {
        let Some(object) = &self.0 else { return };
        let mut scene = Scene::looked_at(cx, &object.shared);
        let mut hand = Hand::looking(&raw mut scene, packet);
        let address: *mut sluice_packet = (&raw mut hand).cast();
        match object.shown {
            // SAFETY: as for packets that may be changed; what it is given changes nothing.
            Shown::Packet(packet) => drop(unsafe { packet(object.context, address) }),
            Shown::Burst(burst) => {
                let mut verdict = SLUICE_CONTINUE;
                // SAFETY: as above; there is one of each.
                unsafe { burst(object.context, &raw const address, &raw mut verdict, 1) };
            }
        }
    }
}
