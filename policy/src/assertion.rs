//! What an operator expects of a policy, kept beside it and checked like code: `sluice test`.
//!
//! [`read_assertions`](crate::config::read_assertions) reads them from YAML; each asks the
//! evaluator one question and says what must come out.

use std::fmt::Display;
use std::net::IpAddr;

use ipnet::IpNet;

use crate::explain::{Query, RouteQuery, Routed, Verdict, Way};
use crate::model::{Name, Owner, Position};

/// One question, and what is expected of the answer.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Assertion {
    /// What it is called in reports.
    pub name: String,
    /// The question.
    pub question: Question,
    /// What the answer must be.
    pub expected: Expected,
    /// Where it stands.
    pub position: Position,
}

/// What is asked.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Question {
    /// What becomes of a packet that comes in: its whole way.
    Received(Query),
    /// Where a packet of the router's own goes, and from which address.
    Own(RouteQuery),
}

/// What becomes of a packet, in one word.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fate {
    /// It leaves.
    Accept,
    /// It is dropped in silence.
    Drop,
    /// It is dropped and the sender told.
    Reject,
    /// It is for the router itself.
    Local,
}

impl Fate {
    /// All of them, by the names that they have in files and reports.
    pub const ALL: [(&'static str, Fate); 4] = [
        ("accept", Fate::Accept),
        ("drop", Fate::Drop),
        ("reject", Fate::Reject),
        ("local", Fate::Local),
    ];

    /// Its name.
    pub fn name(self) -> &'static str {
        Fate::ALL.into_iter().find(|(_, fate)| *fate == self).map_or("", |(name, _)| name)
    }
}

/// What an answer must be; what is `None` may be anything.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Expected {
    /// What becomes of the packet.
    pub fate: Option<Fate>,
    /// The interface that it leaves by.
    pub via: Option<Name>,
    /// The neighbour that it is handed to.
    pub next_hop: Option<IpAddr>,
    /// The prefix of its route.
    pub route: Option<IpNet>,
    /// The owner of its route.
    pub owner: Option<Owner>,
    /// The rule that decided.
    pub rule: Option<Name>,
    /// The drop reason.
    pub reason: Option<String>,
    /// The address that a packet of the router's own must bear.
    pub source: Option<IpAddr>,
}

impl Expected {
    /// Whether nothing is expected.
    pub fn is_empty(&self) -> bool {
        *self == Expected::default()
    }

    /// What of a packet's way is not as expected: nothing if all is.
    pub fn differences(&self, way: &Way) -> Vec<String> {
        let mut found = Vec::new();
        let (fate, reason) = match &way.verdict {
            Verdict::Accept => (Fate::Accept.name(), None),
            Verdict::Drop { reason } => (Fate::Drop.name(), Some(reason)),
            Verdict::Reject { reason } => (Fate::Reject.name(), Some(reason)),
            Verdict::Local => (Fate::Local.name(), None),
            Verdict::Unknown { .. } => ("unknown: a foreign hook decides", None),
        };
        let route = way.route.as_ref();
        let next_hop = way.next_hop.map(|address| address.to_string());
        compare("expect", self.fate.map(Fate::name), Some(fate), &mut found);
        compare("via", self.via.as_deref(), way.egress.as_deref(), &mut found);
        compare("next-hop", self.next_hop, next_hop, &mut found);
        compare("route", self.route, route.map(|route| route.prefix.to_string()), &mut found);
        compare("owner", self.owner.as_ref(), route.map(|route| &route.owner), &mut found);
        compare("rule", self.rule.as_deref(), way.rule.as_ref().map(|r| &*r.name), &mut found);
        compare("reason", self.reason.as_deref(), reason.map(String::as_str), &mut found);
        found
    }

    /// The same of a packet of the router's own.
    pub fn differences_of_own(&self, routed: &Routed) -> Vec<String> {
        let mut found = self.differences(&routed.way);
        let source = routed.source.map(|address| address.to_string());
        compare("source", self.source, source, &mut found);
        if self.source.is_some() && routed.source.is_some() && !routed.source_agrees {
            found.push(
                "source: a packet from it leaves by an interface that does not have it".into(),
            );
        }
        found
    }
}

fn compare<A: Display, B: Display>(
    what: &str,
    expected: Option<A>,
    found: Option<B>,
    into: &mut Vec<String>,
) {
    let Some(expected) = expected.map(|expected| expected.to_string()) else { return };
    let found = found.map_or_else(|| "none".to_owned(), |found| found.to_string());
    if expected != found {
        into.push(format!("{what}: {expected} was expected, it is {found}"));
    }
}
