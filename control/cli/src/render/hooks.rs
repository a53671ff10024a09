//! Hooks: the order at each event, and what can be loaded.

use std::fmt::Write;

use sluice_control_api::{EventOrder, Hook, HookProgram, Hooks, Origin};
use sluice_policy::Event;
use sluice_policy::model::{Owner, Position};
use sluice_policy::order::Hint;

use super::{list, maybe, table, wrap};
use crate::style::{NOTE, paint};

/// The order at each event of each instance, stages included; below a hook stand its author's own
/// counters.
pub(crate) fn hooks(hooks: &Hooks) -> String {
    let mut text = String::new();
    for order in &hooks.orders {
        let protocols = list(order.protocols.iter().map(|protocol| protocol.name()));
        let _ = writeln!(
            text,
            "{}instance {}, {}, {}",
            if text.is_empty() { "" } else { "\n" },
            order.instance,
            order.event.name(),
            protocols.replace(',', ", ")
        );
        text.push_str(&places(order, &hooks.hooks));
    }
    if hooks.orders.is_empty() {
        text.push_str("(none)\n");
    }
    let instances = hooks.orders.iter().any(|order| order.instance != hooks.orders[0].instance);
    if instances {
        text.push_str("\ncounters of stages, and a hook's own, are of all instances together\n");
    }
    for hook in &hooks.hooks {
        let Hook { name, reason, panics, running, .. } = hook;
        let line = match (running, panics) {
            (true, 0) => continue,
            (true, panics) => format!("hook {name} has panicked {panics} times"),
            (false, _) => {
                let reason = reason.as_deref().unwrap_or_default();
                format!("hook {name} is out of the order: {reason}")
            }
        };
        let _ = writeln!(text, "\n{}", paint(NOTE, line));
    }
    for module in &hooks.modules {
        let instances = module.instances.iter().map(|(name, state)| format!("{name} {state}"));
        let _ = match &module.reason {
            None => {
                let instances = list(instances).replace(',', ", ");
                writeln!(text, "\nmodule {}: {instances}", module.name)
            }
            Some(reason) => {
                let line = format!("module {} does not run: {reason}", module.name);
                writeln!(text, "\n{}", paint(NOTE, line))
            }
        };
        for counter in &module.counters {
            let _ = writeln!(text, "  {} {}", counter.name, counter.value);
        }
    }
    text.push_str(&files(hooks));
    text
}

/// What was loaded from files, and the beginning of what identifies each.
fn files(hooks: &Hooks) -> String {
    let of_hooks = hooks.hooks.iter().map(|hook| (&hook.name, &hook.program, &hook.digest));
    let of_modules = hooks.modules.iter().map(|m| (&m.name, &m.program, &m.digest));
    let mut text = String::new();
    for (name, program, digest) in of_hooks.chain(of_modules) {
        let (Some(program), Some(digest)) = (program, digest) else { continue };
        let before = if text.is_empty() { "\n" } else { "" };
        let _ = writeln!(text, "{before}{name}: {program}, sha256 {}", short(digest));
    }
    text
}

/// Enough of a digest to tell files apart.
fn short(digest: &str) -> &str {
    digest.get(..12).unwrap_or(digest)
}

fn places(order: &EventOrder, hooks: &[Hook]) -> String {
    let find = |name: &str| {
        let of = |hook: &&Hook| {
            *hook.name == *name
                && hook.event == order.event
                && hook.instance.as_ref().is_none_or(|only| *only == order.instance)
        };
        hooks.iter().find(of)
    };
    let rows = order.places.iter().flat_map(|place| {
        let hook = find(&place.name).filter(|_| place.origin != Origin::Stage);
        let wants = hook.map(|hook| hint(&hook.order)).unwrap_or_default();
        let program = hook.and_then(|hook| hook.program.as_deref()).unwrap_or_default();
        // The directories stand below the tables.
        let program = program.rsplit('/').next().unwrap_or_default();
        let row = [
            place.position.to_string(),
            place.name.to_string(),
            origin(&place.origin, hook.and_then(|hook| hook.position.as_ref())),
            if program.is_empty() { "-".into() } else { program.to_owned() },
            if wants.is_empty() { "-".into() } else { wants },
            place.packets.to_string(),
            place.dropped.to_string(),
            maybe(place.cycles_per_packet),
        ];
        let counters = place.counters.iter().map(|counter| {
            let mut row: [String; 8] = Default::default();
            row[1] = format!("  {}", counter.name);
            row[5] = counter.value.to_string();
            row
        });
        std::iter::once(row).chain(counters).collect::<Vec<_>>()
    });
    table(
        ["#", "HOOK", "ORIGIN", "PROGRAM", "ORDER", "#PACKETS", "#DROPPED", "#CYCLES/PACKET"],
        rows,
    )
}

