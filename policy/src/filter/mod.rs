//! First-match filters: what a rule that matches means.
//!
//! Ahead of its rules a stateful filter has those of [`Stateful`], in this order.

use std::collections::HashMap;

use sluice_packet::{Consulted, Descriptor, Mask};

use crate::classifier::{self, BURST, Classifier, Columns, Conditions, Packet, Verdict};
use crate::evaluate::{FilterDecision, Recorder};
use crate::ids::{InterfaceId, RuleSlot};
use crate::model::{Action, Name, Standing};

/// What a stateful filter does ahead of its rules.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Stateful {
    /// Packets of connections, and ICMP errors about them, pass.
    Established,
    /// What cannot be of any connection is dropped.
    Invalid,
}

impl Stateful {
    pub(crate) const ALL: [Stateful; 2] = [Stateful::Established, Stateful::Invalid];

    /// What counters and reports call it: no rule can have such a name.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Stateful::Established => "stateful:established",
            Stateful::Invalid => "stateful:invalid",
        }
    }

    /// What it does.
    pub(crate) const fn action(self) -> Action {
        match self {
            Stateful::Established => Action::Accept,
            Stateful::Invalid => Action::Drop,
        }
    }

    /// The packets that it is about.
    pub(crate) const fn states(self) -> &'static [Standing] {
        match self {
            Stateful::Established => &[Standing::Established, Standing::Related],
            Stateful::Invalid => &[Standing::Invalid],
        }
    }

    /// The decision, counted at a slot.
    pub(crate) fn decision(self, rule: RuleSlot) -> FilterDecision {
        let invalid = self == Stateful::Invalid;
        FilterDecision { invalid, ..FilterDecision::plain(self.action(), rule) }
    }
}

/// So many packets and rules make it worth it to take the packets' fields apart first.
const MANY_PACKETS: usize = 24;
const SOME_RULES: usize = 4;

/// A filter ready to be asked.
#[derive(Clone, Debug)]
pub(crate) struct Filter {
    classifier: Classifier,
    /// What each rule does, those of [`Stateful`] first.
    rules: Box<[FilterDecision]>,
    /// Whether it has those.
    stateful: bool,
    /// What happens to a packet that no rule decides.
    default: FilterDecision,
    consulted: Consulted,
    limits: bool,
    /// The rules' slots by name: how a rule of the next generation finds its own again.
    pub(crate) slots: HashMap<Name, RuleSlot>,
}

impl Filter {
    /// A filter of rules: what they ask of a packet, and what they do. Those of [`Stateful`] are the
    /// first where it is `stateful`.
    pub(crate) fn new(
        stateful: bool,
        conditions: &[Conditions],
        rules: Box<[FilterDecision]>,
        default: FilterDecision,
        slots: HashMap<Name, RuleSlot>,
    ) -> Filter {
        let (classifier, consulted) =
            (Classifier::new(conditions), classifier::consulted(conditions));
        let limits = rules.iter().any(|rule| rule.limited);
        Filter { classifier, rules, stateful, default, consulted, limits, slots }
    }

    /// What packets of a flow must be equal in for this to say the same about them.
    #[inline]
    pub(crate) fn consulted(&self) -> Consulted {
        self.consulted
    }

    /// Whether asking could ever have an effect.
    pub(crate) fn is_open(&self) -> bool {
        self.rules.is_empty() && self.default.action == Action::Accept
    }

    /// Whether some rule has a limit.
    #[inline]
    pub(crate) fn limits(&self) -> bool {
        self.limits
    }

    /// The slots of the rules, in order.
    pub(crate) fn rule_slots(&self) -> impl Iterator<Item = RuleSlot> {
        self.rules.iter().skip(self.implied()).map(|rule| rule.rule)
    }

    /// What it does ahead of the rules, and where that is counted.
    pub(crate) fn stateful_slots(&self) -> impl Iterator<Item = (Stateful, RuleSlot)> {
        let slots = self.rules.iter().map(|rule| rule.rule);
        Stateful::ALL.into_iter().zip(slots).take(self.implied())
    }

