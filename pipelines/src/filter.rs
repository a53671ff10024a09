//! The first-match filters at PHYSICAL_IN, FORWARDING and PHYSICAL_OUT.

use sluice_hooks::{Burst, Context, Hook, Report};
use sluice_packet::Mask;
use sluice_policy::DropReason;
use sluice_policy::model::{Action, FilterPoint};

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

    fn drop_reason(&self) -> DropReason {
        match self.point {
            FilterPoint::Ingress => DropReason::IngressFilter,
            FilterPoint::Forward => DropReason::ForwardFilter,
            FilterPoint::Egress => DropReason::EgressFilter,
        }
    }
}

impl Hook for Filter {
    fn process(&mut self, cx: &mut Context<'_>, burst: &mut Burst, packets: Mask) {
        let instance = cx.instance;
        if !instance.filters(self.point) {
            return;
        }
        let mut counters = cx.rule_counters();
        let at_ingress = self.point == FilterPoint::Ingress;
        instance.filter_burst(
            self.point,
            burst,
            packets,
            |burst, slot| {
                let egress = if at_ingress { None } else { Some(burst.egress(slot)) };
                (burst.descriptor(slot), egress)
            },
            &mut counters,
            |burst, slot, decision| {
                if decision.log {
                    let egress = if at_ingress { None } else { Some(burst.egress(slot)) };
                    let descriptor = *burst.descriptor(slot);
                    cx.outbox.report(Report { rule: decision.rule, descriptor, egress });
                }
                match decision.action {
                    Action::Accept | Action::Count => {}
                    Action::Drop => cx.drop(burst, slot, self.drop_reason()),
                    Action::Reject => {
                        answer::send(cx, burst, slot, Answer::Rejected);
                        cx.drop(burst, slot, self.drop_reason());
                    }
                }
            },
        );
    }
}
