//! Why a packet would go where it goes: the workers' evaluator, step by step.
//!
//! The question becomes a frame, which the workers' decoder reads; from there it takes the
//! workers' way through the workers' functions, with a recorder that keeps every step. Where the
//! router answers the sender, the answer is written as the workers write it and followed on its
//! way back. What only the dataplane knows (links, neighbours) is handed in as [`Live`].

mod display;
mod live;
mod orders;
mod query;
mod routing;
mod walk;

use std::net::IpAddr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sluice_packet::descriptor::number_of;

use crate::event::Event;
use crate::interface::Interface;
use crate::model::{Action, Name, PolicyAction, PolicyRoute, Position, Unreachable};
use crate::order::OrderError;
use crate::policy::{MatchedRoute, Policy, RuleInfo};

pub use live::{EgressState, Live, NextHopState, PortFacts};
use orders::Orders;
pub use query::{LinkDestination, Query, Remembered};
pub use routing::{RouteQuery, Routed, route};

/// A rule that matched.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
pub struct MatchedRule {
    /// Its name; `default` for the default action.
    pub name: String,
    /// What it does.
    pub action: Action,
    /// Where it was configured.
    pub position: Option<Position>,
}

impl MatchedRule {
    fn new(info: RuleInfo<'_>) -> MatchedRule {
        let position = info.position.cloned();
        MatchedRule { name: info.name.to_owned(), action: info.action, position }
    }
}

/// A policy route that matched.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
pub struct MatchedPolicyRoute {
    /// Its name.
    pub name: Name,
    /// What it does.
    pub action: PolicyAction,
    /// Whether it has a way out for this packet; if not, `unreachable` says what happens.
    pub reachable: bool,
    /// What happens where it has none.
    pub unreachable: Unreachable,
    /// Where it was configured.
    pub position: Position,
}

impl MatchedPolicyRoute {
    fn new(route: &PolicyRoute, reachable: bool) -> MatchedPolicyRoute {
        MatchedPolicyRoute {
            name: route.name.clone(),
            action: route.action.clone(),
            reachable,
            unreachable: route.unreachable,
            position: route.position.clone(),
        }
    }
}

/// What a stage did with the packet.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
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
    /// Nobody but the hook can tell.
    Unknown,
}

/// One stage's part.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Step {
    /// The stage's name, or that of a hook that does not ship with Sluice.
    pub stage: Name,
    /// Whether it is such a hook.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub foreign: bool,
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
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", tag = "verdict")]
pub enum Verdict {
    /// It leaves.
    Accept,
    /// It is dropped in silence.
    Drop {
        /// The drop reason's name.
        reason: String,
    },
    /// It is dropped and the sender told, within the rate limit of such messages.
    Reject {
        /// The drop reason's name.
        reason: String,
    },
    /// It is for the router itself, which serves it.
    Local,
    /// A hook that does not ship with Sluice decides. What the other stages say holds if it lets
    /// the packet pass as it is.
    Unknown {
        /// The first such hook that the packet meets.
        hook: Name,
        /// What becomes of the packet if all such hooks let it pass as it is.
        otherwise: Box<Verdict>,
    },
}

/// The way of one packet, as far as it comes.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Way {
    /// Each stage in order.
    pub steps: Vec<Step>,
    /// What becomes of the packet.
    #[serde(flatten)]
    pub verdict: Verdict,
    /// The rule that decided against it, or the last that accepted it.
    pub rule: Option<MatchedRule>,
    /// Policy routes that matched; the last decided if it had a way out, or blocks where it has
    /// none.
    #[serde(default)]
    pub policy_routes: Vec<MatchedPolicyRoute>,
    /// The route.
    pub route: Option<MatchedRoute>,
    /// The interface it leaves by.
    pub egress: Option<Name>,
    /// The neighbour it is handed to.
    pub next_hop: Option<IpAddr>,
    /// The MTU of `egress`.
    pub mtu: Option<u16>,
    /// How many fragments it leaves as, if it has to be cut.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fragments: Option<u16>,
    /// What the dataplane knows of `next_hop`.
    pub next_hop_state: Option<NextHopState>,
    /// What the dataplane knows of the port of `egress`; none if it does not have the port.
    pub egress_state: Option<EgressState>,
}

