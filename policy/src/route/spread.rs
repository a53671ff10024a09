//! How flows spread over several next hops.
//!
//! A flow's hash falls into one of [`SLOTS`] slots, and each slot is taken by the member that bids
//! most for it: weighted rendezvous hashing (Thaler and Ravishankar 1998; Schindelhauer and
//! Schomaker 2005). A bid depends on the slot and on its member alone, so that a member that goes
//! gives up its own flows and no others move, one that comes takes over what it bids most for and
//! nothing else moves, and every process finds the same without knowing what was before.

use std::sync::Arc;

use super::mix;
use crate::ids::NextHopId;

/// Enough for an even spread over a few members, and few enough to stay in a cache.
pub(super) const SLOTS: usize = 1024;

/// One of several next hops.
#[derive(Clone, Copy, Debug)]
pub(super) struct Member {
    pub(super) id: NextHopId,
    /// What it is called: the same in every process and build.
    pub(super) key: u64,
    /// Its share.
    pub(super) weight: u32,
}

/// The member that takes each slot.
pub(super) fn slots(members: &[Member]) -> Arc<[NextHopId; SLOTS]> {
    let mut slots = [NextHopId::default(); SLOTS];
    for (slot, taken) in (0..).zip(&mut slots) {
        // The logarithm of a uniform number, divided by the weight, is exponentially distributed
        // at the weight's rate: the least is this member's as often as its weight says.
        let mut least: Option<(u64, &Member)> = None;
        for member in members {
            let cost = minus_log2(mix(member.key ^ mix(slot)));
            let (weight, key) = (u64::from(member.weight.max(1)), member.key);
            let less = least.is_none_or(|(other, best)| {
                let (ours, theirs) = (cost * u64::from(best.weight.max(1)), other * weight);
                (ours, key) < (theirs, best.key)
            });
            if less {
                least = Some((cost, member));
            }
        }
        *taken = least.map_or_else(NextHopId::default, |(_, member)| member.id);
    }
    Arc::new(slots)
}

/// Bits of a logarithm's fraction.
const FRACTION: u32 = 24;

/// −log₂(x ÷ 2⁶⁴) in units of 2⁻²⁴, digit by digit: whole numbers alone are the same everywhere.
const fn minus_log2(x: u64) -> u64 {
    let x = x | 1;
    let zeros = x.leading_zeros();
    let mut mantissa = x << zeros;
    let mut fraction = 0;
    let mut digit = 0;
    while digit < FRACTION {
        let square = mantissa as u128 * mantissa as u128;
        let carry = (square >> 127) as u64;
        fraction = fraction << 1 | carry;
        mantissa = (square >> (63 + carry)) as u64;
        digit += 1;
    }
    ((zeros as u64 + 1) << FRACTION) - fraction
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn members(weights: &[u32]) -> Vec<Member> {
        let member = |(i, &weight): (usize, &u32)| {
            let (id, key) = (NextHopId(i as u32), mix(i as u64 + 1));
            Member { id, key, weight }
        };
        weights.iter().enumerate().map(member).collect()
    }

    #[test]
    fn the_logarithm_is_right() {
        for x in [1, 2, 3, 1 << 40, (1 << 40) + 12_345, u64::MAX / 3, u64::MAX] {
            let right = 64.0 - ((x | 1) as f64).log2();
            let ours = minus_log2(x) as f64 / f64::from(1 << FRACTION);
            assert!((ours - right).abs() < 1e-6, "{x}: {ours} {right}");
        }
    }

    proptest! {
        /// Who goes gives up its own slots, and who comes takes over its own.
        #[test]
        fn only_the_slots_of_who_comes_or_goes_move(
            weights in prop::collection::vec(1_u32..1 << 24, 2..20),
            gone in any::<prop::sample::Index>(),
        ) {
            let all = members(&weights);
            let gone = all[gone.index(all.len())].id;
            let others: Vec<_> = all.iter().copied().filter(|member| member.id != gone).collect();
            let (with, without) = (slots(&all), slots(&others));
            for (with, without) in with.iter().zip(without.iter()) {
                prop_assert!(with == without || *with == gone);
            }
        }

        /// Neither the order of the members nor a common factor of their weights matters.
        #[test]
        fn only_names_and_weights_count(
            weights in prop::collection::vec(1_u32..1000, 2..20),
            factor in 1_u32..1000,
        ) {
            let forth = members(&weights);
            let back: Vec<_> = forth
                .iter()
                .rev()
                .map(|member| Member { weight: member.weight * factor, ..*member })
                .collect();
            prop_assert_eq!(slots(&forth), slots(&back));
        }

        /// Each has as many slots as its weight says, but for the luck of the draw.
        #[test]
        fn slots_are_shared_by_weight(weights in prop::collection::vec(1_u32..=256, 2..12)) {
            let slots = slots(&members(&weights));
            let sum: u32 = weights.iter().sum();
            for (i, &weight) in weights.iter().enumerate() {
                let has = slots.iter().filter(|id| id.index() == i).count() as f64;
                let share = f64::from(weight) / f64::from(sum);
                let expected = share * SLOTS as f64;
                let deviation = (expected * (1.0 - share)).sqrt();
                prop_assert!((has - expected).abs() < 6.0 * deviation + 2.0, "{has} {expected}");
            }
        }
    }
}
