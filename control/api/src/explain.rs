//! What would happen to a packet.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sluice_policy::Explanation;
use sluice_policy::model::{MacAddress, Name};

/// The evaluator's answer, and what the dataplane knows about the way out.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Explained {
    /// What policy says, step by step.
    #[serde(flatten)]
    pub explanation: Explanation,
    /// The neighbour that the packet is handed to; none if it does not leave.
    pub next_hop_state: Option<NextHopState>,
    /// The port that it leaves by; none if it does not leave.
    pub egress_state: Option<EgressState>,
}

/// What is known about a neighbour.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
pub struct NextHopState {
    /// `reachable` and so on; `unknown` if nobody has asked for it yet, which the first packet
    /// does.
    pub state: String,
    /// Its link address.
    pub mac: Option<MacAddress>,
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
