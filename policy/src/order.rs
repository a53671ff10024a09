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
mod tests;
