//! What the rules that accept a connection allow of it.

use sluice_flow::limits::Allowance;
use sluice_flow::{HalfId, Table};
use sluice_packet::Descriptor;
use sluice_policy::model::FilterPoint;
use sluice_policy::{Instance, InterfaceId, NoRecorder, Policy};

/// The limited rules that accept a connection: one of each filter at most.
#[derive(Default)]
pub(super) struct Limited([Option<(u16, Allowance)>; FilterPoint::ALL.len()]);

impl Limited {
    /// Asks the filters again about the first packet of a connection, which they have accepted, and
    /// counts nothing.
    pub(super) fn of(
        policy: &Policy,
        instance: &Instance,
        d: &Descriptor,
        egress: InterfaceId,
    ) -> Limited {
        let mut limited = Limited::default();
        for (point, rule) in FilterPoint::ALL.into_iter().zip(&mut limited.0) {
            if !instance.asks(point) {
                continue;
            }
            let egress = (point != FilterPoint::Ingress).then_some(egress);
            let decision = instance.filter(point, d, egress, &mut NoRecorder);
            if decision.limited {
                *rule = policy.rule_limit(decision.rule).map(|limit| (decision.rule.0, limit));
            }
        }
        limited
    }

    /// Whether no rule that accepts it is limited.
    pub(super) fn is_empty(&self) -> bool {
        self.0.iter().all(Option::is_none)
    }

    /// Whether all rules let the connection begin; it then counts as begun.
    pub(super) fn allow(&self, table: &mut Table, d: &Descriptor, now: u64) -> bool {
        self.0.iter().flatten().all(|(rule, limit)| table.allows(*rule, limit, d, now))
    }

    /// Counts the connection among those of its source. Where that cannot be, it is there no more.
    pub(super) fn hold(&self, table: &mut Table, id: HalfId) -> bool {
        let most = |(rule, limit): &(u16, Allowance)| Some((*rule, limit.flows_per_source?));
        let mut rules = self.0.iter().flatten().filter_map(most);
        let held = rules.all(|(rule, most)| table.hold(id, rule, most));
        if !held {
            table.remove(id);
        }
        held
    }
}
