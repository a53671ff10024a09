//! Policy routes: first-match rules that say where a packet goes before the main table is asked.
//!
//! What a rule cannot see, it does not match, as in a [filter](crate::classifier). A rule with next
//! hops matches packets of those IP versions alone of which it has one.
//!
//! The rules are compiled once; where they lead is filled in again whenever ports go down or come
//! back, as the tables are.

use std::collections::HashMap;
use std::sync::Arc;

use sluice_packet::{Consulted, Descriptor, Family, Fragment, protocol};

use crate::classifier::{self, Classifier, Conditions, Packet, Verdict};
use crate::drop_reason::DropReason;
use crate::evaluate::{Recorder, RouteDecision};
use crate::fib::Leaf;
use crate::ids::{RuleSlot, TableId};
use crate::model::{Name, Unreachable};
use crate::route::{Tables, leaf, look_up};

/// The policy routes of an instance, ready to be asked.
#[derive(Clone, Debug)]
pub(crate) struct Steering {
    pub(crate) rules: Arc<Rules>,
    /// Where each rule leads IPv4 and IPv6 packets.
    ways: Box<[[Way; 2]]>,
}

/// What policy routes match.
#[derive(Clone, Debug)]
pub(crate) struct Rules {
    classifier: Classifier,
    list: Box<[Rule]>,
    /// The rules' slots by name: how a rule of the next generation finds its own again.
    pub(crate) slots: HashMap<Name, RuleSlot>,
    /// The protocols whose ports some rule looks at, one bit each.
    with_ports: [u64; 4],
    consulted: Consulted,
}

/// One policy route, as far as its [`Conditions`] do not say it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rule {
    pub(crate) slot: RuleSlot,
    /// One bit a DSCP; 0 matches any.
    pub(crate) dscp: u64,
    pub(crate) fragment: Option<bool>,
    pub(crate) unreachable: Unreachable,
}

/// Where a policy route leads packets of one IP version.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Way {
    /// It is about the other IP version: it does not match.
    Other,
    /// To next hops.
    Leaf(Leaf),
    /// To a table.
    Table(TableId),
    /// Nowhere, for this reason.
    Drop(DropReason),
    /// To next hops none of which can be used now.
    Unreachable,
}

impl Rules {
    /// `conditions` are those of the rules in `list`.
    pub(crate) fn new(
        conditions: &[Conditions],
        list: Vec<Rule>,
        slots: HashMap<Name, RuleSlot>,
        with_ports: impl Iterator<Item = u8>,
    ) -> Rules {
        const DSCP: u8 = 0b1111_1100;
        let classifier = Classifier::new(conditions);
        let mut consulted = classifier::consulted(conditions);
        if list.iter().any(|rule| rule.dscp != 0) {
            consulted.traffic_class |= DSCP;
        }
        let list = list.into();
        let mut rules = Rules { classifier, list, slots, with_ports: [0; 4], consulted };
        for number in with_ports {
            rules.with_ports[usize::from(number >> 6)] |= 1 << (number & 63);
        }
        rules
    }
}

impl Rule {
    /// What the conditions leave open.
    #[inline]
    fn holds(&self, d: &Descriptor) -> bool {
        let dscp = self.dscp == 0 || self.dscp >> (d.traffic_class >> 2) & 1 == 1;
        let fragment = self.fragment.is_none_or(|must| must == (d.fragment != Fragment::Whole));
        dscp && fragment
    }
}

impl Steering {
    /// Policy routes that lead nowhere yet.
    pub(crate) fn new(rules: Rules) -> Steering {
        Steering { rules: Arc::new(rules), ways: Box::default() }
    }

    /// The same policy routes, leading there; one way a rule.
    pub(crate) fn leading(&self, ways: Vec<[Way; 2]>) -> Steering {
        Steering { rules: Arc::clone(&self.rules), ways: ways.into() }
    }

    /// Whether both, which are of the same rules, lead to the same places.
    pub(crate) fn leads_as(&self, other: &Steering) -> bool {
        self.ways == other.ways
    }

