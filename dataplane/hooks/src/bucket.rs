//! Rate limits on what a remote sender can make the router do.

/// A token bucket over the time-stamp counter.
#[derive(Clone, Copy, Debug)]
pub struct TokenBucket {
    /// Cycles that one token takes to come back.
    cycles: u64,
    /// Tokens that a quiet time saves up, in cycles.
    depth: u64,
    /// Cycles saved up at `last`.
    saved: u64,
    last: u64,
}

impl TokenBucket {
    /// A full bucket of `burst` tokens that refills at `rate` tokens a second; `hertz` is the
    /// frequency of the time-stamp counter.
    pub fn new(rate: u64, burst: u64, hertz: u64) -> TokenBucket {
        let cycles = (hertz / rate.max(1)).max(1);
        let depth = cycles.saturating_mul(burst);
        TokenBucket { cycles, depth, saved: depth, last: 0 }
    }

    /// Takes a token at time `now`, in cycles; `false` when there is none. Time that goes back
    /// counts as no time.
    #[inline]
    pub fn take(&mut self, now: u64) -> bool {
        let passed = now.saturating_sub(self.last);
        self.last = now;
        self.saved = self.saved.saturating_add(passed).min(self.depth);
        if self.saved < self.cycles {
            return false;
        }
        self.saved -= self.cycles;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_is_granted_and_then_the_rate() {
        let mut bucket = TokenBucket::new(10, 5, 1000);
        assert_eq!((0..600).filter(|_| bucket.take(1)).count(), 5);
        // 100 cycles are one token at 10 a second and 1,000 Hz.
        assert!(!bucket.take(100));
        assert!(bucket.take(101));
        assert!(!bucket.take(101));
    }

    #[test]
    fn a_clock_that_goes_back_grants_nothing() {
        let mut bucket = TokenBucket::new(10, 1, 1000);
        assert!(bucket.take(5000));
        assert!(!bucket.take(10));
        assert!(!bucket.take(11));
    }
}
