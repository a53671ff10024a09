//! What the stages would say of a packet: the evaluator, asked about one packet.

use sluice_hooks::HookOrder;
use sluice_packet::Descriptor;
use sluice_policy::model::{Action, FilterPoint};
use sluice_policy::{Instance, InterfaceId, Policy, ResolvedNextHop, RouteDecision};

use super::path::{By, Path, Rules};

/// What the stages would say.
pub(super) enum Decision {
    /// It is forwarded, and nobody is told.
    Path(Path),
    /// A filter denies it.
    Denied,
    /// The stages have to decide about each packet.
    Other,
}

/// A way that a hook has chosen.
#[derive(Clone, Copy)]
pub(super) struct Chosen {
    pub(super) hop: ResolvedNextHop,
    pub(super) by: By,
}

/// What the stages would say of a packet that is whole, and neither from nor for the router; its way
/// is the one that a hook has chosen, if one has.
pub(super) fn about(
    policy: &Policy,
    instance: &Instance,
    order: &HookOrder,
    d: &Descriptor,
    chosen: Option<Chosen>,
) -> Decision {
    match path(policy, instance, order, d, chosen) {
        Ok(path) => Decision::Path(path),
        Err(other) => other,
    }
}

fn path(
    policy: &Policy,
    instance: &Instance,
    order: &HookOrder,
    d: &Descriptor,
    chosen: Option<Chosen>,
) -> Result<Path, Decision> {
    let mut rules = Rules::default();
    passes(instance, FilterPoint::Ingress, d, None, &mut rules)?;
    let by = chosen.map_or(By::Policy, |chosen| chosen.by);
    let routed = match by {
        By::HookAhead => None,
        // The rules that match are counted whether a hook then chooses or not.
        By::Policy | By::Hook => match instance.route(d, &mut rules) {
            RouteDecision::Forward(next_hop) => Some(*policy.next_hop(next_hop)),
            _ => return Err(Decision::Other),
        },
    };
    let hop = chosen.map(|chosen| chosen.hop).or(routed).ok_or(Decision::Other)?;
    let egress = policy.interface(hop.interface).ok_or(Decision::Other)?;
    passes(instance, FilterPoint::Forward, d, Some(hop.interface), &mut rules)?;
    passes(instance, FilterPoint::Egress, d, Some(hop.interface), &mut rules)?;
    let between = egress.instance != instance.id && order.is_asked_between_instances();
    if between || rules.overflowed() {
        return Err(Decision::Other);
    }
    Ok(Path { hop, rules, mtu: egress.mtu, by })
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
