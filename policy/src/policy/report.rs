//! Collects the mistakes of one commit.

use super::error::{Mistake, PolicyError, Subject, Thing};
use crate::model::{Name, State};

/// The mistakes so far, in a state that they are positions of.
pub(super) struct Report<'a> {
    pub(super) state: &'a State,
    pub(super) errors: Vec<PolicyError>,
}

impl<'a> Report<'a> {
    pub(super) fn new(state: &'a State) -> Self {
        Report { state, errors: Vec::new() }
    }

    /// A mistake in a field as a whole.
    pub(super) fn add(&mut self, thing: &Thing, field: &'static str, mistake: Mistake) {
        self.add_item(thing, field, 0, mistake);
    }

    /// A mistake in one item of a field.
    pub(super) fn add_item(
        &mut self,
        thing: &Thing,
        field: &'static str,
        item: usize,
        mistake: Mistake,
    ) {
        let state = self.state;
        let position = match thing {
            Thing::Port(name) => state.ports.get(name).map(|port| &port.position),
            Thing::Interface(name) => state.interfaces.get(name).map(|i| &i.position),
            Thing::Route(key) => state.routes.get(key).map(|route| &route.position),
            Thing::Rule(key, place, _) => {
                let rule = state.filters.get(key).and_then(|filter| filter.rules.get(*place));
                rule.map(|rule| &rule.position)
            }
            Thing::PolicyRoute(instance, place, _) => {
                let routes = state.policy_routes.get(instance);
                routes.and_then(|routes| routes.get(*place)).map(|route| &route.position)
            }
            Thing::Hook(name) => state.hooks.get(name).map(|hook| &hook.position),
            Thing::Instance(_)
            | Thing::Filter(_)
            | Thing::Neighbour(_)
            | Thing::PolicyRoutes(_)
            | Thing::Flows => None,
        };
        let subject = Subject { thing: thing.clone(), field, item };
        self.errors.push(PolicyError { subject, position: position.cloned(), mistake });
    }
}

/// Names for a message, shortened where there are many.
pub(super) fn known<'a>(names: impl Iterator<Item = &'a Name>) -> String {
    const SHOWN: usize = 16;
    let mut names: Vec<&str> = names.map(|name| &**name).collect();
    if names.is_empty() {
        return "none".into();
    }
    let more = names.len().saturating_sub(SHOWN);
    names.truncate(SHOWN);
    let list = names.join(", ");
    if more == 0 { list } else { format!("{list} and {more} more") }
}

/// What a name may be.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Naming {
    /// Of a port or an instance: begins with a letter, has no dot.
    Plain,
    /// Of an interface, which may end in a dot and a VLAN.
    Interface,
    /// Of a rule or an owner: may begin with a digit.
    Rule,
}

/// Whether a name is short, printable and safe in a path, a metric label and a command line.
pub(crate) fn is_name(name: &str, naming: Naming) -> bool {
    let dots = naming != Naming::Plain;
    let allowed = |b: u8| b.is_ascii_alphanumeric() || b"-_".contains(&b) || (dots && b == b'.');
    let first = name.bytes().next().unwrap_or(b'.');
    name.len() <= 63
        && name.bytes().all(allowed)
        && (first.is_ascii_alphabetic() || (naming == Naming::Rule && first.is_ascii_digit()))
}
