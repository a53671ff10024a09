//! Notices that the dataplane's agent does not go round, and how busy the workers are.
//!
//! An agent that is stuck cannot say so, but its heartbeat stands still in the statistics segment,
//! which is there to be read without asking anyone. That a worker is stuck is the agent's to say.

use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::time::{ClockId, clock_gettime};
use sluice_channel::Statistics;
use sluice_control_api::WatchKind;
use tokio::sync::watch;
use tokio::time::MissedTickBehavior;

use crate::events::Events;
use crate::view::View;

/// How often the heartbeat is looked at.
const TICK: Duration = Duration::from_millis(250);
/// For how long a heartbeat may stand still. Attaching a device takes an agent some hundred
/// milliseconds.
const STALLED: Duration = Duration::from_secs(1);
/// How often it is worked out how busy the workers are.
const BUSY: Duration = Duration::from_secs(1);

/// How the dataplane's threads are.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct Health {
    /// For how long the agent has been stalled, if it is.
    pub(crate) agent_stalled: Option<Duration>,
    /// Share of each worker's rounds that found packets.
    pub(crate) busy_percent: Vec<Option<u8>>,
}

/// Looks after the dataplane's threads until nobody asks how they are.
pub(crate) async fn watch(
    view: watch::Receiver<Arc<View>>,
    health: watch::Sender<Health>,
    events: Events,
) {
    let mut ticks = tokio::time::interval(TICK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut busy = Busy::default();
    loop {
        tokio::select! {
            () = health.closed() => return,
            _ = ticks.tick() => {}
        }
        let statistics = view.borrow().statistics.clone();
        let beat = statistics.as_ref().map_or(0, |statistics| statistics.agent().heartbeat.get());
        let now = Health {
            agent_stalled: stalled(beat, monotonic_ms()),
            busy_percent: busy.percent(statistics.as_ref()),
        };
        let before = health.send_replace(now.clone()).agent_stalled;
        match (before, now.agent_stalled) {
            (None, Some(stalled)) => {
                let for_ms = stalled.as_millis() as u64;
                tracing::error!("the dataplane's agent has been stalled for {for_ms} ms");
                events.say(WatchKind::AgentStalled { for_ms });
            }
            // One that was lost meanwhile has not recovered.
            (Some(_), None) if statistics.is_some() => {
                tracing::info!("the dataplane's agent goes on");
                events.say(WatchKind::AgentRecovered);
            }
            _ => {}
        }
    }
}

/// For how long a heartbeat has stood still, if that is too long. One that was never there does
/// not count.
fn stalled(beat_ms: u64, now_ms: u64) -> Option<Duration> {
    let age = Duration::from_millis(now_ms.saturating_sub(beat_ms));
    (beat_ms != 0 && age >= STALLED).then_some(age)
}

fn monotonic_ms() -> u64 {
    let now = clock_gettime(ClockId::Monotonic);
    now.tv_sec.cast_unsigned() * 1000 + now.tv_nsec.cast_unsigned() / 1_000_000
}

/// How busy the workers are, from one second to the next.
#[derive(Default)]
struct Busy {
    of: Option<Arc<Statistics>>,
    since: Option<Instant>,
    /// Rounds, and those that found packets.
    rounds: Vec<(u64, u64)>,
    percent: Vec<Option<u8>>,
}

impl Busy {
    fn percent(&mut self, statistics: Option<&Arc<Statistics>>) -> Vec<Option<u8>> {
        let same = match (&self.of, statistics) {
            (Some(one), Some(other)) => Arc::ptr_eq(one, other),
            (None, None) => true,
            _ => false,
        };
        if !same {
            *self = Busy { of: statistics.cloned(), ..Busy::default() };
        }
        let Some(statistics) = statistics else { return Vec::new() };
        if self.since.is_none_or(|since| since.elapsed() >= BUSY) {
            let cores = statistics.blocks().map(|block| block.core());
            let rounds = cores.map(|core| (core.loops.get(), core.busy_loops.get())).collect();
            let before = std::mem::replace(&mut self.rounds, rounds);
            self.percent =
                before.iter().zip(&self.rounds).map(|(was, is)| share(*was, *is)).collect();
            self.since = Some(Instant::now());
        }
        self.percent.clone()
    }
}

/// The share of the rounds since `was` that found packets. A worker that made none sleeps.
fn share(was: (u64, u64), is: (u64, u64)) -> Option<u8> {
    let (rounds, busy) = (is.0.wrapping_sub(was.0), is.1.wrapping_sub(was.1));
    let percent = busy.saturating_mul(100).checked_div(rounds).unwrap_or(0);
    u8::try_from(percent).ok().filter(|percent| *percent <= 100)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_heartbeat_that_stands_still_is_noticed() {
        assert_eq!(stalled(0, 100_000), None, "a dataplane without one");
        assert_eq!(stalled(99_500, 100_000), None);
        assert_eq!(stalled(98_000, 100_000), Some(Duration::from_secs(2)));
        assert_eq!(stalled(100_001, 100_000), None, "it beat while we looked");
    }

    #[test]
    fn shares_are_of_the_last_rounds() {
        assert_eq!(share((100, 50), (200, 75)), Some(25));
        assert_eq!(share((100, 50), (100, 50)), Some(0), "asleep");
        assert_eq!(share((u64::MAX, u64::MAX), (99, 9)), Some(10), "counters wrap");
    }
}
