//! Longest-prefix match for IPv4 and IPv6.
//!
//! A multibit trie with a stride of eight bits; a lookup visits at most one node per byte of the
//! address and does no work per bit. There are two kinds of node. [`Direct`] has a place for each
//! value of the byte: the first two levels of IPv4, where nearly every lookup ends or passes
//! through. [`Node`] keeps one slot only for each run of equal values, as Poptrie does (Asai and
//! Ohara, SIGCOMM 2015): sparse levels, IPv6 above all, stay in the cache.
//!
//! Nodes are immutable once shared: changing one route copies the nodes on its path, so two
//! generations of a table share all the rest.

use std::sync::Arc;

use ipnet::IpNet;
use sluice_packet::Family;
use sluice_packet::descriptor::number_of;

/// What a lookup yields; its meaning is the owner's.
pub type Leaf = u32;

/// The leaf value that stands for "none" and cannot be inserted.
pub const NO_LEAF: Leaf = u32::MAX;

/// A forwarding table from prefixes to leaves. Cloning is cheap.
#[derive(Clone, Debug, Default)]
pub struct Fib {
    inet: Arc<Direct<Direct<Node>>>,
    inet6: Arc<Node>,
    len: usize,
}

/// What is below a prefix of whole bytes.
trait Trie: Clone + Default {
    /// The leaf of the longest prefix that covers the rest of an address, or [`NO_LEAF`].
    fn lookup(&self, address: &[u8]) -> Leaf;
    /// Length and leaf of that prefix.
    fn longest(&self, address: &[u8]) -> Option<(u8, Leaf)>;
    /// Sets or removes the prefix of `length` bits of `address`; yields what was there.
    fn set(&mut self, address: &[u8], length: u8, leaf: Option<Leaf>) -> Option<Leaf>;
    fn is_empty(&self) -> bool;
}

/// One byte of the way down, with a place for each of its values.
#[derive(Clone, Debug)]
struct Direct<Below> {
    /// The longest prefix of this node that covers each value.
    leaves: [Leaf; 256],
    /// Longer prefixes.
    children: [Option<Arc<Below>>; 256],
    prefixes: Prefixes,
}

/// One byte of the way down, with a slot for each run of its values.
#[derive(Clone, Debug)]
struct Node {
    /// The run that covers each value of the byte.
    runs: [u8; 256],
    /// One for each run, in order; never empty.
    slots: Box<[Slot]>,
    prefixes: Prefixes,
}

/// What a run of byte values leads to.
#[derive(Clone, Debug)]
struct Slot {
    /// The longest prefix of this node that covers the run.
    leaf: Leaf,
    /// Longer prefixes.
    child: Option<Arc<Node>>,
}

/// The prefixes that end in a node, ascending: what its leaves are made from.
#[derive(Clone, Debug, Default)]
struct Prefixes(Vec<Prefix>);

/// A prefix that ends in a node: shorter ones order first, so that longer ones overwrite them.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
struct Prefix {
    /// Bits of the byte that count, 0 (the default route) to 8.
    length: u8,
    /// Their value; the rest is 0.
    bits: u8,
    leaf: Leaf,
}

impl Fib {
    /// The leaf of the longest prefix that covers `address` (numbered as in
    /// [`sluice_packet::FlowKey`]).
    #[inline]
    pub fn lookup(&self, family: Family, address: u128) -> Option<Leaf> {
        let leaf = match family {
            Family::Inet => self.inet.lookup(&(address as u32).to_be_bytes()),
            Family::Inet6 => self.inet6.lookup(&address.to_be_bytes()),
        };
        (leaf != NO_LEAF).then_some(leaf)
    }

    /// Length and leaf of the longest prefix that covers `address`: [`lookup`](Self::lookup) for
    /// people.
    pub fn longest(&self, family: Family, address: u128) -> Option<(u8, Leaf)> {
        match family {
            Family::Inet => self.inet.longest(&(address as u32).to_be_bytes()),
            Family::Inet6 => self.inet6.longest(&address.to_be_bytes()),
        }
    }

