//! What filters make of the rules that match, in both shapes of a classifier.

use proptest::prelude::*;
use proptest::sample::select;
use sluice_packet::{ConnectionState, Descriptor};

use super::*;
use crate::classifier::tests::{plainly, some_conditions, some_packet};
use crate::ids::InterfaceId;

const DEFAULT: RuleSlot = RuleSlot(9999);

fn filter(rules: &[(Conditions, Action, bool)], default: Action) -> Filter {
    let conditions: Vec<_> = rules.iter().map(|rule| rule.0.clone()).collect();
    let decision = |(i, (_, action, log)): (usize, &(Conditions, Action, bool))| {
        let decision = FilterDecision::plain(*action, RuleSlot(i as u16 + 1));
        FilterDecision { log: *log, ..decision }
    };
    let decisions = rules.iter().enumerate().map(decision).collect();
    let default = FilterDecision::plain(default, DEFAULT);
    Filter::new(false, &conditions, decisions, default, HashMap::new())
}

/// Keeps the slots that were told.
#[derive(Default)]
struct Told(Vec<RuleSlot>);

impl Recorder for Told {
    fn rule(&mut self, slot: RuleSlot, _: &Descriptor) {
        self.0.push(slot);
    }

    fn rule_of_many(&mut self, slot: RuleSlot, packets: u64, bytes: u64) {
        assert_eq!(bytes, packets * LENGTH);
        self.0.extend((0..packets).map(|_| slot));
    }
}

/// All packets are of this length.
const LENGTH: u64 = 77;

fn decide(filter: &Filter, packet: Packet<'_>, told: &mut Told) -> FilterDecision {
    filter.decide(packet, told)
}

fn some_rule() -> impl Strategy<Value = (Conditions, Action, bool)> {
    let action = select(vec![Action::Accept, Action::Drop, Action::Reject, Action::Count]);
    (some_conditions(), action, any::<bool>())
}

proptest! {
    #[test]
    fn the_first_match_decides_and_all_matches_before_it_are_told(
        rules in prop_oneof![
            proptest::collection::vec(some_rule(), 0..12),
            proptest::collection::vec(some_rule(), 12..100),
        ],
        default in select(vec![Action::Accept, Action::Drop, Action::Reject]),
        mut packets in proptest::collection::vec(some_packet(), 64),
        chosen in any::<u64>(),
    ) {
        packets.iter_mut().for_each(|(d, _)| d.l3_length = LENGTH as u16);
        let filter = filter(&rules, default);
        let burst: Vec<Packet<'_>> =
            packets.iter().map(|(d, egress)| Packet { descriptor: d, egress: *egress }).collect();
        let (mut together, mut alone) = (Told::default(), Told::default());
        let mut decisions = [None; 64];
        let chosen = Mask(chosen);
        filter.decide_burst(
            &mut &burst[..],
            chosen,
            |burst, slot| (burst[slot].descriptor, burst[slot].egress),
            &mut together,
            |_, packets, decision| {
                for slot in packets {
                    assert_eq!(decisions[slot].replace(decision), None);
                }
            },
        );

        let mut expected = Vec::new();
        for (slot, packet) in burst.iter().enumerate() {
            if !chosen.contains(slot) {
                prop_assert_eq!(decisions[slot], None);
                continue;
            }
            let decision = decide(&filter, *packet, &mut alone);
            prop_assert_eq!(Some(decision), decisions[slot]);
            let matching = rules.iter().zip(1..).filter(|(rule, _)| plainly(&rule.0, packet));
            let mut deciding = None;
            for ((_, action, log), slot) in matching {
                expected.push(RuleSlot(slot));
                if *action != Action::Count {
                    let (action, rule, log) = (*action, RuleSlot(slot), *log);
                    deciding = Some(FilterDecision { log, ..FilterDecision::plain(action, rule) });
                    break;
                }
            }
            let by_default = FilterDecision::plain(default, DEFAULT);
            if deciding.is_none() {
                expected.push(DEFAULT);
            }
            prop_assert_eq!(decision, deciding.unwrap_or(by_default));
        }
        prop_assert_eq!(&alone.0, &expected);
        together.0.sort_unstable();
        expected.sort_unstable();
        prop_assert_eq!(&together.0, &expected);
    }
}

#[test]
fn log_is_the_deciding_rules() {
    let tcp = Conditions { protocol: Box::new([6]), ..Conditions::default() };
    let rules = [(Conditions::default(), Action::Count, true), (tcp, Action::Drop, true)];
    let of = filter(&rules, Action::Accept);
    let mut d = Descriptor::default();
    let egress = Some(InterfaceId(1));
    assert!(!decide(&of, Packet { descriptor: &d, egress }, &mut Told::default()).log);
    d.key.protocol = 6;
    assert!(decide(&of, Packet { descriptor: &d, egress }, &mut Told::default()).log);
    assert!(!of.is_open());
    assert!(filter(&[], Action::Accept).is_open() && !filter(&[], Action::Drop).is_open());
}

proptest! {
    /// A stateful filter is the plain one, asked about what it has not decided by the state alone.
    #[test]
    fn a_stateful_filter_asks_its_rules_about_the_rest(
        rules in prop_oneof![
            proptest::collection::vec(some_rule(), 0..6),
            proptest::collection::vec(some_rule(), 12..60),
        ],
        default in select(vec![Action::Accept, Action::Drop, Action::Reject]),
        packets in proptest::collection::vec(some_packet(), 64),
    ) {
        const SLOTS: [RuleSlot; 2] = [RuleSlot(7001), RuleSlot(7002)];
        let plain = filter(&rules, default);
        let implied = Stateful::ALL.map(|implied| Conditions {
            state: implied.states().iter().map(|&state| state.into()).collect(),
            ..Conditions::default()
        });
        let conditions: Vec<_> =
            implied.into_iter().chain(rules.iter().map(|rule| rule.0.clone())).collect();
        let implied = Stateful::ALL.into_iter().zip(SLOTS).map(|(s, slot)| s.decision(slot));
        let decisions = implied.chain(plain.rules.iter().copied()).collect();
        let stateful = Filter::new(true, &conditions, decisions, plain.default, HashMap::new());
        prop_assert_eq!(stateful.rule_slots().count(), rules.len());
        prop_assert!(stateful.consulted().state);
        for (d, egress) in &packets {
            let packet = Packet { descriptor: d, egress: *egress };
            let (mut told, mut plainly) = (Told::default(), Told::default());
            let decision = decide(&stateful, packet, &mut told);
            let expected = match d.state {
                ConnectionState::Established | ConnectionState::Related => {
                    plainly.0.push(SLOTS[0]);
                    FilterDecision::plain(Action::Accept, SLOTS[0])
                }
                ConnectionState::Invalid => {
                    plainly.0.push(SLOTS[1]);
                    Stateful::Invalid.decision(SLOTS[1])
                }
                _ => decide(&plain, packet, &mut plainly),
            };
            prop_assert_eq!(decision, expected);
            prop_assert_eq!(told.0, plainly.0);
        }
    }
}
