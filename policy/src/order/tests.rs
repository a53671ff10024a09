//! Hints are kept, in every order of arrival, and no hook is moved by another's.

use proptest::prelude::*;

use super::*;

struct Named(&'static str, Hint);

impl Ordered for Named {
    fn name(&self) -> &str {
        self.0
    }
    fn hint(&self) -> &Hint {
        &self.1
    }
}

fn names(hooks: &[Named]) -> Result<Vec<&'static str>, OrderError> {
    Ok(resolve(hooks)?.into_iter().map(|i| hooks[i].0).collect())
}

#[test]
fn e6_first_and_last_stand_at_the_ends_whenever_they_come() {
    let hooks = [
        Named("z", Hint::Last),
        Named("plain", Hint::None),
        Named("a", Hint::First),
        Named("more", Hint::None),
    ];
    assert_eq!(names(&hooks).unwrap(), ["a", "plain", "more", "z"]);
}

#[test]
fn e6_a_second_first_is_refused_by_name() {
    let hooks = [Named("a", Hint::First), Named("b", Hint::First)];
    let error = names(&hooks).unwrap_err();
    assert_eq!(error.to_string(), "`b` cannot be FIRST: `a` already is; use BEFORE or AFTER");
}

#[test]
fn e7_before_and_after_hold_in_every_order_of_arrival() {
    let hook = |i: usize| match i {
        0 => Named("x", Hint::None),
        1 => Named("early", Hint::Before("x".into())),
        2 => Named("earlier", Hint::Before("early".into())),
        _ => Named("late", Hint::After("x".into())),
    };
    for a in 0..4 {
        for b in 0..4 {
            for c in 0..4 {
                for d in 0..4 {
                    let picks = [a, b, c, d];
                    if (0..4).any(|i| !picks.contains(&i)) {
                        continue;
                    }
                    let order = names(&picks.map(hook)).unwrap();
                    let place = |n| order.iter().position(|&o| o == n).unwrap();
                    assert!(place("earlier") < place("early"));
                    assert!(place("early") < place("x"));
                    assert!(place("x") < place("late"));
                }
            }
        }
    }
}

#[test]
fn e7_a_hook_stands_right_at_the_one_that_it_names() {
    let hooks = [
        Named("filter", Hint::None),
        Named("limit", Hint::None),
        Named("plain", Hint::None),
        Named("early", Hint::Before("limit".into())),
        Named("late", Hint::After("filter".into())),
        Named("later", Hint::After("filter".into())),
        Named("at-late", Hint::After("late".into())),
    ];
    let order = ["filter", "late", "at-late", "later", "early", "limit", "plain"];
    assert_eq!(names(&hooks).unwrap(), order);
}

#[test]
fn e10_the_rest_stays_in_order_when_one_comes_or_goes() {
    let all = || {
        vec![
            Named("filter", Hint::None),
            Named("a", Hint::None),
            Named("b", Hint::After("filter".into())),
            Named("c", Hint::Before("a".into())),
            Named("early", Hint::Before("filter".into())),
            Named("top", Hint::First),
            Named("end", Hint::Last),
        ]
    };
    let whole = names(&all()).unwrap();
    // None of these is named by another's hint.
    for gone in ["b", "c", "early", "top", "end"] {
        let left: Vec<Named> = all().into_iter().filter(|hook| hook.0 != gone).collect();
        let expected: Vec<&str> = whole.iter().copied().filter(|name| *name != gone).collect();
        assert_eq!(names(&left).unwrap(), expected, "without {gone}");
    }
}

#[test]
fn e9_what_waits_leaves_a_place() {
    let waiting = || {
        vec![
            Named("after", Hint::After("x".into())),
            Named("plain", Hint::None),
            Named("before", Hint::Before("x".into())),
        ]
    };
    assert_eq!(names(&waiting()).unwrap(), ["before", "after", "plain"]);
    let mut arrived = waiting();
    arrived.push(Named("x", Hint::None));
    assert_eq!(names(&arrived).unwrap(), ["plain", "before", "x", "after"]);
}

#[test]
fn long_chains_of_hints_are_followed_and_long_circles_named() {
    let all: Vec<String> = (0..20_000).map(|n| format!("h{n}")).collect();
    struct Chained<'a>(&'a str, Hint);
    impl Ordered for Chained<'_> {
        fn name(&self) -> &str {
            self.0
        }
        fn hint(&self) -> &Hint {
            &self.1
        }
    }
    let after = |n: usize| Hint::After(all[n].as_str().into());
    let link = |n: usize| if n == 0 { Hint::None } else { after(n - 1) };
    let mut hooks: Vec<_> = (0..all.len()).map(|n| Chained(&all[n], link(n))).collect();
    assert!(resolve(&hooks).unwrap().is_sorted());
    hooks[19_990].1 = after(19_995);
    let members: Vec<String> = (19_990..=19_995).map(|n| format!("`h{n}`")).collect();
    assert_eq!(resolve(&hooks).unwrap_err(), OrderError::Contradiction(members));
}