    /// Adds a prefix, or changes where it leads.
    pub fn insert(&mut self, prefix: IpNet, leaf: Leaf) {
        debug_assert_ne!(leaf, NO_LEAF, "this value means none");
        self.len += usize::from(self.set(prefix, Some(leaf)).is_none());
    }

    /// Removes a prefix; says where it led.
    pub fn remove(&mut self, prefix: IpNet) -> Option<Leaf> {
        let removed = self.set(prefix, None);
        self.len -= usize::from(removed.is_some());
        removed
    }

    /// How many prefixes are in the table.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether the table is empty.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    fn set(&mut self, prefix: IpNet, leaf: Option<Leaf>) -> Option<Leaf> {
        let bytes = number_of(prefix.network()).to_be_bytes();
        let length = prefix.prefix_len();
        match prefix {
            IpNet::V4(_) => Arc::make_mut(&mut self.inet).set(&bytes[12..], length, leaf),
            IpNet::V6(_) => Arc::make_mut(&mut self.inet6).set(&bytes, length, leaf),
        }
    }
}

impl<Below: Trie> Trie for Direct<Below> {
    #[inline]
    fn lookup(&self, address: &[u8]) -> Leaf {
        let Some((&byte, rest)) = address.split_first() else { return NO_LEAF };
        let byte = usize::from(byte);
        if let Some(child) = &self.children[byte] {
            let longer = child.lookup(rest);
            if longer != NO_LEAF {
                return longer;
            }
        }
        self.leaves[byte]
    }

    fn longest(&self, address: &[u8]) -> Option<(u8, Leaf)> {
        let (&byte, rest) = address.split_first()?;
        let longer = self.children[usize::from(byte)].as_ref().and_then(|c| c.longest(rest));
        longer.map(|(length, leaf)| (8 + length, leaf)).or_else(|| self.prefixes.longest(byte))
    }

    fn set(&mut self, address: &[u8], length: u8, leaf: Option<Leaf>) -> Option<Leaf> {
        let (&byte, rest) = address.split_first()?;
        if length <= 8 {
            let old = self.prefixes.set(length, byte & mask(length), leaf);
            self.leaves = self.prefixes.leaves();
            return old;
        }
        let child = &mut self.children[usize::from(byte)];
        if child.is_none() {
            leaf?;
        }
        let below = Arc::make_mut(child.get_or_insert_default());
        let old = below.set(rest, length - 8, leaf);
        if below.is_empty() {
            *child = None;
        }
        old
    }

    fn is_empty(&self) -> bool {
        self.prefixes.0.is_empty() && self.children.iter().all(Option::is_none)
    }
}

impl<Below> Default for Direct<Below> {
    fn default() -> Self {
        Direct {
            leaves: [NO_LEAF; 256],
            children: [const { None }; 256],
            prefixes: Prefixes::default(),
        }
    }
}

/// The byte with its first `length` bits set.
const fn mask(length: u8) -> u8 {
    if length == 0 { 0 } else { u8::MAX << (8 - length) }
}

impl Prefixes {
    /// The longest that covers the byte: its length and leaf.
    fn longest(&self, byte: u8) -> Option<(u8, Leaf)> {
        let covering = self.0.iter().rfind(|p| byte & mask(p.length) == p.bits);
        covering.map(|prefix| (prefix.length, prefix.leaf))
    }

    /// Sets or removes one; yields what was there.
    fn set(&mut self, length: u8, bits: u8, leaf: Option<Leaf>) -> Option<Leaf> {
        let place = self.0.binary_search_by_key(&(length, bits), |p| (p.length, p.bits));
        match (place, leaf) {
            (Ok(at), Some(leaf)) => Some(std::mem::replace(&mut self.0[at].leaf, leaf)),
            (Ok(at), None) => Some(self.0.remove(at).leaf),
            (Err(at), Some(leaf)) => {
                self.0.insert(at, Prefix { length, bits, leaf });
                None
            }
            (Err(_), None) => None,
        }
    }

