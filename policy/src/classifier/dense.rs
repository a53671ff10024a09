//! Bit vectors of up to 1,024 rules: rows as they are, a word after another, in the order of the
//! list. To go over all of them takes less than to find out which matter.

use super::rows::Rows;
use super::table::NONE;

/// Rows of up to [`Dense::MOST`] bits.
#[derive(Clone, Debug)]
pub(super) struct Dense {
    /// Words of a row: a power of two.
    width: usize,
    words: Vec<u64>,
}

impl Dense {
    /// The most conditions.
    pub(super) const MOST: usize = 16 * 64;

    /// No rows yet, for so many conditions.
    pub(super) fn new(conditions: usize) -> Dense {
        Dense { width: conditions.div_ceil(64).next_power_of_two(), words: Vec::new() }
    }

    /// Takes in rows; returns the number of the first, and by how much they differ.
    pub(super) fn take(&mut self, rows: &Rows) -> (u32, u32) {
        let first = self.words.len() / self.width;
        for row in rows.expanded() {
            let pad = self.width - row.len();
            self.words.extend(row.into_iter().chain(std::iter::repeat_n(0, pad)));
        }
        (first as u32, 1)
    }

    /// The first condition that holds for each of some packets; `rows` are theirs by field.
    #[inline]
    pub(super) fn find<const N: usize>(
        &self,
        rows: &[[u32; N]],
        packets: usize,
        first: &mut [u32; N],
    ) {
        match self.width {
            1 => self.find_in::<N, 1>(rows, packets, first),
            2 => self.find_in::<N, 2>(rows, packets, first),
            4 => self.find_in::<N, 4>(rows, packets, first),
            8 => self.find_in::<N, 8>(rows, packets, first),
            _ => self.find_in::<N, 16>(rows, packets, first),
        }
    }

    #[inline]
    fn find_in<const N: usize, const W: usize>(
        &self,
        rows: &[[u32; N]],
        packets: usize,
        first: &mut [u32; N],
    ) {
        let (all, _) = self.words.as_chunks::<W>();
        for packet in 0..packets.min(N) {
            let mut bits = [u64::MAX; W];
            for row in rows {
                for (bits, word) in bits.iter_mut().zip(&all[row[packet] as usize]) {
                    *bits &= word;
                }
            }
            let mut place = 0;
            for (i, bits) in bits.iter().enumerate().rev() {
                place = if *bits == 0 { place } else { i };
            }
            let bit = bits[place & (W - 1)].trailing_zeros();
            first[packet] = if bit == 64 { NONE } else { place as u32 * 64 + bit };
        }
    }

    /// The first condition from `from` on that holds for a packet; `rows` are its.
    pub(super) fn next(&self, rows: impl Iterator<Item = u32> + Clone, from: u32) -> u32 {
        for place in from as usize / 64..self.width {
            let word = |row: u32| self.words[row as usize * self.width + place];
            let mut bits = rows.clone().fold(u64::MAX, |bits, row| bits & word(row));
            if place == from as usize / 64 {
                bits &= u64::MAX << (from % 64);
            }
            if bits != 0 {
                return place as u32 * 64 + bits.trailing_zeros();
            }
        }
        NONE
    }
}
