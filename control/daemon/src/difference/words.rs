//! Things in one line each, as the configuration file would have them.

use std::collections::HashSet;
use std::fmt::{self, Display};
use std::hash::Hash;

use sluice_policy::hook::DEFAULT_PROTOCOLS;
use sluice_policy::model::{
    ChecksumMode, DEFAULT_INSTANCE, FlowLimit, Instance, Interface, LoadedHook, MAIN_TABLE,
    NextHop, Operation, Owner, PolicyAction, PolicyRoute, Port, Route, Rule, Set, Target,
    Unreachable,
};
use sluice_policy::order::Hint;

use sluice_control_api::DiffKind;

use super::{Difference, Value};
use crate::text;

impl Difference<'_> {
    /// The thing's name: `lan`, `default 10.9.0.0/16 static`, `default forward no-http`.
    pub(super) fn name(&self) -> String {
        let name = match self.key.0 {
            Operation::Port(name, _)
            | Operation::Interface(name, _)
            | Operation::Instance(name, _)
            | Operation::Hook(name, _) => name.to_string(),
            Operation::Route(key, _) => {
                let table = if &*key.table == MAIN_TABLE { "" } else { &*key.table };
                let words = [&*key.instance, table, &key.prefix.to_string(), key.owner.name()];
                words.into_iter().filter(|word| !word.is_empty()).collect::<Vec<_>>().join(" ")
            }
            Operation::Filter(key, _) => format!("{} {}", key.instance, key.point.name()),
            Operation::Neighbour(key, _) => format!("{} {}", key.interface, key.address),
            Operation::PolicyRoutes(instance, _) => instance.to_string(),
            Operation::Timeout(timeout, _) => timeout.name().to_owned(),
        };
        match self.key.1 {
            Some(set) if self.kind == DiffKind::Set => format!("{name} ${set}"),
            Some(rule) => format!("{name} {rule}"),
            None => name,
        }
    }
}

impl Display for Value<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Value::Port(port) => port_words(port).fmt(f),
            Value::Interface(interface) => interface_words(interface).fmt(f),
            Value::Instance(instance) => instance_words(instance).fmt(f),
            Value::Route(route, owner) => route_words(route, owner).fmt(f),
            Value::Filter(filter) => Mapping::default()
                .when(filter.stateful.is_some(), "stateful", true)
                .with("default", filter.default.name())
                .fmt(f),
            Value::Set(set, other) => set_words(set, *other).fmt(f),
            Value::Rule(rule, None) => rule_words(rule).fmt(f),
            Value::Rule(rule, Some((place, of))) => {
                write!(f, "{} # rule {place} of {of}", rule_words(rule))
            }
            Value::Neighbour(mac) => mac.fmt(f),
            Value::PolicyRoute(route, None) => policy_route_words(route).fmt(f),
            Value::PolicyRoute(route, Some((place, of))) => {
                write!(f, "{} # policy route {place} of {of}", policy_route_words(route))
            }
            Value::Hook(hook) => hook_words(hook).fmt(f),
            Value::Timeout(seconds) => text::duration(*seconds).fmt(f),
        }
    }
}

/// A mapping in YAML's flow style.
#[derive(Default)]
struct Mapping(Vec<String>);

impl Mapping {
    /// One more key, its value as it is.
    fn raw(mut self, key: &str, value: impl Display) -> Mapping {
        self.0.push(format!("{key}: {value}"));
        self
    }

    fn with(self, key: &str, value: impl Display) -> Mapping {
        self.raw(key, scalar(value))
    }

    fn when(self, given: bool, key: &str, value: impl Display) -> Mapping {
        if given { self.with(key, value) } else { self }
    }

    /// A list; one item stands alone, and no items are no key.
    fn list<T: Display>(self, key: &str, items: impl IntoIterator<Item = T>) -> Mapping {
        let items: Vec<String> = items.into_iter().map(scalar).collect();
        match items.as_slice() {
            [] => self,
            [item] => self.raw(key, item),
            items => self.raw(key, format_args!("[{}]", items.join(", "))),
        }
    }
}

impl Display for Mapping {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() { f.write_str("{}") } else { write!(f, "{{ {} }}", self.0.join(", ")) }
    }
}

