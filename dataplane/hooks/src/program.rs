//! Hooks that an operator loads: programs that are compiled in, by name, and files, by path. Either
//! way it is a [`Loadable`] that makes the hook of its settings.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::str::FromStr;
use std::sync::Arc;

use sluice_channel::statistics::OWN_COUNTERS;
use sluice_policy::Event;
use sluice_policy::model::Name;

use crate::hook::{FirstOfFlow, Hook};
use crate::observer::{Observer, ReadOnly};

/// Makes the hook's object for one worker. It is called on the agent's thread, once for each
/// worker, and the object is dropped there when the hook has gone.
pub type Factory = Arc<dyn Fn() -> Box<dyn Hook> + Send + Sync>;

/// Which packets a hook wants to be shown.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[non_exhaustive]
pub enum Wants {
    /// Every packet.
    #[default]
    EveryPacket,
    /// The first packet of each direction of a flow is enough. What passes is remembered, and the
    /// packets that follow are not shown as long as it is; of a packet that is dropped nothing is
    /// remembered. A flow that was there before the hook is shown with its next packet. Where flows
    /// are not remembered ([`Instance::remembers`]), for packets that no flow answers for, and ahead
    /// of the stage `flow`, it is shown every packet.
    ///
    /// At ROUTE_DECISION the way that it chooses is remembered with the flow, until the hook goes or
    /// routes to the flow's destination change: then it is asked again. Beside a hook there that
    /// wants every packet, nothing is remembered.
    ///
    /// [`Instance::remembers`]: sluice_policy::Instance::remembers
    FirstOfFlow,
}

/// A hook that can be made: what [`Program::make`] gives, and what a module registers.
#[derive(Clone)]
pub struct Made {
    /// Makes one object for each worker.
    pub factory: Factory,
    /// Names of the counters that the hook has of its own
    /// ([`Context::count`](crate::Context::count)); at most [`OWN_COUNTERS`].
    pub counters: Arc<[Name]>,
    /// Whether it changes nothing, by its type (`HOOK_RDONLY`): what OBSERVING asks for.
    read_only: bool,
}

impl Made {
    /// A hook without counters of its own; each worker's object is made by `factory`.
    pub fn new<H: Hook + 'static>(factory: impl Fn() -> H + Send + Sync + 'static) -> Made {
        Made::of(Arc::new(move || Box::new(factory())), false)
    }

    /// A hook that is shown packets and can neither change them nor decide about them. At
    /// OBSERVING, no other is taken.
    pub fn observer<O: Observer + 'static>(
        factory: impl Fn() -> O + Send + Sync + 'static,
    ) -> Made {
        Made::of(Arc::new(move || Box::new(ReadOnly(factory()))), true)
    }

    fn of(factory: Factory, read_only: bool) -> Made {
        Made { factory, counters: Arc::default(), read_only }
    }

    /// The same, content with the first packet of each flow.
    #[must_use]
    pub fn first_of_flow(mut self) -> Made {
        let factory = self.factory;
        self.factory = Arc::new(move || Box::new(FirstOfFlow(factory())));
        self
    }

    /// Whether the hook may stand at an event.
    pub(crate) fn fits(&self, event: Event) -> bool {
        self.read_only || event != Event::Observing
    }

    /// The same with counters of its own.
    ///
    /// # Panics
    /// When they are more than [`OWN_COUNTERS`]: that is a mistake in the program.
    #[must_use]
    pub fn with_counters<N: AsRef<str>>(mut self, counters: &[N]) -> Made {
        assert!(counters.len() <= OWN_COUNTERS, "{} counters, {OWN_COUNTERS} fit", counters.len());
        self.counters = counters.iter().map(|name| name.as_ref().into()).collect();
        self
    }
}

