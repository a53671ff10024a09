//! The steps of a delta, as they travel and as they are kept: what many routes have in common is said
//! once.
//!
//! Of a million routes nearly all have one of a few next hops, and the same instance, table, owner and
//! metric: such a *kind* of route is listed once, and a route is its prefix and the number of its kind.
//! That is ten bytes instead of fifty, and no list of next hops has to be made a million times.

use std::collections::HashMap;
use std::hash::{Hash, Hasher};

use ipnet::IpNet;
use serde::de::{Deserializer, Error as _, SeqAccess, Visitor};
use serde::{Deserialize, Serialize};

use crate::model::{Name, Operation, Owner, Route, RouteKey, Target};
use crate::names::Names;

/// A part of a delta.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(try_from = "Unchecked")]
pub struct Packed {
    kinds: Vec<Kind>,
    routes: Vec<(IpNet, u32)>,
    others: Vec<Operation>,
}

/// What routes have in common; without a route they are removed.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
struct Kind {
    instance: Name,
    table: Name,
    owner: Owner,
    route: Option<Route>,
}

/// As it was read.
#[derive(Deserialize)]
#[serde(rename = "Packed")]
struct Unchecked {
    #[serde(deserialize_with = "bounded")]
    kinds: Vec<Kind>,
    #[serde(deserialize_with = "bounded")]
    routes: Vec<(IpNet, u32)>,
    #[serde(deserialize_with = "bounded")]
    others: Vec<Operation>,
}

/// A route of a kind that is not listed.
#[derive(Debug, thiserror::Error)]
#[error("the route to {prefix} is of kind {kind}, of {kinds}")]
struct NoKind {
    prefix: IpNet,
    kind: u32,
    kinds: usize,
}

impl TryFrom<Unchecked> for Packed {
    type Error = NoKind;

    fn try_from(Unchecked { kinds, routes, others }: Unchecked) -> Result<Packed, NoKind> {
        match routes.iter().find(|(_, kind)| *kind as usize >= kinds.len()) {
            Some(&(prefix, kind)) => Err(NoKind { prefix, kind, kinds: kinds.len() }),
            None => Ok(Packed { kinds, routes, others }),
        }
    }
}

impl Packed {
    /// The most routes, and the most other operations. A byte or two can stand for an operation that
    /// takes hundreds in memory: this bounds what a part can become, as its size alone would not.
    pub const MOST: usize = 1 << 16;

    /// Operations in parts of about so many bytes, encoded, and of at most so many operations. An
    /// operation is never split.
    pub fn parts(
        operations: &[Operation],
        bytes: usize,
        most: usize,
    ) -> impl Iterator<Item = Packed> {
        let mut rest = operations.iter().peekable();
        let most = most.min(Self::MOST);
        std::iter::from_fn(move || {
            rest.peek()?;
            let mut packer = Packer::default();
            while let Some(operation) = rest.next_if(|next| packer.takes(next, bytes, most)) {
                packer.add(operation);
            }
            Some(packer.packed)
        })
    }

    /// How many operations there are.
    pub fn len(&self) -> usize {
        self.routes.len() + self.others.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The operations: those on routes in their order, then the others.
    pub fn unpack(mut self, names: &mut Names) -> impl Iterator<Item = Operation> + use<> {
        for Kind { instance, table, owner, route } in &mut self.kinds {
            names.share_route((instance, table, owner), route.as_mut());
        }
        let Packed { kinds, routes, others } = self;
        let routes = routes.into_iter().filter_map(move |(prefix, kind)| {
            let Kind { instance, table, owner, route } = kinds.get(kind as usize)?;
            let (instance, table, owner) = (instance.clone(), table.clone(), owner.clone());
            Some(Operation::Route(RouteKey { instance, table, prefix, owner }, route.clone()))
        });
        routes.chain(others)
    }
}

/// Packs operations one by one.
#[derive(Debug, Default)]
pub struct Packer<'a> {
    packed: Packed,
    kinds: HashMap<Common<'a>, u32>,
    bytes: usize,
}

impl<'a> Packer<'a> {
    /// Adds an operation.
    pub fn add(&mut self, operation: &'a Operation) {
        match operation {
            Operation::Route(key, route) => self.route(key, route.as_ref()),
            other => {
                self.bytes += size(other);
                self.packed.others.push(other.clone());
            }
        }
    }

    /// Adds a route that is set, or removed.
    pub fn route(&mut self, key: &'a RouteKey, route: Option<&'a Route>) {
        let Packed { kinds, routes, .. } = &mut self.packed;
        let kind = *self.kinds.entry(Common { key, route }).or_insert_with(|| {
            let RouteKey { instance, table, prefix: _, owner } = key;
            let (instance, table, owner) = (instance.clone(), table.clone(), owner.clone());
            kinds.push(Kind { instance, table, owner, route: route.cloned() });
            self.bytes += bound(key, route);
            kinds.len() as u32 - 1
        });
        routes.push((key.prefix, kind));
        self.bytes += ROUTE;
    }

