//! Prefixes that end in a byte of the address: what leaves are made from.

use std::ops::RangeInclusive;

use super::Leaf;

/// Prefixes in order: by the byte before the one that they end in, then shorter ones first, so
/// that longer ones overwrite them.
#[derive(Clone, Debug, Default)]
pub(super) struct Prefixes(Vec<Prefix>);

#[derive(Clone, Copy, Debug)]
struct Prefix {
    place: Place,
    leaf: Leaf,
}

/// What a prefix is known by.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) struct Place {
    /// The byte before the one that it ends in, where these prefixes are of several.
    pub before: u8,
    /// Bits of the last byte that count, 0 (the default route) to 8.
    pub length: u8,
    /// Their value; the rest is 0.
    pub bits: u8,
}

impl Place {
    pub(super) fn new(before: u8, byte: u8, length: u8) -> Place {
        Place { before, length, bits: byte & mask(length) }
    }

    /// The values of the last byte that it covers.
    pub(super) fn values(self) -> RangeInclusive<u8> {
        self.bits..=self.bits | !mask(self.length)
    }
}

/// The byte with its first `length` bits set.
const fn mask(length: u8) -> u8 {
    if length == 0 { 0 } else { u8::MAX << (8 - length) }
}

/// All values of a byte.
pub(super) const ALL: RangeInclusive<u8> = 0..=u8::MAX;

impl Prefixes {
    /// The longest behind `before` that covers the byte: its length and leaf.
    pub(super) fn longest(&self, before: u8, byte: u8) -> Option<(u8, Leaf)> {
        let covers = |p: &&Prefix| byte & mask(p.place.length) == p.place.bits;
        let covering = self.behind(before).iter().rfind(covers);
        covering.map(|prefix| (prefix.place.length, prefix.leaf))
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Those whose leaf `is` one that is looked for: the byte before, and the bits and how many they are.
    pub(super) fn find(&self, is: &dyn Fn(Leaf) -> bool) -> impl Iterator<Item = (u8, u8, u8)> {
        let found = self.0.iter().filter(|prefix| is(prefix.leaf));
        found.map(|Prefix { place, .. }| (place.before, place.bits, place.length))
    }

    /// Sets or removes one; yields what was there.
    pub(super) fn set(&mut self, place: Place, leaf: Option<Leaf>) -> Option<Leaf> {
        match (self.0.binary_search_by_key(&place, |prefix| prefix.place), leaf) {
            (Ok(at), Some(leaf)) => Some(std::mem::replace(&mut self.0[at].leaf, leaf)),
            (Ok(at), None) => Some(self.0.remove(at).leaf),
            (Err(at), Some(leaf)) => {
                make_room(&mut self.0, 1);
                self.0.insert(at, Prefix { place, leaf });
                None
            }
            (Err(_), None) => None,
        }
    }

    /// The leaf of each value of the byte behind `before`; `otherwise` where no prefix covers it.
    pub(super) fn leaves(&self, before: u8, otherwise: Leaf) -> [Leaf; 256] {
        self.leaves_of(before, &ALL, otherwise)
    }

    /// [`leaves`](Self::leaves) of those values only that some prefix covers; the others say nothing.
    pub(super) fn leaves_of(
        &self,
        before: u8,
        values: &RangeInclusive<u8>,
        otherwise: Leaf,
    ) -> [Leaf; 256] {
        let mut leaves = [otherwise; 256];
        let mut rest = self.behind(before);
        for length in 0..=8 {
            // Prefixes of one length do not overlap, so that those of some values follow each other.
            let first = Place::new(before, *values.start(), length);
            rest = &rest[rest.partition_point(|prefix| prefix.place < first)..];
            let within = |place: Place| place.length == length && place.bits <= *values.end();
            for Prefix { place, leaf } in rest.iter().take_while(|prefix| within(prefix.place)) {
                let values = place.values();
                leaves[usize::from(*values.start())..=usize::from(*values.end())].fill(*leaf);
            }
        }
        leaves
    }

    fn behind(&self, before: u8) -> &[Prefix] {
        let first = self.0.partition_point(|prefix| prefix.place.before < before);
        let rest = &self.0[first..];
        &rest[..rest.partition_point(|prefix| prefix.place.before == before)]
    }
}

/// Room for some more without doubling what is there: tables are large, and grow seldom.
fn make_room<T>(list: &mut Vec<T>, more: usize) {
    if list.capacity() - list.len() < more {
        list.reserve_exact(more + list.len() / 8);
    }
}
