//! What would happen to a packet.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sluice_policy::explain::{Explanation, Query};

/// The evaluator's answer, and what it is about.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Explained {
    /// What policy and dataplane say, step by step.
    #[serde(flatten)]
    pub explanation: Explanation,
    /// Which policy was asked.
    pub basis: Basis,
    /// What the dataplane knows of the packet's flow.
    pub flow_state: FlowState,
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

/// What is known of a flow.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum FlowState {
    /// This release has no flow table: every packet takes the whole way, none is remembered.
    #[default]
    NoFlowTable,
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