    /// How many operations there are.
    pub fn len(&self) -> usize {
        self.packed.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.packed.is_empty()
    }

    /// What was added since the last time.
    pub fn take(&mut self) -> Packed {
        std::mem::take(self).packed
    }

    /// Whether there is room for one more. There always is for a first one.
    fn takes(&self, operation: &Operation, bytes: usize, most: usize) -> bool {
        let more = match operation {
            Operation::Route(..) => ROUTE,
            other => size(other),
        };
        self.is_empty() || (self.len() < most && LENGTHS + self.bytes + more <= bytes)
    }
}

/// The most bytes of the lengths of three lists.
const LENGTHS: usize = 9;

/// The most bytes of a prefix and the number of a kind.
const ROUTE: usize = 24;

fn size(operation: &Operation) -> usize {
    postcard::experimental::serialized_size(operation).unwrap_or(usize::MAX / 2)
}

/// How long a kind is at most when it is encoded.
fn bound(key: &RouteKey, route: Option<&Route>) -> usize {
    /// Of all numbers, lengths and tags of a route, and of a next hop: more than they ever take.
    const FIXED: usize = 96;
    const FIXED_HOP: usize = 32;
    let route = route.map_or(0, |route| {
        let target = match &route.target {
            Target::NextHops(hops) => {
                let names = hops.iter().filter_map(|hop| hop.interface.as_deref());
                hops.len() * FIXED_HOP + names.map(str::len).sum::<usize>()
            }
            Target::Table { instance, table } => instance.len() + table.len(),
            Target::Blackhole | Target::Reject | Target::Prohibit => 0,
        };
        target + route.position.file.len()
    });
    FIXED + key.instance.len() + key.table.len() + key.owner.name().len() + route
}

/// What a route has in common with others of its kind. Equal lists of next hops that are not one are
/// of different kinds.
#[derive(Clone, Copy, Debug)]
struct Common<'a> {
    key: &'a RouteKey,
    route: Option<&'a Route>,
}

impl PartialEq for Common<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.key.stands_with(other.key)
            && self.key.owner == other.key.owner
            && self.route == other.route
    }
}

impl Eq for Common<'_> {}

impl Hash for Common<'_> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        let Some(Route { target, metric, tag, generation, .. }) = self.route else { return };
        let list = match target {
            Target::NextHops(hops) => hops.as_ptr().addr(),
            _ => 0,
        };
        (list, metric, tag, generation).hash(state);
    }
}

