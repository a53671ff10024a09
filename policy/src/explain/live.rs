//! What the dataplane knows and a policy does not: links, neighbours and foreign hooks.

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};
use std::net::IpAddr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::ids::PortId;
use crate::model::{MacAddress, Name};
use crate::order::ForeignHook;
use crate::policy::Policy;

/// What the dataplane said of itself. Empty where none was asked: then ports count as running,
/// and neighbours as not yet asked for.
#[derive(Clone, Debug, Default)]
pub struct Live {
    /// Ports by name.
    pub ports: HashMap<Name, PortFacts>,
    /// Neighbours by interface and address.
    pub neighbours: HashMap<(Name, IpAddr), NextHopState>,
    /// Hooks that do not ship with Sluice, but for those that a policy loads.
    pub hooks: Vec<ForeignHook>,
    /// Of the hooks that a policy loads, those that the dataplane has taken out of the order: they
    /// panicked too often.
    pub taken_out: HashSet<Name>,
}

impl Live {
    /// The policy as the dataplane follows it: without the routes by ports that do not work.
    pub fn followed<'a>(&self, policy: &'a Policy) -> Cow<'a, Policy> {
        let down = self.ports.iter().filter(|(_, facts)| !facts.link || facts.error.is_some());
        let down: Vec<PortId> =
            down.filter_map(|(name, _)| Some(policy.port_named(name)?.id)).collect();
        if down.is_empty() {
            return Cow::Borrowed(policy);
        }
        Cow::Owned(policy.with_down(down))
    }
}

/// A port as the dataplane has it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PortFacts {
    /// Its link address.
    pub mac: MacAddress,
    /// Whether the link is up.
    pub link: bool,
    /// Why it does not run.
    pub error: Option<String>,
}

/// What is known about a neighbour.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
pub struct NextHopState {
    /// `static`, `reachable`, `stale`, `probe`, `incomplete` or `failed`; `unknown` if nobody has
    /// asked for it yet, which the first packet does.
    pub state: String,
    /// Its link address.
    pub mac: Option<MacAddress>,
}

impl NextHopState {
    /// Of a neighbour that nobody has asked for.
    pub(super) fn unknown() -> NextHopState {
        NextHopState { state: "unknown".into(), mac: None }
    }

    /// Of a neighbour that the configuration names.
    pub(super) fn fixed(mac: MacAddress) -> NextHopState {
        NextHopState { state: "static".into(), mac: Some(mac) }
    }

    /// Whether it was asked for and did not answer.
    pub(super) fn failed(&self) -> bool {
        self.state == "failed"
    }
}

/// What is known about a port.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
pub struct EgressState {
    /// The port.
    pub port: Name,
    /// Whether the link is up.
    pub link: bool,
    /// What is wrong with it.
    pub error: Option<String>,
}
