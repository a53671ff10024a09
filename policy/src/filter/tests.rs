//! What filters make of the rules that match, in both shapes of a classifier.

use proptest::prelude::*;
use proptest::sample::select;
use sluice_packet::Descriptor;

use super::*;
use crate::classifier::tests::{plainly, some_conditions, some_packet};
use crate::ids::InterfaceId;

const DEFAULT: RuleSlot = RuleSlot(9999);

fn filter(rules: &[(Conditions, Action, bool)], default: Action) -> Filter {
    let conditions: Vec<_> = rules.iter().map(|rule| rule.0.clone()).collect();
    let decision = |(i, (_, action, log)): (usize, &(Conditions, Action, bool))| FilterDecision {
        action: *action,
        rule: RuleSlot(i as u16 + 1),
        log: *log,
    };
    let decisions = rules.iter().enumerate().map(decision).collect();
    let default = FilterDecision { action: default, rule: DEFAULT, log: false };
    Filter::new(&conditions, decisions, default, HashMap::new())
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
                    deciding = Some(FilterDecision { action, rule, log });
                    break;
                }
            }
            let by_default = FilterDecision { action: default, rule: DEFAULT, log: false };
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
