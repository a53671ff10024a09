//! Searches over trials: the highest rate at which no more than a given part is lost (RFC 2544
//! section 26.1, as a binary search), and the longest burst that is carried whole (section 26.4, and
//! RFC 9004).
//!
//! A rate is what was really sent: on a shared machine the generator itself stands still now and then,
//! and does not make up for that, which would be a burst.

use std::time::Duration;

use crate::trial::Outcome;

/// What can be tried.
pub trait Trial {
    /// Sends at a rate, or as fast as possible, for a time.
    fn run(&mut self, rate: Option<f64>, time: Duration) -> Outcome;
    /// Sends so many packets as fast as possible.
    fn burst(&mut self, packets: u64) -> Outcome;
}

/// How to search a rate.
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
        trials: &mut impl Trial,
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

/// How to search the longest burst.
#[derive(Clone, Copy, Debug)]
pub struct BackToBack {
    /// A burst that takes this long is long enough.
    pub longest: Duration,
    /// Searches, whose average counts.
    pub repeat: u32,
}

/// The longest bursts that were carried whole, one of each search.
#[derive(Clone, Debug)]
pub struct Bursts {
    /// Packets.
    pub packets: Vec<u64>,
    /// Packets a second within a burst.
    pub rate: f64,
    /// Whether nothing longer was tried.
    pub limited: bool,
}

impl BackToBack {
    /// Searches; `told` is called with each burst.
    pub fn run(&self, trials: &mut impl Trial, mut told: impl FnMut(&Outcome, bool)) -> Bursts {
        let flat_out = trials.run(None, self.longest.min(Duration::from_millis(200)));
        let rate = flat_out.rate();
        let most = ((rate * self.longest.as_secs_f64()) as u64).max(1);
        let mut packets = Vec::new();
        for _ in 0..self.repeat.max(1) {
            // `low` is carried whole, `high` is not.
            let (mut low, mut high) = (0, most + 1);
            let mut length = most;
            while high - low > (low / 50).max(1) {
                let outcome = trials.burst(length);
                let whole = outcome.lost() == 0;
                told(&outcome, whole);
                if whole {
                    low = length;
                } else {
                    high = length;
                }
                length = u64::midpoint(low, high);
            }
            packets.push(low);
        }
        let limited = packets.contains(&most);
        Bursts { packets, rate, limited }
    }
}

#[cfg(test)]
mod tests {
    use hdrhistogram::Histogram;

    use super::*;

    /// A device that carries so many packets a second, with a buffer before it, and now and then
    /// loses packets for no reason.
    struct Device {
        offered: f64,
        carries: f64,
        buffer: u64,
        hiccup_every: u64,
        trials: u64,
    }

    impl Device {
        fn new(offered: f64, carries: f64) -> Device {
            Device { offered, carries, buffer: 0, hiccup_every: u64::MAX, trials: 0 }
        }

        fn outcome(
            &mut self,
            wanted: Option<f64>,
            sent: u64,
            received: u64,
            seconds: f64,
        ) -> Outcome {
            self.trials += 1;
            let hiccup = u64::from(self.trials.is_multiple_of(self.hiccup_every)) * 10;
            Outcome {
                wanted,
                sent,
                received: received.saturating_sub(hiccup),
                disordered: 0,
                refused: 0,
                seconds,
                still: 0,
                latency: Histogram::new(3).unwrap(),
                two_way: None,
            }
        }
    }

    impl Trial for Device {
        fn run(&mut self, rate: Option<f64>, time: Duration) -> Outcome {
            let seconds = time.as_secs_f64();
            let sent = (rate.unwrap_or(self.offered).min(self.offered) * seconds) as u64;
            let received = sent.min((self.carries * seconds) as u64 + self.buffer);
            self.outcome(rate, sent, received, seconds)
        }

        fn burst(&mut self, packets: u64) -> Outcome {
            let seconds = packets as f64 / self.offered;
            let received = packets.min((self.carries * seconds) as u64 + self.buffer);
            self.outcome(None, packets, received, seconds)
        }
    }

    fn search(loss: f64, attempts: u32) -> Search {
        Search { loss, time: Duration::from_secs(1), resolution: 0.01, attempts }
    }

    #[test]
    fn the_rate_is_what_the_device_carries() {
        let mut device = Device::new(10e6, 3e6);
        let found = search(0.0, 1).run(&mut device, |_, _| {}).unwrap();
        assert!((2.95e6..=3.0e6).contains(&found.rate()), "{}", found.rate());
        assert_eq!(found.lost(), 0);
        assert!(device.trials < 20, "{} trials", device.trials);
    }

    #[test]
    fn a_part_may_be_lost() {
        let found = search(0.1, 1).run(&mut Device::new(10e6, 3e6), |_, _| {}).unwrap();
        assert!((3.25e6..=3.34e6).contains(&found.rate()), "{}", found.rate());
        assert!(found.lost() > 0);
    }

    #[test]
    fn a_device_that_carries_all_is_searched_to_the_end() {
        let found = search(0.0, 1).run(&mut Device::new(1e6, 5e6), |_, _| {}).unwrap();
        assert!(found.rate() > 0.985e6, "{}", found.rate());
    }

    #[test]
    fn hiccups_of_the_machine_are_tried_again() {
        let device = || Device { hiccup_every: 3, ..Device::new(10e6, 3e6) };
        let found = search(0.0, 3).run(&mut device(), |_, _| {}).unwrap();
        assert!((2.95e6..=3.0e6).contains(&found.rate()), "{}", found.rate());
        // A device that always loses something is found out.
        let mut lossy = Device { hiccup_every: 1, ..Device::new(10e6, 3e6) };
        assert!(search(0.0, 3).run(&mut lossy, |_, _| {}).is_none());
    }

    #[test]
    fn the_longest_burst_is_what_the_buffer_holds_beside_what_is_carried() {
        // 10 M/s come, 4 M/s go: a buffer of 6,000 is full after 10,000.
        let mut device = Device { buffer: 6_000, ..Device::new(10e6, 4e6) };
        let search = BackToBack { longest: Duration::from_secs(1), repeat: 3 };
        let found = search.run(&mut device, |_, _| {});
        assert_eq!(found.packets.len(), 3);
        assert!(found.packets.iter().all(|n| (9_700..=10_001).contains(n)), "{:?}", found.packets);
        assert!(!found.limited);
    }

    #[test]
    fn bursts_end_somewhere() {
        let search = BackToBack { longest: Duration::from_millis(100), repeat: 1 };
        let found = search.run(&mut Device::new(1e6, 5e6), |_, _| {});
        assert_eq!((found.packets, found.limited), (vec![100_000], true));
        let found = search.run(&mut Device::new(1e6, 0.0), |_, _| {});
        assert_eq!((found.packets, found.limited), (vec![0], false));
    }
}
