//! Checks what rules and timeouts say about connections, and finds the limit of a rule.

use std::sync::Arc;

use sluice_flow::Timeouts;
use sluice_flow::limits::Allowance;

use super::error::{Mistake, Thing};
use super::links::Links;
use super::report::Report;
use crate::filter::Stateful;
use crate::ids::RuleSlot;
use crate::model::{Action, FlowLimit, MAX_TIMEOUT, Rate, Rule, Standing, State, Timeout};

/// Checks the states that a rule matches and its limit; `stateful`: the filter is.
pub(super) fn check(thing: &Thing, rule: &Rule, stateful: bool, report: &mut Report<'_>) {
    let decided = |state: &Standing| Stateful::ALL.iter().any(|s| s.states().contains(state));
    if stateful && !rule.state.is_empty() && rule.state.iter().all(decided) {
        let why = "the filter is stateful, and has decided about such packets ahead of its rules";
        report.add(thing, "state", Mistake::MatchesNothing(why));
    }
    let Some(FlowLimit { new_flows, flows_per_source }) = rule.limit else { return };
    if rule.action != Action::Accept {
        report.add(thing, "limit", Mistake::LimitOfAction(rule.action));
    }
    if !rule.state.is_empty() && !rule.state.contains(&Standing::New) {
        report.add(thing, "limit", Mistake::LimitWithoutNew);
    }
    if new_flows.is_none() && flows_per_source.is_none() {
        report.add(thing, "limit", Mistake::EmptyLimit);
    }
    if let Some(Rate { count, seconds, burst }) = new_flows
        && [count, seconds, burst].contains(&0)
    {
        report.add(thing, "limit", Mistake::RateRange { count, seconds, burst });
    }
    if flows_per_source == Some(0) {
        report.add(thing, "limit", Mistake::PerSourceRange);
    }
}

/// Checks timeouts that are set.
pub(super) fn check_timeouts(set: &[(Timeout, Option<u32>)], report: &mut Report<'_>) {
    for &(timeout, seconds) in set {
        if let Some(seconds) = seconds.filter(|seconds| !(1..=MAX_TIMEOUT).contains(seconds)) {
            let mistake = Mistake::TimeoutRange { timeout, seconds };
            report.add(&Thing::Flows, timeout.name(), mistake);
        }
    }
}

/// The timeouts of a state.
pub(super) fn timeouts(state: &State) -> Timeouts {
    let mut timeouts = Timeouts::DEFAULT;
    for (timeout, &seconds) in &state.timeouts {
        *timeout.of(&mut timeouts) = seconds;
    }
    timeouts
}

/// The limits of all rules that have one, by slot, ascending.
pub(super) fn of_rules(state: &State, links: &Links) -> Arc<[(RuleSlot, Allowance)]> {
    let mut limits = Vec::new();
    for (key, spec) in &state.filters {
        let instance = links.instance_named(&key.instance);
        let filter = instance.and_then(|i| i.filters[key.point as usize].as_deref());
        let slots = filter.into_iter().flat_map(|filter| filter.rule_slots());
        let limited = spec.rules.iter().zip(slots);
        limits.extend(limited.filter_map(|(rule, slot)| Some((slot, rule.limit?.into()))));
    }
    limits.sort_unstable_by_key(|(slot, _)| *slot);
    limits.into()
}

#[cfg(test)]
mod tests;
