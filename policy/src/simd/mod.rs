//! Vector instructions, where the compiler cannot be relied on to find them, and which level of
//! instructions is used. Where the processor has AVX2 it is taken, elsewhere the plain form, to which a
//! property test holds the other.
//!
//! This is the one place of the crate that may have `unsafe`.

mod level;

pub use level::{Level, TooOld};

/// Eight rules side by side: each step of a comparison is an instruction over all of them. Three cache
/// lines.
#[derive(Clone, Copy, Debug)]
#[repr(C, align(64))]
pub(crate) struct Lanes {
    /// What an address is under [`address_mask`](Self::address_mask).
    pub(crate) address: [u32; Lanes::COUNT],
    pub(crate) address_mask: [u32; Lanes::COUNT],
    /// The first source port, and how many more there are.
    pub(crate) source_port: [u16; Lanes::COUNT],
    pub(crate) source_ports: [u16; Lanes::COUNT],
    /// The first destination port, and how many more there are.
    pub(crate) destination_port: [u16; Lanes::COUNT],
    pub(crate) destination_ports: [u16; Lanes::COUNT],
    /// What marks are under [`marks_mask`](Self::marks_mask).
    pub(crate) marks: [u16; Lanes::COUNT],
    pub(crate) marks_mask: [u16; Lanes::COUNT],
    /// What the rules are called.
    pub(crate) names: [u32; Lanes::COUNT],
}

/// What rules are compared with.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Probe {
    pub(crate) source_port: u16,
    pub(crate) destination_port: u16,
    pub(crate) marks: u16,
}

const _: () = assert!(size_of::<Lanes>() == 192);

impl Lanes {
    pub(crate) const COUNT: usize = 8;

    /// The least name, from `from` on, of a rule that has this address and all else;
    /// [`u32::MAX`] where there is none.
    #[inline(always)]
    pub(crate) fn least(&self, address: u32, probe: Probe, from: u32) -> u32 {
        #[cfg(target_arch = "x86_64")]
        if Level::used() == Level::V3 {
            // SAFETY: the level has AVX2.
            return unsafe { self.least_avx2(address, probe, from) };
        }
        self.least_plain(address, probe, from)
    }

    #[cfg(target_arch = "x86_64")]
    #[target_feature(enable = "avx2")]
    #[inline]
    fn least_avx2(&self, address: u32, probe: Probe, from: u32) -> u32 {
        use std::arch::x86_64::*;

        let (address, from) = (address.cast_signed(), from.cast_signed());
        let [source_port, destination_port, marks] =
            [probe.source_port, probe.destination_port, probe.marks].map(u16::cast_signed);
        // SAFETY: each load is of an array of 16 or 32 bytes, as the types say, and needs no alignment.
        unsafe {
            let narrow = |values: &[u16; Lanes::COUNT]| _mm_loadu_si128(values.as_ptr().cast());
            let wide = |values: &[u32; Lanes::COUNT]| _mm256_loadu_si256(values.as_ptr().cast());
            let outside = |port, first, more| {
                _mm_subs_epu16(_mm_sub_epi16(_mm_set1_epi16(port), narrow(first)), narrow(more))
            };
            let source = outside(source_port, &self.source_port, &self.source_ports);
            let destination =
                outside(destination_port, &self.destination_port, &self.destination_ports);
            let marks = _mm_and_si128(_mm_set1_epi16(marks), narrow(&self.marks_mask));
            let marks = _mm_xor_si128(marks, narrow(&self.marks));
            let wrong = _mm_or_si128(_mm_or_si128(source, destination), marks);
            let address = _mm256_and_si256(_mm256_set1_epi32(address), wide(&self.address_mask));
            let address = _mm256_xor_si256(address, wide(&self.address));
            let wrong = _mm256_or_si256(_mm256_cvtepu16_epi32(wrong), address);
            let right = _mm256_cmpeq_epi32(wrong, _mm256_setzero_si256());
            let names = wide(&self.names);
            let late = _mm256_max_epu32(names, _mm256_set1_epi32(from));
            let right = _mm256_and_si256(right, _mm256_cmpeq_epi32(late, names));
            // What is not right gets the greatest name.
            let names = _mm256_or_si256(names, _mm256_xor_si256(right, _mm256_set1_epi32(-1)));
            let least =
                _mm_min_epu32(_mm256_castsi256_si128(names), _mm256_extracti128_si256::<1>(names));
            let least = _mm_min_epu32(least, _mm_shuffle_epi32::<0b01_00_11_10>(least));
            let least = _mm_min_epu32(least, _mm_shuffle_epi32::<0b10_11_00_01>(least));
            _mm_cvtsi128_si32(least).cast_unsigned()
        }
    }

    fn least_plain(&self, address: u32, probe: Probe, from: u32) -> u32 {
        let right = |&lane: &usize| {
            let source = probe.source_port.wrapping_sub(self.source_port[lane]);
            let destination = probe.destination_port.wrapping_sub(self.destination_port[lane]);
            source <= self.source_ports[lane]
                && destination <= self.destination_ports[lane]
                && probe.marks & self.marks_mask[lane] == self.marks[lane]
                && address & self.address_mask[lane] == self.address[lane]
                && self.names[lane] >= from
        };
        let names = (0..Lanes::COUNT).filter(right).map(|lane| self.names[lane]);
        names.min().unwrap_or(u32::MAX)
    }
}

#[cfg(test)]
mod tests;
