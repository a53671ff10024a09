//! Changes of live routes: one at a time, or many as one commit.
//!
//! A [`Transaction`] is a list without an order: two operations about one route contradict each
//! other and are refused. All of it becomes one commit, or nothing changes. What it expects to find
//! is looked at in the same moment in which it takes effect, so that nobody can come in between.

use std::borrow::Cow;
use std::fmt;
use std::net::IpAddr;

use ipnet::IpNet;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::value::MapAccessDeserializer;
use serde::de::{self, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};
use sluice_policy::model::{Name, Owner};

use crate::Route;

/// Many changes that take effect together, or not at all.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Transaction {
    /// What is done and expected; the order does not matter.
    pub operations: Vec<RouteOperation>,
}

/// One operation of a transaction, and one line of a stream.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum RouteOperation {
    /// Sets a route, whatever its owner has there.
    Set(AddRoute),
    /// Sets a route; refused if its owner has another there, unless it says `replace`.
    Add(AddRoute),
    /// Removes a route, which must be there.
    Delete(DeleteRoute),
    /// Removes all routes of an owner but those that the same transaction sets.
    Withdraw(WithdrawRoutes),
    /// Marks all routes of an owner stale. They stay in use; one that is set again is not stale any
    /// more.
    Stale(OwnerRoutes),
    /// Removes the routes of an owner that are stale still, and ends the mark.
    Sweep(OwnerRoutes),
    /// Refuses the transaction if something else is there.
    Expect(Expect),
}

/// A route to add. Exactly one of `via`, `blackhole`, `reject`, `prohibit` and `lookup` is given.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct AddRoute {
    /// The destinations it covers.
    #[serde(alias = "prefix")]
    #[schemars(with = "String")]
    pub to: IpNet,
    /// The instance; left out means `default`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instance: Option<Name>,
    /// Which of the instance's tables; left out means `main`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub table: Option<Name>,
    /// Whose route it is; left out means `cli`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owner: Option<Owner>,
    /// The ways out: an address, a way out, or a list of these.
    #[serde(default, skip_serializing_if = "Vec::is_empty", deserialize_with = "hops")]
    #[schemars(schema_with = "hops_schema")]
    pub via: Vec<Hop>,
    /// Drop in silence.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub blackhole: bool,
    /// Drop and tell the sender that the destination is unreachable.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub reject: bool,
    /// Drop and tell the sender that it is administratively prohibited.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub prohibit: bool,
    /// Look the destination up in another table.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lookup: Option<Lookup>,
    /// Of the routes of one prefix the lowest is used; left out means the owner's default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub preference: Option<u32>,
    /// Between routes of equal preference the lowest is used; left out means 0.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub metric: Option<u32>,
    /// A number that means something to its owner alone; left out means 0.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tag: Option<u32>,
    /// Whether a different route of the same owner gives way.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub replace: bool,
    /// What must be there for this to happen; what is expected gives way.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expect: Option<Expected>,
}

/// The table to look on in.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Lookup {
    /// The instance that the table belongs to; left out means the route's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instance: Option<Name>,
    /// The table; left out means `main`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub table: Option<Name>,
}

/// One way out of a route: a neighbour, an interface, or both.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Hop {
    /// The neighbour; left out means the destination itself, on the link.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address: Option<IpAddr>,
    /// The interface; left out means the one whose network holds the address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub interface: Option<Name>,
    /// Share of the flows, 1 to 256.
    #[serde(default = "one")]
    pub weight: u16,
}

fn one() -> u16 {
    1
}

/// The route to remove.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DeleteRoute {
    /// The destinations it covers.
    #[serde(alias = "prefix")]
    #[schemars(with = "String")]
    pub to: IpNet,
    /// The instance; left out means `default`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instance: Option<Name>,
    /// Which of the instance's tables; left out means `main`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub table: Option<Name>,
    /// Whose route it is; left out means `cli`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owner: Option<Owner>,
    /// What must be there for this to happen.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expect: Option<Expected>,
}

/// The routes of an owner, of one instance or table or of all.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct WithdrawRoutes {
    /// Whose routes.
    pub owner: Owner,
    /// Only those of this instance.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instance: Option<Name>,
    /// Only those of tables of this name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub table: Option<Name>,
}

/// All routes of an owner.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct OwnerRoutes {
    /// Whose routes.
    pub owner: Owner,
}

/// What an operation expects at its place. Exactly one of the fields is given.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Expected {
    /// The owner's own route is there, and this commit last set it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub generation: Option<u64>,
    /// The owner has no route there.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub absent: bool,
    /// The route in use there is this owner's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owner: Option<Owner>,
}

/// What is expected at a prefix. Exactly one of `generation`, `absent` and `owner` is given.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Expect {
    /// The destinations of the route in question; no longer or shorter prefix is looked at.
    #[serde(alias = "to")]
    #[schemars(with = "String")]
    pub prefix: IpNet,
    /// The instance; left out means `default`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instance: Option<Name>,
    /// Which of the instance's tables; left out means `main`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub table: Option<Name>,
    /// Whose route is in question; left out means the one in use, and for `absent` any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub of: Option<Owner>,
    /// This commit last set it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub generation: Option<u64>,
    /// There is none.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub absent: bool,
    /// The route in use is this owner's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owner: Option<Owner>,
}

