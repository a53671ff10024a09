//! What would happen to a packet.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::net::IpAddr;

use sluice_policy::explain::{Explanation, Query, Routed, Verdict};
use sluice_policy::model::Name;

use crate::Flow;

/// The evaluator's answer, and what it is about.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Explained {
    /// What policy and dataplane say, step by step.
    #[serde(flatten)]
    pub explanation: Explanation,
    /// Which policy was asked.
    pub basis: Basis,
    /// Whether the packet's connection is in a worker's flow table.
    pub flow_state: FlowKnown,
    /// The connection, if it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub flow: Option<Flow>,
}

/// Which policy was asked. Links and neighbours are always as they are now.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Basis {
    /// The one that the dataplane runs.
    #[default]
    Live,
    /// That of an earlier commit.
    Commit,
    /// What the dataplane would run if the file that was sent along were applied; the generation
    /// is the one that it was worked out from.
    Candidate,
}

/// Where a packet is routed, and what is known of its connection.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize, JsonSchema)]
pub struct QueriedRoute {
    /// The evaluator's answer.
    #[serde(flatten)]
    pub routed: Routed,
    /// Whether the packet's connection is in a worker's flow table.
    #[serde(default)]
    pub flow_state: FlowKnown,
    /// The connection, if it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub flow: Option<Flow>,
}

/// Whether a connection is in a flow table.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum FlowKnown {
    /// Nobody looked: the packet is explained as it was described.
    #[default]
    NotAsked,
    /// It is not: the packet would begin a connection, or has none.
    NotThere,
    /// It is: the packet is explained as the next one of that connection.
    There,
}

/// Flows, and two policies to compare by what becomes of them.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CompareFlows {
    /// The flows' first packets.
    pub queries: Vec<Query>,
    /// The commit to start from; left out, the live one.
    #[serde(default)]
    pub from: Option<u64>,
    /// The commit to compare with; left out, the live one, or the candidate.
    #[serde(default)]
    pub to: Option<u64>,
    /// A configuration file to compare with as if it were applied.
    #[serde(default)]
    pub candidate: Option<Candidate>,
}

/// A configuration file that is not applied.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Candidate {
    /// Its name, for positions in the answer.
    pub file: String,
    /// Its content.
    pub yaml: String,
}

/// A flow that would fare otherwise.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize, JsonSchema)]
pub struct FlowChange {
    /// Its place in the request, from 0.
    pub place: usize,
    /// What becomes of it now.
    pub before: FlowWay,
    /// What would become of it.
    pub after: FlowWay,
}

/// What becomes of a flow, in short.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize, JsonSchema)]
pub struct FlowWay {
    /// Whether it passes.
    #[serde(flatten)]
    pub verdict: Verdict,
    /// The interface that it leaves by.
    pub egress: Option<Name>,
    /// The neighbour that it is handed to.
    pub next_hop: Option<IpAddr>,
    /// The rule that decided.
    pub rule: Option<String>,
}

/// A question about a configuration file that is not applied.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CandidateQuery {
    /// The packet.
    pub query: Query,
    /// The file's content.
    pub yaml: String,
}
