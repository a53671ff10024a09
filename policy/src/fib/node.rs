//! A byte of the address that few prefixes reach, and what is below it.

use std::ops::RangeInclusive;
use std::sync::{Arc, LazyLock};

use triomphe::{HeaderSlice, HeaderWithLength, ThinArc};

use super::prefixes::{ALL, Place, Prefixes};
use super::runs::Runs;
use super::slot::{CHILD, SOME_CHILD, Slot};
use super::{Address, Leaf, NO_LEAF};

/// One byte of the way down. Head and slots are one piece of memory; it is immutable while it is
/// shared.
#[derive(Clone, Debug)]
pub(super) struct Node(ThinArc<Head, Slot>);

/// What a [`Node`] refers to.
pub(super) type Inner = HeaderSlice<HeaderWithLength<Head>, [Slot]>;

#[derive(Debug)]
pub(super) struct Head {
    runs: Runs,
    children: Children,
    prefixes: Prefixes,
}

/// What is below some values of a byte, ascending; slots have their numbers in this list.
#[derive(Clone, Debug, Default)]
pub(super) struct Children(Option<Arc<[Child]>>);

#[derive(Clone, Debug)]
pub(super) struct Child {
    node: Node,
    /// The longest prefix of the byte above that covers this value.
    leaf: Leaf,
    /// The value.
    byte: u8,
}

impl Children {
    /// The child of a value of the byte, whose slot is above [`NO_LEAF`], and the leaf if nothing
    /// is found there.
    #[inline(always)]
    pub(super) fn get(&self, slot: Slot, byte: u8) -> (&Inner, Leaf) {
        let number = match slot {
            SOME_CHILD => self.list().partition_point(|child| child.byte < byte),
            _ => (slot ^ CHILD) as usize,
        };
        let child = &self.list()[number];
        (&child.node.0, child.leaf)
    }

    pub(super) fn len(&self) -> usize {
        self.list().len()
    }

    #[inline(always)]
    fn list(&self) -> &[Child] {
        self.0.as_deref().unwrap_or_default()
    }

    pub(super) fn bytes(&self) -> impl Iterator<Item = u8> {
        self.list().iter().map(|child| child.byte)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_none()
    }

    /// Length and leaf of the longest prefix below a value of the byte.
    pub(super) fn longest(&self, byte: u8, rest: &[u8]) -> Option<(u8, Leaf)> {
        let at = self.find(byte).ok()?;
        let (length, leaf) = self.list()[at].node.longest(rest)?;
        Some((8 + length, leaf))
    }

    /// Sets or removes the prefix of `length` bits of `rest` below a value of the byte. Yields what
    /// was there, and whether there are more or fewer children now.
    pub(super) fn set(
        &mut self,
        byte: u8,
        rest: &[u8],
        length: u8,
        leaf: Option<Leaf>,
    ) -> (Option<Leaf>, bool) {
        match self.find(byte) {
            Ok(at) => {
                let Some(children) = &mut self.0 else { return (None, false) };
                let child = &mut Arc::make_mut(children)[at];
                let old = child.node.set(rest, length, leaf);
                let emptied = child.node.is_empty();
                if emptied {
                    let list = self.list();
                    self.0 = match [&list[..at], &list[at + 1..]].concat() {
                        none if none.is_empty() => None,
                        some => Some(some.into()),
                    };
                }
                (old, emptied)
            }
            Err(at) => {
                if leaf.is_none() {
                    return (None, false);
                }
                let mut node = Node::default();
                node.set(rest, length, leaf);
                let list = self.list();
                let child = [Child { node, leaf: NO_LEAF, byte }];
                self.0 = Some([&list[..at], &child, &list[at..]].concat().into());
                (None, true)
            }
        }
    }

    /// Takes over the leaves of some values of the byte above.
    pub(super) fn cover(&mut self, values: &RangeInclusive<u8>, leaves: &[Leaf; 256]) {
        let is_right = |child: &Child| {
            !values.contains(&child.byte) || child.leaf == leaves[usize::from(child.byte)]
        };
        if let Some(children) = &mut self.0
            && !children.iter().all(is_right)
        {
            for child in Arc::make_mut(children).iter_mut().filter(|child| !is_right(child)) {
                child.leaf = leaves[usize::from(child.byte)];
            }
        }
    }

    fn find(&self, byte: u8) -> Result<usize, usize> {
        self.list().binary_search_by_key(&byte, |child| child.byte)
    }
}

impl Head {
    #[inline(always)]
    pub(super) fn index(&self, byte: u8) -> usize {
        self.runs.index(byte)
    }

    #[inline(always)]
    pub(super) fn children(&self) -> &Children {
        &self.children
    }
}

/// The leaf of the longest prefix below a slot, or [`NO_LEAF`]; `place` is that of the byte that the
/// slot is of.
pub(super) fn lookup(children: &Children, slot: Slot, address: impl Address, place: usize) -> Leaf {
    let (mut children, mut slot, mut place, mut best) = (children, slot, place, NO_LEAF);
    while slot > NO_LEAF {
        let (node, leaf) = children.get(slot, address.byte(place));
        if leaf != NO_LEAF {
            best = leaf;
        }
        let head = &node.header.header;
        place += 1;
        slot = node.slice[head.runs.index(address.byte(place))];
        children = &head.children;
    }
    if slot == NO_LEAF { best } else { slot }
}

impl Node {
    fn new(prefixes: Prefixes, mut children: Children) -> Node {
        let mut slots = prefixes.leaves(0, NO_LEAF);
        children.cover(&ALL, &slots);
        for (number, byte) in children.bytes().enumerate() {
            slots[usize::from(byte)] = CHILD | number as Slot;
        }
        let (runs, slots) = Runs::of(&slots);
        Node(ThinArc::from_header_and_slice(Head { runs, children, prefixes }, &slots))
    }

    fn is_empty(&self) -> bool {
        let head = &self.0.header.header;
        head.children.is_empty() && head.prefixes.is_empty()
    }

    /// Length and leaf of the longest prefix that covers the rest of an address.
    fn longest(&self, address: &[u8]) -> Option<(u8, Leaf)> {
        let (&byte, rest) = address.split_first()?;
        let head = &self.0.header.header;
        head.children.longest(byte, rest).or_else(|| head.prefixes.longest(0, byte))
    }

    /// Sets or removes the prefix of `length` bits of `address`; yields what was there.
    fn set(&mut self, address: &[u8], length: u8, leaf: Option<Leaf>) -> Option<Leaf> {
        let (&byte, rest) = address.split_first()?;
        let head = &self.0.header.header;
        if length <= 8 {
            let mut prefixes = head.prefixes.clone();
            let old = prefixes.set(Place::new(0, byte, length), leaf);
            if old != leaf {
                *self = Node::new(prefixes, head.children.clone());
            }
            return old;
        }
        let in_place = self.0.with_arc_mut(|node| {
            let head = triomphe::Arc::get_mut(node)?.header_mut();
            Some(head.children.set(byte, rest, length - 8, leaf))
        });
        let head = &self.0.header.header;
        let mut children = head.children.clone();
        let old = match in_place {
            Some((old, false)) => return old,
            Some((old, true)) => old,
            None => children.set(byte, rest, length - 8, leaf).0,
        };
        if old != leaf {
            *self = Node::new(head.prefixes.clone(), children);
        }
        old
    }
}

impl Default for Node {
    /// The empty node, which all share.
    fn default() -> Self {
        static EMPTY: LazyLock<Node> =
            LazyLock::new(|| Node::new(Prefixes::default(), Children::default()));
        EMPTY.clone()
    }
}