/// Something else is there than an operation expects.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
pub struct RouteConflict {
    /// The operation: `operations[2]`, or `line 3` of a stream; empty for a request of one.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub at: String,
    /// The instance.
    pub instance: Name,
    /// The table.
    pub table: Name,
    /// The destinations.
    #[schemars(with = "String")]
    pub prefix: IpNet,
    /// What was expected there, in words.
    pub expected: String,
    /// What is there now, of all owners; what is preferred comes first.
    pub present: Vec<Route>,
}

/// `operations[2]: 10.9.0.0/16 in table main of instance default: expected …, but …`.
impl fmt::Display for RouteConflict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let RouteConflict { at, instance, table, prefix, expected, present } = self;
        if !at.is_empty() {
            write!(f, "{at}: ")?;
        }
        write!(f, "{prefix}")?;
        if (&**instance, &**table) != ("default", "main") {
            write!(f, " in table {table} of instance {instance}")?;
        }
        write!(f, ": {expected} was expected, there is ")?;
        let mut separator = "";
        for route in present {
            let Route { owner, generation, active, .. } = route;
            let used = if *active { "" } else { ", not in use" };
            write!(f, "{separator}{owner}'s of generation {generation}{used}")?;
            separator = "; ";
        }
        if separator.is_empty() { f.write_str("no route") } else { Ok(()) }
    }
}

/// An address, a way out, or a list of these.
fn hops<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Hop>, D::Error> {
    struct Hops;

    impl<'de> Visitor<'de> for Hops {
        type Value = Vec<Hop>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("an address, a way out or a list of these")
        }

        fn visit_str<E: de::Error>(self, text: &str) -> Result<Vec<Hop>, E> {
            OneHop.visit_str(text).map(|hop| vec![hop.0])
        }

        fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Vec<Hop>, A::Error> {
            OneHop.visit_map(map).map(|hop| vec![hop.0])
        }

        fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Vec<Hop>, A::Error> {
            let mut hops = Vec::new();
            while let Some(AnyHop(hop)) = list.next_element()? {
                hops.push(hop);
            }
            Ok(hops)
        }
    }

    deserializer.deserialize_any(Hops)
}

/// An address, or a way out.
struct AnyHop(Hop);

impl<'de> Deserialize<'de> for AnyHop {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<AnyHop, D::Error> {
        deserializer.deserialize_any(OneHop)
    }
}

struct OneHop;

impl<'de> Visitor<'de> for OneHop {
    type Value = AnyHop;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an address or a way out")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<AnyHop, E> {
        let address = text.parse().map_err(|_| {
            E::custom(format_args!("`{text}` is no address: write it as 10.0.2.2 or fd00::2"))
        })?;
        Ok(AnyHop(Hop { address: Some(address), interface: None, weight: 1 }))
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<AnyHop, A::Error> {
        Hop::deserialize(MapAccessDeserializer::new(map)).map(AnyHop)
    }
}

impl JsonSchema for AnyHop {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "AnyHop".into()
    }

    fn json_schema(schemas: &mut SchemaGenerator) -> Schema {
        let hop = schemas.subschema_for::<Hop>();
        json_schema!({ "anyOf": [{ "type": "string", "description": "An address." }, hop] })
    }
}

fn hops_schema(schemas: &mut SchemaGenerator) -> Schema {
    let hop = schemas.subschema_for::<AnyHop>();
    json_schema!({
        "description": "The ways out: an address, a way out, or a list of these.",
        "anyOf": [hop, { "type": "array", "items": hop }],
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn add(json: &str) -> AddRoute {
        serde_json::from_str(json).unwrap_or_else(|error| panic!("{json}: {error}"))
    }

    #[test]
    fn a_route_is_short_to_write() {
        let route = add(r#"{"to":"10.9.0.0/16","via":[{"address":"10.0.2.2"}]}"#);
        assert_eq!(route.via[0].weight, 1);
        assert!(!route.replace);
        assert_eq!(add(r#"{"to":"10.9.0.0/16","via":"10.0.2.2"}"#), route);
        assert_eq!(add(r#"{"prefix":"10.9.0.0/16","via":{"address":"10.0.2.2"}}"#), route);
        let two = add(r#"{"to":"10.9.0.0/16","via":["10.0.2.2",{"interface":"wan","weight":2}]}"#);
        assert_eq!((two.via.len(), two.via[1].weight), (2, 2));
        assert_eq!(two.via[..1], route.via);
    }

    #[test]
    fn what_is_not_known_is_named() {
        for (json, says) in [
            (r#"{"to":"10.9.0.0/16","vai":[]}"#, "vai"),
            (r#"{"to":"10.9.0.0/16","via":"wan"}"#, "`wan` is no address"),
            (r#"{"to":"10.9.0.0/16","via":[{"adress":"10.0.2.2"}]}"#, "adress"),
            (r#"{"to":"10.9.0.0/16","via":7}"#, "an address, a way out or a list"),
            (r#"{"to":"10.9.0.0/16","owner":"a b"}"#, "`a b` is no owner"),
        ] {
            let error = serde_json::from_str::<AddRoute>(json).unwrap_err().to_string();
            assert!(error.contains(says), "{json}: {error}");
        }
    }

    #[test]
    fn an_operation_is_named_by_its_key() {
        let json = r#"{"delete":{"to":"10.9.0.0/16","owner":"dhcp","expect":{"generation":7}}}"#;
        let operation: RouteOperation = serde_json::from_str(json).unwrap();
        let RouteOperation::Delete(delete) = &operation else { panic!("{operation:?}") };
        assert_eq!(delete.expect.as_ref().unwrap().generation, Some(7));
        assert_eq!(serde_json::to_string(&operation).unwrap(), json);
        assert!(serde_json::from_str::<RouteOperation>(r#"{"drop":{}}"#).is_err());
    }
}