/// A scalar, quoted where it would not be plain.
fn scalar(value: impl Display) -> String {
    let text = value.to_string();
    let plain = !text.is_empty()
        && text
            .chars()
            .all(|c| c.is_alphanumeric() || matches!(c, '.' | '/' | '-' | '_' | '=' | '$'))
        && !text.starts_with('-');
    if plain { text } else { format!("{text:?}") }
}

fn port_words(port: &Port) -> Mapping {
    let Port { device, mac, mtu, queues, workers, spread, checksum, steal, position: _ } = port;
    let checksum = match checksum {
        ChecksumMode::Verify => "verify",
        ChecksumMode::Complete => "complete",
        ChecksumMode::Trust => "trust",
    };
    Mapping::default()
        .with("device", device)
        .list("mac", mac)
        .with("mtu", mtu)
        .with("queues", queues)
        .list("workers", workers)
        .when(!*spread, "spread", false)
        .with("checksum", checksum)
        .when(*steal, "steal", true)
}

fn interface_words(interface: &Interface) -> Mapping {
    // Port and VLAN are in the interface's name.
    let Interface { port: _, vlan: _, instance, mtu, addresses, position: _ } = interface;
    Mapping::default()
        .when(&**instance != DEFAULT_INSTANCE, "instance", instance)
        .with("mtu", mtu)
        .list("addresses", addresses)
}

fn instance_words(instance: &Instance) -> Mapping {
    let events = instance.pipeline.iter().fold(Mapping::default(), |events, (event, stages)| {
        let stages: Vec<&str> = stages.iter().map(|stage| stage.name()).collect();
        events.raw(event.name(), format_args!("[{}]", stages.join(", ")))
    });
    Mapping::default().list("tables", &instance.tables).raw("pipeline", events)
}

fn route_words(route: &Route, owner: &Owner) -> Mapping {
    let Route { target, preference, metric, tag, generation: _, position: _ } = route;
    target_words(target)
        .when(*preference != owner.preference(), "preference", preference)
        .when(*metric != 0, "metric", metric)
        .when(*tag != 0, "tag", tag)
}

fn target_words(target: &Target) -> Mapping {
    match target {
        Target::Blackhole => Mapping::default().with("blackhole", true),
        Target::Reject => Mapping::default().with("reject", true),
        Target::Prohibit => Mapping::default().with("prohibit", true),
        Target::Table { instance, table } => {
            let to = Mapping::default().with("instance", instance).with("table", table);
            Mapping::default().raw("lookup", to)
        }
        Target::NextHops(hops) => next_hops(Mapping::default(), hops),
    }
}

fn next_hops(mapping: Mapping, hops: &[NextHop]) -> Mapping {
    match hops {
        [NextHop { via, interface, weight: 1 }] => {
            mapping.list("via", via).list("interface", interface)
        }
        hops => {
            let hops: Vec<String> = hops.iter().map(|hop| hop_words(hop).to_string()).collect();
            mapping.raw("via", format_args!("[{}]", hops.join(", ")))
        }
    }
}

fn hop_words(hop: &NextHop) -> Mapping {
    Mapping::default().list("address", hop.via).list("interface", &hop.interface).when(
        hop.weight != 1,
        "weight",
        hop.weight,
    )
}

/// A set: how many items it has, and those that the other has not.
fn set_words(set: &Set, other: Option<&Set>) -> Mapping {
    match (set, other) {
        (Set::Prefixes(items), Some(Set::Prefixes(other))) => {
            items_words("prefixes", items, other, ToString::to_string)
        }
        (Set::Prefixes(items), _) => items_words("prefixes", items, &[], ToString::to_string),
        (Set::Ports(items), Some(Set::Ports(other))) => {
            items_words("ports", items, other, text::range)
        }
        (Set::Ports(items), _) => items_words("ports", items, &[], text::range),
    }
}

