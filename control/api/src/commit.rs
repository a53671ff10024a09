//! Commits: everything that took effect, who did it and when, and how to go back.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sluice_policy::model::{Name, Owner};

use crate::Changes;

/// A change that took effect. Its number is the generation that it made; generations only grow,
/// also across restarts of either process and of the machine.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Commit {
    /// The generation that it made.
    pub generation: u64,
    /// When, by the clock on the wall: RFC 3339, UTC.
    pub time: String,
    /// Who: a user's name, `alice (sudo)`, or `sluice-control` for what happened by itself.
    pub author: String,
    /// What the author had to say about it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// What was done.
    #[serde(flatten)]
    pub kind: CommitKind,
    /// How much changed.
    pub changes: Changes,
    /// Until when it waits to be confirmed; none when it does not (any more).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub confirm: Option<Confirm>,
    /// Whether it is the one that the dataplane runs.
    pub live: bool,
}

/// What was done.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum CommitKind {
    /// A configuration file was applied.
    File {
        /// Its name, as its author gave it.
        file: String,
    },
    /// Live routes were added, replaced, removed or marked stale.
    Route {
        /// Whose routes were added, replaced or removed.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        owners: Vec<Owner>,
        /// Whose routes were marked stale.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        stale: Vec<Owner>,
    },
    /// A hook was loaded or unloaded live.
    Hook {
        /// Its name.
        name: Name,
        /// Whether it was loaded.
        loaded: bool,
    },
    /// The state of an earlier commit was brought back.
    Rollback {
        /// The generation whose state came back.
        to: u64,
    },
    /// What a dataplane ran that this process knew nothing of was taken over.
    Adopted,
    /// Nobody confirmed in time: everything since was rolled back.
    Expired {
        /// The generation whose state came back.
        to: u64,
    },
}

/// What waits to be confirmed, and for how long.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Confirm {
    /// The generation that comes back unless `sluice confirm` comes in time.
    pub base: u64,
    /// Seconds left.
    pub remaining_seconds: u64,
}

/// What differs between two generations, or between what is live and a file.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize, JsonSchema)]
pub struct Diff {
    /// The generation it starts from.
    pub from: u64,
    /// The generation it leads to; none for a file that is not applied.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<u64>,
    /// Each thing that differs.
    pub entries: Vec<DiffEntry>,
}

/// A thing that differs. Where in a file it stands is no difference.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
pub struct DiffEntry {
    /// What kind of thing it is.
    pub kind: DiffKind,
    /// Its name: `lan`, `default 10.9.0.0/16 static`, `default forward`, `default forward no-http`.
    pub name: String,
    /// What it was, in one line of the configuration's words; none for a new thing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub before: Option<String>,
    /// What it is; none for a thing that is gone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<String>,
}

/// What kind of thing differs.
#[derive(
    Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "kebab-case")]
pub enum DiffKind {
    /// A port.
    Port,
    /// An interface.
    Interface,
    /// An instance.
    Instance,
    /// A route.
    Route,
    /// A filter: whether it is there, its default action, and whether it is stateful.
    Filter,
    /// A named set, as a filter uses it.
    Set,
    /// A rule of a filter: what it says, and its place among the others.
    Rule,
    /// A static neighbour.
    Neighbour,
    /// A policy route: what it says, and its place among the others.
    PolicyRoute,
    /// A hook that is loaded.
    Hook,
    /// For how long a connection is remembered that is silent.
    Timeout,
}

impl DiffKind {
    /// The kind's name, as it is in JSON.
    pub const fn name(self) -> &'static str {
        match self {
            DiffKind::Port => "port",
            DiffKind::Interface => "interface",
            DiffKind::Instance => "instance",
            DiffKind::Route => "route",
            DiffKind::Filter => "filter",
            DiffKind::Set => "set",
            DiffKind::Rule => "rule",
            DiffKind::Neighbour => "neighbour",
            DiffKind::PolicyRoute => "policy-route",
            DiffKind::Hook => "hook",
            DiffKind::Timeout => "timeout",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_commit_says_its_kind_beside_its_author() {
        let commit = Commit {
            generation: 12,
            time: "2026-01-02T03:04:05Z".into(),
            author: "alice (sudo)".into(),
            message: None,
            kind: CommitKind::Rollback { to: 11 },
            changes: Changes::default(),
            confirm: Some(Confirm { base: 11, remaining_seconds: 60 }),
            live: true,
        };
        let json = serde_json::to_value(&commit).unwrap();
        assert_eq!((&json["kind"], &json["to"]), (&"rollback".into(), &11.into()));
        assert_eq!(serde_json::from_value::<Commit>(json).unwrap(), commit);
    }
}
