//! The packet's way, stage by stage, in the order of the workers and by their evaluator.

use std::collections::HashSet;
use std::net::IpAddr;

use sluice_packet::descriptor::ip_of;
use sluice_packet::{Descriptor, Family};

use super::{Explanation, MatchedRule, Outcome, Step, Verdict};
use crate::drop_reason::DropReason;
use crate::evaluate::{self, Recorder, RouteDecision};
use crate::event::{Event, Stage};
use crate::ids::{InterfaceId, NextHopId, RuleSlot};
use crate::instance::Instance;
use crate::interface::Interface;
use crate::model::{Action, FilterPoint};
use crate::policy::Policy;
use crate::route::ResolvedNextHop;

/// Fills in the steps of an explanation and its verdict.
pub(super) fn walk(
    policy: &Policy,
    instance: &Instance,
    ingress: &Interface,
    descriptor: Descriptor,
    explanation: Explanation,
) -> Explanation {
    let mut walk = Walk { policy, instance, ingress, descriptor, hop: None, explanation };
    // Where it ends, the verdict stands in the explanation.
    let _ = walk.run();
    walk.explanation
}

/// A packet on its way.
struct Walk<'a> {
    policy: &'a Policy,
    instance: &'a Instance,
    ingress: &'a Interface,
    descriptor: Descriptor,
    hop: Option<ResolvedNextHop>,
    explanation: Explanation,
}

/// Keeps what an evaluation tells.
#[derive(Default)]
struct Trace {
    rules: Vec<RuleSlot>,
    choices: usize,
}

impl Recorder for Trace {
    fn rule(&mut self, slot: RuleSlot, _: &Descriptor) {
        self.rules.push(slot);
    }

    fn spread(&mut self, _: &Descriptor, choices: &[NextHopId], _: NextHopId) {
        let distinct: HashSet<_> = choices.iter().collect();
        self.choices = distinct.len();
    }
}

/// The packet's way ends.
struct End;

