//! First-match filters: what a rule that matches means.

use std::collections::HashMap;

use sluice_packet::Descriptor;

use crate::classifier::{Classifier, Conditions, Packet, Verdict};
use crate::evaluate::{FilterDecision, Recorder};
use crate::ids::RuleSlot;
use crate::model::{Action, Name};

/// A filter ready to be asked.
#[derive(Clone, Debug)]
pub(crate) struct Filter {
    classifier: Classifier,
    /// What each rule does.
    rules: Box<[FilterDecision]>,
    /// What happens to a packet that no rule decides.
    default: FilterDecision,
    /// The rules' slots by name: how a rule of the next generation finds its own again.
    pub(crate) slots: HashMap<Name, RuleSlot>,
}

impl Filter {
    /// A filter of rules: what they ask of a packet, and what they do.
    pub(crate) fn new(
        conditions: &[Conditions],
        rules: Box<[FilterDecision]>,
        default: FilterDecision,
        slots: HashMap<Name, RuleSlot>,
    ) -> Filter {
        Filter { classifier: Classifier::new(conditions), rules, default, slots }
    }

    /// Whether asking could ever have an effect.
    pub(crate) fn is_open(&self) -> bool {
        self.rules.is_empty() && self.default.action == Action::Accept
    }

    /// Whether there are so many rules that packets had better be asked about together.
    #[inline]
    pub(crate) fn is_many(&self) -> bool {
        matches!(self.classifier, Classifier::Table(_))
    }

    /// The slots of the rules, in order.
    pub(crate) fn rule_slots(&self) -> impl Iterator<Item = RuleSlot> {
        self.rules.iter().map(|rule| rule.rule)
    }

    /// The slot of the default action.
    pub(crate) fn default_slot(&self) -> RuleSlot {
        self.default.rule
    }

    /// The decisions about up to [`BURST`](crate::classifier::BURST) packets: of the first rule
    /// that matches and does more than count.
    #[inline]
    pub(crate) fn decide<R: Recorder>(
        &self,
        packets: &[Packet<'_>],
        recorder: &mut R,
        decided: impl FnMut(usize, FilterDecision),
    ) {
        let deciding = &mut Deciding { filter: self, packets, recorder, decided };
        self.classifier.burst(packets, deciding);
    }
}

struct Deciding<'a, R, F> {
    filter: &'a Filter,
    packets: &'a [Packet<'a>],
    recorder: &'a mut R,
    decided: F,
}

impl<R: Recorder, F: FnMut(usize, FilterDecision)> Verdict for Deciding<'_, R, F> {
    #[inline]
    fn packet(&mut self, place: usize, matches: impl Iterator<Item = usize>) {
        let Deciding { filter, packets, recorder, decided } = self;
        let d: &Descriptor = packets[place].descriptor;
        for rule in matches {
            let decision = filter.rules[rule];
            recorder.rule(decision.rule, d);
            if decision.action != Action::Count {
                return decided(place, decision);
            }
        }
        recorder.rule(filter.default.rule, d);
        decided(place, filter.default);
    }
}

#[cfg(test)]
mod tests;
