//! What can be wrong with a desired state as a whole.

use std::fmt;

use crate::model::{FilterKey, Name, NeighbourKey, Position, RouteKey};

/// The named thing that a mistake is about.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Thing {
    /// A port.
    Port(Name),
    /// An interface.
    Interface(Name),
    /// An instance.
    Instance(Name),
    /// A route.
    Route(RouteKey),
    /// A filter.
    Filter(FilterKey),
    /// A rule: its filter, its place in it, its name.
    Rule(FilterKey, usize, Name),
    /// A static neighbour.
    Neighbour(NeighbourKey),
}

impl fmt::Display for Thing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Thing::Port(name) => write!(f, "port {name}"),
            Thing::Interface(name) => write!(f, "interface {name}"),
            Thing::Instance(name) => write!(f, "instance {name}"),
            Thing::Route(key) => write!(f, "route {} of instance {}", key.prefix, key.instance),
            Thing::Filter(key) => {
                write!(f, "{} filter of instance {}", key.point.name(), key.instance)
            }
            Thing::Rule(key, _, name) => {
                write!(
                    f,
                    "rule {name} of the {} filter of instance {}",
                    key.point.name(),
                    key.instance
                )
            }
            Thing::Neighbour(key) => write!(f, "neighbour {} on {}", key.address, key.interface),
        }
    }
}

/// What exactly a mistake is about: a thing, one of its fields, one item of that field.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Subject {
    /// The thing.
    pub thing: Thing,
    /// The field as the configuration file calls it; empty for the thing as a whole.
    pub field: &'static str,
    /// Place in the field's list.
    pub item: usize,
}

/// One mistake in a desired state.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{}{subject}: {mistake}", PositionPrefix(.position))]
pub struct PolicyError {
    /// What it is about.
    pub subject: Subject,
    /// Where the thing was configured.
    pub position: Option<Position>,
    /// What is wrong, with the value and the cure.
    pub mistake: Mistake,
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.field {
            "" => self.thing.fmt(f),
            field => write!(f, "{}: {field}", self.thing),
        }
    }
}

struct PositionPrefix<'a>(&'a Option<Position>);

impl fmt::Display for PositionPrefix<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(position) => write!(f, "{position}: "),
            None => Ok(()),
        }
    }
}

/// What is wrong.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Mistake {
    /// A name that no port has.
    #[error("there is no port {0}")]
    UnknownPort(Name),
}
