//! Hooks: those that run, in which order, and what can be loaded.

use std::collections::BTreeMap;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize};
use sluice_policy::event::{Event, Protocol};
use sluice_policy::model::{Name, Owner, Position};
use sluice_policy::order::Hint;

/// A hook to load.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct LoadHook {
    /// Its name, under which it is unloaded; left out means the program's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<Name>,
    /// The program, of those that `GET /v1/hooks/programs` lists, or the absolute path of a file on
    /// the dataplane's side.
    pub program: Name,
    /// The event that it runs at; left out for a module, which registers hooks of its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub event: Option<Event>,
    /// The instance whose packets it sees; left out means every instance.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instance: Option<Name>,
    /// The protocols whose packets it sees; none means `inet` and `inet6`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub protocols: Vec<Protocol>,
    /// Where in the event's order it stands.
    #[serde(default)]
    pub order: Hint,
    /// What the program is told: each key a text, a number, `true` or `false`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty", deserialize_with = "scalars")]
    #[schemars(schema_with = "scalars_schema")]
    pub settings: BTreeMap<Name, String>,
}

fn scalars<'de, D: Deserializer<'de>>(from: D) -> Result<BTreeMap<Name, String>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged, expecting = "a text, a number, `true` or `false`")]
    enum Scalar {
        Text(String),
        Whole(i64),
        Number(f64),
        YesNo(bool),
    }

    let scalars = BTreeMap::<Name, Scalar>::deserialize(from)?;
    let texts = scalars.into_iter().map(|(key, value)| match value {
        Scalar::Text(text) => (key, text),
        Scalar::Whole(number) => (key, number.to_string()),
        Scalar::Number(number) => (key, number.to_string()),
        Scalar::YesNo(yes) => (key, yes.to_string()),
    });
    Ok(texts.collect())
}

fn scalars_schema(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "object",
        "additionalProperties": { "type": ["string", "number", "boolean"] }
    })
}

/// The hooks that run and the order in which they do, stages included.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize, JsonSchema)]
pub struct Hooks {
    /// The generation.
    pub generation: u64,
    /// What runs at each event of each instance; events at which nothing runs are left out.
    pub orders: Vec<EventOrder>,
    /// The hooks that do not ship as stages, in the order of registration.
    pub hooks: Vec<Hook>,
    /// The modules that register hooks by themselves.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub modules: Vec<HookModule>,
}

/// What runs at an event, in order.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
pub struct EventOrder {
    /// The instance.
    pub instance: Name,
    /// The event.
    pub event: Event,
    /// The protocols whose packets meet this order.
    pub protocols: Vec<Protocol>,
    /// Hooks and stages.
    pub places: Vec<HookPlace>,
}

/// A place in an event's order.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
pub struct HookPlace {
    /// Counted from 1.
    pub position: u32,
    /// The name of the hook or stage.
    pub name: Name,
    /// Who put it there; its counters are among `hooks` unless it is a stage.
    pub origin: Origin,
    /// Packets: of a hook, those of the instance, if it is one of those that are counted by themselves;
    /// of a stage, those of all instances and events together.
    pub packets: u64,
    /// Packets that it dropped, alike.
    pub dropped: u64,
    /// Mean cycles for a packet, alike; none before the first.
    pub cycles_per_packet: Option<u64>,
    /// Counters of its author's own, of all instances together.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub counters: Vec<NamedCounter>,
}

/// Who put a hook there.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Origin {
    /// It ships with Sluice, and stands as the instance's pipeline says.
    Stage,
    /// It was loaded by this owner: `static` is the configuration file.
    Loaded(Owner),
    /// The module of this name registered it.
    Module(Name),
    /// It stands for a fault that is being tested.
    Fault,
    /// It copies packets for somebody who captures.
    Capture,
}