/// Who put a hook there, and where.
fn origin(origin: &Origin, position: Option<&Position>) -> String {
    match (origin, position) {
        (Origin::Stage, _) => "stage".into(),
        (Origin::Loaded(Owner::Static), Some(position)) => super::tables::place(position),
        (Origin::Loaded(owner), _) => owner.to_string(),
        (Origin::Module(name), _) => format!("module {name}"),
        (Origin::Fault, _) => "fault".into(),
        (Origin::Capture, _) => "capture".into(),
    }
}

fn hint(hint: &Hint) -> String {
    match hint {
        Hint::None => String::new(),
        Hint::First => "first".into(),
        Hint::Last => "last".into(),
        Hint::Before(other) => format!("before {other}"),
        Hint::After(other) => format!("after {other}"),
    }
}

/// What can be loaded, with its settings.
pub(crate) fn programs(programs: &[HookProgram]) -> String {
    let mut text = String::new();
    for program in programs {
        let separator = if text.is_empty() { "" } else { "\n" };
        let events = list(program.events.iter().copied().map(Event::key)).replace(',', ", ");
        let _ = write!(text, "{separator}{}\n{}", program.name, wrap("  ", &program.summary));
        text.push_str(&wrap("  ", &format!("events: {events}")));
        let longest = program.settings.iter().map(|setting| setting.key.len()).max().unwrap_or(0);
        for setting in &program.settings {
            let indent = " ".repeat(longest + 8);
            let help = wrap(&indent, &setting.help);
            let _ = write!(text, "    --set {:longest$}  {}", setting.key, help.trim_start());
        }
    }
    if programs.is_empty() {
        text.push_str("(none)\n");
    }
    text
}

#[cfg(test)]
mod tests {
    use sluice_control_api::{HookPlace, NamedCounter, ProgramSetting};
    use sluice_policy::Protocol;

    use super::*;

    fn place(position: u32, name: &str, origin: Origin) -> HookPlace {
        HookPlace {
            position,
            name: name.into(),
            origin,
            packets: 10_000,
            dropped: 100,
            cycles_per_packet: Some(23),
            counters: Vec::new(),
        }
    }

    #[test]
    fn the_order_is_a_table_with_stages_and_counters() {
        let cli = Origin::Loaded(Owner::Cli);
        let hook = Hook {
            name: "tenth".into(),
            origin: cli.clone(),
            program: Some("/usr/lib/sluice/hundredth.so".into()),
            digest: Some("0123456789abcdef".into()),
            instance: None,
            protocols: vec![Protocol::Inet],
            event: Event::PhysicalIn,
            order: Hint::After("ingress-filter".into()),
            settings: Default::default(),
            version: 1,
            running: true,
            reason: None,
            packets: 10_000,
            bursts: 900,
            dropped: 100,
            cycles_per_packet: Some(23),
            panics: 0,
            counters: Vec::new(),
            instances: Vec::new(),
            generation: 7,
            position: None,
        };
        let mut own = place(2, "tenth", cli);
        own.counters = vec![NamedCounter { name: "logged".into(), value: 99 }];
        let order = EventOrder {
            instance: "default".into(),
            event: Event::PhysicalIn,
            protocols: vec![Protocol::Inet, Protocol::Inet6],
            places: vec![place(1, "ingress-filter", Origin::Stage), own],
        };
        let out = Hook {
            name: "wild".into(),
            running: false,
            reason: Some("it panicked 3 times".into()),
            ..hook.clone()
        };
        let value = Hooks {
            generation: 7,
            orders: vec![order],
            hooks: vec![hook, out],
            ..Hooks::default()
        };
        let text = hooks(&value);
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[0], "instance default, PHYSICAL_IN, inet, inet6");
        let words = |line: usize| lines[line].split_whitespace().collect::<Vec<_>>();
        assert_eq!(words(2), ["1", "ingress-filter", "stage", "-", "-", "10000", "100", "23"]);
        assert_eq!(
            words(3),
            ["2", "tenth", "cli", "hundredth.so", "after", "ingress-filter", "10000", "100", "23"]
        );
        assert_eq!(words(4), ["logged", "99"]);
        assert!(text.contains("hook wild is out of the order: it panicked 3 times"), "{text}");
        let file = "\ntenth: /usr/lib/sluice/hundredth.so, sha256 0123456789ab\n";
        assert!(text.contains(file), "{text}");
        assert_eq!(hooks(&Hooks::default()), "(none)\n");
    }

    #[test]
    fn programs_say_what_they_can_be_told() {
        let program = HookProgram {
            name: "hundredth".into(),
            summary: "Drops every hundredth packet".into(),
            events: vec![Event::PhysicalIn, Event::Forwarding],
            settings: vec![ProgramSetting { key: "every".into(), help: "which one; 100".into() }],
        };
        assert_eq!(
            programs(&[program]),
            "hundredth\n  Drops every hundredth packet\n  events: physical-in, forwarding\n    \
             --set every  which one; 100\n"
        );
    }
}
