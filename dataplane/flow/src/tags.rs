//! Comparing the tags of a bucket.

/// Which of eight tags equal `tag`: bit *i* for tag *i*. Two instructions and a gathering of bits on
/// x86-64; elsewhere what the compiler makes of it.
#[inline(always)]
pub(crate) fn equal(tags: &[u16; 8], tag: u16) -> u32 {
    #[cfg(target_arch = "x86_64")]
    {
        use core::arch::x86_64::{
            _mm_cmpeq_epi16, _mm_movemask_epi8, _mm_packs_epi16, _mm_set1_epi16, _mm_setzero_si128,
        };
        let tags = zerocopy::transmute!(*tags);
        // SAFETY: these need SSE2 and nothing else, which all of x86-64 has.
        unsafe {
            let equal = _mm_cmpeq_epi16(tags, _mm_set1_epi16(tag.cast_signed()));
            // One byte for each, so that one bit for each is left.
            _mm_movemask_epi8(_mm_packs_epi16(equal, _mm_setzero_si128())) as u32
        }
    }
    #[cfg(not(target_arch = "x86_64"))]
    {
        let mut equal = 0;
        for (i, &other) in tags.iter().enumerate() {
            equal |= u32::from(other == tag) << i;
        }
        equal
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_place_is_compared() {
        for places in 0..256_u32 {
            for (tag, other) in [(1, 2), (0xffff, 0x7fff), (0x8000, 0), (0x0100, 0x0001)] {
                let mut tags = [other; 8];
                (0..8).filter(|i| places >> i & 1 != 0).for_each(|i| tags[i] = tag);
                assert_eq!(equal(&tags, tag), places);
                assert_eq!(equal(&tags, other), !places & 0xff);
            }
        }
    }
}
