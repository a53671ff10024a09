//! Who put a route there.
//!
//! Owners are layers. Each has at most one route for a prefix of a table, nobody changes another
//! owner's, and of all that are there the one with the lowest preference is in use; withdrawing it
//! reveals the next. What other routers call administrative distance is the owner's default
//! preference; a route may have one of its own.

use std::borrow::Cow;
use std::cmp::Ordering;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::str::FromStr;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{self, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::model::Name;
use crate::policy::{Naming, is_name};

/// An owner of routes.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Owner {
    /// Networks of the interfaces' own addresses. Nobody sets or removes these.
    Connected,
    /// Policy routes and those who design them.
    Policy,
    /// Live commands (`sluice route add`).
    Cli,
    /// A DHCP client.
    Dhcp,
    /// The configuration file.
    Static,
    /// The kernel's own tables.
    Kernel,
    /// BGP.
    Bgp,
    /// OSPF.
    Ospf,
    /// A name that a user made.
    Named(Name),
}

impl Owner {
    /// All owners that have a name of their own, in the order of their default preferences.
    pub const KNOWN: [Owner; 8] = [
        Owner::Connected,
        Owner::Policy,
        Owner::Cli,
        Owner::Dhcp,
        Owner::Static,
        Owner::Kernel,
        Owner::Bgp,
        Owner::Ospf,
    ];

    /// The owner's name in commands and reports.
    pub fn name(&self) -> &str {
        match self {
            Owner::Connected => "connected",
            Owner::Policy => "policy",
            Owner::Cli => "cli",
            Owner::Dhcp => "dhcp",
            Owner::Static => "static",
            Owner::Kernel => "kernel",
            Owner::Bgp => "bgp",
            Owner::Ospf => "ospf",
            Owner::Named(name) => name,
        }
    }

    /// The preference of its routes that say none; the lowest wins. Between what people say and
    /// what protocols learn stand the names that users make.
    pub const fn preference(&self) -> u32 {
        match self {
            Owner::Connected => 0,
            Owner::Policy => 1,
            Owner::Cli => 2,
            Owner::Dhcp => 3,
            Owner::Static => 5,
            Owner::Named(_) => 10,
            Owner::Kernel => 15,
            Owner::Bgp => 20,
            Owner::Ospf => 110,
        }
    }
}

impl Owner {
    /// Whether its routes are learnt, not typed: they may come before what they resolve through.
    pub(crate) fn learns(&self) -> bool {
        [Owner::Dhcp, Owner::Kernel, Owner::Bgp, Owner::Ospf].contains(self)
    }
}

impl fmt::Display for Owner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// The text is no owner's name.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error(
    "`{0}` is no owner: a name has at most 63 letters, digits, `-`, `_` and `.`, and begins with a \
     letter or digit"
)]
pub struct NoOwner(String);

impl FromStr for Owner {
    type Err = NoOwner;

    fn from_str(text: &str) -> Result<Owner, NoOwner> {
        let known = Owner::KNOWN.into_iter().find(|owner| owner.name() == text);
        match known {
            Some(owner) => Ok(owner),
            None if is_name(text, Naming::Rule) => Ok(Owner::Named(text.into())),
            None => Err(NoOwner(text.to_owned())),
        }
    }
}

// One name is one owner, however it was made.
impl PartialEq for Owner {
    fn eq(&self, other: &Owner) -> bool {
        self.name() == other.name()
    }
}

impl Eq for Owner {}

impl PartialOrd for Owner {
    fn partial_cmp(&self, other: &Owner) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// By default preference, then by name.
impl Ord for Owner {
    fn cmp(&self, other: &Owner) -> Ordering {
        self.preference().cmp(&other.preference()).then_with(|| self.name().cmp(other.name()))
    }
}

impl Hash for Owner {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.name().hash(state);
    }
}

impl Serialize for Owner {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}

impl<'de> Deserialize<'de> for Owner {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Owner, D::Error> {
        struct Text;

        impl Visitor<'_> for Text {
            type Value = Owner;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an owner's name")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Owner, E> {
                text.parse().map_err(E::custom)
            }
        }

        deserializer.deserialize_str(Text)
    }
}

impl JsonSchema for Owner {
    fn schema_name() -> Cow<'static, str> {
        "Owner".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "string",
            "description": "Who put a route there: `connected`, `policy`, `cli`, `dhcp`, `static`, \
                            `kernel`, `bgp`, `ospf`, or a name that a user made.",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn owners_are_their_names() {
        for owner in Owner::KNOWN {
            assert_eq!(owner.name().parse(), Ok(owner.clone()));
            assert_eq!(Owner::Named(owner.name().into()).name(), owner.name());
        }
        assert!(Owner::KNOWN.is_sorted());
        let mine: Owner = "wan-watch".parse().unwrap();
        assert_eq!((mine.name(), mine.preference()), ("wan-watch", 10));
        assert!(Owner::Static < mine && mine < Owner::Kernel);
        for wrong in ["", "a b", "-x", &"x".repeat(64)] {
            let error = wrong.parse::<Owner>().unwrap_err();
            assert!(error.to_string().contains(wrong), "{error}");
        }
    }

    #[test]
    fn an_owner_travels_as_its_name() {
        let mine: Owner = "wan-watch".parse().unwrap();
        for owner in [Owner::Dhcp, mine] {
            let json = serde_json::to_string(&owner).unwrap();
            assert_eq!(json, format!("\"{owner}\""));
            assert_eq!(serde_json::from_str::<Owner>(&json).unwrap(), owner);
            let bytes = postcard::to_allocvec(&owner).unwrap();
            assert_eq!(postcard::from_bytes::<Owner>(&bytes).unwrap(), owner);
        }
        assert!(serde_json::from_str::<Owner>("\"a b\"").is_err());
    }
}
