//! Checks the hooks that are loaded: their names, what they ask for, and that all of them and the
//! built-in stages can stand in one order.

use std::collections::BTreeSet;

use super::error::{Mistake, Thing};
use super::links::Links;
use super::report::{Naming, Report, is_name, known};
use crate::event::{Event, Protocol, Stage};
use crate::hook::{DEFAULT_PROTOCOLS, MAX_HOOKS, in_order};
use crate::model::{LoadedHook, Name};
use crate::order::{ForeignHook, Hint, OrderError, resolved};

/// Checks all hooks of the state.
pub(super) fn check(links: &Links, report: &mut Report<'_>) {
    let state = report.state;
    let before = report.errors.len();
    if state.hooks.len() > MAX_HOOKS {
        let last = in_order(&state.hooks).last().map(|(name, _)| name.clone());
        let (what, count) = ("hooks", state.hooks.len());
        let mistake = Mistake::TooMany { what, count, most: MAX_HOOKS };
        report.add(&Thing::Hook(last.unwrap_or_default()), "", mistake);
        return;
    }
    for (name, hook) in &state.hooks {
        check_one(name, hook, links, report);
    }
    if report.errors.len() == before {
        check_orders(links, report);
    }
}

fn check_one(name: &Name, hook: &LoadedHook, links: &Links, report: &mut Report<'_>) {
    let thing = Thing::Hook(name.clone());
    if !is_name(name, Naming::Plain) {
        report.add(&thing, "", Mistake::BadName(name.clone()));
    }
    if Stage::ALL.iter().any(|stage| stage.name() == &**name) {
        report.add(&thing, "", Mistake::HookNamedStage(name.clone()));
    }
    match hook.file() {
        Some(path) if !is_path(path) => {
            report.add(&thing, "file", Mistake::BadPath(hook.program.clone()));
        }
        None if !is_name(&hook.program, Naming::Plain) => {
            report.add(&thing, "program", Mistake::BadName(hook.program.clone()));
        }
        _ => {}
    }
    if hook.event.is_none() {
        let wants = [
            ("instance", hook.instance.is_some()),
            ("order", hook.hint != Hint::None),
            ("protocols", *hook.protocols != DEFAULT_PROTOCOLS),
            ("settings", !hook.settings.is_empty()),
        ];
        for (key, _) in wants.into_iter().filter(|(_, given)| *given) {
            report.add(&thing, key, Mistake::NeedsEvent(key));
        }
    }
    if let Some(instance) = &hook.instance {
        let mut instances = links.instances.iter().flatten().map(|instance| &instance.name);
        if !instances.clone().any(|known| known == instance) {
            let known = known(&mut instances);
            let mistake = Mistake::UnknownInstance { name: instance.clone(), known };
            report.add(&thing, "instance", mistake);
        }
    }
    if hook.protocols.is_empty() {
        report.add(&thing, "protocols", Mistake::NoProtocol);
    }
    for (i, &protocol) in hook.protocols.iter().enumerate() {
        if hook.protocols[..i].contains(&protocol) {
            report.add_item(&thing, "protocols", i, Mistake::ProtocolTwice(protocol));
        }
        if let Some(event) = hook.event.filter(|&event| !protocol.has(event)) {
            let mistake = Mistake::NoSuchEvent { protocol, event };
            report.add_item(&thing, "protocols", i, mistake);
        }
    }
    if let Hint::Before(other) | Hint::After(other) = &hook.hint {
        if other == name {
            report.add(&thing, "order", Mistake::HintItself);
        } else if !is_name(other, Naming::Plain) {
            report.add(&thing, "order", Mistake::BadName(other.clone()));
        }
    }
    for setting in hook.settings.keys().filter(|setting| !is_name(setting, Naming::Plain)) {
        report.add(&thing, "settings", Mistake::BadName(setting.clone()));
    }
}

/// Whether a path says by itself which file is meant, and fits into a log line.
fn is_path(path: &str) -> bool {
    const LONGEST: usize = 1024;
    path.starts_with('/') && path.len() <= LONGEST && !path.chars().any(char::is_control)
}

/// Sees to it that there is an order at each event of each instance.
fn check_orders(links: &Links, report: &mut Report<'_>) {
    let state = report.state;
    let hooks: Vec<ForeignHook> =
        in_order(&state.hooks).filter_map(|(name, hook)| hook.foreign(name)).collect();
    let events: BTreeSet<Event> = hooks.iter().map(|hook| hook.event).collect();
    // Each hook is told once, however many instances and protocols it is wrong in.
    let mut told: BTreeSet<Name> = BTreeSet::new();
    for instance in links.instances.iter().flatten() {
        for (&event, protocol) in events.iter().flat_map(|e| Protocol::ALL.map(|p| (e, p))) {
            let Err(error) = resolved(instance, protocol, event, &hooks) else { continue };
            let Some(name) = blamed(&error, &hooks).filter(|name| told.insert(name.clone())) else {
                continue;
            };
            let instance = instance.name.clone();
            let mistake = Mistake::HookOrder { instance, event, error };
            report.add(&Thing::Hook(name), "order", mistake);
        }
    }
}

/// The hook that is to be changed: the one that came last.
fn blamed(error: &OrderError, hooks: &[ForeignHook]) -> Option<Name> {
    let concerned = |name: &str| match error {
        OrderError::Duplicate(duplicate) => duplicate == name,
        OrderError::Taken { second, .. } => second == name,
        OrderError::Contradiction(names) => names.iter().any(|n| n.trim_matches('`') == name),
    };
    let mut concerned = hooks.iter().rev().filter(|hook| concerned(&hook.name));
    concerned.next().map(|hook| hook.name.clone())
}