impl Way {
    fn new() -> Way {
        Way {
            steps: Vec::new(),
            verdict: Verdict::Accept,
            rule: None,
            policy_routes: Vec::new(),
            route: None,
            egress: None,
            next_hop: None,
            mtu: None,
            fragments: None,
            next_hop_state: None,
            egress_state: None,
        }
    }
}

/// What the router sends back to the packet's sender.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Answered {
    /// `echo-reply`, `reset`, `time-exceeded`, `too-big`, `prohibited` and so on.
    pub message: String,
    /// The router's address that it is from.
    pub source: IpAddr,
    /// Whom it is for.
    pub destination: IpAddr,
    /// Its own way.
    #[serde(flatten)]
    pub way: Way,
}

/// The answer.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Explanation {
    /// The generation of policy that it holds for.
    pub generation: u64,
    /// What was asked.
    pub query: Query,
    /// The instance that the packet belongs to.
    pub instance: Name,
    /// The interface it comes in by.
    pub ingress: Name,
    /// The packet's way.
    #[serde(flatten)]
    pub way: Way,
    /// What its sender hears.
    pub answer: Option<Answered>,
}

/// Why there is no answer.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ExplainError {
    /// No interface has that name.
    #[error("there is no interface `{name}`; there are: {known}")]
    UnknownInterface {
        /// The name.
        name: Name,
        /// Those that exist.
        known: String,
    },
    /// No instance has that name.
    #[error("there is no instance `{name}`; there are: {known}")]
    UnknownInstance {
        /// The name.
        name: Name,
        /// Those that exist.
        known: String,
    },
    /// An instance cannot send packets of its own.
    #[error("instance `{instance}` has no address of this IP version to send from")]
    NoAddress {
        /// The instance.
        instance: Name,
    },
    /// Addresses that no packet may have.
    #[error("no packet may be from {src} to {dst}")]
    NoPacket {
        /// Source.
        src: IpAddr,
        /// Destination.
        dst: IpAddr,
    },
    /// The source is in no connected network, or in one of each of several instances.
    #[error(
        "no single connected network holds {0}: say by which interface the packet comes in (--in)"
    )]
    UnknownOrigin(IpAddr),
    /// Source and destination of different IP versions.
    #[error("{src} and {dst} are of different IP versions")]
    MixedFamilies {
        /// Source.
        src: IpAddr,
        /// Destination.
        dst: IpAddr,
    },
    /// There is no such code point.
    #[error("DSCP {0} is out of range: 0 to 63")]
    Dscp(u8),
    /// No fragment begins there.
    #[error("a fragment does not begin at byte {0}: give a multiple of eight")]
    FragmentOffset(u16),
    /// The hooks would have no order: the dataplane would refuse such a policy.
    #[error("the hooks at {} have no order: {source}", event.name())]
    Order {
        /// The event.
        event: Event,
        /// What contradicts what.
        source: OrderError,
    },
}

/// Says what the policy does with a packet, and why. The policy is the one that the dataplane
/// follows: see [`Live::followed`].
pub fn explain(policy: &Policy, live: &Live, q: &Query) -> Result<Explanation, ExplainError> {
    q.check()?;
    let ingress = ingress(policy, q)?;
    let Some(instance) = policy.instance(ingress.instance) else {
        return Err(ExplainError::UnknownOrigin(q.src));
    };
    let orders = Orders::new(policy, instance, live, q.family())?;
    let (way, answer) = walk::walk(policy, live, &orders, instance, ingress, q);
    Ok(Explanation {
        generation: policy.generation(),
        query: q.clone(),
        instance: instance.name.clone(),
        ingress: ingress.name.clone(),
        way,
        answer,
    })
}

/// The interface that the packet comes in by: the one that is named, or the one whose connected
/// network holds the source, if there is exactly one.
fn ingress<'a>(policy: &'a Policy, q: &Query) -> Result<&'a Interface, ExplainError> {
    if let Some(name) = &q.input {
        return policy.interface_named(name).ok_or_else(|| {
            let names: Vec<&str> = policy.interfaces().map(|i| &*i.name).collect();
            ExplainError::UnknownInterface { name: name.clone(), known: names.join(", ") }
        });
    }
    let (family, source) = (q.family(), number_of(q.src));
    let mut found = policy.instances().filter_map(|i| i.interface_towards(family, source));
    match (found.next().and_then(|id| policy.interface(id)), found.next()) {
        (Some(interface), None) => Ok(interface),
        _ => Err(ExplainError::UnknownOrigin(q.src)),
    }
}

#[cfg(test)]
mod tests;
