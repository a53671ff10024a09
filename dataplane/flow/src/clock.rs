//! Time in ticks of a few milliseconds, counted in 32 bits.
//!
//! The caller hands in the time-stamp counter. Two moments are compared by their signed difference,
//! so that the count may wrap (after some months) and a clock that goes back makes what was seen
//! *later than now* young, not ancient.

/// Ticks in a second, at least.
const RESOLUTION: u64 = 256;
/// The longest time that is told from a negative one, with room to spare.
const LONGEST: u32 = 1 << 30;

#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock {
    hertz: u64,
    shift: u32,
}

impl Clock {
    /// `hertz` is the frequency of what callers count; 0 counts as 1.
    pub(crate) fn new(hertz: u64) -> Clock {
        let hertz = hertz.max(1);
        Clock { hertz, shift: (hertz / RESOLUTION).max(1).ilog2() }
    }

    #[inline(always)]
    pub(crate) fn tick(self, now: u64) -> u32 {
        (now >> self.shift) as u32
    }

    /// Ticks that last no less than so many seconds.
    pub(crate) fn ticks(self, seconds: u32) -> u32 {
        let cycles = u128::from(self.hertz) * u128::from(seconds);
        let ticks = (cycles >> self.shift) + 1;
        ticks.min(LONGEST.into()) as u32
    }

    /// Seconds that so many ticks last.
    pub(crate) fn seconds(self, ticks: u32) -> f64 {
        f64::from(ticks) * (1_u64 << self.shift) as f64 / self.hertz as f64
    }
}

/// Ticks from `then` to `now`; 0 if `then` is not past.
#[inline(always)]
pub(crate) fn elapsed(now: u32, then: u32) -> u32 {
    (now.wrapping_sub(then) as i32).max(0) as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_last_milliseconds_at_any_frequency() {
        for hertz in [0, 1, 1000, 1_000_000, 2_596_000_000, u64::MAX / 4] {
            let clock = Clock::new(hertz);
            let length = clock.seconds(1);
            assert!(length <= 1.0 / RESOLUTION as f64 || clock.shift == 0, "{hertz}: {length}");
            assert!(clock.seconds(clock.ticks(60)) >= 60.0, "{hertz}");
        }
        assert_eq!(Clock::new(2_596_000_000).ticks(u32::MAX), LONGEST);
    }

    #[test]
    fn f17_time_that_goes_back_or_wraps_is_short() {
        assert_eq!(elapsed(10, 3), 7);
        assert_eq!(elapsed(3, 10), 0);
        assert_eq!(elapsed(5, u32::MAX - 4), 10);
    }
}
