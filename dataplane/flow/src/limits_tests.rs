use super::*;
use std::collections::HashMap;

use proptest::prelude::*;

const HERTZ: u64 = 1_000_000;

fn rates() -> Rates {
    Rates::new(HERTZ, false).expect("memory")
}

fn taken(rates: &mut Rates, rate: Rate, times: impl Iterator<Item = u64>) -> usize {
    times.filter(|&now| rates.take(7, rate, now)).count()
}

#[test]
fn a_burst_and_then_the_rate() {
    let mut rates = rates();
    let rate = Rate { count: 100, seconds: 1, burst: 20 };
    assert_eq!(taken(&mut rates, rate, (0..1000).map(|_| 5 * HERTZ)), 20);
    // Ten seconds of a thousand tries each.
    let tries = (0..10_000).map(|i| 5 * HERTZ + i * HERTZ / 1000);
    assert!((990..=1010).contains(&taken(&mut rates, rate, tries)));
    assert_eq!(taken(&mut rates, rate, (0..1000).map(|_| 60 * HERTZ)), 20, "after a pause");
    assert!(rates.take(8, rate, 60 * HERTZ), "rules are apart");
}

#[test]
fn slow_rates_and_none() {
    let mut rates = rates();
    let hourly = Rate { count: 2, seconds: 3600, burst: 1 };
    assert_eq!(taken(&mut rates, hourly, (0..7200).map(|s| (s + 1) * HERTZ)), 4);
    let never = Rate { count: 0, seconds: 1, burst: 5 };
    assert!(!rates.take(1, never, HERTZ));
    let boundless = Rate { count: u32::MAX, seconds: 1, burst: 1 };
    assert!(
        (0..100).all(|_| rates.take(2, boundless, HERTZ)),
        "more than one a count of the clock"
    );
}

#[test]
fn f17_a_clock_that_goes_back_does_not_shut_a_rule() {
    let mut rates = rates();
    let rate = Rate { count: 10, seconds: 1, burst: 10 };
    assert_eq!(taken(&mut rates, rate, (0..20).map(|_| 86_400 * HERTZ)), 10);
    assert_eq!(taken(&mut rates, rate, (0..20).map(|_| 10 * HERTZ)), 10);
    assert_eq!(taken(&mut rates, rate, (0..20).map(|_| u64::MAX - 5)), 10);
    assert_eq!(
        taken(&mut rates, rate, (0..20).map(|_| u64::MAX)),
        0,
        "the end of time is no panic"
    );
}

#[test]
fn a_source_has_no_more_than_its_share() {
    let hasher = Hasher::new([1, 2]);
    let mut sources = Sources::new(2, false).expect("memory");
    let places: Vec<_> = (0..5).map(|_| sources.hold(&hasher, [1, 0], 3, 2)).collect();
    assert_eq!(places.iter().flatten().count(), 2);
    assert_eq!(sources.flows(&hasher, [1, 0], 3), 2);
    assert!(sources.hold(&hasher, [1, 0], 4, 2).is_some(), "rules are apart");
    assert!(sources.hold(&hasher, [2, 0], 3, 2).is_none(), "no room for a third");
    places.into_iter().flatten().for_each(|place| sources.release(&hasher, place));
    assert_eq!(sources.flows(&hasher, [1, 0], 3), 0);
    assert!(sources.hold(&hasher, [2, 0], 3, 2).is_some());
    assert!(sources.hold(&hasher, [5, 0], 3, 0).is_none());
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    /// Whatever comes and goes, the count is what a map counts.
    #[test]
    fn sources_are_counted_as_a_map_counts(
        turns in prop::collection::vec((any::<bool>(), 0_u64..20, 0_u16..3), 1..400),
        places in 1_u32..64,
    ) {
        let hasher = Hasher::new([3, 4]);
        let mut sources = Sources::new(places, false).expect("memory");
        let mut held: Vec<(u64, u16, u32)> = Vec::new();
        let mut model: HashMap<(u64, u16), u32> = HashMap::new();
        for (hold, address, rule) in turns {
            if hold {
                let count = model.get(&(address, rule)).copied().unwrap_or(0);
                let place = sources.hold(&hasher, [address, 0], rule, 5);
                let room = count > 0 || model.len() < places as usize;
                prop_assert_eq!(place.is_some(), count < 5 && room);
                if let Some(place) = place {
                    held.push((address, rule, place));
                    *model.entry((address, rule)).or_default() += 1;
                }
            } else if !held.is_empty() {
                let (address, rule, place) = held.swap_remove(address as usize % held.len());
                sources.release(&hasher, place);
                let count = model.get_mut(&(address, rule)).expect("it was held");
                *count -= 1;
                if *count == 0 {
                    model.remove(&(address, rule));
                }
            }
            prop_assert_eq!(sources.used(), model.len());
            for (&(address, rule), &count) in &model {
                prop_assert_eq!(sources.flows(&hasher, [address, 0], rule), count);
            }
        }
    }
}
