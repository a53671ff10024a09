//! A set of values of a byte.

/// Some values of a byte, one bit each.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Values([u64; 4]);

impl Values {
    /// Whether a value is among them.
    #[inline(always)]
    pub(super) fn has(&self, byte: u8) -> bool {
        self.0[usize::from(byte >> 6)] >> (byte & 63) & 1 == 1
    }

    /// How many are less than a value, or the value itself.
    ///
    /// The sums are counted anew each time: to keep them would take bytes of a cache line that are of
    /// better use, and a lookup waits for the line, not for this.
    #[inline(always)]
    pub(super) fn up_to(&self, byte: u8) -> usize {
        let [a, b, c, _] = self.0;
        let word = byte >> 6;
        let before = [(a, 0), (b, 1), (c, 2)].map(|(values, place)| {
            let kept = if word > place { u64::MAX } else { 0 };
            (values & kept).count_ones()
        });
        let here = (self.0[usize::from(word)] << (63 - (byte & 63))).count_ones();
        (before.into_iter().sum::<u32>() + here) as usize
    }

    /// All, ascending.
    pub(super) fn iter(self) -> impl Iterator<Item = u8> {
        (0..=u8::MAX).filter(move |value| self.has(*value))
    }

    /// Adds one.
    pub(super) fn insert(&mut self, byte: u8) {
        self.0[usize::from(byte >> 6)] |= 1 << (byte & 63);
    }

    /// Takes one out.
    pub(super) fn remove(&mut self, byte: u8) {
        self.0[usize::from(byte >> 6)] &= !(1 << (byte & 63));
    }
}
