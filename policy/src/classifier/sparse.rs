//! Bit vectors of many rules: only the words are looked at that the aggregates have in common.

use super::rows::{Block, Common, Rows};
use super::table::NONE;

/// Words that are looked at together: more than one packet can need.
const WORDS: usize = 256;

/// Rows of blocks that are shared.
#[derive(Clone, Debug)]
pub(super) struct Sparse {
    /// Blocks of a row.
    span: usize,
    /// Of each row by field.
    common: Vec<Common>,
    blocks: Vec<Block>,
    words: Vec<u64>,
    /// The condition that each bit stands for.
    conditions: Vec<u32>,
}

impl Sparse {
    /// No rows yet; `order` says which condition each bit stands for.
    pub(super) fn new(order: &[u32]) -> Sparse {
        Sparse {
            span: order.len().div_ceil(64 * 64),
            common: Vec::new(),
            blocks: Vec::new(),
            words: Vec::new(),
            conditions: order.to_vec(),
        }
    }

    /// Takes in the rows of the next field; returns the number of the first, and by how much they
    /// differ.
    pub(super) fn take(&mut self, rows: &Rows) -> (u32, u32) {
        let (first, common) = rows.append(&mut self.blocks, &mut self.words);
        self.common.push(common);
        (first, self.span as u32)
    }

    /// The first condition that holds for each of some packets; `rows` are theirs by field.
    #[inline]
    pub(super) fn find<const N: usize>(
        &self,
        rows: &[[u32; N]],
        packets: usize,
        first: &mut [u32; N],
    ) {
        for block in 0..self.span {
            self.find_in(block, rows, packets.min(N), first);
        }
    }

    /// Brings `first` up to date for the rules of a block.
    #[inline]
    fn find_in<const N: usize>(
        &self,
        block: usize,
        rows: &[[u32; N]],
        packets: usize,
        first: &mut [u32; N],
    ) {
        let mut any = [u64::MAX; N];
        for (common, rows) in self.common.iter().zip(rows) {
            let common = common.any[block];
            for (any, row) in any.iter_mut().zip(&rows[..packets]) {
                *any &= common | self.blocks[*row as usize + block].own;
            }
        }
        // Words as (packet, place).
        let mut words = [(0u8, 0u8); WORDS];
        let mut count = 0;
        for (packet, any) in any[..packets].iter().enumerate() {
            let mut any = *any;
            let end = count + any.count_ones() as usize;
            loop {
                // Mostly there are up to four; what is written too much is overwritten.
                for word in &mut words[count..count + 4] {
                    *word = (packet as u8, any.trailing_zeros() as u8);
                    any &= any.wrapping_sub(1);
                }
                count += 4;
                if any == 0 {
                    break;
                }
            }
            count = end;
            if count > WORDS - 64 - 4 {
                self.find_at(block, rows, &words[..count], first);
                count = 0;
            }
        }
        self.find_at(block, rows, &words[..count], first);
    }

    /// The same for some words of some packets.
    #[inline]
    fn find_at<const N: usize>(
        &self,
        block: usize,
        rows: &[[u32; N]],
        words: &[(u8, u8)],
        first: &mut [u32; N],
    ) {
        let mut bits = [u64::MAX; WORDS];
        for (common, rows) in self.common.iter().zip(rows) {
            let common = common.begin + block as u32 * 64;
            for (bits, (packet, place)) in bits.iter_mut().zip(words) {
                let row = rows[usize::from(*packet) & (N - 1)];
                let word = self.blocks[row as usize + block].word(u32::from(*place), common);
                *bits &= self.words[word];
            }
        }
        for (bits, (packet, place)) in bits.iter().zip(words) {
            let word = (block * 64 + usize::from(*place)) * 64;
            let condition = self.conditions[word + (bits.trailing_zeros() & 63) as usize];
            let condition = if *bits == 0 { NONE } else { condition };
            let first = &mut first[usize::from(*packet) & (N - 1)];
            *first = condition.min(*first);
        }
    }

    /// The first condition from `from` on that holds for a packet; `rows` are its.
    pub(super) fn next(&self, rows: impl Iterator<Item = u32> + Clone, from: u32) -> u32 {
        let rows = self.common.iter().zip(rows);
        let mut next = NONE;
        for block in 0..self.span {
            let of = |row: u32| self.blocks[row as usize + block];
            let any = |any, (common, row): (&Common, u32)| any & (common.any[block] | of(row).own);
            let mut any = rows.clone().fold(u64::MAX, any);
            while any != 0 {
                let place = any.trailing_zeros();
                any &= any - 1;
                let mut bits = rows.clone().fold(u64::MAX, |bits, (common, row)| {
                    bits & self.words[of(row).word(place, common.begin + block as u32 * 64)]
                });
                while bits != 0 {
                    let bit = bits.trailing_zeros() as usize;
                    let condition = self.conditions[(block * 64 + place as usize) * 64 + bit];
                    if condition >= from {
                        next = next.min(condition);
                        break;
                    }
                    bits &= bits - 1;
                }
            }
        }
        next
    }
}
