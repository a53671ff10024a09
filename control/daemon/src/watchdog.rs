//! Notices that the dataplane's agent does not go round, and how busy the workers are.
//!
//! An agent that is stuck cannot say so, but its heartbeat stands still in the statistics segment,
//! which is there to be read without asking anyone. That a worker is stuck is the agent's to say.

use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::time::{ClockId, clock_gettime};
use sluice_channel::Statistics;
use sluice_control_api::{WatchKind, Work};
use tokio::sync::watch;
use tokio::time::MissedTickBehavior;

use crate::events::Events;
use crate::load::Reading;
use crate::view::View;

/// How often the heartbeat is looked at.
const TICK: Duration = Duration::from_millis(250);
/// For how long a heartbeat may stand still. Attaching a device takes an agent some hundred
/// milliseconds.
const STALLED: Duration = Duration::from_secs(1);
/// How often it is worked out how busy the workers are.
const BUSY: Duration = Duration::from_secs(1);

/// How the dataplane's threads are.
#[derive(Clone, PartialEq, Debug, Default)]
pub(crate) struct Health {
    /// For how long the agent has been stalled, if it is.
    pub(crate) agent_stalled: Option<Duration>,
    /// How each worker did in the last second; empty before a second passed.
    pub(crate) workers: Vec<Load>,
}

/// How a worker did for a while.
#[derive(Clone, Copy, PartialEq, Debug, Default)]
pub(crate) struct Load {
    /// Share of its rounds that found packets.
    pub(crate) busy_percent: Option<u8>,
    /// Percent of the time that went into them.
    pub(crate) load_percent: f64,
    /// Packets in a burst.
    pub(crate) packets_per_burst: Option<f64>,
    /// Cycles for a packet.
    pub(crate) cycles_per_packet: Option<f64>,
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
            workers: busy.look(statistics.as_ref()),
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

/// Milliseconds of the clock by which the dataplane beats.
pub(crate) fn monotonic_ms() -> u64 {
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
    readings: Vec<Reading>,
    loads: Vec<Load>,
}

impl Busy {
    fn look(&mut self, statistics: Option<&Arc<Statistics>>) -> Vec<Load> {
        let same = match (&self.of, statistics) {
            (Some(one), Some(other)) => Arc::ptr_eq(one, other),
            (None, None) => true,
            _ => false,
        };
        if !same {
            *self = Busy { of: statistics.cloned(), ..Busy::default() };
        }
        let Some(statistics) = statistics else { return Vec::new() };
        let passed = self.since.map(|since| since.elapsed());
        if passed.is_none_or(|passed| passed >= BUSY) {
            let cores = statistics.blocks().map(|block| block.core());
            let rounds = cores.map(|core| (core.loops.get(), core.busy_loops.get())).collect();
            let rounds = std::mem::replace(&mut self.rounds, rounds).into_iter().zip(&self.rounds);
            let readings = Reading::all(statistics);
            let before = std::mem::replace(&mut self.readings, readings);
            let readings = self.readings.iter().zip(&before).map(|(now, was)| now.since(was));
            let seconds = passed.unwrap_or_default().as_secs_f64();
            let hertz = statistics.agent().hertz.get();
            let loads = rounds.zip(readings).map(|((was, is), reading)| {
                let Work { packets_per_call, cycles_per_packet, .. } = reading.work();
                Load {
                    busy_percent: share(was, *is),
                    load_percent: reading.load(seconds, hertz, 1),
                    packets_per_burst: packets_per_call,
                    cycles_per_packet,
                }
            });
            self.loads = loads.collect();
            self.since = Some(Instant::now());
        }
        self.loads.clone()
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
