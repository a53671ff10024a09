//! Where a key's half is: buckets of one cache line, two for each key.
//!
//! A half stands in the first of its buckets while that has room to spare, else in the emptier of
//! the two (Azar, Broder, Karlin, Upfal, "Balanced allocations", 1999). A bucket counts the halves
//! that passed it by, so that most keys that are not there are known to be absent after one line. Halves
//! are never moved: what an insertion costs does not depend on what is there.

use crate::memory::Pages;
use crate::prefetch::prefetch;
use crate::tags;

/// Halves of a bucket.
pub(crate) const SLOTS: usize = 8;
/// Halves that a bucket takes before the other one is asked.
const AMPLE: u32 = 6;
/// Halves for a bucket when the table is full, on average.
const LOAD: usize = 4;

#[derive(Clone, Copy)]
#[repr(C, align(64))]
struct Bucket {
    /// 0 where there is no half.
    tags: [u16; SLOTS],
    halves: [u32; SLOTS],
    /// Halves of which this is the first bucket and which are in their second.
    passed: u32,
}

const _: () = assert!(size_of::<Bucket>() == 64, "a bucket is one cache line");

impl Bucket {
    const EMPTY: Bucket = Bucket { tags: [0; SLOTS], halves: [0; SLOTS], passed: 0 };

    #[inline(always)]
    fn fill(&self) -> u32 {
        SLOTS as u32 - tags::equal(&self.tags, 0).count_ones()
    }

    #[inline(always)]
    fn find(&self, tag: u16, is_it: &mut impl FnMut(u32) -> bool) -> Option<u32> {
        let mut equal = tags::equal(&self.tags, tag);
        while equal != 0 {
            let half = self.halves[equal.trailing_zeros() as usize % SLOTS];
            if is_it(half) {
                return Some(half);
            }
            equal &= equal - 1;
        }
        None
    }

    fn put(&mut self, tag: u16, half: u32) -> bool {
        let free = tags::equal(&self.tags, 0);
        if free == 0 {
            return false;
        }
        let slot = free.trailing_zeros() as usize % SLOTS;
        self.tags[slot] = tag;
        self.halves[slot] = half;
        true
    }

    fn take(&mut self, tag: u16, half: u32) -> bool {
        let mut equal = tags::equal(&self.tags, tag);
        while equal != 0 {
            let slot = equal.trailing_zeros() as usize % SLOTS;
            if self.halves[slot] == half {
                self.tags[slot] = 0;
                return true;
            }
            equal &= equal - 1;
        }
        false
    }
}

/// Buckets at the least: the smaller a table, the less evenly it fills.
const FEWEST: usize = 16;

/// What a hash means to an index.
#[derive(Clone, Copy, Debug)]
struct Place {
    first: usize,
    second: usize,
    tag: u16,
}

pub(crate) struct Index {
    buckets: Pages<Bucket>,
}

impl Index {
    /// For so many halves.
    pub(crate) fn new(halves: usize, huge: bool) -> Result<Index, (usize, std::io::Error)> {
        let buckets = halves.div_ceil(LOAD).max(FEWEST);
        Ok(Index { buckets: Pages::new(buckets, Bucket::EMPTY, huge)? })
    }

    /// Each bucket from the upper bits of a word.
    #[inline(always)]
    fn place(&self, hash: u64) -> Place {
        let buckets = self.buckets.len() as u64;
        let (low, high) = (hash as u32, (hash >> 32) as u32);
        Place {
            first: ((u64::from(low) * buckets) >> 32) as usize,
            second: ((u64::from(high) * buckets) >> 32) as usize,
            tag: tag(hash),
        }
    }

    /// Fetches the first bucket of a hash.
    #[inline(always)]
    pub(crate) fn prefetch(&self, hash: u64) {
        prefetch(&self.buckets[self.place(hash).first]);
    }

    /// The first candidate in the first bucket.
    #[inline(always)]
    pub(crate) fn candidate(&self, hash: u64) -> Option<u32> {
        let place = self.place(hash);
        let bucket = &self.buckets[place.first];
        let equal = tags::equal(&bucket.tags, place.tag);
        (equal != 0).then(|| bucket.halves[equal.trailing_zeros() as usize % SLOTS])
    }

    /// Whether the second bucket must be asked, too.
    #[inline(always)]
    pub(crate) fn passes(&self, hash: u64) -> bool {
        self.buckets[self.place(hash).first].passed != 0
    }

