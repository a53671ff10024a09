//! Requests about hooks: what runs in which order, what can be loaded, loading and unloading.

use std::collections::HashMap;

use axum::Json;
use axum::extract::State;
use schemars::JsonSchema;
use serde::Deserialize;
use sluice_channel::{HookOrigin, HookReport, HookState, HookStatus, ModuleStatus, Statistics};
use sluice_control_api::{
    Applied, EventOrder, Hook, HookInInstance, HookModule, HookPlace, HookProgram, Hooks, LoadHook,
    NamedCounter, Origin, PipelineStage, ProgramSetting,
};
use sluice_policy::model::{Name, Owner};
use sluice_policy::order::{ForeignHook, Place, resolved};
use sluice_policy::{Event, Instance, Policy, Protocol, Stage};

use super::Answer;
use super::change::{Kept, order};
use super::counters::stage_counters;
use super::extract::{Author, Body, Params};
use super::tables::known_instance;
use crate::app::App;
use crate::change::{Change, HookChange};

/// Which hooks are wanted.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct OfEvent {
    /// Only those of this instance.
    instance: Option<Name>,
    /// Only those of this event.
    event: Option<Event>,
}

pub(super) async fn hooks(
    State(app): State<App>,
    Params(OfEvent { instance, event }): Params<OfEvent>,
) -> Answer<Hooks> {
    let report = app.hooks().await?;
    let view = app.view();
    let (policy, generation) = view.live()?;
    known_instance(instance.as_ref(), policy)?;
    let running = Running::new(policy, &report, view.statistics()?);
    let wanted =
        policy.instances().filter(|of| instance.as_ref().is_none_or(|wanted| *wanted == of.name));
    let events = Event::ALL.into_iter().filter(|at| event.is_none_or(|wanted| wanted == *at));
    let orders = wanted
        .flat_map(|instance| events.clone().flat_map(|event| running.orders(instance, event)));
    let hooks = running.hooks.iter().filter(|hook| {
        event.is_none_or(|wanted| wanted == hook.event)
            && (instance.is_none() || hook.instance.is_none() || hook.instance == instance)
    });
    Ok(Json(Hooks {
        generation,
        orders: orders.collect(),
        hooks: hooks.cloned().collect(),
        modules: report.modules.into_iter().map(|status| module(policy, status)).collect(),
    }))
}

/// The hooks that run, with the live policy.
pub(super) struct Running {
    /// All hooks.
    pub(super) hooks: Vec<Hook>,
    /// Those that are in the order, and which of the hooks they are.
    foreign: Vec<ForeignHook>,
    places: Vec<usize>,
    stages: HashMap<Stage, PipelineStage>,
}

impl Running {
    pub(super) fn new(policy: &Policy, report: &HookReport, statistics: &Statistics) -> Running {
        let running = |(_, status): &(usize, &HookStatus)| status.state == HookState::Running;
        let in_order = report.hooks.iter().enumerate().filter(running);
        let (places, foreign) =
            in_order.map(|(place, status)| (place, status.hook.clone())).unzip();
        let stages = Stage::ALL.into_iter().filter(|stage| stage.event().is_some());
        Running {
            hooks: report.hooks.iter().map(|status| hook(policy, status)).collect(),
            foreign,
            places,
            stages: stages.map(|stage| (stage, stage_counters(statistics, stage))).collect(),
        }
    }

    /// What runs at an event; protocols whose packets meet the same stand together.
    fn orders(&self, instance: &Instance, event: Event) -> Vec<EventOrder> {
        let mut orders: Vec<EventOrder> = Vec::new();
        for protocol in Protocol::ALL {
            let places = self.order(instance, protocol, event);
            if places.is_empty() {
                continue;
            }
            match orders.iter_mut().find(|order| order.places == places) {
                Some(order) => order.protocols.push(protocol),
                None => {
                    let (instance, protocols) = (instance.name.clone(), vec![protocol]);
                    orders.push(EventOrder { instance, event, protocols, places });
                }
            }
        }
        orders
    }

    /// What the packets of a protocol meet at an event.
    fn order(&self, instance: &Instance, protocol: Protocol, event: Event) -> Vec<HookPlace> {
        // The dataplane runs none that has no order.
        let order = resolved(instance, protocol, event, &self.foreign).unwrap_or_default();
        let place = |(position, place)| self.place(&instance.name, position, place);
        (1..).zip(order).map(place).collect()
    }

    /// The names of what runs at an event, whatever the protocol.
    pub(super) fn names(&self, instance: &Instance, event: Event) -> Vec<Name> {
        let mut names: Vec<Name> = Vec::new();
        for protocol in Protocol::ALL {
            let mut after = 0;
            for place in self.order(instance, protocol, event) {
                match names.iter().position(|name| *name == place.name) {
                    Some(at) => after = at + 1,
                    None => {
                        names.insert(after, place.name);
                        after += 1;
                    }
                }
            }
        }
        names
    }

