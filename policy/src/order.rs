//! In which order the hooks of one event run.
//!
//! Hooks without a hint stand in the order of registration, and no hint of another changes that.
//! FIRST and LAST name one hook each. BEFORE and AFTER place a hook right at another by name;
//! several at one stand in the order of registration. Those that name a hook which is not there
//! stand where the first of them would, those before it ahead of those behind it, so that it can
//! come between them. Contradicting hints are refused.
//!
//! The order depends on the hooks alone and not on how they came to be there: it is the same after
//! a restart.
//!
//! [`resolved`] puts the built-in stages, which stand as the instance's pipeline says, and the
//! authors' hooks into one order. The workers run it; [`crate::explain`] shows it.

use std::borrow::Borrow;
use std::collections::{HashMap, HashSet};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::event::{Event, Protocol, Stage};
use crate::instance::Instance;
use crate::model::Name;

/// Where in an event's order a hook wants to stand.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Hint {
    /// Anywhere (`HH_NONE`): behind what is there, but ahead of a LAST.
    #[default]
    None,
    /// Ahead of all others (`HH_FIRST`). One hook of an event can have it.
    First,
    /// Behind all others (`HH_LAST`). One hook of an event can have it.
    Last,
    /// Ahead of the named hook (`HH_BEFORE`).
    Before(Name),
    /// Behind the named hook (`HH_AFTER`).
    After(Name),
}

/// A hook as far as the order is concerned.
trait Ordered {
    /// Its name, unique within the event.
    fn name(&self) -> &str;
    /// Its hint.
    fn hint(&self) -> &Hint;
}

/// Why hints cannot be satisfied together.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum OrderError {
    /// Two hooks of one name.
    #[error("two hooks are named `{0}`: give one of them another name")]
    Duplicate(String),
    /// Two hooks want to be FIRST, or two LAST.
    #[error("`{second}` cannot be {what}: `{first}` already is; use BEFORE or AFTER")]
    Taken {
        /// `FIRST` or `LAST`.
        what: &'static str,
        /// Who has it.
        first: String,
        /// Who wants it too.
        second: String,
    },
    /// BEFORE the FIRST, AFTER the LAST, or a circle of BEFORE and AFTER.
    #[error("the hints of {} contradict each other: change one of them", .0.join(", "))]
    Contradiction(Vec<String>),
}

/// The order of `hooks` as places in the slice.
///
/// # Errors
/// [`OrderError`] when two share a name, two are FIRST or LAST, or hints contradict each other.
fn resolve<H: Ordered>(hooks: &[H]) -> Result<Vec<usize>, OrderError> {
    let mut places: HashMap<&str, usize> = HashMap::new();
    let mut first: Option<usize> = None;
    let mut last: Option<usize> = None;
    for (i, hook) in hooks.iter().enumerate() {
        if places.insert(hook.name(), i).is_some() {
            return Err(OrderError::Duplicate(hook.name().to_owned()));
        }
        let (what, taken) = match hook.hint() {
            Hint::First => ("FIRST", &mut first),
            Hint::Last => ("LAST", &mut last),
            _ => continue,
        };
        if let Some(earlier) = *taken {
            return Err(OrderError::Taken {
                what,
                first: hooks[earlier].name().to_owned(),
                second: hook.name().to_owned(),
            });
        }
        *taken = Some(i);
    }

    // Each hook stands against one other at most: those that do hang on it, and it on another.
    let mut hanging: HashMap<&str, Hanging> = HashMap::new();
    for (i, hook) in hooks.iter().enumerate() {
        match hook.hint() {
            Hint::Before(other) => hanging.entry(other).or_default().before.push(i),
            Hint::After(other) => hanging.entry(other).or_default().after.push(i),
            _ => {}
        }
    }
    let names = |places: &[usize]| {
        places.iter().map(|&i| format!("`{}`", hooks[i].name())).collect::<Vec<_>>()
    };
    let at = |end: Option<usize>| end.and_then(|end| Some((end, hanging.get(hooks[end].name())?)));
    let ahead = at(first).and_then(|(end, hanging)| Some((end, *hanging.before.first()?)));
    let behind = at(last).and_then(|(end, hanging)| Some((end, *hanging.after.first()?)));
    if let Some((end, beyond)) = ahead.or(behind) {
        return Err(OrderError::Contradiction(names(&[end, beyond])));
    }

    let mut order = Vec::with_capacity(hooks.len());
    let mut emitted: HashSet<&str> = HashSet::new();
    let others = (0..hooks.len()).filter(|i| Some(*i) != first && Some(*i) != last);
    for i in first.into_iter().chain(others).chain(last) {
        let root = match hooks[i].hint() {
            Hint::Before(other) | Hint::After(other) if places.contains_key(&**other) => continue,
            // What waits for a hook that is not there keeps a place for it.
            Hint::Before(absent) | Hint::After(absent) => absent,
            _ => hooks[i].name(),
        };
        if emitted.insert(root) {
            emit(root, hooks, &places, &hanging, &mut order);
        }
    }
    if order.len() == hooks.len() { Ok(order) } else { Err(circle(hooks, &places, &order)) }
}

