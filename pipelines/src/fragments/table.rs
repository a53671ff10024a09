//! What the first fragments of datagrams said, for as long as their others may come.
//!
//! The memory is fixed: [`SETS`] sets of [`WAYS`] datagrams. A source has one set, which a keyed
//! hash names, and at most [`PER_SOURCE`] places of it: one that floods takes places from itself,
//! never from another. When a set is full of several sources, what was learnt first gives way.
//! What is found was learnt from that very datagram's first fragment: all of its key is compared.

use std::hash::{BuildHasher, RandomState};

use sluice_packet::Family;
use sluice_policy::InstanceId;

/// Sets of datagrams.
const SETS: usize = 64;
/// Datagrams of a set.
const WAYS: usize = 64;
/// Datagrams of one source.
pub const PER_SOURCE: usize = 32;
/// Datagrams in all.
pub const CAPACITY: usize = SETS * WAYS;

/// Whose fragments belong together (RFC 791 section 3.2, RFC 8200 section 4.5).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub struct Datagram {
    /// The instance that they are in.
    pub instance: InstanceId,
    /// Their IP version.
    pub family: Family,
    /// Their protocol. 0 for IPv6, of which only the first fragment's counts.
    pub protocol: u8,
    /// Their identification.
    pub identification: u32,
    /// Who sent them.
    pub src: u128,
    /// Whom they are for.
    pub dst: u128,
}

/// What a first fragment says that later ones do not.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct First {
    /// Protocol of the layer-4 header.
    pub protocol: u8,
    /// Source port.
    pub src_port: u16,
    /// Destination port.
    pub dst_port: u16,
}

/// The datagrams of which the first fragment came.
pub struct Table {
    sets: Box<[Set]>,
    /// How many first fragments were learnt from.
    learnt: u64,
    random: RandomState,
}

#[derive(Clone)]
struct Set {
    /// Digests of the datagrams, to be compared first.
    tags: [u32; WAYS],
    /// Digests of the sources.
    sources: [u32; WAYS],
    /// Until when each is kept; what is not after the present is free.
    until: [u64; WAYS],
    /// The order in which they were learnt; many come at one moment.
    order: [u64; WAYS],
    entries: [(Datagram, First); WAYS],
}

impl Default for Table {
    fn default() -> Self {
        let set = Set {
            tags: [0; WAYS],
            sources: [0; WAYS],
            until: [0; WAYS],
            order: [0; WAYS],
            entries: [(Datagram::default(), First::default()); WAYS],
        };
        Table { sets: vec![set; SETS].into(), learnt: 0, random: RandomState::new() }
    }
}

impl Table {
    /// A digest of whom a datagram is from, which nobody outside can foretell.
    pub fn source(&self, datagram: &Datagram) -> u32 {
        self.random.hash_one((datagram.instance, datagram.family, datagram.src)) as u32
    }

    /// What the first fragment of a datagram said.
    pub fn find(&self, datagram: &Datagram, now: u64) -> Option<First> {
        let set = &self.sets[self.source(datagram) as usize % SETS];
        let way = set.find(datagram, self.tag(datagram))?;
        (set.until[way] > now).then_some(set.entries[way].1)
    }

    /// Keeps what a first fragment says until then. A later one of the same datagram replaces it:
    /// identifications are used again.
    pub fn learn(&mut self, datagram: Datagram, first: First, now: u64, until: u64) {
        let (source, tag) = (self.source(&datagram), self.tag(&datagram));
        let set = &mut self.sets[source as usize % SETS];
        let way = set.find(&datagram, tag).unwrap_or_else(|| set.place(source, now));
        set.tags[way] = tag;
        set.sources[way] = source;
        set.until[way] = until;
        self.learnt += 1;
        set.order[way] = self.learnt;
        set.entries[way] = (datagram, first);
    }

    fn tag(&self, datagram: &Datagram) -> u32 {
        self.random.hash_one(datagram) as u32
    }
}

impl Set {
    fn find(&self, datagram: &Datagram, tag: u32) -> Option<usize> {
        (0..WAYS).find(|&way| self.tags[way] == tag && self.entries[way].0 == *datagram)
    }

    /// The place for another datagram of a source.
    fn place(&self, source: u32, now: u64) -> usize {
        let own = |way: &usize| self.sources[*way] == source && self.until[*way] > now;
        let oldest = |ways: &mut dyn Iterator<Item = usize>| {
            ways.min_by_key(|&way| self.order[way]).unwrap_or_default()
        };
        if (0..WAYS).filter(own).count() >= PER_SOURCE {
            return oldest(&mut (0..WAYS).filter(own));
        }
        // What is free was learnt first.
        oldest(&mut (0..WAYS))
    }
}
