//! Why a packet would go where it goes: the workers' evaluator, step by step.

mod display;
mod walk;

use std::net::IpAddr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sluice_packet::descriptor::number_of;
use sluice_packet::{Descriptor, DescriptorFlags, Family, FlowKey, Fragment};

use crate::event::{Event, Stage};
use crate::ids::InterfaceId;
use crate::interface::Interface;
use crate::model::{Action, Name, Position};
use crate::policy::{MatchedRoute, Policy, RuleInfo};

/// The packet that is asked about.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
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
        let position = info.rule.map(|rule| rule.position.clone());
        MatchedRule { name: info.name.to_owned(), action: info.action, position }
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
}

/// One stage's part.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
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
    /// It is dropped and the sender told.
    Reject {
        /// The drop reason's name.
        reason: String,
    },
    /// It is for the router itself.
    Local,
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
    /// Each stage in order.
    pub steps: Vec<Step>,
    /// What becomes of the packet.
    #[serde(flatten)]
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
}

/// Says what the policy does with a packet, and why.
pub fn explain(policy: &Policy, q: &Query) -> Result<Explanation, ExplainError> {
    if q.src.is_ipv4() != q.dst.is_ipv4() {
        return Err(ExplainError::MixedFamilies { src: q.src, dst: q.dst });
    }
    let ingress = ingress(policy, q)?;
    let Some(instance) = policy.instance(ingress.instance) else {
        return Err(ExplainError::UnknownOrigin(q.src));
    };
    let explanation = Explanation {
        generation: policy.generation(),
        query: q.clone(),
        instance: instance.name.clone(),
        ingress: ingress.name.clone(),
        steps: Vec::new(),
        verdict: Verdict::Accept,
        rule: None,
        route: None,
        egress: None,
        next_hop: None,
        mtu: None,
    };
    let descriptor = q.descriptor(ingress.id);
    Ok(walk::walk(policy, instance, ingress, descriptor, explanation))
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

impl Query {
    fn family(&self) -> Family {
        if self.src.is_ipv4() { Family::Inet } else { Family::Inet6 }
    }

    /// What decoding such a packet would yield.
    fn descriptor(&self, ingress: InterfaceId) -> Descriptor {
        let family = self.family();
        let mut flags = DescriptorFlags::empty();
        flags.set(DescriptorFlags::DONT_FRAGMENT, self.dont_fragment || family == Family::Inet6);
        let icmp = matches!(self.protocol, 1 | 58);
        Descriptor {
            key: FlowKey {
                src: number_of(self.src),
                dst: number_of(self.dst),
                src_port: self.src_port,
                dst_port: self.dst_port,
                protocol: self.protocol,
                family,
            },
            ingress: ingress.0,
            l3_length: self.length,
            l4_offset: if family == Family::Inet { 20 } else { 40 },
            l3_offset: 14,
            hop_limit: self.hop_limit,
            traffic_class: 0,
            tcp_flags: if self.protocol == 6 { self.tcp_flags } else { 0 },
            icmp_type: if icmp { self.icmp_type } else { 0 },
            icmp_code: if icmp { self.icmp_code } else { 0 },
            fragment: Fragment::Whole,
            flags,
        }
    }
}

#[cfg(test)]
mod tests;
