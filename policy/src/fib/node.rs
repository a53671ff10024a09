//! A byte of the address that few prefixes reach, and what is below it.

use std::ops::RangeInclusive;
use std::sync::{Arc, LazyLock};

use sluice_flow::prefetch;

use super::find::Search;
use super::prefixes::{ALL, Place, Prefixes};
use super::values::Values;
use super::{Address, Leaf, NO_LEAF};

/// One byte of the way down: two cache lines, the first of which leads on to the next node and the
/// second to a leaf.
#[derive(Clone, Debug)]
#[repr(C, align(64))]
pub(super) struct Node {
    children: Children,
    prefixes: Arc<Prefixes>,
    /// The longest prefix of the byte above that covers this value of it.
    leaf: Leaf,
    /// The values at which runs of equal leaves begin; 0 is always one.
    runs: Values,
    /// The leaf of each run.
    leaves: Leaves,
}

const _: () = assert!(size_of::<Node>() == 128);

/// The nodes below some values of a byte, ascending, side by side.
#[derive(Clone, Debug, Default)]
pub(super) struct Children {
    values: Values,
    nodes: Option<Arc<[Node]>>,
}

#[derive(Clone, Debug)]
enum Leaves {
    /// In the node itself, as they nearly always are.
    Few([Leaf; FEW]),
    Many(Arc<[Leaf]>),
}

const FEW: usize = 7;

impl Children {
    /// The node below a value.
    #[inline(always)]
    pub(super) fn get(&self, byte: u8) -> Option<&Node> {
        if self.values.has(byte) { self.known(byte) } else { None }
    }

    /// The node below a value that has one.
    #[inline(always)]
    fn known(&self, byte: u8) -> Option<&Node> {
        self.nodes.as_deref()?.get(self.values.up_to(byte) - 1)
    }

    /// The values that have a node.
    pub(super) fn values(&self) -> impl Iterator<Item = u8> + use<> {
        self.values.iter()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.nodes.is_none()
    }

    fn list(&self) -> &[Node] {
        self.nodes.as_deref().unwrap_or_default()
    }

    /// Length and leaf of the longest prefix below a value.
    pub(super) fn longest(&self, byte: u8, rest: &[u8]) -> Option<(u8, Leaf)> {
        let (length, leaf) = self.get(byte)?.longest(rest)?;
        Some((8 + length, leaf))
    }

    /// Sets or removes the prefix of `length` bits of `rest` below a value. Yields what was there, and
    /// whether the value has a node now and had none, or had one and has none.
    pub(super) fn set(
        &mut self,
        byte: u8,
        rest: &[u8],
        length: u8,
        leaf: Option<Leaf>,
    ) -> (Option<Leaf>, bool) {
        if !self.values.has(byte) {
            if leaf.is_none() {
                return (None, false);
            }
            let mut node = Node::default();
            node.set(rest, length, leaf);
            self.values.insert(byte);
            let (before, after) = self.list().split_at(self.values.up_to(byte) - 1);
            self.nodes = Some([before, &[node], after].concat().into());
            return (None, true);
        }
        let at = self.values.up_to(byte) - 1;
        let Some(nodes) = &mut self.nodes else { return (None, false) };
        let node = &mut Arc::make_mut(nodes)[at];
        let old = node.set(rest, length, leaf);
        let emptied = node.is_empty();
        if emptied {
            self.values.remove(byte);
            let (before, after) = (&self.list()[..at], &self.list()[at + 1..]);
            self.nodes = match [before, after].concat() {
                none if none.is_empty() => None,
                some => Some(some.into()),
            };
        }
        (old, emptied)
    }

    /// Goes through the prefixes of all.
    pub(super) fn find(&self, search: &mut Search<'_>) {
        for (byte, node) in self.values().zip(self.list()) {
            search.behind(byte, |search| {
                for (_, bits, length) in node.prefixes.find(search.is) {
                    search.hit(bits, length);
                }
                node.children.find(search);
            });
        }
    }

    /// Takes over the leaves of some values of the byte above.
    pub(super) fn cover(&mut self, values: &RangeInclusive<u8>, leaves: &[Leaf; 256]) {
        let Some(nodes) = &mut self.nodes else { return };
        let wrong = |(node, byte): (&Node, u8)| {
            values.contains(&byte) && node.leaf != leaves[usize::from(byte)]
        };
        if nodes.iter().zip(self.values.iter()).any(wrong) {
            for (node, byte) in Arc::make_mut(nodes).iter_mut().zip(self.values.iter()) {
                if values.contains(&byte) {
                    node.leaf = leaves[usize::from(byte)];
                }
            }
        }
    }
}

