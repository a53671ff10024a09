//! When a dead child is started again: at once the first time, later after a growing pause, and
//! never if it cannot even start.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(2);

/// A child that lived this long starts with a clean record.
const SETTLED: Duration = Duration::from_secs(10);

/// So many deaths within [`SETTLED`] before the appliance was ever ready, and it is given up.
const DEATHS: usize = 5;

/// What to do about a death.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Next {
    /// Start it again after this long.
    After(Duration),
    /// Starting it again will not help.
    GiveUp,
}

/// The record of one child.
#[derive(Debug)]
pub(super) struct Respawn {
    started: Instant,
    pause: Option<Duration>,
    deaths: VecDeque<Instant>,
}

impl Respawn {
    /// The record of a child that starts now.
    pub(super) fn new(now: Instant) -> Respawn {
        Respawn { started: now, pause: None, deaths: VecDeque::new() }
    }

    /// It was started again.
    pub(super) fn started(&mut self, now: Instant) {
        self.started = now;
    }

    /// It died. `ready`: the appliance was ready before; then it is never given up.
    pub(super) fn died(&mut self, now: Instant, ready: bool) -> Next {
        if now.duration_since(self.started) >= SETTLED {
            self.pause = None;
        }
        self.deaths.push_back(now);
        while self.deaths.front().is_some_and(|at| now.duration_since(*at) > SETTLED) {
            self.deaths.pop_front();
        }
        if !ready && self.deaths.len() >= DEATHS {
            return Next::GiveUp;
        }
        let pause = self.pause;
        self.pause = Some(pause.map_or(FIRST_PAUSE, |pause| (pause * 2).min(LONGEST_PAUSE)));
        Next::After(pause.unwrap_or(Duration::ZERO))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_a_bound_and_reset() {
        let mut now = Instant::now();
        let mut child = Respawn::new(now);
        let mut pauses = Vec::new();
        for _ in 0..8 {
            let Next::After(pause) = child.died(now, true) else { panic!("gave up") };
            pauses.push(pause.as_millis());
            now += pause;
            child.started(now);
        }
        assert_eq!(pauses, [0, 100, 200, 400, 800, 1600, 2000, 2000]);
        now += SETTLED;
        assert_eq!(child.died(now, true), Next::After(Duration::ZERO));
    }

    #[test]
    fn a_child_that_never_comes_up_is_given_up() {
        let mut now = Instant::now();
        let mut child = Respawn::new(now);
        for _ in 1..DEATHS {
            let Next::After(pause) = child.died(now, false) else { panic!("gave up early") };
            now += pause;
            child.started(now);
        }
        assert_eq!(child.died(now, false), Next::GiveUp);
    }
}
