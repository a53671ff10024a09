//! Hooks that the operator loads: part of the desired state, like everything else.
//!
//! A loaded hook is one of the dataplane's *programs*, or a *file* that the dataplane loads, under a
//! name that the operator gave. What the programs are, and what their settings mean, only the
//! dataplane knows; whether the hook can stand where it is asked to, the policy says.
//!
//! What stands at no event is a *module*: it registers hooks of its own, in every instance.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::event::{Event, Protocol};
use crate::model::{Entries, Name, Owner, Position};
use crate::order::{ForeignHook, Hint};

/// The most hooks at one time: the dataplane has no more places, and modules take some of them.
pub const MAX_HOOKS: usize = 64;

/// The protocols of a hook that names none.
pub const DEFAULT_PROTOCOLS: [Protocol; 2] = [Protocol::Inet, Protocol::Inet6];

/// A hook that the operator loaded; its name stands beside it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
pub struct LoadedHook {
    /// Who loaded it: the configuration file, or a live change.
    pub owner: Owner,
    /// Which of the dataplane's programs runs, or the absolute path of the file that does.
    pub program: Name,
    /// SHA-256 of the file, in hexadecimal: what was in it when it was committed. `None` for a
    /// program, and until the dataplane has been asked.
    #[serde(default)]
    pub digest: Option<Name>,
    /// The instance whose packets it sees; `None` means every instance.
    pub instance: Option<Name>,
    /// The protocols whose packets it sees.
    pub protocols: Vec<Protocol>,
    /// The event that it runs at; a module stands at none.
    pub event: Option<Event>,
    /// Where in the event's order it wants to stand.
    pub hint: Hint,
    /// What the program is told, as it was written; the program reads and checks it.
    pub settings: BTreeMap<Name, String>,
    /// The commit that loaded it: what no hint decides stands in the order of these numbers. It
    /// stays when the settings of a program under the same name change; 0 while it is not
    /// committed.
    pub generation: u64,
    /// Where it was configured.
    pub position: Position,
}

impl LoadedHook {
    /// Whether both ask for the same, whoever committed them when.
    pub fn asks_as(&self, other: &LoadedHook) -> bool {
        self.runs_as(other) && self.owner == other.owner && self.position == other.position
    }

    /// Whether one that runs need not be made anew to be the other.
    pub fn runs_as(&self, other: &LoadedHook) -> bool {
        let LoadedHook {
            owner: _,
            program,
            digest,
            instance,
            protocols,
            event,
            hint,
            settings,
            generation: _,
            position: _,
        } = self;
        *program == other.program
            && *digest == other.digest
            && *instance == other.instance
            && *protocols == other.protocols
            && *event == other.event
            && *hint == other.hint
            && *settings == other.settings
    }

    /// The path of the file that runs, if it is one.
    pub fn file(&self) -> Option<&str> {
        is_file(&self.program).then_some(&*self.program)
    }

    /// Whether it is a file, and what is in it has not been looked at.
    pub fn is_unknown_file(&self) -> bool {
        self.file().is_some() && self.digest.is_none()
    }

    /// The hook as far as the order is concerned; `None` for a module.
    pub fn foreign(&self, name: &Name) -> Option<ForeignHook> {
        Some(ForeignHook {
            instance: self.instance.clone(),
            protocols: self.protocols.clone(),
            event: self.event?,
            name: name.clone(),
            hint: self.hint.clone(),
        })
    }
}

/// Whether what is to run is a file, and not one of the dataplane's programs.
pub fn is_file(program: &str) -> bool {
    program.contains('/')
}

/// Hooks in the order of their registration: by commit, and by name within one.
pub(crate) fn in_order(
    hooks: &Entries<Name, LoadedHook>,
) -> impl Iterator<Item = (&Name, &LoadedHook)> {
    let mut hooks: Vec<_> = hooks.iter().collect();
    // The map is in the order of names already, and what is not committed comes last.
    hooks.sort_by_key(|(_, hook)| hook.generation.wrapping_sub(1));
    hooks.into_iter()
}
