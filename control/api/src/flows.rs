//! Connections in the workers' flow tables.

use std::net::IpAddr;

use ipnet::IpNet;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sluice_policy::model::Name;

use crate::{Candidate, FlowWay};

/// Connections, and how many more there are.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize, JsonSchema)]
pub struct Flows {
    /// Those that come first in the order that was asked for.
    pub flows: Vec<Flow>,
    /// How many are meant in all.
    pub matching: u64,
    /// Whether every table was looked at to its end. It is not where that would take too long.
    pub complete: bool,
}

/// A connection. Source and destination are those of the packet that began it.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Flow {
    /// The instance.
    pub instance: Name,
    /// The worker that has it.
    pub worker: u16,
    /// IP protocol number.
    pub protocol: u8,
    /// Source address.
    pub source: IpAddr,
    /// Source port; the identifier of an ICMP query; 0 where there are no ports.
    pub source_port: u16,
    /// Destination address.
    pub destination: IpAddr,
    /// Destination port; 0 where there are none.
    pub destination_port: u16,
    /// Type of an ICMP query.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub icmp_type: Option<u8>,
    /// How far it has come.
    pub state: FlowState,
    /// Milliseconds since it began.
    pub age_ms: u64,
    /// Milliseconds since its last packet.
    pub idle_ms: u64,
    /// Milliseconds after which it is forgotten if it stays silent.
    pub expires_ms: u64,
    /// The direction of the packet that began it.
    pub original: FlowDirection,
    /// The other one.
    pub reply: FlowDirection,
    /// Both directions together over the last second, if it was sorted by that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rate: Option<FlowRate>,
}

/// How far a connection has come.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum FlowState {
    /// TCP: a SYN was seen.
    SynSent,
    /// TCP: it was answered by a SYN.
    SynReceived,
    /// TCP: begun before anybody looked; one direction was seen.
    PickedUp,
    /// TCP: open.
    Established,
    /// TCP: one side has sent its FIN.
    HalfClosed,
    /// TCP: both sides have.
    Closing,
    /// TCP: both FINs are acknowledged.
    TimeWait,
    /// TCP: a valid RST was seen.
    Reset,
    /// Another protocol: nobody has answered.
    Unanswered,
    /// Another protocol: answered.
    Answered,
}

impl FlowState {
    /// All of them.
    pub const ALL: [FlowState; 10] = [
        FlowState::SynSent,
        FlowState::SynReceived,
        FlowState::PickedUp,
        FlowState::Established,
        FlowState::HalfClosed,
        FlowState::Closing,
        FlowState::TimeWait,
        FlowState::Reset,
        FlowState::Unanswered,
        FlowState::Answered,
    ];

    /// Its name, as JSON and the command line have it.
    pub const fn name(self) -> &'static str {
        match self {
            FlowState::SynSent => "syn-sent",
            FlowState::SynReceived => "syn-received",
            FlowState::PickedUp => "picked-up",
            FlowState::Established => "established",
            FlowState::HalfClosed => "half-closed",
            FlowState::Closing => "closing",
            FlowState::TimeWait => "time-wait",
            FlowState::Reset => "reset",
            FlowState::Unanswered => "unanswered",
            FlowState::Answered => "answered",
        }
    }
}

/// One direction of a connection.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize, JsonSchema)]
pub struct FlowDirection {
    /// Packets.
    pub packets: u64,
    /// Bytes, from the IP header on.
    pub bytes: u64,
    /// What is remembered of its packets' way; none if each is decided upon by itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub way: Option<RememberedWay>,
}

/// What is remembered of the way of packets.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize, JsonSchema)]
pub struct RememberedWay {
    /// The interface that they come in by.
    pub ingress: Option<Name>,
    /// The interface that they leave by.
    pub egress: Name,
    /// The neighbour that they are handed to; none if that is their destination.
    pub next_hop: Option<IpAddr>,
    /// The rules and policy routes that they count at, in order.
    pub rules: Vec<Name>,
}

/// Packets and bits a second.
#[derive(Clone, Copy, PartialEq, Debug, Default, Serialize, Deserialize, JsonSchema)]
pub struct FlowRate {
    /// Packets.
    pub packets_per_second: u64,
    /// Bits, from the IP header on.
    pub bits_per_second: u64,
}

/// What comes first.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum FlowSort {
    /// The most bits over the next second, for which the answer waits.
    Rate,
    /// The most bytes since it began.
    Bytes,
    /// The most packets since it began.
    Packets,
    /// The longest silent.
    Idle,
    /// The oldest.
    Age,
}

impl FlowSort {
    /// All of them.
    pub const ALL: [FlowSort; 5] =
        [FlowSort::Rate, FlowSort::Bytes, FlowSort::Packets, FlowSort::Idle, FlowSort::Age];

    /// Its name, as the interface and the command line have it.
    pub const fn name(self) -> &'static str {
        match self {
            FlowSort::Rate => "rate",
            FlowSort::Bytes => "bytes",
            FlowSort::Packets => "packets",
            FlowSort::Idle => "idle",
            FlowSort::Age => "age",
        }
    }
}

/// What became of connections that were to end.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
pub struct FlowsKilled {
    /// How many have ended.
    pub killed: u64,
    /// Whether every table was looked at to its end. It is not where that would take too long.
    pub complete: bool,
}

/// Which connections are meant: those for which all that is given holds.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct FlowSelection {
    /// The instance.
    pub instance: Option<Name>,
    /// Prefix of the source of the packet that began it.
    pub src: Option<IpNet>,
    /// Prefix of its destination.
    pub dst: Option<IpNet>,
    /// IP protocol number.
    pub proto: Option<u8>,
    /// One of the two ports; of an ICMP query, its identifier.
    pub port: Option<u16>,
    /// How far it has come.
    pub state: Option<FlowState>,
}

/// Two policies to compare by what becomes of the connections that there are.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct CompareLiveFlows {
    /// The connections.
    pub flows: FlowSelection,
    /// The commit to start from; left out, the live one.
    pub from: Option<u64>,
    /// The commit to compare with; left out, the live one, or the candidate.
    pub to: Option<u64>,
    /// A configuration file to compare with as if it were applied.
    pub candidate: Option<Candidate>,
    /// How many changes to tell at most; 1000 if left out.
    pub limit: Option<usize>,
}

/// Which connections would fare otherwise.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize, JsonSchema)]
pub struct LiveFlowChanges {
    /// Those, as many as were asked for.
    pub changes: Vec<LiveFlowChange>,
    /// How many connections were compared.
    pub compared: u64,
    /// Directions of connections that would fare otherwise, in all.
    pub changed: u64,
    /// Whether every table was looked at to its end. It is not where that would take too long.
    pub complete: bool,
}

/// A direction of a connection that would fare otherwise.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize, JsonSchema)]
pub struct LiveFlowChange {
    /// The connection.
    pub flow: Flow,
    /// Whether it is the direction that answers.
    pub reply: bool,
    /// What becomes of its next packet now.
    pub before: FlowWay,
    /// What would become of it.
    pub after: FlowWay,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_alike_everywhere() {
        for sort in FlowSort::ALL {
            assert_eq!(serde_json::to_string(&sort).unwrap(), format!("\"{}\"", sort.name()));
        }
        for state in FlowState::ALL {
            let json = serde_json::to_string(&state).unwrap();
            assert_eq!(json, format!("\"{}\"", state.name()));
        }
    }
}