/// A hook that does not ship as a stage.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Hook {
    /// Its name.
    pub name: Name,
    /// Who put it there.
    pub origin: Origin,
    /// The program, or the path of the file, that it was loaded from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub program: Option<Name>,
    /// SHA-256 of the file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub digest: Option<Name>,
    /// The instance whose packets it sees; none means every instance.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instance: Option<Name>,
    /// The protocols whose packets it sees.
    pub protocols: Vec<Protocol>,
    /// The event that it runs at.
    pub event: Event,
    /// Where in the order it wants to stand.
    pub order: Hint,
    /// What its program is told.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub settings: BTreeMap<Name, String>,
    /// Version of the interface that it was written against.
    pub version: u32,
    /// Whether it runs.
    pub running: bool,
    /// Why it does not run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Packets that it was shown.
    pub packets: u64,
    /// Bursts in which there were any.
    pub bursts: u64,
    /// Packets that it dropped.
    pub dropped: u64,
    /// Mean cycles for a packet; none before the first.
    pub cycles_per_packet: Option<u64>,
    /// How often it panicked.
    pub panics: u64,
    /// Counters of its author's own.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub counters: Vec<NamedCounter>,
    /// What it did in each instance that it stands in. Instances beyond the first 64 are not counted
    /// by themselves, and left out.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub instances: Vec<HookInInstance>,
    /// The generation that it was loaded with.
    pub generation: u64,
    /// Where it was configured.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub position: Option<Position>,
}

/// What a hook did with the packets of one instance.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
pub struct HookInInstance {
    /// The instance.
    pub instance: Name,
    /// Packets that it was shown.
    pub packets: u64,
    /// Packets that it dropped.
    pub dropped: u64,
    /// Mean cycles for a packet; none before the first.
    pub cycles_per_packet: Option<u64>,
}

/// A counter of a hook's author's own.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
pub struct NamedCounter {
    /// What its author calls it.
    pub name: String,
    /// How often.
    pub value: u64,
}

/// A module: code that is told of each instance and registers hooks there.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
pub struct HookModule {
    /// Its name.
    pub name: Name,
    /// How far it is with each instance that it was told of.
    pub instances: BTreeMap<Name, String>,
    /// How often it could not be set up.
    pub failures: u64,
    /// The hook that it was loaded as, by command or by the file; none for one that is there from
    /// the start.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub loaded: Option<Name>,
    /// The program, or the path of the file, that it was loaded from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub program: Option<Name>,
    /// SHA-256 of the file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub digest: Option<Name>,
    /// Who loaded it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owner: Option<Owner>,
    /// Why it does not run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Numbers of its author's own.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub counters: Vec<NamedCounter>,
}

/// A program of the dataplane, which can be loaded as a hook.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
pub struct HookProgram {
    /// Its name.
    pub name: Name,
    /// What it does, in a line.
    pub summary: String,
    /// The events that it can stand at.
    pub events: Vec<Event>,
    /// What it can be told.
    pub settings: Vec<ProgramSetting>,
}

/// What a program can be told.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
pub struct ProgramSetting {
    /// The key.
    pub key: String,
    /// What it means.
    pub help: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hook_is_short_to_write() {
        let read = |json: &str| serde_json::from_str::<LoadHook>(json);
        let hook = read(r#"{"program":"hundredth","event":"physical-in"}"#).unwrap();
        assert_eq!((&hook.name, &hook.order), (&None, &Hint::None));
        let hook = read(
            r#"{"name":"a","program":"p","event":"forwarding","order":{"before":"mtu"},
                "settings":{"every":100,"exact":true,"label":"x"}}"#,
        )
        .unwrap();
        assert_eq!(
            (&hook.order, hook.event),
            (&Hint::Before("mtu".into()), Some(Event::Forwarding))
        );
        let settings: Vec<&str> = hook.settings.values().map(String::as_str).collect();
        assert_eq!(settings, ["100", "true", "x"]);
        for (json, says) in [
            (r#"{"program":"p","event":"nowhere"}"#, "nowhere"),
            (r#"{"program":"p","event":"forwarding","hint":"first"}"#, "hint"),
            (r#"{"program":"p","event":"forwarding","settings":{"a":[1]}}"#, "a text, a number"),
        ] {
            let error = read(json).unwrap_err().to_string();
            assert!(error.contains(says), "{error}");
        }
    }
}