impl Node {
    /// Asks for both its lines ahead of time.
    #[inline(always)]
    pub(super) fn fetch(&self) {
        prefetch(&self.children);
        prefetch(&self.runs);
    }

    /// Whether there is a node below a value of the byte.
    #[inline(always)]
    pub(super) fn has_child(&self, byte: u8) -> bool {
        self.children.values.has(byte)
    }

    /// The node below a value of the byte that has one.
    #[inline(always)]
    pub(super) fn child(&self, byte: u8) -> Option<&Node> {
        self.children.known(byte)
    }

    /// The leaf of the longest prefix that ends in this byte, or [`NO_LEAF`].
    #[inline(always)]
    pub(super) fn leaf(&self, byte: u8) -> Leaf {
        let run = self.runs.up_to(byte) - 1;
        match &self.leaves {
            Leaves::Few(leaves) => leaves[run],
            Leaves::Many(leaves) => leaves[run],
        }
    }

    /// The leaf of the longest prefix that ends in the byte above, or [`NO_LEAF`].
    #[inline(always)]
    pub(super) fn leaf_above(&self) -> Leaf {
        self.leaf
    }

    /// The leaf of the longest prefix from here on or [above](Self::leaf_above), or [`NO_LEAF`]; the
    /// node's byte is at `place`.
    #[inline(always)]
    pub(super) fn lookup(&self, address: impl Address, place: usize) -> Leaf {
        let (mut node, mut place, mut best) = (self, place, self.leaf);
        loop {
            let byte = address.byte(place);
            let Some(below) = node.children.get(byte) else {
                let leaf = node.leaf(byte);
                return if leaf == NO_LEAF { best } else { leaf };
            };
            best = if below.leaf == NO_LEAF { best } else { below.leaf };
            (node, place) = (below, place + 1);
        }
    }

    fn is_empty(&self) -> bool {
        self.children.is_empty() && self.prefixes.is_empty()
    }

    /// Length and leaf of the longest prefix that covers the rest of an address.
    fn longest(&self, address: &[u8]) -> Option<(u8, Leaf)> {
        let (&byte, rest) = address.split_first()?;
        self.children.longest(byte, rest).or_else(|| self.prefixes.longest(0, byte))
    }

    /// Sets or removes the prefix of `length` bits of `address`; yields what was there.
    fn set(&mut self, address: &[u8], length: u8, leaf: Option<Leaf>) -> Option<Leaf> {
        let (&byte, rest) = address.split_first()?;
        if length <= 8 {
            let place = Place::new(0, byte, length);
            let old = Arc::make_mut(&mut self.prefixes).set(place, leaf);
            if old != leaf {
                self.paint();
            }
            return old;
        }
        let (old, is_other) = self.children.set(byte, rest, length - 8, leaf);
        if is_other && self.has_child(byte) {
            self.children.cover(&(byte..=byte), &self.prefixes.leaves(0, NO_LEAF));
        }
        old
    }

    /// Makes the leaves anew.
    fn paint(&mut self) {
        let leaves = self.prefixes.leaves(0, NO_LEAF);
        self.children.cover(&ALL, &leaves);
        let mut runs = Vec::with_capacity(FEW);
        self.runs = Values::default();
        for (value, &leaf) in (0..=u8::MAX).zip(&leaves) {
            if runs.last() != Some(&leaf) {
                runs.push(leaf);
                self.runs.insert(value);
            }
        }
        let mut few = [NO_LEAF; FEW];
        self.leaves = match few.get_mut(..runs.len()) {
            Some(some) => {
                some.copy_from_slice(&runs);
                Leaves::Few(few)
            }
            None => Leaves::Many(runs.into()),
        };
    }
}

impl Default for Node {
    /// The empty node.
    fn default() -> Self {
        static NO_PREFIX: LazyLock<Arc<Prefixes>> = LazyLock::new(Arc::default);
        let mut runs = Values::default();
        runs.insert(0);
        Node {
            children: Children::default(),
            prefixes: Arc::clone(&NO_PREFIX),
            leaf: NO_LEAF,
            runs,
            leaves: Leaves::Few([NO_LEAF; FEW]),
        }
    }
}