impl Walk<'_> {
    fn run(&mut self) -> Result<(), End> {
        let q = &self.explanation.query;
        let text = format!(
            "{} > {}, {} bytes, in by {} of instance {}",
            endpoint(q.src, q.src_port, q.protocol),
            endpoint(q.dst, q.dst_port, q.protocol),
            q.length,
            self.ingress.name,
            self.instance.name
        );
        if q.length > self.ingress.mtu {
            let mtu = self.ingress.mtu;
            let text = format!("{text}: larger than its MTU, {mtu}");
            return self.drop(Stage::Decode, text, Vec::new(), DropReason::SuperPacket);
        }
        self.pass(Stage::Decode, text, Vec::new());
        self.event(Event::PhysicalIn)?;
        self.local()?;
        self.event(Event::RouteDecision)?;
        self.event(Event::Forwarding)?;
        self.event(Event::PhysicalOut)?;
        self.leave();
        Ok(())
    }

    /// The built-in stages of an event, in the instance's order.
    fn event(&mut self, event: Event) -> Result<(), End> {
        for &stage in self.instance.stages(event) {
            match stage {
                Stage::IngressFilter => self.filter(FilterPoint::Ingress)?,
                Stage::ForwardFilter => self.filter(FilterPoint::Forward)?,
                Stage::EgressFilter => self.filter(FilterPoint::Egress)?,
                Stage::Route => self.route()?,
                Stage::HopLimit => self.hop_limit()?,
                Stage::Mtu => self.mtu()?,
                // The others are fixed in their places.
                _ => {}
            }
        }
        Ok(())
    }

    fn filter(&mut self, point: FilterPoint) -> Result<(), End> {
        let stage = point.stage();
        if !self.instance.filters(point) {
            self.pass(stage, "no rules".into(), Vec::new());
            return Ok(());
        }
        let mut trace = Trace::default();
        let egress = self.hop.map(|hop| hop.interface);
        let decision = self.instance.filter(point, &self.descriptor, egress, &mut trace);
        let matched = trace.rules.iter().filter_map(|&slot| self.policy.rule_at(slot));
        let rules: Vec<MatchedRule> = matched.map(MatchedRule::new).collect();
        self.explanation.rule = rules.last().cloned();
        let said: Vec<String> = rules.iter().map(ToString::to_string).collect();
        let text = said.join(", then ");
        match decision.action {
            Action::Accept | Action::Count => {
                self.pass(stage, text, rules);
                Ok(())
            }
            Action::Drop => self.drop(stage, text, rules, point.drop_reason()),
            Action::Reject => {
                let reason = point.drop_reason().name().to_owned();
                let verdict = Verdict::Reject { reason };
                self.end(stage, text, rules, Outcome::Reject, verdict)
            }
        }
    }

    fn local(&mut self) -> Result<(), End> {
        let Descriptor { key, .. } = self.descriptor;
        let Some(id) = self.instance.owns(key.family, key.dst) else {
            self.pass(Stage::Local, "not an own address".into(), Vec::new());
            return Ok(());
        };
        self.arrive(Stage::Local, id)
    }

    fn arrive(&mut self, stage: Stage, id: InterfaceId) -> Result<(), End> {
        let name = self.policy.interface(id).map_or("", |interface| &interface.name);
        let text = format!("{} is an own address, on {name}", self.explanation.query.dst);
        self.end(stage, text, Vec::new(), Outcome::Local, Verdict::Local)
    }

    fn route(&mut self) -> Result<(), End> {
        let mut trace = Trace::default();
        let decision = self.instance.route(&self.descriptor, &mut trace);
        let route = self.policy.route_to(self.instance, self.explanation.query.dst);
        let said = route.as_ref().map_or_else(String::new, |route| format!("{route}: "));
        let id = match decision {
            RouteDecision::Forward(id) => id,
            RouteDecision::Local(id) => return self.arrive(Stage::Route, id),
            RouteDecision::Drop(reason) => {
                let by_route = matches!(
                    reason,
                    DropReason::Blackhole | DropReason::RejectRoute | DropReason::DirectedBroadcast
                );
                let said = if by_route { said } else { String::new() };
                self.explanation.route = route.filter(|_| by_route);
                let text = format!("{said}{}", lower(reason.help()));
                if reason != DropReason::RejectRoute && reason != DropReason::NoRoute {
                    return self.drop(Stage::Route, text, Vec::new(), reason);
                }
                let verdict = Verdict::Reject { reason: reason.name().to_owned() };
                return self.end(Stage::Route, text, Vec::new(), Outcome::Reject, verdict);
            }
        };
        let hop = *self.policy.next_hop(id);
        let address = ip_of(hop.family, hop.via.unwrap_or(self.descriptor.key.dst));
        let mut text = match hop.via {
            Some(_) => format!("{said}via {address}"),
            None => format!("{said}on the link"),
        };
        if let Some(interface) = self.policy.interface(hop.interface) {
            text.push_str(&format!(", out by {}", interface.name));
            self.explanation.egress = Some(interface.name.clone());
            self.explanation.mtu = Some(interface.mtu);
        }
        if trace.choices > 1 {
            text.push_str(&format!(" (this flow's, of {} next hops)", trace.choices));
        }
        self.explanation.route = route;
        self.explanation.next_hop = Some(address);
        self.hop = Some(hop);
        self.pass(Stage::Route, text, Vec::new());
        Ok(())
    }

    fn hop_limit(&mut self) -> Result<(), End> {
        let left = self.descriptor.hop_limit;
        match evaluate::hop_limit(&self.descriptor) {
            Ok(()) => {
                let text = format!("{left}, leaves with {}", left.saturating_sub(1));
                self.pass(Stage::HopLimit, text, Vec::new());
                Ok(())
            }
            Err(reason) => {
                let text = format!("{left}: {}", lower(reason.help()));
                self.told(Stage::HopLimit, text, reason)
            }
        }
    }

    fn mtu(&mut self) -> Result<(), End> {
        let mtu = self.explanation.mtu.unwrap_or(u16::MAX);
        let length = self.descriptor.l3_length;
        match evaluate::mtu(&self.descriptor, mtu) {
            Ok(()) => {
                self.pass(Stage::Mtu, format!("{length} of at most {mtu} bytes"), Vec::new());
                Ok(())
            }
            Err(reason) => {
                let text = format!("{length} of at most {mtu} bytes: {}", lower(reason.help()));
                match reason {
                    DropReason::FragmentationNeeded => self.told(Stage::Mtu, text, reason),
                    _ => self.drop(Stage::Mtu, text, Vec::new(), reason),
                }
            }
        }
    }

    /// Neighbour and tx: what the policy knows of them.
    fn leave(&mut self) {
        let Some((hop, address)) = self.hop.zip(self.explanation.next_hop) else { return };
        let fixed = self.policy.static_neighbours();
        let mut fixed = fixed.filter(|n| n.0 == hop.interface && n.1 == address);
        let text = match (fixed.next(), hop.family) {
            (Some((_, _, mac)), _) => format!("{address} is at {mac} (static)"),
            (None, Family::Inet) => format!("{address}, asked for by ARP if not known"),
            (None, Family::Inet6) => {
                format!("{address}, asked for by neighbour solicitation if not known")
            }
        };
        self.pass(Stage::Neighbour, text, Vec::new());
        let egress = self.explanation.egress.clone().unwrap_or_else(|| "".into());
        self.pass(Stage::Tx, format!("out by {egress}"), Vec::new());
    }

    fn pass(&mut self, stage: Stage, text: String, rules: Vec<MatchedRule>) {
        self.step(stage, text, rules, Outcome::Pass);
    }

    fn step(&mut self, stage: Stage, text: String, rules: Vec<MatchedRule>, outcome: Outcome) {
        self.explanation.steps.push(Step { stage, event: stage.event(), text, rules, outcome });
    }

    fn drop(
        &mut self,
        stage: Stage,
        text: String,
        rules: Vec<MatchedRule>,
        reason: DropReason,
    ) -> Result<(), End> {
        let verdict = Verdict::Drop { reason: reason.name().to_owned() };
        self.end(stage, text, rules, Outcome::Drop, verdict)
    }

    /// A drop that the sender is told about.
    fn told(&mut self, stage: Stage, text: String, reason: DropReason) -> Result<(), End> {
        let verdict = Verdict::Reject { reason: reason.name().to_owned() };
        self.end(stage, text, Vec::new(), Outcome::Reject, verdict)
    }

    fn end(
        &mut self,
        stage: Stage,
        text: String,
        rules: Vec<MatchedRule>,
        outcome: Outcome,
        verdict: Verdict,
    ) -> Result<(), End> {
        self.step(stage, text, rules, outcome);
        self.explanation.verdict = verdict;
        Err(End)
    }
}

/// An address with its port, where the protocol has ports.
fn endpoint(address: IpAddr, port: u16, protocol: u8) -> String {
    match (protocol, address) {
        (6 | 17 | 33 | 132, IpAddr::V4(address)) => format!("{address}:{port}"),
        (6 | 17 | 33 | 132, IpAddr::V6(address)) => format!("[{address}]:{port}"),
        _ => address.to_string(),
    }
}

/// A sentence as part of another.
fn lower(sentence: &str) -> String {
    let mut chars = sentence.trim_end_matches('.').chars();
    let first = chars.next().map(|c| c.to_ascii_lowercase());
    // An abbreviation keeps its capitals.
    match chars.clone().next() {
        Some(second) if second.is_ascii_uppercase() => sentence.trim_end_matches('.').to_owned(),
        _ => first.into_iter().chain(chars).collect(),
    }
}
