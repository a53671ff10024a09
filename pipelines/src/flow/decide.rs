//! What the stages would say of a packet: the evaluator, asked about one packet.

use sluice_hooks::HookOrder;
use sluice_packet::Descriptor;
use sluice_policy::model::{Action, FilterPoint};
use sluice_policy::{Instance, InterfaceId, Policy, RouteDecision};

use super::path::{Path, Rules};

/// What the stages would say.
pub(super) enum Decision {
    /// It is forwarded, and nobody is told.
    Path(Path),
    /// A filter denies it.
    Denied,
    /// The stages have to decide about each packet.
    Other,
}

/// What the stages would say of a packet that is whole, and neither from nor for the router.
pub(super) fn about(
    policy: &Policy,
    instance: &Instance,
    order: &HookOrder,
    d: &Descriptor,
) -> Decision {
    match path(policy, instance, order, d) {
        Ok(path) => Decision::Path(path),
        Err(other) => other,
    }
}

fn path(
    policy: &Policy,
    instance: &Instance,
    order: &HookOrder,
    d: &Descriptor,
) -> Result<Path, Decision> {
    let mut rules = Rules::default();
    passes(instance, FilterPoint::Ingress, d, None, &mut rules)?;
    let RouteDecision::Forward(next_hop) = instance.route(d, &mut rules) else {
        return Err(Decision::Other);
    };
    let hop = *policy.next_hop(next_hop);
    let egress = policy.interface(hop.interface).ok_or(Decision::Other)?;
    passes(instance, FilterPoint::Forward, d, Some(hop.interface), &mut rules)?;
    passes(instance, FilterPoint::Egress, d, Some(hop.interface), &mut rules)?;
    let between = egress.instance != instance.id && order.is_asked_between_instances();
    if between || rules.overflowed() {
        return Err(Decision::Other);
    }
    Ok(Path { hop, rules, mtu: egress.mtu })
}

fn passes(
    instance: &Instance,
    point: FilterPoint,
    d: &Descriptor,
    egress: Option<InterfaceId>,
    rules: &mut Rules,
) -> Result<(), Decision> {
    if !instance.asks(point) {
        return Ok(());
    }
    let decision = instance.filter(point, d, egress, rules);
    match decision.action {
        Action::Accept | Action::Count if decision.log => Err(Decision::Other),
        Action::Accept | Action::Count => Ok(()),
        Action::Drop | Action::Reject => Err(Decision::Denied),
    }
}