/// A hook that ships in the program and that an operator loads under a name
/// (`sluice hook load`, or `hooks:` in the configuration).
#[derive(Clone, Copy)]
pub struct Program {
    /// What it is asked for by.
    pub name: &'static str,
    /// What it does, in one line.
    pub summary: &'static str,
    /// The settings that it knows, each with what it means.
    pub settings: &'static [(&'static str, &'static str)],
    /// The events that it makes sense at.
    pub events: &'static [Event],
    /// Makes it of its settings.
    pub make: fn(&Settings<'_>) -> Result<Made, ProgramError>,
}

/// Makes a hook of its settings.
pub type Make = Box<dyn Fn(&Settings<'_>) -> Result<Made, ProgramError> + Send + Sync>;

/// What an operator can load, wherever it comes from.
pub struct Loadable {
    /// What it calls itself.
    pub name: String,
    /// What it does, in one line.
    pub summary: String,
    /// The settings that it knows, each with what it means.
    pub settings: Vec<(String, String)>,
    /// The events that it makes sense at.
    pub events: Vec<Event>,
    /// Makes it of its settings, which are among those that it knows.
    pub make: Make,
}

impl From<Program> for Loadable {
    fn from(program: Program) -> Loadable {
        let Program { name, summary, settings, events, make } = program;
        Loadable {
            name: name.to_owned(),
            summary: summary.to_owned(),
            settings: settings.iter().map(|&(k, help)| (k.to_owned(), help.to_owned())).collect(),
            events: events.to_vec(),
            make: Box::new(make),
        }
    }
}

/// Why a program is not loaded.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum ProgramError {
    /// The program does not know the setting.
    #[error("program `{program}` has no setting `{key}`; it has {known}")]
    UnknownSetting {
        /// The program.
        program: String,
        /// The setting.
        key: String,
        /// Those that it has.
        known: String,
    },
    /// The event takes hooks that only look.
    #[error(
        "program `{program}` changes packets, which no hook at {} may: its hook must be a \
         `Made::observer`",
        event.name()
    )]
    NoObserver {
        /// The program.
        program: String,
        /// The event.
        event: Event,
    },
    /// A setting's value is not what it can be.
    #[error("setting `{key}`: `{value}`: {reason}")]
    Setting {
        /// The setting.
        key: String,
        /// Its value.
        value: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The program does not work at the event.
    #[error("program `{program}` does not run at {}: it runs at {known}", event.name())]
    Event {
        /// The program.
        program: String,
        /// The event.
        event: Event,
        /// Those that it runs at.
        known: String,
    },
    /// It does not want to be, for a reason of its own.
    #[error("`{program}`: {reason}")]
    Refused {
        /// The program.
        program: String,
        /// Why.
        reason: String,
    },
}

impl Loadable {
    /// Makes the hook that is to run at `event`, with an object for each of so many workers.
    ///
    /// # Errors
    /// [`ProgramError`] that names the setting, its value and what it may be.
    pub fn make(
        &self,
        event: Event,
        settings: &BTreeMap<Name, String>,
        workers: usize,
    ) -> Result<Made, ProgramError> {
        let program = self.name.clone();
        if !self.events.contains(&event) {
            let known = self.events.iter().map(|e| e.name()).collect::<Vec<_>>().join(", ");
            return Err(ProgramError::Event { program, event, known });
        }
        let known = |key: &Name| self.settings.iter().any(|(name, _)| **name == **key);
        if let Some(key) = settings.keys().find(|key| !known(key)) {
            let known = match &*self.settings {
                [] => "none".to_owned(),
                some => {
                    some.iter().map(|(name, _)| format!("`{name}`")).collect::<Vec<_>>().join(", ")
                }
            };
            return Err(ProgramError::UnknownSetting { program, key: key.to_string(), known });
        }
        let made = (self.make)(&Settings { told: settings, event, workers })?;
        if made.fits(event) { Ok(made) } else { Err(ProgramError::NoObserver { program, event }) }
    }
}