    /// How many rules stand ahead of those that were written.
    fn implied(&self) -> usize {
        if self.stateful { Stateful::ALL.len() } else { 0 }
    }

    /// The slot of the default action.
    pub(crate) fn default_slot(&self) -> RuleSlot {
        self.default.rule
    }

    /// The decision about one packet: of the first rule that matches and does more than count.
    #[inline]
    pub(crate) fn decide<R: Recorder>(
        &self,
        packet: Packet<'_>,
        recorder: &mut R,
    ) -> FilterDecision {
        let mut decision = self.default;
        self.decide_many(&[packet], recorder, |_, decided| decision = decided);
        decision
    }

    /// [`decide`](Self::decide) about each of `packets` of a burst, which says by `packet` what they
    /// are. Tells `decided` what is decided about which of them, everything once.
    #[inline]
    pub(crate) fn decide_burst<B, R: Recorder>(
        &self,
        burst: &mut B,
        packets: Mask,
        packet: impl Fn(&B, usize) -> (&Descriptor, Option<InterfaceId>),
        recorder: &mut R,
        mut decided: impl FnMut(&mut B, Mask, FilterDecision),
    ) {
        let Some(conditions) = self.classifier.few() else {
            self.decide_by_table(burst, packets, packet, recorder, decided);
            return;
        };
        let mut left = packets;
        let columns = (packets.len() >= MANY_PACKETS && conditions.len() >= SOME_RULES)
            .then(|| Columns::of(packets, conditions, |slot| packet(burst, slot).into()));
        for (condition, decision) in conditions.iter().zip(&self.rules) {
            let matching = match &columns {
                Some(columns) => {
                    condition.among_columns(columns, left, |slot| packet(burst, slot).0)
                }
                None => condition.among(left, |slot| packet(burst, slot).into()),
            };
            if matching.is_empty() {
                continue;
            }
            record(decision.rule, matching, |slot| packet(burst, slot).into(), recorder);
            if decision.action != Action::Count {
                left &= !matching;
                decided(burst, matching, *decision);
            }
        }
        if !left.is_empty() {
            record(self.default.rule, left, |slot| packet(burst, slot).into(), recorder);
            decided(burst, left, self.default);
        }
    }

    #[inline(never)]
    fn decide_by_table<B, R: Recorder>(
        &self,
        burst: &mut B,
        packets: Mask,
        packet: impl Fn(&B, usize) -> (&Descriptor, Option<InterfaceId>),
        recorder: &mut R,
        mut decided: impl FnMut(&mut B, Mask, FilterDecision),
    ) {
        let mut decisions = [self.default; BURST];
        let nothing = Descriptor::default();
        let mut all = [Packet { descriptor: &nothing, egress: None }; BURST];
        for (slot, of) in packets.into_iter().zip(&mut all) {
            *of = packet(burst, slot).into();
        }
        self.decide_many(&all[..packets.len()], recorder, |place, decision| {
            decisions[place & (BURST - 1)] = decision;
        });
        for (slot, decision) in packets.into_iter().zip(decisions) {
            decided(burst, Mask::only(slot), decision);
        }
    }

    /// The decisions about up to [`BURST`] packets.
    #[inline]
    fn decide_many<R: Recorder>(
        &self,
        packets: &[Packet<'_>],
        recorder: &mut R,
        decided: impl FnMut(usize, FilterDecision),
    ) {
        let deciding = &mut Deciding { filter: self, packets, recorder, decided };
        self.classifier.burst(packets, deciding);
    }
}

/// Tells the recorder of a rule that matches several packets.
#[inline]
fn record<'a>(
    rule: RuleSlot,
    packets: Mask,
    packet: impl Fn(usize) -> Packet<'a>,
    recorder: &mut impl Recorder,
) {
    let length = |slot| u64::from(packet(slot).descriptor.l3_length);
    recorder.rule_of_many(rule, packets.len() as u64, packets.into_iter().map(length).sum());
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
