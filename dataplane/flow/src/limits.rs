//! What rules limit: how many connections begin in a time, and how many a source has at once.
//!
//! Each worker counts for itself. Rates are kept by the generic cell rate algorithm (ITU-T I.371):
//! one moment for each rule, ahead of now by as much as its bucket is empty. Sources are counted in
//! a table of fixed size, keyed as the connections are; an entry lives as long as its source has
//! connections.

use crate::index::Index;
use crate::key::Hasher;
use crate::memory::Pages;

/// So many in so many seconds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Rate {
    /// How many; none at all if 0.
    pub count: u32,
    /// In how many seconds.
    pub seconds: u32,
    /// How many at once after a pause; 0 counts as 1.
    pub burst: u32,
}

/// What one rule allows of the connections that it accepts.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Allowance {
    /// How many may begin.
    pub new_flows: Option<Rate>,
    /// How many one source address may have at once.
    pub flows_per_source: Option<u32>,
}

/// Rules that there may be: they are numbered in 16 bits.
const RULES: usize = 1 << 16;

/// Bound of what is told from a moment that is past: the count of the clock may wrap.
const LONGEST: u64 = u64::MAX >> 2;

/// For each rule the moment at which its bucket is full again.
pub(crate) struct Rates {
    full_at: Pages<u64>,
    hertz: u64,
}

impl Rates {
    pub(crate) fn new(hertz: u64, huge: bool) -> Result<Rates, (usize, std::io::Error)> {
        Ok(Rates { full_at: Pages::new(RULES, 0, huge)?, hertz: hertz.max(1) })
    }

    /// Whether one more may begin, which it then has.
    pub(crate) fn take(&mut self, rule: u16, rate: Rate, now: u64) -> bool {
        if rate.count == 0 {
            return false;
        }
        let span = u128::from(self.hertz) * u128::from(rate.seconds.max(1));
        let each = u64::try_from(span / u128::from(rate.count)).unwrap_or(u64::MAX);
        let burst = each.saturating_mul(rate.burst.max(1).into()).min(LONGEST);
        let full_at = &mut self.full_at[usize::from(rule)];
        let missing = full_at.wrapping_sub(now);
        // Full for some time already; or the clock went back, or the rule has another rate now.
        let missing = if missing > burst { 0 } else { missing };
        if missing.saturating_add(each) > burst {
            return false;
        }
        *full_at = now.wrapping_add(missing).wrapping_add(each);
        true
    }
}

/// A source of connections that one rule has accepted.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Source {
    address: [u64; 2],
    rule: u16,
    flows: u32,
}

/// How many connections sources have.
pub(crate) struct Sources {
    sources: Pages<Source>,
    index: Index,
    /// Places that are not in use; those before `free` count.
    spare: Pages<u32>,
    free: usize,
}

impl Sources {
    pub(crate) fn new(places: u32, huge: bool) -> Result<Sources, (usize, std::io::Error)> {
        let count = places as usize;
        let mut spare = Pages::new(count, 0, huge)?;
        for (number, slot) in (0..places).rev().zip(spare.iter_mut()) {
            *slot = number;
        }
        let nobody = Source { address: [0; 2], rule: 0, flows: 0 };
        Ok(Sources {
            sources: Pages::new(count, nobody, huge)?,
            index: Index::new(count, huge)?,
            spare,
            free: count,
        })
    }

    fn find(&self, hash: u64, address: [u64; 2], rule: u16) -> Option<u32> {
        self.index.find(hash, |place| {
            let source = &self.sources[place as usize];
            source.address == address && source.rule == rule
        })
    }

    /// Connections of a source.
    pub(crate) fn flows(&self, hasher: &Hasher, address: [u64; 2], rule: u16) -> u32 {
        let found = self.find(hasher.hash_source(address, rule), address, rule);
        found.map_or(0, |place| self.sources[place as usize].flows)
    }

    /// Counts one more connection of a source, of no more than `most`; yields its place. `None` when
    /// it has as many, or there is no room for another source.
    pub(crate) fn hold(
        &mut self,
        hasher: &Hasher,
        address: [u64; 2],
        rule: u16,
        most: u32,
    ) -> Option<u32> {
        let hash = hasher.hash_source(address, rule);
        if let Some(place) = self.find(hash, address, rule) {
            let source = &mut self.sources[place as usize];
            if source.flows >= most {
                return None;
            }
            source.flows += 1;
            return Some(place);
        }
        if most == 0 || self.free == 0 {
            return None;
        }
        let place = self.spare[self.free - 1];
        if !self.index.insert(hash, place) {
            return None;
        }
        self.free -= 1;
        self.sources[place as usize] = Source { address, rule, flows: 1 };
        Some(place)
    }

    /// A connection that [`Sources::hold`] counted is over.
    pub(crate) fn release(&mut self, hasher: &Hasher, place: u32) {
        let source = &mut self.sources[place as usize];
        source.flows -= 1;
        if source.flows == 0 {
            let hash = hasher.hash_source(source.address, source.rule);
            self.index.remove(hash, place);
            self.spare[self.free] = place;
            self.free += 1;
        }
    }

    /// Sources that have connections.
    #[cfg(test)]
    pub(crate) fn used(&self) -> usize {
        self.sources.len() - self.free
    }
}

#[cfg(test)]
#[path = "limits_tests.rs"]
mod tests;