/// The settings that a program is loaded with, and where it is to run.
pub struct Settings<'a> {
    told: &'a BTreeMap<Name, String>,
    event: Event,
    workers: usize,
}

impl Settings<'_> {
    /// The event that it is to run at.
    pub fn event(&self) -> Event {
        self.event
    }

    /// How many objects of it will be asked for: what can fail to be made is made ahead.
    pub fn workers(&self) -> usize {
        self.workers
    }

    /// All of them, as they were given.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.told.iter().map(|(key, value)| (&**key, &**value))
    }

    /// The value of a setting, or `default` where it is not given; `within` says what is wrong
    /// with a value that can be read and is still not right.
    ///
    /// # Errors
    /// [`ProgramError::Setting`] when it cannot be read or is not right.
    pub fn get<T>(
        &self,
        key: &str,
        default: T,
        within: impl Fn(&T) -> Result<(), String>,
    ) -> Result<T, ProgramError>
    where
        T: FromStr,
        T::Err: Display,
    {
        let Some(text) = self.told.get(key) else { return Ok(default) };
        let wrong =
            |reason| ProgramError::Setting { key: key.to_owned(), value: text.clone(), reason };
        let value = text.parse().map_err(|error: T::Err| wrong(error.to_string()))?;
        within(&value).map_err(wrong)?;
        Ok(value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Context, Packet, PacketHook, PerPacket, Verdict};

    struct Pass;

    impl PacketHook for Pass {
        fn packet(&mut self, _: &mut Context<'_>, _: Packet<'_>) -> Verdict {
            Verdict::Continue
        }
    }

    const PROGRAM: Program = Program {
        name: "pass",
        summary: "lets everything pass",
        settings: &[("every", "how often; 1 to 10")],
        events: &[Event::PhysicalIn],
        make: |settings| {
            let within = |n: &u32| match n {
                1..=10 => Ok(()),
                _ => Err("1 to 10 are possible".to_owned()),
            };
            settings.get("every", 5, within)?;
            Ok(Made::new(|| PerPacket(Pass)))
        },
    };

    fn make(event: Event, settings: &[(&str, &str)]) -> Result<(), String> {
        let settings = settings.iter().map(|&(k, v)| (k.into(), v.to_owned())).collect();
        Loadable::from(PROGRAM).make(event, &settings, 1).map(drop).map_err(|e| e.to_string())
    }

    #[test]
    fn a_wrong_setting_is_named_with_its_value() {
        let at = Event::PhysicalIn;
        assert_eq!(make(at, &[]), Ok(()));
        assert_eq!(make(at, &[("every", "7")]), Ok(()));
        let wrong = make(at, &[("every", "11")]).unwrap_err();
        assert_eq!(wrong, "setting `every`: `11`: 1 to 10 are possible");
        let wrong = make(at, &[("every", "x")]).unwrap_err();
        assert_eq!(wrong, "setting `every`: `x`: invalid digit found in string");
        let wrong = make(at, &[("often", "7")]).unwrap_err();
        assert_eq!(wrong, "program `pass` has no setting `often`; it has `every`");
        let wrong = make(Event::Forwarding, &[]).unwrap_err();
        assert_eq!(wrong, "program `pass` does not run at FORWARDING: it runs at PHYSICAL_IN");
    }

    impl Observer for Pass {
        fn observe(&mut self, _: &Context<'_>, _: &Packet<'_>) {}
    }

    #[test]
    fn a6_observing_takes_observers_alone() {
        let make = |make| Loadable::from(Program { events: &[Event::Observing], make, ..PROGRAM });
        let event = Event::Observing;
        let changes = make(PROGRAM.make).make(event, &BTreeMap::new(), 1).err();
        let program = "pass".to_owned();
        assert_eq!(changes, Some(ProgramError::NoObserver { program, event }));
        let looks = make(|_| Ok(Made::observer(|| Pass)));
        assert!(looks.make(event, &BTreeMap::new(), 1).is_ok());
    }
}