    /// The leaf of each value of the byte.
    fn leaves(&self) -> [Leaf; 256] {
        let mut leaves = [NO_LEAF; 256];
        for prefix in &self.0 {
            let first = usize::from(prefix.bits);
            let last = usize::from(prefix.bits | !mask(prefix.length));
            leaves[first..=last].fill(prefix.leaf);
        }
        leaves
    }
}

impl Trie for Node {
    #[inline]
    fn lookup(&self, address: &[u8]) -> Leaf {
        let mut best = NO_LEAF;
        let mut node = self;
        for &byte in address {
            let Some(slot) = node.slot(byte) else { break };
            if slot.leaf != NO_LEAF {
                best = slot.leaf;
            }
            match &slot.child {
                Some(child) => node = child,
                None => break,
            }
        }
        best
    }

    fn longest(&self, address: &[u8]) -> Option<(u8, Leaf)> {
        let (&byte, rest) = address.split_first()?;
        let child = self.slot(byte).and_then(|slot| slot.child.as_ref());
        let longer = child.and_then(|child| child.longest(rest));
        longer.map(|(length, leaf)| (8 + length, leaf)).or_else(|| self.prefixes.longest(byte))
    }

    fn set(&mut self, address: &[u8], length: u8, leaf: Option<Leaf>) -> Option<Leaf> {
        let (&byte, rest) = address.split_first()?;
        if length <= 8 {
            let old = self.prefixes.set(length, byte & mask(length), leaf);
            if old != leaf {
                let children = self.children();
                self.rebuild(children);
            }
            return old;
        }
        let index = self.index(byte);
        if self.slots[index].child.is_none() {
            leaf?;
            let mut children = self.children();
            children[usize::from(byte)] = Some(Arc::default());
            self.rebuild(children);
        }
        let index = self.index(byte);
        let child = Arc::make_mut(self.slots[index].child.as_mut()?);
        let old = child.set(rest, length - 8, leaf);
        if child.is_empty() {
            let mut children = self.children();
            children[usize::from(byte)] = None;
            self.rebuild(children);
        }
        old
    }

    fn is_empty(&self) -> bool {
        self.prefixes.0.is_empty() && self.slots.iter().all(|slot| slot.child.is_none())
    }
}

impl Node {
    #[inline]
    fn slot(&self, byte: u8) -> Option<&Slot> {
        self.slots.get(self.index(byte))
    }

    /// Which slot covers the byte value.
    #[inline]
    fn index(&self, byte: u8) -> usize {
        usize::from(self.runs[usize::from(byte)])
    }

    /// The children by byte value.
    fn children(&mut self) -> [Option<Arc<Node>>; 256] {
        let mut children = [const { None }; 256];
        for byte in 0..=255u8 {
            let index = self.index(byte);
            // A slot with a child is a run of one.
            children[usize::from(byte)] = self.slots[index].child.take();
        }
        children
    }

    /// Makes the runs from the prefixes and the children.
    fn rebuild(&mut self, children: [Option<Arc<Node>>; 256]) {
        let mut slots: Vec<Slot> = Vec::new();
        for (byte, (leaf, child)) in self.prefixes.leaves().into_iter().zip(children).enumerate() {
            let goes_on = slots
                .last()
                .is_some_and(|run| run.leaf == leaf && run.child.is_none() && child.is_none());
            if !goes_on {
                slots.push(Slot { leaf, child });
            }
            self.runs[byte] = (slots.len() - 1) as u8;
        }
        self.slots = slots.into();
    }
}

