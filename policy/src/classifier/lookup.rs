//! From a field's value to what holds of it: maps from ranges to numbers.
//!
//! A map is made of the places where something changes: `(first value, number)` in rising order,
//! the first of them at 0. [`Small`] is for fields of 16 bits, [`Direct`] for IPv4 addresses,
//! [`Sorted`] for addresses of both versions; none takes a branch that depends on the packet, but
//! for the steps of `Sorted`.

use std::collections::HashMap;

/// A place where something changes: from this value on, this number.
pub(super) type Change<T> = (T, u32);

/// An index into the next table: where a block begins there, and how much of a byte tells its
/// entries apart. A block of one entry serves what needs no further look.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
struct Block(u32);

impl Block {
    #[inline(always)]
    fn entry(self, byte: u8) -> usize {
        (self.0 >> 4) as usize + usize::from(u16::from(byte) >> (self.0 & 15))
    }
}

/// Puts a block of 256 values into a table, as few as tell them apart.
fn block<T: Copy + PartialEq>(values: &[T; 256], table: &mut Vec<T>) -> Block {
    let changes = (1..256u32).filter(|&i| values[i as usize] != values[i as usize - 1]);
    let shift = changes.map(u32::trailing_zeros).min().unwrap_or(8);
    let block = Block((table.len() as u32) << 4 | shift);
    table.extend(values.iter().step_by(1 << shift));
    block
}

/// A run of equal values as long as a table allows.
fn fill<T: Copy>(changes: &[Change<T>], numbers: &mut [u32], value: impl Fn(T) -> usize) {
    for (i, change) in changes.iter().enumerate() {
        let end = changes.get(i + 1).map_or(numbers.len(), |next| value(next.0));
        numbers[value(change.0)..end].fill(change.1);
    }
}

/// Of a field of 16 bits.
#[derive(Clone, Debug)]
pub(super) struct Small {
    blocks: Box<[Block; 256]>,
    numbers: Box<[u32]>,
}

impl Small {
    pub(super) fn new(changes: &[Change<u16>]) -> Small {
        let mut all = vec![0; 1 << 16];
        fill(changes, &mut all, usize::from);
        let (mut blocks, mut numbers) = (Box::new([Block(0); 256]), Vec::new());
        for (entry, values) in blocks.iter_mut().zip(all.as_chunks().0) {
            *entry = block(values, &mut numbers);
        }
        Small { blocks, numbers: numbers.into() }
    }

    /// Each number replaced by another.
    pub(super) fn renumber(&mut self, number: impl Fn(u32) -> u32) {
        self.numbers.iter_mut().for_each(|n| *n = number(*n));
    }

    #[inline(always)]
    pub(super) fn get(&self, value: u16) -> u32 {
        let [high, low] = value.to_be_bytes();
        self.numbers[self.blocks[usize::from(high)].entry(low)]
    }
}

/// Of IPv4 addresses, a byte at a time. Always four loads, the first of few cache lines, so that
/// neither the processor's guesses nor its caches depend on how packets are mixed.
#[derive(Clone, Debug)]
pub(super) struct Direct {
    first: Box<[Block; 256]>,
    upper: [Box<[Block]>; 2],
    numbers: Box<[u32]>,
}

impl Direct {
    /// The most entries that there may be; scattered hosts need up to 256 each.
    const MOST: usize = 1 << 22;

    /// The map, or `None` where it would be too large.
    pub(super) fn new(changes: &[Change<u32>]) -> Option<Direct> {
        let mut building = Building::default();
        let first = Box::new(building.entries(0, 0, 0, changes)?);
        let Building { upper, numbers, .. } = building;
        Some(Direct { first, upper: upper.map(Into::into), numbers: numbers.into() })
    }

    #[inline(always)]
    pub(super) fn get(&self, address: u32) -> u32 {
        let [first, second, third, fourth] = address.to_be_bytes();
        let block = self.first[usize::from(first)];
        let block = self.upper[0][block.entry(second)];
        let block = self.upper[1][block.entry(third)];
        self.numbers[block.entry(fourth)]
    }
}

/// The lower tables of a [`Direct`] while it is made.
#[derive(Default)]
struct Building {
    upper: [Vec<Block>; 2],
    numbers: Vec<u32>,
    /// The blocks of a single entry, by level and number.
    single: HashMap<(usize, u32), Block>,
}

impl Building {
    /// The entries of a block: of all addresses from `begin` that have its first `level` bytes.
    /// `number` is what holds before the changes, which are all inside. `None` when there are too
    /// many.
    fn entries(
        &mut self,
        level: usize,
        begin: u32,
        mut number: u32,
        mut changes: &[Change<u32>],
    ) -> Option<[Block; 256]> {
        let shift = 24 - 8 * level as u32;
        let mut entries = [Block(0); 256];
        for (byte, entry) in entries.iter_mut().enumerate() {
            let begin = begin | (byte as u32) << shift;
            let here = changes.partition_point(|change| change.0 >> shift <= begin >> shift);
            let (inside, after) = changes.split_at(here);
            if let Some(change) = inside.first().filter(|change| change.0 == begin) {
                number = change.1;
            }
            *entry = match inside {
                [] => self.single(level, number),
                [change] if change.0 == begin => self.single(level, number),
                _ if level < 2 => {
                    let lower = self.entries(level + 1, begin, number, inside)?;
                    block(&lower, &mut self.upper[level])
                }
                _ => {
                    let mut values = [number; 256];
                    fill(inside, &mut values, |address| usize::from(address as u8));
                    block(&values, &mut self.numbers)
                }
            };
            number = inside.last().map_or(number, |change| change.1);
            changes = after;
        }
        let all = self.upper[0].len() + self.upper[1].len() + self.numbers.len();
        (all <= Direct::MOST).then_some(entries)
    }

