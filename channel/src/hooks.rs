//! What the dataplane says about the hooks that do not ship as stages: those that run, the programs
//! that can be loaded as hooks, and the modules that register hooks themselves.

use serde::{Deserialize, Serialize};
use sluice_policy::Event;
use sluice_policy::model::Name;
use sluice_policy::order::ForeignHook;

/// Answers [`Command::Hooks`](crate::Command::Hooks).
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
pub struct HookReport {
    /// The programs that the dataplane was built with, by name.
    pub programs: Vec<ProgramStatus>,
    /// The hooks, in the order of their registration.
    pub hooks: Vec<HookStatus>,
    /// The modules, in the order of their registration.
    pub modules: Vec<ModuleStatus>,
}

/// What can be loaded as a hook.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct ProgramStatus {
    /// Its name.
    pub name: Name,
    /// What it does, in a line.
    pub summary: String,
    /// What it can be told: each key, and what it means.
    pub settings: Vec<(String, String)>,
    /// The events that it can stand at.
    pub events: Vec<Event>,
}

/// Who put a hook there.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum HookOrigin {
    /// It is part of the desired state.
    Configured,
    /// The module of this name registered it.
    Module(Name),
    /// It stands for a fault that is being tested.
    Fault,
    /// It copies packets for somebody who captures.
    Capture,
}

/// How a hook is.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum HookState {
    /// It sees packets.
    Running,
    /// It is left out of the order, for this reason.
    TakenOut(String),
    /// It is left out of the order, and a worker has not let go of it yet.
    Leaving,
}

/// A hook, and what it has done on all workers since it was loaded.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct HookStatus {
    /// Where it runs, and for whom.
    pub hook: ForeignHook,
    /// Its place among the hooks' counters in the statistics segment; none while it has none.
    pub slot: Option<u16>,
    /// Who put it there.
    pub origin: HookOrigin,
    /// Version of the interface that it was written against.
    pub version: u32,
    /// Packets that it was shown.
    pub packets: u64,
    /// Bursts in which there were any.
    pub bursts: u64,
    /// Packets that it dropped.
    pub drops: u64,
    /// Cycles of the time-stamp counter that it took.
    pub cycles: u64,
    /// How often it panicked.
    pub panics: u64,
    /// How it is.
    pub state: HookState,
    /// Counters of its author's own, by name.
    pub counters: Vec<(String, u64)>,
    /// What it did in each instance that it stands in, as far as those are counted one by one.
    pub instances: Vec<HookInInstance>,
    /// The generation that it came with.
    pub added_at: u64,
}

/// What a hook did with the packets of one instance, on all workers.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct HookInInstance {
    /// The instance.
    pub instance: Name,
    /// Packets that it was shown.
    pub packets: u64,
    /// Packets that it dropped.
    pub drops: u64,
    /// Cycles of the time-stamp counter that it took.
    pub cycles: u64,
}

/// A module: code that is told of each instance and registers hooks there.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct ModuleStatus {
    /// Its name.
    pub name: Name,
    /// Each instance that it was told of, and how far it is with that.
    pub instances: Vec<(Name, String)>,
    /// How often it could not be set up.
    pub failures: u64,
    /// The hook of the desired state that it was loaded as, if it was one.
    pub loaded: Option<Name>,
    /// Why it does not run, if it does not.
    pub problem: Option<String>,
    /// Numbers of its own, by name.
    pub counters: Vec<(String, u64)>,
}
