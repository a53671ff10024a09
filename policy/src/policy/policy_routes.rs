//! Checks and compiles policy routes.

use std::collections::HashMap;

use ipnet::IpNet;
use sluice_packet::Family;

use super::error::{Mistake, Thing};
use super::hops::{self, At, MAX_HOPS, Ways};
use super::links::{Links, family_of, unknown_instance};
use super::report::{Naming, Report, is_name};
use super::routes::{check_hops, unknown_table, unresolved};
use super::rules::{Slots, check_rule, conditions_of, interfaces};
use super::sets::Sets;
use crate::drop_reason::DropReason;
use crate::ids::RuleSlot;
use crate::instance::Instance;
use crate::model::{Name, NextHop, PolicyAction, PolicyRoute};
use crate::route::NextHops;
use crate::steering::{Rule, Rules, Way};

/// Which next hops must lead somewhere.
#[derive(Clone, Copy)]
pub(super) enum MustResolve<'a> {
    /// None.
    Nothing,
    /// All.
    Everything,
    /// Those that did, as these links were.
    What(&'a Links),
}

/// Checks the policy routes of an instance and compiles what they match; `old` are those of the
/// generation before.
pub(super) fn compile(
    name: &Name,
    specs: &[PolicyRoute],
    (old, must): (Option<&Rules>, MustResolve<'_>),
    links: &Links,
    slots: &mut Slots,
    report: &mut Report<'_>,
) -> Option<Rules> {
    let Some(instance) = links.instance_named(name) else {
        let thing = Thing::PolicyRoutes(name.clone());
        report.add(&thing, "instance", unknown_instance(report.state, name));
        return None;
    };
    let mut conditions = Vec::with_capacity(specs.len());
    let mut list = Vec::with_capacity(specs.len());
    let mut new_slots: HashMap<Name, RuleSlot> = HashMap::with_capacity(specs.len());
    for (place, spec) in specs.iter().enumerate() {
        let thing = Thing::PolicyRoute(name.clone(), place, spec.name.clone());
        if !is_name(&spec.name, Naming::Rule) {
            report.add(&thing, "name", Mistake::BadName(spec.name.clone()));
        } else if new_slots.contains_key(&spec.name) {
            report.add(&thing, "name", Mistake::PolicyRouteTwice(spec.name.clone()));
        }
        let rule = spec.as_rule();
        check(&thing, spec, must, instance, links, report);
        let input = interfaces(&thing, "in", &spec.input, instance, links, report);
        let asked_for = conditions_of(&rule, input, Box::default(), &mut Sets::none());
        check_rule(&thing, &rule, &asked_for, report);
        let kept = old.and_then(|old| old.slots.get(&spec.name).copied());
        let Some(slot) = kept.or_else(|| slots.take()) else {
            let (what, count, most) =
                ("rules and policy routes", specs.len(), usize::from(u16::MAX));
            report.add(&thing, "", Mistake::TooMany { what, count, most });
            return None;
        };
        new_slots.insert(spec.name.clone(), slot);
        conditions.push(asked_for);
        list.push(Rule {
            slot,
            dscp: spec.dscp.iter().fold(0, |all, &dscp| all | 1_u64 << (dscp & 63)),
            fragment: spec.fragment,
            unreachable: spec.unreachable,
        });
    }
    let with_ports =
        specs.iter().filter(|s| !s.source_port.is_empty() || !s.destination_port.is_empty());
    let with_ports = with_ports.flat_map(|spec| spec.protocol.iter().copied());
    Some(Rules::new(&conditions, list, new_slots, with_ports))
}

fn check(
    thing: &Thing,
    spec: &PolicyRoute,
    must: MustResolve<'_>,
    instance: &Instance,
    links: &Links,
    report: &mut Report<'_>,
) {
    for (i, &dscp) in spec.dscp.iter().enumerate().filter(|(_, dscp)| **dscp > 63) {
        report.add_item(thing, "dscp", i, Mistake::DscpRange(dscp));
    }
    match &spec.action {
        PolicyAction::Table(table) if instance.table_named(table).is_none() => {
            report.add(thing, "table", unknown_table(instance, table));
        }
        PolicyAction::NextHops(hops) if hops.is_empty() => {
            report.add(thing, "", Mistake::PolicyRouteNowhere);
        }
        PolicyAction::NextHops(hops) => {
            if hops.len() > MAX_HOPS {
                let (what, count, most) = ("next hops in the policy route", hops.len(), MAX_HOPS);
                report.add(thing, "via", Mistake::TooMany { what, count, most });
            }
            check_hops(thing, hops, report, |hop| {
                let family = hop_families(hop)[0];
                let at = At::no_table(family);
                hops::unsound(hop, at.prefix).or_else(|| {
                    let wrong = unresolved(hop, at, instance, links)?;
                    let did = |links: &Links| {
                        let instance = links.instance_named(&instance.name);
                        instance.is_some_and(|i| unresolved(hop, at, i, links).is_none())
                    };
                    let wanted = match must {
                        MustResolve::Nothing => false,
                        MustResolve::Everything => true,
                        MustResolve::What(before) => did(before),
                    };
                    wanted.then_some(wrong)
                })
            });
            let networks = [&spec.source, &spec.destination];
            let speaks = |family| {
                let of = |net: &&IpNet| family_of(net.addr()) == family;
                networks.iter().all(|nets| nets.is_empty() || nets.iter().any(|net| of(&net)))
                    && hops.iter().any(|hop| hop_families(hop).contains(&family))
            };
            if !speaks(Family::Inet) && !speaks(Family::Inet6) {
                let why = "its next hops are of another IP version than its addresses";
                report.add(thing, "via", Mistake::MatchesNothing(why));
            }
        }
        PolicyAction::Table(_) | PolicyAction::Drop | PolicyAction::Reject => {}
    }
}

/// The IP versions whose packets a next hop takes: an interface alone takes both.
fn hop_families(hop: &NextHop) -> &'static [Family] {
    match hop.via.map(family_of) {
        Some(Family::Inet) => &[Family::Inet],
        Some(Family::Inet6) => &[Family::Inet6],
        None => &[Family::Inet, Family::Inet6],
    }
}

/// Where policy routes lead while the ports of `links` are as they are.
pub(super) fn ways(
    specs: &[PolicyRoute],
    instance: &Instance,
    links: &Links,
    next_hops: &mut NextHops,
) -> Vec<[Way; 2]> {
    let mut way = |spec: &PolicyRoute, family| match &spec.action {
        PolicyAction::Table(table) => {
            instance.table_named(table).map_or(Way::Unreachable, Way::Table)
        }
        PolicyAction::Drop => Way::Drop(DropReason::PolicyDrop),
        PolicyAction::Reject => Way::Drop(DropReason::PolicyReject),
        PolicyAction::NextHops(list) => {
            if !list.iter().any(|hop| hop_families(hop).contains(&family)) {
                return Way::Other;
            }
            match hops::ways(list, At::no_table(family), instance, links) {
                None => Way::Unreachable,
                Some(Ways::Out(out)) => {
                    Way::Leaf(next_hops.leaf(&out, |hop| links.member_key(hop)))
                }
                Some(Ways::Drop(leaf)) => Way::Leaf(leaf),
            }
        }
    };
    specs.iter().map(|spec| [way(spec, Family::Inet), way(spec, Family::Inet6)]).collect()
}
