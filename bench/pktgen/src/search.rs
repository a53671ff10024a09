//! The highest rate at which no more than a given part is lost (RFC 2544 section 26.1, as a binary
//! search). A rate is what was really sent: on a shared machine the generator itself stands still
//! now and then, and does not make up for that, which would be a burst.

use std::time::Duration;

use crate::trial::{Outcome, Trials};

/// How to search.
#[derive(Clone, Copy, Debug)]
pub struct Search {
    /// The part that may be lost; 0 for none at all.
    pub loss: f64,
    /// How long each trial takes.
    pub time: Duration,
    /// How near to the rate the search goes, as a part of it.
    pub resolution: f64,
    /// Trials of a rate of which one has to pass: on a shared machine a trial can fail for what the
    /// machine does.
    pub attempts: u32,
}

impl Search {
    /// Searches from what passes at full speed downwards; `told` is called with each trial.
    pub fn run(
        &self,
        trials: &mut Trials<'_>,
        mut told: impl FnMut(&Outcome, bool),
    ) -> Option<Outcome> {
        let flat_out = trials.run(None, self.time);
        told(&flat_out, flat_out.loss() <= self.loss);
        // What came through at full speed is a first guess; the device may take more than it carries.
        let (mut low, mut high) = (0.0, flat_out.rate());
        let mut found: Option<Outcome> = None;
        let mut rate = (flat_out.received as f64 / flat_out.seconds).min(high);
        while high - low > self.resolution * high.max(1.0) && rate >= 1.0 {
            let mut best: Option<Outcome> = None;
            for _ in 0..self.attempts.max(1) {
                let outcome = trials.run(Some(rate), self.time);
                let passes = outcome.loss() <= self.loss;
                told(&outcome, passes);
                if passes {
                    best = Some(outcome);
                    break;
                }
            }
            match best {
                Some(outcome) => {
                    low = rate;
                    found = Some(outcome);
                }
                None => high = rate,
            }
            rate = f64::midpoint(low, high);
        }
        found
    }
}
