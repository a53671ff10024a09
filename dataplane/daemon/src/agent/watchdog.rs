//! Tells a worker that stands still from one that works or sleeps.
//!
//! A worker that is awake turns its loop thousands of times a second. One that sleeps turns it
//! when it is woken, so it is woken now and then: its doorbell costs less than a packet. Whoever
//! has not turned after [`AWAKE`] (or, rung for, after [`ASLEEP`]) is stalled: stopped by a
//! debugger or a signal, stuck in a driver, or without a core to run on.
//!
//! The watchdog judges by a clock of its own, and not after it has stood still itself: a process
//! that was stopped as a whole has no stalled workers when it goes on.

use sluice_channel::Notice;

use super::Agent;

/// How often workers are looked at, in milliseconds.
const PERIOD: u64 = 50;
/// How often a sleeping worker is woken.
const RING: u64 = 200;
/// How long a worker that is awake may not turn its loop.
const AWAKE: u64 = 500;
/// How long a sleeping worker may not hear its doorbell.
const ASLEEP: u64 = 450;
/// A pause of the watchdog's own after which it starts over.
const ABSENCE: u64 = 400;

/// What a look at a worker came to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Finding {
    /// Nothing to say.
    Fine,
    /// Its doorbell is to be rung.
    Ring,
    /// It stands still, for this long.
    Stalled(u64),
    /// It goes on, after this long.
    Recovered(u64),
}

/// One worker as the watchdog knows it.
#[derive(Clone, Copy, Default, Debug)]
struct Watched {
    loops: u64,
    /// When the loop count changed last, or the watchdog started over.
    turned: u64,
    /// When it was last seen asleep.
    slept: u64,
    /// When it was rung for, if it has not turned since.
    rung: Option<u64>,
    /// When it was rung for last.
    rang: u64,
    /// Since when it stands still, if that was said.
    stalled: Option<u64>,
}

impl Watched {
    fn look(&mut self, loops: u64, asleep: bool, now: u64) -> Finding {
        if loops != self.loops {
            let since = self.stalled.take();
            (self.loops, self.turned, self.slept, self.rung) = (loops, now, now, None);
            if let Some(since) = since {
                return Finding::Recovered(now - since);
            }
        }
        if self.stalled.is_some() {
            return Finding::Fine;
        }
        let awake_since = self.turned.max(self.slept);
        if !asleep {
            self.rung = None;
            if now - awake_since >= AWAKE {
                self.stalled = Some(awake_since);
                return Finding::Stalled(now - awake_since);
            }
            return Finding::Fine;
        }
        self.slept = now;
        match self.rung {
            None if now - self.rang < RING => Finding::Fine,
            None => {
                (self.rung, self.rang) = (Some(now), now);
                Finding::Ring
            }
            Some(rung) if now - rung >= ASLEEP => {
                self.stalled = Some(rung);
                Finding::Stalled(now - rung)
            }
            Some(_) => Finding::Fine,
        }
    }

    /// Starts over.
    fn excuse(&mut self, now: u64) {
        (self.turned, self.slept, self.rung) = (now, now, None);
    }
}

/// Watches the workers.
#[derive(Debug)]
pub struct Watchdog {
    workers: Vec<Watched>,
    looked: u64,
}

impl Watchdog {
    /// A watchdog of so many workers.
    pub fn new(workers: usize) -> Watchdog {
        Watchdog { workers: vec![Watched::default(); workers], looked: 0 }
    }

    /// How long a worker has stood still, if it does.
    pub fn stalled_ms(&self, worker: usize, now: u64) -> Option<u64> {
        self.workers.get(worker)?.stalled.map(|since| now.saturating_sub(since))
    }
}

impl Agent {
    /// Looks whether the workers work, and says what changed.
    pub(super) fn watch_workers(&mut self) {
        let now = self.now();
        let since = now.saturating_sub(self.watchdog.looked);
        if since < PERIOD {
            return;
        }
        self.watchdog.looked = now;
        for (index, worker) in self.workers.iter().enumerate() {
            let watched = &mut self.watchdog.workers[index];
            if since >= ABSENCE {
                watched.excuse(now);
            }
            let loops = self.statistics.worker(index).core().loops.get();
            let (number, core) = (index as u16, worker.core);
            match watched.look(loops, worker.doorbell.is_asleep(), now) {
                Finding::Fine => {}
                Finding::Ring => worker.doorbell.ring(),
                Finding::Stalled(for_ms) => {
                    let hook = self.hook_of_worker(index);
                    tracing::error!(
                        worker = number,
                        core,
                        for_ms,
                        hook = hook.as_deref().unwrap_or("none"),
                        "the worker is stalled: its ports stand still, and commits do not reach it"
                    );
                    self.server.event(&Notice::WorkerStalled { worker: number, core, for_ms });
                }
                Finding::Recovered(for_ms) => {
                    tracing::warn!(worker = number, core, for_ms, "the worker goes on");
                    self.server.event(&Notice::WorkerRecovered { worker: number, core, for_ms });
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_worker_that_turns_is_fine_and_one_that_does_not_is_said_once() {
        let mut worker = Watched::default();
        for now in (0..10_000).step_by(50) {
            assert_eq!(worker.look(now + 1, false, now), Finding::Fine);
        }
        assert_eq!(worker.look(9951, false, 10_400), Finding::Fine);
        assert_eq!(worker.look(9951, false, 10_450), Finding::Stalled(500));
        assert_eq!(worker.look(9951, false, 10_500), Finding::Fine);
        assert_eq!(worker.look(9952, false, 10_600), Finding::Recovered(650));
        assert_eq!(worker.look(9953, false, 10_650), Finding::Fine);
    }

    #[test]
    fn a_sleeper_is_rung_for_and_stalled_if_it_does_not_hear() {
        let mut worker = Watched::default();
        assert_eq!(worker.look(7, true, 1000), Finding::Ring);
        assert_eq!(worker.look(7, true, 1250), Finding::Fine);
        assert_eq!(worker.look(8, true, 1300), Finding::Ring, "it heard, and is rung for again");
        assert_eq!(worker.look(8, true, 1700), Finding::Fine);
        assert_eq!(worker.look(8, true, 1750), Finding::Stalled(450));
        assert_eq!(worker.look(9, true, 1800), Finding::Recovered(500));
    }

    #[test]
    fn who_has_just_woken_up_has_not_been_awake_all_along() {
        let mut worker = Watched::default();
        worker.look(7, true, 1000);
        worker.look(7, true, 1400);
        assert_eq!(worker.look(7, false, 1600), Finding::Fine);
        assert_eq!(worker.look(7, false, 1900), Finding::Stalled(500));
    }

    #[test]
    fn a_watchdog_that_was_away_accuses_nobody() {
        let mut worker = Watched::default();
        worker.look(7, false, 1000);
        worker.excuse(61_000);
        assert_eq!(worker.look(7, false, 61_000), Finding::Fine);
        assert_eq!(worker.look(7, false, 61_500), Finding::Stalled(500));
    }
}
