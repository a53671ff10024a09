//! A module, in the steps of the article on Solaris' Packet Filtering Hooks (2009): it is created
//! in an instance, waits for INET to appear, waits for PHYSICAL_IN to appear, and registers a hook
//! there that drops every hundredth packet. `sluice-dataplane --module tour`.
//!
//! Everything here runs on the agent's thread, but for the hook itself, of which each worker has an
//! object.

use std::any::Any;
use std::sync::Arc;

use sluice_hooks::stack::{HookSpec, InstanceHandle, ModuleContext, ProtocolHandle, VERSION};
use sluice_hooks::{Api, Event, Hint, Made, Module, PerPacket, Protocol};

use crate::hundredth::Hundredth;

/// What the module is asked for by.
pub const NAME: &str = "tour";

/// The module. What it has to remember it keeps by instance.
pub struct Tour;

/// What it keeps: nothing that the stack does not know, but an author's own would stand here.
struct Kept;

impl Module for Tour {
    fn name(&self) -> &str {
        NAME
    }

    fn create(&self, api: &mut Api<'_>, instance: InstanceHandle) -> Result<ModuleContext, String> {
        // Protocols that are there already are told of at once, later ones when they appear.
        api.watch_protocols(
            instance,
            NAME,
            Arc::new(move |api, notice| {
                if notice.appeared && notice.protocol == Some(Protocol::Inet) {
                    wait_for_event(api, instance);
                }
            }),
        )
        .map_err(|error| error.to_string())?;
        Ok(Box::new(Kept))
    }

    fn shutdown(&self, api: &mut Api<'_>, instance: InstanceHandle, context: &mut ModuleContext) {
        debug_assert!((&**context as &dyn Any).is::<Kept>());
        let inet = ProtocolHandle { instance, protocol: Protocol::Inet };
        if let Some(hook) = api.hook_named(inet, Event::PhysicalIn, NAME) {
            // When this returns, no worker is in the hook. One that does not return from it keeps
            // its object, and the instance goes all the same.
            let _ = api.unregister(hook);
        }
    }

    fn destroy(&self, _: &mut Api<'_>, _: InstanceHandle, context: ModuleContext) {
        drop(context);
    }
}

fn wait_for_event(api: &mut Api<'_>, instance: InstanceHandle) {
    let Some(inet) = api.protocol(instance, Protocol::Inet) else { return };
    let heard = Arc::new(move |api: &mut Api<'_>, notice: &sluice_hooks::stack::Notice| {
        if notice.appeared && notice.event == Some(Event::PhysicalIn) {
            register(api, inet);
        }
    });
    // Refused only while the instance goes, and then there is nothing to wait for.
    let _ = api.watch_events(inet, NAME, heard);
}

fn register(api: &mut Api<'_>, inet: ProtocolHandle) {
    let made = Made::new(|| PerPacket(Hundredth::new(100)));
    let Ok(spec) = HookSpec::new(VERSION, NAME, made) else { return };
    // A hint that contradicts the operator's hooks is refused; then the module does without.
    let _ = api.register(inet, Event::PhysicalIn, &spec.hint(Hint::Last));
}
