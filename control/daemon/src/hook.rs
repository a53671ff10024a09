//! Live changes of hooks, worked out against the last commit.

use std::path::Path;

use sluice_control_api::{CommitKind, LoadHook};
use sluice_policy::Stage;
use sluice_policy::hook::{DEFAULT_PROTOCOLS, is_file};
use sluice_policy::model::{Delta, LoadedHook, Name, Operation, Owner, Position, State};
use sluice_policy::order::Hint;

use crate::change::Step;
use crate::error::ControlError;
use crate::head::Head;

/// A hook that is loaded or unloaded by a live change.
#[derive(Clone, Debug)]
pub(crate) enum HookChange {
    /// Under this name, which nobody else must have.
    Load(Name, Box<LoadedHook>),
    /// The one of this name, which must have been loaded live.
    Unload(Name),
}

impl HookChange {
    /// What a request asks for.
    pub(crate) fn load(wanted: LoadHook) -> HookChange {
        let LoadHook { name, program, event, instance, protocols, order, settings } = wanted;
        let name = name.unwrap_or_else(|| named_after(&program));
        let hook = LoadedHook {
            owner: Owner::Cli,
            program,
            digest: None,
            instance,
            protocols: match protocols.is_empty() {
                true => DEFAULT_PROTOCOLS.to_vec(),
                false => protocols,
            },
            event,
            hint: order,
            settings,
            generation: 0,
            position: Position { file: "cli".into(), line: 0, column: 0 },
        };
        HookChange::Load(name, Box::new(hook))
    }
}

/// The name of a hook that is given none: its program's, or its file's without the ending.
fn named_after(program: &Name) -> Name {
    match is_file(program).then(|| Path::new(&**program).file_stem()).flatten() {
        Some(stem) => stem.to_string_lossy().into(),
        None => program.clone(),
    }
}

/// The hooks of a state that are files nobody has looked at yet.
pub(crate) fn with_unknown_files(state: &State) -> Vec<(Name, LoadedHook)> {
    let unknown = state.hooks.iter().filter(|(_, hook)| hook.is_unknown_file());
    unknown.map(|(name, hook)| (name.clone(), hook.clone())).collect()
}

/// Works a change out: what is to be done, or why it cannot be.
pub(crate) fn work_out(head: &Head, change: HookChange) -> Result<Step, ControlError> {
    let hooks = &head.state().hooks;
    let (name, hook) = match change {
        HookChange::Load(name, hook) => (name, Some(*hook)),
        HookChange::Unload(name) => (name, None),
    };
    let present = hooks.get(&name);
    let operation = match (present, hook) {
        (None, Some(hook)) => Some(Operation::Hook(name.clone(), Some(hook))),
        // What is there as it is asked for need not be loaded again.
        (Some(present), Some(hook)) if present.asks_as(&hook) => None,
        (Some(present), Some(_)) => {
            return Err(ControlError::HookTaken {
                name,
                program: present.program.clone(),
                owner: present.owner.clone(),
            });
        }
        (Some(present), None) if present.owner == Owner::Static => {
            let position = present.position.clone();
            return Err(ControlError::HookOfFile { name, position });
        }
        (Some(_), None) => Some(Operation::Hook(name.clone(), None)),
        (None, None) => {
            let known = hooks.keys().map(|known| &**known).collect::<Vec<_>>();
            let known = if known.is_empty() { "none".into() } else { known.join(", ") };
            return Err(ControlError::NoSuchHook { name, known });
        }
    };
    let loaded = matches!(operation, Some(Operation::Hook(_, Some(_))) | None);
    let notes = operation.iter().filter_map(|operation| waits(head, operation)).collect();
    let delta = Delta { operations: operation.into_iter().collect() };
    Ok(Step { notes, ..Step::of_head(head, delta, CommitKind::Hook { name, loaded }) })
}

/// A word about a hook that is to stand at another which is not there.
fn waits(head: &Head, operation: &Operation) -> Option<String> {
    let Operation::Hook(_, Some(hook)) = operation else { return None };
    let (Hint::Before(other) | Hint::After(other)) = &hook.hint else { return None };
    let event = hook.event?;
    let loaded = head.state().hooks.get(other).is_some_and(|other| other.event == Some(event));
    let is_stage = |stage: &Stage| stage.event() == Some(event) && stage.name() == &**other;
    if loaded || Stage::ALL.iter().any(is_stage) {
        return None;
    }
    let event = event.name();
    Some(format!(
        "neither a stage at {event} nor a hook that is loaded there is named `{other}`: one that \
         comes finds its place"
    ))
}