impl Default for Node {
    fn default() -> Self {
        Node {
            runs: [0; 256],
            slots: [Slot { leaf: NO_LEAF, child: None }].into(),
            prefixes: Prefixes::default(),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use sluice_packet::descriptor::ip_of;

    use super::*;

    /// Few distinct bits, so that random prefixes nest and repeat.
    fn address(family: Family) -> impl Strategy<Value = u128> {
        let byte = prop_oneof![Just(0u8), Just(10), Just(0x80), Just(0xff), any::<u8>()];
        proptest::collection::vec(byte, if family == Family::Inet { 4 } else { 16 })
            .prop_map(|bytes| bytes.into_iter().fold(0, |n, byte| n << 8 | u128::from(byte)))
    }

    fn prefix(family: Family) -> impl Strategy<Value = IpNet> {
        let bits: u8 = if family == Family::Inet { 32 } else { 128 };
        (address(family), 0..=bits)
            .prop_map(move |(n, length)| IpNet::new(ip_of(family, n), length).unwrap().trunc())
    }

    fn agrees_with_a_list(family: Family, steps: Vec<(IpNet, Option<Leaf>)>, probes: Vec<u128>) {
        let mut fib = Fib::default();
        let mut list: Vec<(IpNet, Leaf)> = Vec::new();
        let mut generations = Vec::new();
        for (prefix, leaf) in steps {
            let known = list.iter().position(|(p, _)| *p == prefix);
            let old = known.map(|at| list.swap_remove(at).1);
            match leaf {
                Some(leaf) => {
                    fib.insert(prefix, leaf);
                    list.push((prefix, leaf));
                }
                None => assert_eq!(fib.remove(prefix), old),
            }
            assert_eq!(fib.len(), list.len());
            generations.push((fib.clone(), list.clone()));
        }
        // Also the older generations, which share nodes with the later ones.
        for (fib, list) in generations.iter().rev().step_by(7) {
            let ends =
                list.iter().flat_map(|(p, _)| [number_of(p.network()), number_of(p.broadcast())]);
            for probe in probes.iter().copied().chain(ends) {
                let ip = ip_of(family, probe);
                let expected = list
                    .iter()
                    .filter(|(p, _)| p.contains(&ip))
                    .max_by_key(|(p, _)| p.prefix_len());
                assert_eq!(fib.lookup(family, probe), expected.map(|(_, leaf)| *leaf), "{ip}");
                assert_eq!(
                    fib.longest(family, probe),
                    expected.map(|(p, leaf)| (p.prefix_len(), *leaf)),
                    "{ip}"
                );
            }
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn ipv4_agrees_with_a_list(
            steps in proptest::collection::vec((prefix(Family::Inet), proptest::option::weighted(0.7, 0..50u32)), 0..80),
            probes in proptest::collection::vec(address(Family::Inet), 20),
        ) {
            agrees_with_a_list(Family::Inet, steps, probes);
        }

        #[test]
        fn ipv6_agrees_with_a_list(
            steps in proptest::collection::vec((prefix(Family::Inet6), proptest::option::weighted(0.7, 0..50u32)), 0..60),
            probes in proptest::collection::vec(address(Family::Inet6), 20),
        ) {
            agrees_with_a_list(Family::Inet6, steps, probes);
        }
    }

    #[test]
    fn families_are_apart() {
        let mut fib = Fib::default();
        fib.insert("0.0.0.0/0".parse().unwrap(), 4);
        assert_eq!(fib.lookup(Family::Inet, 1), Some(4));
        assert_eq!(fib.lookup(Family::Inet6, 1), None);
        fib.insert("::/0".parse().unwrap(), 6);
        assert_eq!(fib.lookup(Family::Inet, 1), Some(4));
        assert_eq!(fib.lookup(Family::Inet6, 1), Some(6));
    }

    #[test]
    fn an_emptied_table_is_empty() {
        let mut fib = Fib::default();
        let prefixes = ["10.0.0.0/8", "10.1.2.0/24", "10.1.2.3/32", "2001:db8::/32", "::1/128"];
        for (leaf, prefix) in prefixes.iter().enumerate() {
            fib.insert(prefix.parse().unwrap(), leaf as Leaf);
        }
        for prefix in prefixes {
            assert!(fib.remove(prefix.parse().unwrap()).is_some());
            assert_eq!(fib.remove(prefix.parse().unwrap()), None);
        }
        assert!(fib.is_empty() && fib.inet.is_empty() && fib.inet6.is_empty());
    }
}
