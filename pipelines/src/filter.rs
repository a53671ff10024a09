//! The first-match filters at PHYSICAL_IN, FORWARDING and PHYSICAL_OUT.

use sluice_hooks::{Burst, Context, Hook, Report};
use sluice_packet::Mask;
use sluice_policy::model::{Action, FilterPoint};
use sluice_policy::{FilterDecision, InterfaceId};

use crate::answer::{self, Answer};

/// A filter as a hook: one object serves all instances, the rules are the policy's.
pub struct Filter {
    point: FilterPoint,
}

impl Filter {
    /// The filter at `point`.
    pub fn new(point: FilterPoint) -> Filter {
        Filter { point }
    }
}

impl Filter {
    /// Does what a rule says of packets that are logged or do not pass.
    #[inline(never)]
    fn carry_out(
        &self,
        cx: &mut Context<'_>,
        burst: &mut Burst,
        packets: Mask,
        decision: FilterDecision,
    ) {
        if decision.log {
            for slot in packets {
                let egress = self.egress(burst, slot);
                let descriptor = *burst.descriptor(slot);
                cx.outbox.report(Report { rule: decision.rule, descriptor, egress });
            }
        }
        if decision.action == Action::Reject {
            for slot in packets {
                answer::send(cx, burst, slot, Answer::Rejected);
            }
        }
        if matches!(decision.action, Action::Drop | Action::Reject) {
            cx.drop_all(burst, packets, decision.drop_reason(self.point));
        }
    }

    /// The interface that a packet is to leave by, where that is known.
    #[inline(always)]
    fn egress(&self, burst: &Burst, slot: usize) -> Option<InterfaceId> {
        (self.point != FilterPoint::Ingress).then(|| burst.egress(slot))
    }
}

impl Hook for Filter {
    fn process(&mut self, cx: &mut Context<'_>, burst: &mut Burst, packets: Mask) {
        let instance = cx.instance;
        if !instance.filters(self.point) {
            return;
        }
        let mut counters = cx.rule_counters();
        instance.filter_burst(
            self.point,
            burst,
            packets,
            |burst, slot| (burst.descriptor(slot), self.egress(burst, slot)),
            &mut counters,
            |burst, packets, decision| {
                if decision.log || !matches!(decision.action, Action::Accept | Action::Count) {
                    self.carry_out(cx, burst, packets, decision);
                }
            },
        );
    }
}