    /// What packets of a flow must be equal in for these to say the same about them.
    #[inline]
    pub(crate) fn consulted(&self) -> Consulted {
        self.rules.consulted
    }

    /// The rules' slots in order, and whether each has a way out.
    pub(crate) fn slots(&self) -> impl Iterator<Item = (RuleSlot, bool)> {
        self.rules.list.iter().zip(&self.ways).map(|(rule, ways)| {
            let reachable = ways.iter().any(|way| !matches!(way, Way::Other | Way::Unreachable));
            (rule.slot, reachable)
        })
    }

    /// Where the rule of a slot leads a packet.
    pub(crate) fn way_of(&self, slot: RuleSlot, d: &Descriptor) -> Option<Way> {
        let place = self.rules.list.iter().position(|rule| rule.slot == slot)?;
        Some(self.ways.get(place)?[usize::from(d.key.family == Family::Inet6)])
    }

    /// Whether some rule looks at ports.
    #[inline]
    pub(crate) fn has_ports(&self) -> bool {
        self.rules.with_ports != [0; 4]
    }

    /// Whether some rule looks at the ports of a packet's protocol. Behind an IPv6 fragment header,
    /// a later fragment may name the first of further extension headers: there it is not known.
    #[inline]
    pub(crate) fn looks_at_ports(&self, d: &Descriptor) -> bool {
        let number = d.key.protocol;
        let word = self.rules.with_ports[usize::from(number >> 6)];
        word >> (number & 63) & 1 == 1
            || (d.key.family == Family::Inet6
                && number == protocol::DESTINATION_OPTIONS
                && self.has_ports())
    }

    /// What the first rule says that matches and has a way out, or that blocks where it has none.
    pub(crate) fn decide<R: Recorder>(
        &self,
        tables: &Tables,
        d: &Descriptor,
        recorder: &mut R,
    ) -> Option<RouteDecision> {
        let packet = [Packet { descriptor: d, egress: None }];
        let mut deciding = Deciding { steering: self, tables, d, recorder, decision: None };
        self.rules.classifier.burst(&packet, &mut deciding);
        deciding.decision
    }
}

struct Deciding<'a, R> {
    steering: &'a Steering,
    tables: &'a Tables,
    d: &'a Descriptor,
    recorder: &'a mut R,
    decision: Option<RouteDecision>,
}

impl<R: Recorder> Verdict for Deciding<'_, R> {
    #[inline]
    fn packet(&mut self, _: usize, matches: impl Iterator<Item = usize>) {
        let Deciding { steering, tables, d, recorder, .. } = self;
        let family = usize::from(d.key.family == Family::Inet6);
        let (rules, ways) = (&steering.rules.list, &steering.ways);
        for place in matches {
            let (Some(rule), Some(ways)) = (rules.get(place), ways.get(place)) else { continue };
            let way = ways[family];
            if way == Way::Other || !rule.holds(d) {
                continue;
            }
            recorder.rule(rule.slot, d);
            let decision = match way {
                Way::Leaf(leaf) => leaf::decision(leaf, tables, d, *recorder),
                Way::Table(id) => {
                    let fib = tables.fib(id);
                    fib.and_then(|fib| look_up(fib, tables, d.key.family, d, *recorder))
                }
                Way::Drop(reason) => Some(RouteDecision::Drop(reason)),
                Way::Other | Way::Unreachable => None,
            };
            recorder.policy_route(rule.slot, d, decision);
            self.decision = match (decision, rule.unreachable) {
                (Some(_), _) => decision,
                (None, Unreachable::Next) => continue,
                (None, Unreachable::Drop) => {
                    Some(RouteDecision::Drop(DropReason::PolicyUnreachable))
                }
                (None, Unreachable::Reject) => {
                    Some(RouteDecision::Drop(DropReason::PolicyUnreachableReject))
                }
            };
            return;
        }
    }
}

#[cfg(test)]
mod tests;