    /// The half of all candidates that `is_it`.
    #[inline]
    pub(crate) fn find(&self, hash: u64, mut is_it: impl FnMut(u32) -> bool) -> Option<u32> {
        let place = self.place(hash);
        let first = &self.buckets[place.first];
        let found = first.find(place.tag, &mut is_it);
        if found.is_some() || first.passed == 0 {
            return found;
        }
        self.buckets[place.second].find(place.tag, &mut is_it)
    }

    /// Puts a half in. `false` when both its buckets are full.
    pub(crate) fn insert(&mut self, hash: u64, half: u32) -> bool {
        let place = self.place(hash);
        let fill = self.buckets[place.first].fill();
        if fill < AMPLE || fill <= self.buckets[place.second].fill() {
            return self.buckets[place.first].put(place.tag, half);
        }
        let put = self.buckets[place.second].put(place.tag, half);
        self.buckets[place.first].passed += u32::from(put);
        put
    }

    /// Takes a half out that [`Index::insert`] put in with the same hash.
    pub(crate) fn remove(&mut self, hash: u64, half: u32) -> bool {
        let place = self.place(hash);
        if self.buckets[place.first].take(place.tag, half) {
            return true;
        }
        let taken = self.buckets[place.second].take(place.tag, half);
        self.buckets[place.first].passed -= u32::from(taken);
        taken
    }

    /// Both buckets of a hash.
    pub(crate) fn buckets(&self, hash: u64) -> [usize; 2] {
        let place = self.place(hash);
        [place.first, place.second]
    }

    /// Halves in both buckets of a hash, for when they are full, and how many they are.
    pub(crate) fn neighbours(&self, hash: u64) -> ([u32; 2 * SLOTS], usize) {
        let place = self.place(hash);
        let mut all = [0; 2 * SLOTS];
        let mut count = 0;
        for bucket in [&self.buckets[place.first], &self.buckets[place.second]] {
            for (&tag, &half) in bucket.tags.iter().zip(&bucket.halves) {
                all[count % (2 * SLOTS)] = half;
                count += usize::from(tag != 0);
            }
        }
        (all, count)
    }
}

/// Of the word that does not choose the first bucket, where nearly all halves are. Never 0, which
/// marks what is empty.
#[inline(always)]
fn tag(hash: u64) -> u16 {
    (hash >> 32) as u16 | 1
}

#[cfg(test)]
mod tests {
    use super::*;

    fn random(i: u64) -> u64 {
        let z = i.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let z = (z ^ z >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ z >> 31
    }

    #[test]
    fn a_full_table_has_room_for_all() {
        for halves in [2, 16, 128, 2048, 200_000] {
            let mut index = Index::new(halves, false).expect("memory");
            let refused = (0..halves).filter(|&i| !index.insert(random(i as u64 + 1), i as u32));
            let refused = refused.count();
            assert!(refused * 10_000 <= halves, "{refused} of {halves} find no room");
        }
    }

    #[test]
    fn what_is_put_in_is_found_until_it_is_taken_out() {
        const HALVES: usize = 20_000;
        let mut index = Index::new(HALVES, false).expect("memory");
        let all: Vec<u32> =
            (0..HALVES as u32).filter(|&i| index.insert(random(u64::from(i) + 1), i)).collect();
        for (turn, &half) in all.iter().enumerate() {
            let hash = random(u64::from(half) + 1);
            assert_eq!(index.find(hash, |other| other == half), Some(half));
            assert!(index.remove(hash, half), "{turn}");
            assert_eq!(index.find(hash, |other| other == half), None);
            assert!(!index.remove(hash, half));
        }
        assert!(index.buckets.iter().all(|bucket| bucket.passed == 0 && bucket.fill() == 0));
    }

    #[test]
    fn f14_one_hash_fills_two_buckets_and_no_more() {
        let mut index = Index::new(10_000, false).expect("memory");
        let put = (0..10_000).filter(|&half| index.insert(0x1234_5678_9abc_def0, half)).count();
        assert_eq!(put, 2 * SLOTS);
        assert_eq!(index.neighbours(0x1234_5678_9abc_def0).1, 2 * SLOTS);
        let mut asked = 0;
        index.find(0x1234_5678_9abc_def0, |_| {
            asked += 1;
            false
        });
        assert_eq!(asked, 2 * SLOTS);
    }
}