#[test]
fn e9_a_hint_on_an_absent_hook_waits() {
    let hooks = [Named("late", Hint::After("ghost".into())), Named("plain", Hint::None)];
    assert_eq!(names(&hooks).unwrap(), ["late", "plain"]);
}

#[test]
fn z8_two_befores_and_a_newcomer_are_all_satisfied() {
    let hooks = [
        Named("b1", Hint::Before("x".into())),
        Named("b2", Hint::Before("x".into())),
        Named("x", Hint::None),
    ];
    assert_eq!(names(&hooks).unwrap(), ["b1", "b2", "x"]);
}

#[test]
fn a_circle_is_refused_with_its_members() {
    let hooks = [Named("a", Hint::Before("b".into())), Named("b", Hint::Before("a".into()))];
    let error = names(&hooks).unwrap_err();
    assert_eq!(error, OrderError::Contradiction(vec!["`a`".into(), "`b`".into()]));
}

#[test]
fn before_the_first_is_a_contradiction() {
    let hooks = [Named("a", Hint::First), Named("b", Hint::Before("a".into()))];
    assert!(matches!(names(&hooks), Err(OrderError::Contradiction(_))));
}

#[test]
fn e4_a_name_can_stand_once() {
    let hooks = [Named("a", Hint::None), Named("a", Hint::None)];
    assert_eq!(names(&hooks).unwrap_err(), OrderError::Duplicate("a".into()));
}

const NAMES: [&str; 8] = ["a", "b", "c", "d", "e", "f", "g", "h"];

/// Up to eight hooks with any hints, also at hooks that are not there.
fn hinted() -> impl Strategy<Value = Vec<(&'static str, Hint)>> {
    let hint = (0..10u8, 0..NAMES.len()).prop_map(|(kind, other)| match kind {
        0..4 => Hint::None,
        4 => Hint::First,
        5 => Hint::Last,
        6 | 7 => Hint::Before(NAMES[other].into()),
        _ => Hint::After(NAMES[other].into()),
    });
    let hooks = proptest::collection::vec(hint, NAMES.len());
    let hooks = hooks.prop_map(|hints| NAMES.into_iter().zip(hints).collect::<Vec<_>>());
    (hooks, 0..=NAMES.len()).prop_flat_map(|(hooks, count)| {
        Just(hooks).prop_shuffle().prop_map(move |hooks| hooks[..count].to_vec())
    })
}

proptest! {
    #[test]
    fn e8_z1_every_hint_holds_in_every_order_of_arrival(hooks in hinted()) {
        let hooks: Vec<Named> = hooks.into_iter().map(|(name, hint)| Named(name, hint)).collect();
        let Ok(order) = names(&hooks) else { return Ok(()) };
        prop_assert_eq!(order.len(), hooks.len());
        let place = |name: &str| order.iter().position(|other| *other == name);
        let mut free = Vec::new();
        for Named(name, hint) in &hooks {
            let at = place(name).unwrap();
            match hint {
                Hint::None => free.push(at),
                Hint::First => prop_assert_eq!(at, 0),
                Hint::Last => prop_assert_eq!(at, hooks.len() - 1),
                Hint::Before(other) => prop_assert!(place(other).is_none_or(|other| at < other)),
                Hint::After(other) => prop_assert!(place(other).is_none_or(|other| at > other)),
            }
        }
        prop_assert!(free.is_sorted(), "those without hints stay in the order of registration");
    }

    #[test]
    fn e10_a_hook_that_nobody_names_goes_and_the_rest_stays(hooks in hinted()) {
        let named = |without: Option<&str>| -> Vec<Named> {
            let left = hooks.iter().filter(|(name, _)| Some(*name) != without);
            left.map(|(name, hint)| Named(name, hint.clone())).collect()
        };
        let Ok(whole) = names(&named(None)) else { return Ok(()) };
        let is_named = |name: &str| hooks.iter().any(|(_, hint)| match hint {
            Hint::Before(other) | Hint::After(other) => **other == *name,
            _ => false,
        });
        // Of those that wait for one that is not there, the first keeps the place for all.
        let waits = |hint: &Hint| match hint {
            Hint::Before(other) | Hint::After(other) => !whole.contains(&&**other),
            _ => false,
        };
        for (gone, hint) in hooks.iter().filter(|(name, hint)| !is_named(name) && !waits(hint)) {
            let left = names(&named(Some(gone))).unwrap();
            let expected: Vec<_> = whole.iter().copied().filter(|name| name != gone).collect();
            prop_assert_eq!(left, expected, "without {} ({:?})", gone, hint);
        }
    }
}