/// The hooks that stand against one, in the order of registration.
#[derive(Default)]
struct Hanging {
    before: Vec<usize>,
    after: Vec<usize>,
}

/// Appends a hook, between those that hang on it and those that hang on them.
fn emit<'a, H: Ordered>(
    root: &'a str,
    hooks: &'a [H],
    places: &HashMap<&str, usize>,
    hanging: &HashMap<&str, Hanging>,
    order: &mut Vec<usize>,
) {
    enum Step<'a> {
        Around(&'a str),
        Itself(usize),
    }
    let mut steps = vec![Step::Around(root)];
    while let Some(step) = steps.pop() {
        let name = match step {
            Step::Around(name) => name,
            Step::Itself(place) => {
                order.push(place);
                continue;
            }
        };
        // The last that is put on the stack is the first to be taken.
        let around = |&i: &usize| Step::Around(hooks[i].name());
        let on = hanging.get(name);
        steps.extend(on.iter().flat_map(|on| on.after.iter().rev()).map(around));
        steps.extend(places.get(name).copied().map(Step::Itself));
        steps.extend(on.iter().flat_map(|on| on.before.iter().rev()).map(around));
    }
}

/// The hooks that hang on each other in a circle, which is why some could not be placed.
fn circle<H: Ordered>(hooks: &[H], places: &HashMap<&str, usize>, order: &[usize]) -> OrderError {
    let placed: HashSet<usize> = order.iter().copied().collect();
    let mut at = (0..hooks.len()).find(|i| !placed.contains(i));
    let mut seen: Vec<usize> = Vec::new();
    while let Some(i) = at.filter(|i| !seen.contains(i)) {
        seen.push(i);
        at = match hooks[i].hint() {
            Hint::Before(other) | Hint::After(other) => places.get(&**other).copied(),
            _ => None,
        };
    }
    let begins = seen.iter().position(|&i| Some(i) == at).unwrap_or(0);
    let mut members = seen.split_off(begins);
    members.sort_unstable();
    let names = members.iter().map(|&i| format!("`{}`", hooks[i].name()));
    OrderError::Contradiction(names.collect())
}

/// A hook that does not ship with Sluice: what it does to a packet only running it can tell.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
pub struct ForeignHook {
    /// The instance whose packets it sees; `None` means every instance.
    pub instance: Option<Name>,
    /// The protocols whose packets it sees.
    pub protocols: Vec<Protocol>,
    /// The event that it runs at.
    pub event: Event,
    /// Its name, unique at the event.
    pub name: Name,
    /// Where in the order it wants to stand.
    pub hint: Hint,
}

/// One place in the order of an event.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Place {
    /// A stage that ships with Sluice.
    Stage(Stage),
    /// A foreign hook, by its place among those that were given.
    Foreign(usize),
}

/// What runs at an event of an instance for packets of a protocol, in order. ARP has no stages
/// that are hooks.
///
/// # Errors
/// As [`resolve`].
pub fn resolved<F: Borrow<ForeignHook>>(
    instance: &Instance,
    protocol: Protocol,
    event: Event,
    foreign: &[F],
) -> Result<Vec<Place>, OrderError> {
    let mut candidates: Vec<Candidate> = Vec::new();
    if protocol != Protocol::Arp {
        // They come first, so that without hints they stay in their order.
        let stages = instance.stages(event).iter().map(|&stage| Candidate {
            name: stage.name().into(),
            hint: Hint::None,
            place: Place::Stage(stage),
        });
        candidates.extend(stages);
    }
    for (i, hook) in foreign.iter().map(Borrow::borrow).enumerate() {
        let wanted = hook.event == event
            && hook.protocols.contains(&protocol)
            && hook.instance.as_ref().is_none_or(|only| *only == instance.name);
        if wanted {
            let (name, hint) = (hook.name.clone(), hook.hint.clone());
            candidates.push(Candidate { name, hint, place: Place::Foreign(i) });
        }
    }
    Ok(resolve(&candidates)?.into_iter().map(|i| candidates[i].place).collect())
}

struct Candidate {
    name: Name,
    hint: Hint,
    place: Place,
}

impl Ordered for Candidate {
    fn name(&self) -> &str {
        &self.name
    }
    fn hint(&self) -> &Hint {
        &self.hint
    }
}

#[cfg(test)]
mod tests {
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
}
