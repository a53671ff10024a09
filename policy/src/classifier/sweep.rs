//! From the ranges of all rules in one field to classes of values.

use std::collections::{BTreeMap, HashMap};
use std::hash::Hash;

use super::lookup::Change;
use super::rows::Rows;

/// The rules that ask for the same ranges.
pub(super) struct Group {
    /// First and last of each range; in rising order, and none touches another.
    ranges: Vec<(u128, u128)>,
    /// The rules: bits in words.
    rules: Vec<(usize, u64)>,
}

impl Group {
    pub(super) fn new(ranges: Vec<(u128, u128)>, rules: Vec<(usize, u64)>) -> Group {
        Group { ranges: united(ranges), rules }
    }
}

/// Ranges without overlaps, in order.
pub(super) fn united(mut ranges: Vec<(u128, u128)>) -> Vec<(u128, u128)> {
    ranges.sort_unstable();
    ranges.dedup_by(|(first, last), before| {
        let touch = *first <= before.1.saturating_add(1);
        if touch {
            before.1 = before.1.max(*last);
        }
        touch
    });
    ranges
}

/// Which rules have which key, the keys in the order in which they come first; a rule has its
/// place in the rows.
pub(super) fn by_key<K: Hash + Eq + Copy>(
    keys: impl Iterator<Item = (usize, K)>,
) -> Vec<(K, Vec<(usize, u64)>)> {
    let mut groups: Vec<(K, BTreeMap<usize, u64>)> = Vec::new();
    let mut known = HashMap::new();
    for (place, key) in keys {
        let group = *known.entry(key).or_insert_with(|| {
            groups.push((key, BTreeMap::new()));
            groups.len() - 1
        });
        *groups[group].1.entry(place / 64).or_default() |= 1 << (place % 64);
    }
    groups.into_iter().map(|(key, rules)| (key, rules.into_iter().collect())).collect()
}

/// Goes over all values of a field, and notes where the rules that they satisfy change, and the
/// rows of those rules; `None` when the rows take more than `budget` bytes.
pub(super) fn sweep(
    groups: &[Group],
    last: u128,
    rows: &mut Rows,
    budget: usize,
) -> Option<Vec<Change<u128>>> {
    let mut turns: Vec<(u128, usize)> = Vec::new();
    for (number, group) in groups.iter().enumerate() {
        let ends = group.ranges.iter().flat_map(|(first, end)| [Some(*first), end.checked_add(1)]);
        turns.extend(ends.flatten().filter(|turn| *turn <= last).map(|turn| (turn, number)));
    }
    turns.sort_unstable();

    let mut words = rows.common().to_vec();
    let mut blocks: Vec<u32> =
        words.chunks(64).enumerate().map(|(place, words)| rows.block(place, words)).collect();
    let mut changes = Vec::new();
    if turns.first().is_none_or(|turn| turn.0 != 0) {
        changes.push((0, rows.row(&blocks)));
    }
    let mut stale = vec![false; blocks.len()];
    for turn in turns.chunk_by(|a, b| a.0 == b.0) {
        for (_, group) in turn {
            // A group's ranges do not touch: each turn takes its rules in or out.
            for &(word, rules) in &groups[*group].rules {
                words[word] ^= rules;
                stale[word / 64] = true;
            }
        }
        for (place, stale) in stale.iter_mut().enumerate().filter(|(_, stale)| **stale) {
            let end = words.len().min(place * 64 + 64);
            blocks[place] = rows.block(place, &words[place * 64..end]);
            *stale = false;
        }
        let row = rows.row(&blocks);
        if changes.last().is_none_or(|change: &Change<u128>| change.1 != row) {
            changes.push((turn[0].0, row));
        }
        if rows.bytes() > budget {
            return None;
        }
    }
    Some(changes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_united() {
        assert_eq!(united(vec![(5, 9), (1, 2), (3, 4), (20, 30), (7, 12)]), [(1, 12), (20, 30)]);
        assert_eq!(united(vec![(0, u128::MAX), (5, 6)]), [(0, u128::MAX)]);
    }

    #[test]
    fn rules_change_where_ranges_begin_and_end() {
        let groups = [
            Group::new(vec![(10, 19), (30, 39)], vec![(0, 0b01)]),
            Group::new(vec![(15, 255)], vec![(0, 0b10), (70, 1)]),
        ];
        let mut rows = Rows::new(&[0b100; 71]);
        let changes = sweep(&groups, 255, &mut rows, usize::MAX).unwrap();
        let rows = rows.expanded();
        let seen: Vec<_> = changes
            .iter()
            .map(|&(first, row)| (first, rows[row as usize][0], rows[row as usize][70]))
            .collect();
        let expected = [
            (0, 0b100, 0b100),
            (10, 0b101, 0b100),
            (15, 0b111, 0b101),
            (20, 0b110, 0b101),
            (30, 0b111, 0b101),
            (40, 0b110, 0b101),
        ];
        assert_eq!(seen, expected);
        assert_eq!(rows.len(), 4, "the same rules, the same row");
    }

    #[test]
    fn a_budget_is_kept() {
        let groups: Vec<_> = (0..1000)
            .map(|n| Group::new(vec![(n, 5000 - n)], vec![(n as usize / 64, 1 << (n % 64))]))
            .collect();
        let common = [0; 16];
        assert!(sweep(&groups, 9999, &mut Rows::new(&common), 1000).is_none());
        assert!(sweep(&groups, 9999, &mut Rows::new(&common), 1 << 20).is_some());
    }
}