    /// A block below `level` that has one entry and leads to the number.
    fn single(&mut self, level: usize, number: u32) -> Block {
        if let Some(known) = self.single.get(&(level, number)) {
            return *known;
        }
        let single = if level < 2 {
            let lower = self.single(level + 1, number);
            block(&[lower; 256], &mut self.upper[level])
        } else {
            block(&[number; 256], &mut self.numbers)
        };
        self.single.insert((level, number), single);
        single
    }
}

/// Of addresses of either version: buckets by the address's first bits, then halving. As large as
/// there are changes.
#[derive(Clone, Debug)]
pub(super) struct Sorted {
    /// How far the first 16 bits are up.
    shift: u32,
    /// Where the changes of each bucket begin, and where the last one's end.
    buckets: Box<[u32]>,
    firsts: Box<[u128]>,
    numbers: Box<[u32]>,
}

impl Sorted {
    /// `bits`: of an address.
    pub(super) fn new(changes: &[Change<u128>], bits: u32) -> Sorted {
        let shift = bits - 16;
        let begin = |bucket| changes.partition_point(|change| change.0 >> shift < bucket) as u32;
        Sorted {
            shift,
            buckets: (0..=1u128 << 16).map(begin).collect(),
            firsts: changes.iter().map(|change| change.0).collect(),
            numbers: changes.iter().map(|change| change.1).collect(),
        }
    }

    #[inline(always)]
    pub(super) fn get(&self, address: u128) -> u32 {
        let bucket = (address >> self.shift) as usize & 0xffff;
        let (begin, end) = (self.buckets[bucket] as usize, self.buckets[bucket + 1] as usize);
        let after = begin + self.firsts[begin..end].partition_point(|first| *first <= address);
        // The first change is at 0: one is at or before every address.
        self.numbers[after - 1]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn plainly<T: Ord + Copy>(changes: &[Change<T>], value: T) -> u32 {
        changes.iter().rfind(|change| change.0 <= value).unwrap().1
    }

    /// Changes in rising order, many of them close to each other or at round numbers.
    fn changes() -> impl Strategy<Value = Vec<Change<u32>>> {
        let point = prop_oneof![
            any::<u32>(),
            (0..8u32, 0..32u32).prop_map(|(n, shift)| n.wrapping_shl(shift)),
            (0..600u32).prop_map(|n| 0x0a00_0000 + n),
        ];
        proptest::collection::btree_map(point, 0..6u32, 0..60).prop_map(|mut map| {
            map.entry(0).or_insert(7);
            map.into_iter().collect()
        })
    }

    proptest! {
        #[test]
        fn all_maps_agree_with_a_scan(
            changes in changes(),
            addresses in proptest::collection::vec(any::<u32>(), 20),
        ) {
            let wide: Vec<_> = changes.iter().map(|c| (u128::from(c.0), c.1)).collect();
            let high: Vec<_> = changes.iter().map(|c| (u128::from(c.0) << 96 | u128::from(c.0 & 1), c.1)).collect();
            let (direct, sorted) = (Direct::new(&changes).unwrap(), Sorted::new(&wide, 32));
            let sorted6 = Sorted::new(&high, 128);
            let edges = changes.iter().flat_map(|c| [c.0.wrapping_sub(1), c.0, c.0.wrapping_add(1)]);
            for address in addresses.into_iter().chain(edges) {
                let expected = plainly(&changes, address);
                prop_assert_eq!(direct.get(address), expected);
                prop_assert_eq!(sorted.get(address.into()), expected);
                let address = u128::from(address) << 96 | 1;
                prop_assert_eq!(sorted6.get(address), plainly(&high, address));
            }
            let mut small: Vec<Change<u16>> = changes.iter().map(|c| (c.0 as u16, c.1)).collect();
            small.sort_by_key(|c| c.0);
            small.dedup_by_key(|c| c.0);
            let map = Small::new(&small);
            for value in 0..=u16::MAX {
                prop_assert_eq!(map.get(value), plainly(&small, value));
            }
        }
    }

    #[test]
    fn scattered_hosts_are_not_spread_out() {
        let hosts = (0..40_000u32).flat_map(|n| {
            let host = n << 16 | 0x0101;
            [(host, 1), (host + 1, 0)]
        });
        let changes: Vec<_> = [(0, 0)].into_iter().chain(hosts).collect();
        assert!(Direct::new(&changes).is_none());
    }
}
