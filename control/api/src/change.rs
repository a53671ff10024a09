//! Changes of the desired state: what is asked for, what came of it, and failure.

use std::fmt;
use std::net::IpAddr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sluice_policy::model::Name;

use crate::{Confirm, Diff, RouteConflict};

/// The body of every answer that is not a success.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize, JsonSchema)]
pub struct Failure {
    /// What failed, in one line.
    pub error: String,
    /// Each reason, naming the thing, its value and the cure.
    #[serde(default)]
    pub details: Vec<String>,
    /// Where something else is there than the change expects, with what is there now.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub conflicts: Vec<RouteConflict>,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.error)?;
        self.details.iter().try_for_each(|detail| write!(f, "\n  {detail}"))
    }
}

impl std::error::Error for Failure {}

/// What a change did.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Applied {
    /// The generation that is live now.
    pub generation: u64,
    /// Whether it was only tried: then nothing changed.
    pub dry_run: bool,
    /// How much changed.
    pub changes: Changes,
    /// Workers that had not taken the generation over by the deadline; it is committed all the
    /// same, and they take it over before their next packet.
    pub waiting: Vec<u16>,
    /// What the operator should know: keys that take effect at the next start only.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
    /// What would differ; given for what was only tried.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub diff: Option<Diff>,
    /// What waits to be confirmed now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub confirm: Option<Confirm>,
}

/// How many things of each kind a change touched.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Changes {
    /// Ports.
    pub ports: Change,
    /// Interfaces.
    pub interfaces: Change,
    /// Instances.
    pub instances: Change,
    /// Routes, all owners.
    pub routes: Change,
    /// Filters whose existence or default action changed.
    pub filters: Change,
    /// Named sets, once for each filter that uses them.
    pub sets: Change,
    /// Rules, by name; one that only moved counts as changed.
    pub rules: Change,
    /// Static neighbours.
    pub neighbours: Change,
    /// Policy routes, by name; one that only moved counts as changed.
    pub policy_routes: Change,
    /// Hooks that are loaded.
    pub hooks: Change,
    /// Timeouts of connections.
    #[serde(default)]
    pub timeouts: Change,
}

/// Things of one kind.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize, JsonSchema)]
pub struct Change {
    /// New ones.
    pub added: u32,
    /// Gone ones.
    pub removed: u32,
    /// Ones that are different now.
    pub changed: u32,
}

impl Change {
    /// Whether nothing of the kind was touched.
    pub fn is_empty(&self) -> bool {
        *self == Change::default()
    }
}

impl Changes {
    /// Whether nothing was touched.
    pub fn is_empty(&self) -> bool {
        *self == Changes::default()
    }

    fn kinds(&self) -> [(&'static str, Change); 11] {
        [
            ("port", self.ports),
            ("interface", self.interfaces),
            ("instance", self.instances),
            ("route", self.routes),
            ("filter", self.filters),
            ("set", self.sets),
            ("rule", self.rules),
            ("neighbour", self.neighbours),
            ("policy route", self.policy_routes),
            ("hook", self.hooks),
            ("timeout", self.timeouts),
        ]
    }
}

/// `+2 routes, -1 rule, ~1 port`; `no change` when there is none.
impl fmt::Display for Changes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut separator = "";
        for (kind, change) in self.kinds() {
            let signs = [('+', change.added), ('-', change.removed), ('~', change.changed)];
            for (sign, count) in signs.into_iter().filter(|(_, count)| *count != 0) {
                let plural = if count == 1 { "" } else { "s" };
                write!(f, "{separator}{sign}{count} {kind}{plural}")?;
                separator = ", ";
            }
        }
        if separator.is_empty() { f.write_str("no change") } else { Ok(()) }
    }
}

/// Which learnt neighbours to forget; nothing given means all. Static ones stay.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Flush {
    /// Only on this interface.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub interface: Option<Name>,
    /// Only this address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address: Option<IpAddr>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changes_read_as_a_sentence() {
        let mut changes = Changes::default();
        assert_eq!(changes.to_string(), "no change");
        changes.routes.added = 2;
        changes.rules.removed = 1;
        changes.ports.changed = 1;
        assert_eq!(changes.to_string(), "~1 port, +2 routes, -1 rule");
    }
}