    fn place(&self, instance: &Name, position: u32, place: Place) -> HookPlace {
        match place {
            Place::Stage(stage) => {
                let counted = self.stages.get(&stage);
                HookPlace {
                    position,
                    name: stage.name().into(),
                    origin: Origin::Stage,
                    packets: counted.map_or(0, |stage| stage.packets),
                    dropped: counted.map_or(0, |stage| stage.dropped),
                    cycles_per_packet: counted.and_then(|stage| stage.cycles_per_packet),
                    counters: Vec::new(),
                }
            }
            Place::Foreign(foreign) => {
                let hook = &self.hooks[self.places[foreign]];
                let here = hook.instances.iter().find(|here| here.instance == *instance);
                let (packets, dropped, cycles_per_packet) = match here {
                    Some(here) => (here.packets, here.dropped, here.cycles_per_packet),
                    None => (hook.packets, hook.dropped, hook.cycles_per_packet),
                };
                HookPlace {
                    position,
                    name: hook.name.clone(),
                    origin: hook.origin.clone(),
                    packets,
                    dropped,
                    cycles_per_packet,
                    counters: hook.counters.clone(),
                }
            }
        }
    }
}

fn hook(policy: &Policy, status: &HookStatus) -> Hook {
    let ForeignHook { instance, protocols, event, name, hint } = status.hook.clone();
    let loaded = match status.origin {
        HookOrigin::Configured => policy.state().hooks.get(&name),
        _ => None,
    };
    let (running, reason) = match &status.state {
        HookState::Running => (true, None),
        HookState::TakenOut(reason) => (false, Some(reason.clone())),
        HookState::Leaving => (false, Some("a worker has not let go of it yet".into())),
    };
    let counters = status.counters.iter();
    Hook {
        name,
        origin: match &status.origin {
            HookOrigin::Configured => {
                Origin::Loaded(loaded.map_or(Owner::Static, |hook| hook.owner.clone()))
            }
            HookOrigin::Module(module) => Origin::Module(module.clone()),
            HookOrigin::Fault => Origin::Fault,
            HookOrigin::Capture => Origin::Capture,
        },
        program: loaded.map(|hook| hook.program.clone()),
        digest: loaded.and_then(|hook| hook.digest.clone()),
        instance,
        protocols,
        event,
        order: hint,
        settings: loaded.map(|hook| hook.settings.clone()).unwrap_or_default(),
        version: status.version,
        running,
        reason,
        packets: status.packets,
        bursts: status.bursts,
        dropped: status.drops,
        cycles_per_packet: mean(status.cycles, status.packets),
        panics: status.panics,
        counters: counters
            .map(|(name, value)| NamedCounter { name: name.clone(), value: *value })
            .collect(),
        instances: status.instances.iter().map(in_instance).collect(),
        generation: status.added_at,
        position: loaded.map(|hook| hook.position.clone()),
    }
}

fn module(policy: &Policy, status: ModuleStatus) -> HookModule {
    let ModuleStatus { name, instances, failures, loaded, problem, counters } = status;
    let hook = loaded.as_ref().and_then(|loaded| policy.state().hooks.get(loaded));
    HookModule {
        name,
        instances: instances.into_iter().collect(),
        failures,
        program: hook.map(|hook| hook.program.clone()),
        digest: hook.and_then(|hook| hook.digest.clone()),
        owner: hook.map(|hook| hook.owner.clone()),
        loaded,
        reason: problem,
        counters: counters.into_iter().map(|(name, value)| NamedCounter { name, value }).collect(),
    }
}

fn in_instance(counted: &sluice_channel::HookInInstance) -> HookInInstance {
    HookInInstance {
        instance: counted.instance.clone(),
        packets: counted.packets,
        dropped: counted.drops,
        cycles_per_packet: mean(counted.cycles, counted.packets),
    }
}

fn mean(cycles: u64, packets: u64) -> Option<u64> {
    cycles.checked_div(packets).filter(|cycles| *cycles != 0)
}

pub(super) async fn programs(State(app): State<App>) -> Answer<Vec<HookProgram>> {
    let programs = app.hooks().await?.programs.into_iter().map(|program| HookProgram {
        name: program.name,
        summary: program.summary,
        events: program.events,
        settings: program
            .settings
            .into_iter()
            .map(|(key, help)| ProgramSetting { key, help })
            .collect(),
    });
    Ok(Json(programs.collect()))
}

/// How a hook is loaded.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct LoadParams {
    /// What the author has to say about it, in one line.
    message: Option<String>,
    /// Seconds within which it must be confirmed, or everything since is rolled back.
    confirm: Option<u64>,
    /// Whether it is only tried. What only the dataplane knows is not asked then: its programs.
    #[serde(default)]
    dry_run: bool,
}

pub(super) async fn load(
    State(app): State<App>,
    author: Author,
    Params(LoadParams { message, confirm, dry_run }): Params<LoadParams>,
    Body(hook): Body<LoadHook>,
) -> Answer<Applied> {
    let order = order(author, Kept { message, confirm }, dry_run, None).await?;
    app.change(Change::Hook(HookChange::load(hook)), order).await.map(Json)
}

/// The hook to unload.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct UnloadParams {
    /// Its name.
    name: Name,
    /// What the author has to say about it, in one line.
    message: Option<String>,
    /// Seconds within which it must be confirmed, or everything since is rolled back.
    confirm: Option<u64>,
}

pub(super) async fn unload(
    State(app): State<App>,
    author: Author,
    Params(UnloadParams { name, message, confirm }): Params<UnloadParams>,
) -> Answer<Applied> {
    let order = order(author, Kept { message, confirm }, false, None).await?;
    app.change(Change::Hook(HookChange::Unload(name)), order).await.map(Json)
}
