//! The values of a byte as runs that lead to the same.

use super::slot::Slot;

/// Where runs begin.
#[derive(Clone, Debug)]
pub(super) struct Runs {
    /// The values at which a run begins; 0 is always one.
    starts: [u64; 4],
    /// How many runs begin before each word of `starts`.
    before: [u8; 4],
}

impl Runs {
    /// Runs of equal slots, and the slot of each run.
    pub(super) fn of(values: &[Slot; 256]) -> (Runs, Vec<Slot>) {
        let mut starts = [0; 4];
        let mut slots = Vec::with_capacity(32);
        for (value, &slot) in values.iter().enumerate() {
            if slots.last() != Some(&slot) {
                slots.push(slot);
                starts[value / 64] |= 1 << (value % 64);
            }
        }
        let mut runs = 0;
        let before = starts.map(|word: u64| {
            let before = runs as u8;
            runs += word.count_ones();
            before
        });
        (Runs { starts, before }, slots)
    }

    /// Which run a value is in.
    #[inline(always)]
    pub(super) fn index(&self, byte: u8) -> usize {
        let (word, bit) = (usize::from(byte >> 6), byte & 63);
        let runs = (self.starts[word] << (63 - bit)).count_ones() as usize;
        // The first value begins a run: there is at least one up to any value.
        usize::from(self.before[word]) + runs - 1
    }
}
