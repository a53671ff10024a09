//! A program's table: numbers under keys of 128 bits, of a size that is fixed when it is made.
//!
//! Open addressing with linear probing (Knuth, The Art of Computer Programming, volume 3, section 6.4),
//! at most half full. The hash is keyed, so that nobody can aim at a place. Nothing here allocates
//! once a table is made.

use std::hash::{BuildHasher, RandomState};

/// Upper and lower half of a key.
pub(super) type Key = (u64, u64);

#[derive(Clone)]
pub(super) struct Table {
    /// A power of two of them; at least half are empty.
    places: Box<[Option<(Key, u64)>]>,
    hash: RandomState,
    held: usize,
    entries: usize,
}

impl Table {
    /// An empty table for so many keys.
    pub(super) fn new(entries: usize) -> Table {
        let places = vec![None; (entries.max(1) * 2).next_power_of_two()].into();
        Table { places, hash: RandomState::new(), held: 0, entries }
    }

    /// How many keys fit.
    pub(super) fn entries(&self) -> usize {
        self.entries
    }

    /// The value under a key.
    pub(super) fn get(&self, key: Key) -> Option<u64> {
        self.places[self.place(key)].map(|(_, value)| value)
    }

    /// Sets the value under a key. `false` when it is not there and the table is full.
    pub(super) fn store(&mut self, key: Key, value: u64) -> bool {
        self.change(key, |_| value).is_some()
    }

    /// Changes the value under a key, which is 0 if it is not there. The new value, or `None` when it
    /// is not there and the table is full.
    pub(super) fn change(&mut self, key: Key, to: impl FnOnce(u64) -> u64) -> Option<u64> {
        let place = self.place(key);
        let value = match self.places[place] {
            Some((_, value)) => to(value),
            None if self.held == self.entries => return None,
            None => {
                self.held += 1;
                to(0)
            }
        };
        self.places[place] = Some((key, value));
        Some(value)
    }

    /// Takes a key out. Whether it was there.
    pub(super) fn remove(&mut self, key: Key) -> bool {
        let mut hole = self.place(key);
        if self.places[hole].take().is_none() {
            return false;
        }
        self.held -= 1;
        // Those behind it that would not be found past the hole move into it.
        let mask = self.mask();
        let mut next = (hole + 1) & mask;
        while let Some((key, _)) = self.places[next] {
            let home = self.home(key);
            if next.wrapping_sub(home) & mask >= next.wrapping_sub(hole) & mask {
                self.places[hole] = self.places[next].take();
                hole = next;
            }
            next = (next + 1) & mask;
        }
        true
    }

    fn mask(&self) -> usize {
        self.places.len() - 1
    }

    fn home(&self, key: Key) -> usize {
        self.hash.hash_one(key) as usize & self.mask()
    }

    /// Where a key is, or would be.
    fn place(&self, key: Key) -> usize {
        let mut place = self.home(key);
        while self.places[place].is_some_and(|(there, _)| there != key) {
            place = (place + 1) & self.mask();
        }
        place
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn it_is_a_map_that_ends(
            entries in 1_usize..12,
            steps in prop::collection::vec((0..3, 0..16_u64, any::<u64>()), 0..400),
        ) {
            let mut table = Table::new(entries);
            let mut model = HashMap::new();
            for (what, key, value) in steps {
                let key = (key % 2, key);
                let room = model.contains_key(&key) || model.len() < entries;
                match what {
                    0 => {
                        prop_assert_eq!(table.store(key, value), room);
                        if room {
                            model.insert(key, value);
                        }
                    }
                    1 => {
                        let sum = table.change(key, |was| was.wrapping_add(value));
                        let should = room.then(|| {
                            let is = model.entry(key).or_insert(0);
                            *is = is.wrapping_add(value);
                            *is
                        });
                        prop_assert_eq!(sum, should);
                    }
                    _ => prop_assert_eq!(table.remove(key), model.remove(&key).is_some()),
                }
                for key in 0..16 {
                    let key = (key % 2, key);
                    prop_assert_eq!(table.get(key), model.get(&key).copied());
                }
            }
        }
    }
}