fn items_words<T: Hash + Eq>(
    kind: &str,
    items: &[T],
    other: &[T],
    text: impl Fn(&T) -> String,
) -> Mapping {
    const SHOWN: usize = 8;
    let other: HashSet<&T> = other.iter().collect();
    let only: Vec<&T> = items.iter().filter(|item| !other.contains(item)).collect();
    let mapping = Mapping::default()
        .with(kind, items.len())
        .list("here-only", only.iter().take(SHOWN).map(|item| text(item)));
    match only.len().saturating_sub(SHOWN) {
        0 => mapping,
        more => mapping.with("and-more", more),
    }
}

fn rule_words(rule: &Rule) -> Mapping {
    let sets = &rule.sets;
    let said = Mapping::default()
        .list("in", &rule.input)
        .list("out", &rule.output)
        .list("source", text::among(&rule.source, &sets.source, ToString::to_string))
        .list("destination", text::among(&rule.destination, &sets.destination, ToString::to_string))
        .list("protocol", rule.protocol.iter().map(|&number| protocol(number)))
        .list("source-port", text::among(&rule.source_port, &sets.source_port, text::range))
        .list(
            "destination-port",
            text::among(&rule.destination_port, &sets.destination_port, text::range),
        )
        .list("tcp-flags", rule.tcp_flags.map(text::flags))
        .list("icmp-type", rule.icmp.iter().map(text::icmp))
        .list("state", rule.state.iter().map(|state| state.name()))
        .with("action", rule.action.name());
    let said = match &rule.limit {
        Some(limit) => said.raw("limit", limit_words(limit)),
        None => said,
    };
    said.when(rule.log, "log", true)
}

fn limit_words(limit: &FlowLimit) -> Mapping {
    let FlowLimit { new_flows, flows_per_source } = limit;
    Mapping::default()
        .list("new-flows", new_flows)
        .list("burst", new_flows.map(|rate| rate.burst))
        .list("flows-per-source", flows_per_source)
}

fn policy_route_words(route: &PolicyRoute) -> Mapping {
    let matches = Mapping::default()
        .list("in", &route.input)
        .list("source", &route.source)
        .list("destination", &route.destination)
        .list("protocol", route.protocol.iter().map(|&number| protocol(number)))
        .list("source-port", route.source_port.iter().map(text::range))
        .list("destination-port", route.destination_port.iter().map(text::range))
        .list("dscp", &route.dscp)
        .list("fragment", route.fragment);
    let leads = match &route.action {
        PolicyAction::Table(table) => matches.with("table", table),
        PolicyAction::NextHops(hops) => next_hops(matches, hops),
        PolicyAction::Drop => matches.with("drop", true),
        PolicyAction::Reject => matches.with("reject", true),
    };
    let blocks = route.unreachable != Unreachable::Next;
    leads.when(blocks, "unreachable", route.unreachable.name())
}

fn hook_words(hook: &LoadedHook) -> Mapping {
    let LoadedHook { owner, program, digest, instance, protocols, event, hint, settings, .. } =
        hook;
    let mapping = Mapping::default()
        .when(*owner != Owner::Static, "owner", owner.name())
        .with(if hook.file().is_some() { "file" } else { "program" }, program);
    let mapping = match digest {
        Some(digest) => mapping.with("sha256", digest.get(..12).unwrap_or(digest)),
        None => mapping,
    };
    let mapping = match event {
        Some(event) => mapping.with("event", event.key()),
        None => mapping,
    };
    let mapping = match hint {
        Hint::None => mapping,
        Hint::First => mapping.with("order", "first"),
        Hint::Last => mapping.with("order", "last"),
        Hint::Before(other) => mapping.raw("order", Mapping::default().with("before", other)),
        Hint::After(other) => mapping.raw("order", Mapping::default().with("after", other)),
    };
    let given =
        settings.iter().fold(Mapping::default(), |given, (key, value)| given.with(key, value));
    let mapping = mapping.list("instance", instance);
    let mapping = match **protocols == DEFAULT_PROTOCOLS {
        true => mapping,
        false => mapping.list("protocols", protocols.iter().map(|protocol| protocol.name())),
    };
    if settings.is_empty() { mapping } else { mapping.raw("settings", given) }
}

/// By name where the configuration knows one.
fn protocol(number: u8) -> String {
    match text::protocol(number) {
        name if name.contains(' ') => number.to_string(),
        name => name,
    }
}