/// Reads a list of at most [`Packed::MOST`].
fn bounded<'de, D: Deserializer<'de>, T: Deserialize<'de>>(from: D) -> Result<Vec<T>, D::Error> {
    struct Items<T>(std::marker::PhantomData<T>);

    impl<'de, T: Deserialize<'de>> Visitor<'de> for Items<T> {
        type Value = Vec<T>;

        fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            write!(f, "at most {} items", Packed::MOST)
        }

        fn visit_seq<A: SeqAccess<'de>>(self, mut access: A) -> Result<Vec<T>, A::Error> {
            let mut items = Vec::new();
            while let Some(item) = access.next_element()? {
                if items.len() == Packed::MOST {
                    return Err(A::Error::invalid_length(Packed::MOST + 1, &self));
                }
                items.push(item);
            }
            Ok(items)
        }
    }

    from.deserialize_seq(Items(std::marker::PhantomData))
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

    use super::*;
    use crate::model::{Delta, MacAddress, NeighbourKey, NextHop, Position, State};
    use crate::policy::tests::state;

    fn neighbours(count: u32) -> Vec<Operation> {
        let neighbour = |i| {
            let address = Ipv4Addr::from_bits(i).into();
            let key = NeighbourKey { interface: "lan".into(), address };
            Operation::Neighbour(key, Some(MacAddress([2, 0, 0, 0, 0, 1])))
        };
        (0..count).map(neighbour).collect()
    }

    fn together(parts: Vec<Packed>) -> Vec<Operation> {
        let mut names = Names::default();
        parts.into_iter().flat_map(|part| part.unpack(&mut names).collect::<Vec<_>>()).collect()
    }

    #[test]
    fn parts_are_bounded_and_lose_nothing() {
        let operations = neighbours(100_000);
        let parts: Vec<Packed> = Packed::parts(&operations, 1 << 16, usize::MAX).collect();
        assert!(parts.len() > 1);
        for part in &parts {
            assert!(postcard::to_stdvec(part).unwrap().len() <= 1 << 16);
        }
        assert_eq!(together(parts), operations);
        assert_eq!(Packed::parts(&[], 1 << 16, 7).count(), 0);
        let few: Vec<usize> =
            Packed::parts(&operations[..10], 1 << 16, 4).map(|part| part.len()).collect();
        assert_eq!(few, [4, 4, 2]);
        assert_eq!(Packed::parts(&operations[..3], 1, 4).count(), 3, "an operation is not split");
    }

    #[test]
    fn everything_of_a_file_is_unpacked_as_it_was() {
        let lab = state(include_str!("../../conf/lab.yaml"));
        let mut delta = State::default().difference(&lab);
        let removed = lab.difference(&State::default());
        delta.operations.extend(removed.operations);
        let parts: Vec<Packed> = Packed::parts(&delta.operations, 256, usize::MAX).collect();
        let read: Vec<Packed> = parts
            .iter()
            .map(|part| postcard::from_bytes(&postcard::to_stdvec(part).unwrap()).unwrap())
            .collect();
        let text: Vec<Packed> = parts
            .iter()
            .map(|part| serde_json::from_slice(&serde_json::to_vec(part).unwrap()).unwrap())
            .collect();
        assert_eq!((&read, &text), (&parts, &parts));
        let key = |operation: &Operation| format!("{operation:?}");
        let mut expected = delta.operations;
        expected.sort_by_key(key);
        let mut unpacked = together(read);
        unpacked.sort_by_key(key);
        assert_eq!(unpacked, expected);
    }

    #[test]
    fn what_routes_share_is_said_once() {
        let hops: std::sync::Arc<[NextHop]> =
            [NextHop { via: Some([10, 0, 2, 2].into()), interface: None, weight: 1 }].into();
        let position = Position { file: "cli".into(), line: 0, column: 0 };
        let route = Route::new(Target::NextHops(hops), &Owner::Bgp, position);
        let key = |i: u32| {
            let prefix = IpNet::new(Ipv4Addr::from_bits(i << 8).into(), 24).unwrap();
            RouteKey::main("default", prefix, Owner::Bgp)
        };
        let mut operations: Vec<Operation> =
            (1..=1000).map(|i| Operation::Route(key(i), Some(route.clone()))).collect();
        operations.push(Operation::Route(key(0), None));
        let parts: Vec<Packed> = Packed::parts(&operations, 1 << 20, usize::MAX).collect();
        assert_eq!((parts.len(), parts[0].kinds.len()), (1, 2));
        assert!(postcard::to_stdvec(&parts[0]).unwrap().len() < 1001 * 10);
        let back = Delta { operations: together(parts) };
        assert_eq!(back.operations, operations);
    }

    #[test]
    fn a_kind_is_not_longer_than_its_bound() {
        let hop = NextHop {
            via: Some(Ipv6Addr::from_bits(u128::MAX).into()),
            interface: Some("x".repeat(63).into()),
            weight: u16::MAX,
        };
        let name = || Name::from("n".repeat(63));
        let position = Position { file: name(), line: u32::MAX, column: u32::MAX };
        for target in [
            Target::Blackhole,
            Target::NextHops(vec![hop; 300].into()),
            Target::Table { instance: name(), table: name() },
        ] {
            let prefix = IpNet::new(Ipv6Addr::from_bits(u128::MAX).into(), 128).unwrap();
            let owner = Owner::Named(name());
            let route = Route {
                preference: u32::MAX,
                metric: u32::MAX,
                tag: u32::MAX,
                generation: u64::MAX,
                ..Route::new(target, &owner, position.clone())
            };
            let key = RouteKey { instance: name(), table: name(), prefix, owner };
            for route in [None, Some(&route)] {
                let mut packer = Packer::default();
                packer.route(&key, route);
                let bytes = packer.bytes;
                let size = postcard::to_stdvec(&packer.take()).unwrap().len();
                let most = LENGTHS + bytes;
                assert!(size <= most, "{size} of at most {most}");
            }
        }
        let longest = (IpNet::from(IpAddr::from([u16::MAX; 8])), u32::MAX);
        assert!(postcard::to_stdvec(&longest).unwrap().len() <= ROUTE);
    }

    #[test]
    fn what_is_small_to_send_and_large_to_keep_is_refused() {
        for (count, accepted) in [(0, true), (Packed::MOST, true), (Packed::MOST + 1, false)] {
            let packed = Packed { others: neighbours(count as u32), ..Packed::default() };
            let bytes = postcard::to_stdvec(&packed).unwrap();
            assert_eq!(postcard::from_bytes::<Packed>(&bytes).is_ok(), accepted, "{count}");
        }
        let of_no_kind = Packed { routes: vec![(IpNet::default(), 0)], ..Packed::default() };
        postcard::from_bytes::<Packed>(&postcard::to_stdvec(&of_no_kind).unwrap()).unwrap_err();
        let text = serde_json::to_string(&of_no_kind).unwrap();
        let error = serde_json::from_str::<Packed>(&text).unwrap_err().to_string();
        assert!(error.contains("0.0.0.0/0 is of kind 0, of 0"), "{error}");
    }
}
