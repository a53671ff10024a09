//! In which order the hooks of one event run.
//!
//! Hints are constraints: FIRST and LAST name one hook each, BEFORE and AFTER place a hook
//! against another by name, and one that names a hook which is not there waits for it. The order
//! is a stable topological sort: what no hint decides stays in the order of registration, and
//! contradicting hints are refused.
//!
//! [`resolved`] puts the built-in stages, which stand as the instance's pipeline says, and the
//! authors' hooks into one order. The workers run it; [`crate::explain`] shows it.

use std::borrow::Borrow;

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
    let mut first: Option<usize> = None;
    let mut last: Option<usize> = None;
    for (i, hook) in hooks.iter().enumerate() {
        if hooks[..i].iter().any(|other| other.name() == hook.name()) {
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

    let goes_before = |a: usize, b: usize| -> bool {
        a != b
            && (Some(a) == first
                || Some(b) == last
                || matches!(hooks[a].hint(), Hint::Before(name) if **name == *hooks[b].name())
                || matches!(hooks[b].hint(), Hint::After(name) if **name == *hooks[a].name()))
    };
    let mut order = Vec::with_capacity(hooks.len());
    let mut left: Vec<usize> = (0..hooks.len()).collect();
    while !left.is_empty() {
        let next = left.iter().position(|&b| !left.iter().any(|&a| goes_before(a, b)));
        match next {
            Some(place) => order.push(left.remove(place)),
            None => {
                let names = left.iter().map(|&i| format!("`{}`", hooks[i].name())).collect();
                return Err(OrderError::Contradiction(names));
            }
        }
    }
    Ok(order)
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
        for &stage in instance.stages(event) {
            let hint = candidates.last().map_or(Hint::None, |last| Hint::After(last.name.clone()));
            candidates.push(Candidate {
                name: stage.name().into(),
                hint,
                place: Place::Stage(stage),
            });
        }
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
