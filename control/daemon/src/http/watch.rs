//! Events as they happen, one a line, for as long as the reader stays.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use schemars::JsonSchema;
use serde::Deserialize;
use sluice_channel::Statistics;
use sluice_control_api::{WatchEvent, WatchKind};
use sluice_policy::DropReason;
use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::RecvError;
use tokio::time::{Interval, MissedTickBehavior};

use super::extract::Params;
use crate::app::App;
use crate::error::ControlError;
use crate::events;

/// Over how long drops are counted.
const SECOND: Duration = Duration::from_secs(1);
/// How soon the same reason is told of again while it lasts.
const AGAIN: Duration = Duration::from_secs(10);

/// What is wanted beside what everyone is told.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct WatchParams {
    /// Tell of each reason for which more packets than this are dropped in a second.
    drops: Option<u64>,
}

/// A stream of events.
pub(super) struct Lines(Body);

impl Lines {
    pub(super) const CONTENT_TYPE: &'static str = "application/x-ndjson";
}

impl IntoResponse for Lines {
    fn into_response(self) -> Response {
        ([(CONTENT_TYPE, Lines::CONTENT_TYPE)], self.0).into_response()
    }
}

pub(super) async fn watch(
    State(app): State<App>,
    Params(params): Params<WatchParams>,
) -> Result<Lines, ControlError> {
    let mut seconds = tokio::time::interval(SECOND);
    seconds.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let watcher = Watcher {
        events: app.events.listen(),
        app,
        seconds,
        drops: params.drops.map(Drops::above),
        waiting: VecDeque::new(),
    };
    let lines = futures_util::stream::unfold(watcher, |mut watcher| async move {
        let line = watcher.next().await?;
        Some((Ok::<_, Infallible>(line), watcher))
    });
    Ok(Lines(Body::from_stream(lines)))
}

/// One reader. What waits for it is bounded by the bound on [`events`](crate::events): while it
/// does not read, nothing is taken from there.
struct Watcher {
    app: App,
    events: Receiver<WatchEvent>,
    seconds: Interval,
    drops: Option<Drops>,
    waiting: VecDeque<WatchEvent>,
}

impl Watcher {
    async fn next(&mut self) -> Option<Bytes> {
        loop {
            if let Some(event) = self.waiting.pop_front() {
                let mut line = serde_json::to_vec(&event).unwrap_or_default();
                line.push(b'\n');
                return Some(line.into());
            }
            let event = tokio::select! {
                () = self.app.stopped() => return None,
                event = self.events.recv() => event,
                _ = self.seconds.tick(), if self.drops.is_some() => {
                    let statistics = self.app.view().statistics.clone();
                    let drops = self.drops.as_mut()?.since_last(statistics);
                    self.waiting.extend(drops.into_iter().map(events::now));
                    continue;
                }
            };
            match event {
                Ok(event) => self.waiting.push_back(event),
                Err(RecvError::Lagged(count)) => {
                    self.waiting.push_back(events::now(WatchKind::Missed { count }));
                }
                Err(RecvError::Closed) => return None,
            }
        }
    }
}

/// Drops a second, by reason.
struct Drops {
    threshold: u64,
    of: Option<Arc<Statistics>>,
    at: Instant,
    counts: Vec<u64>,
    told: Vec<Option<Instant>>,
}

impl Drops {
    fn above(threshold: u64) -> Drops {
        let told = vec![None; DropReason::ALL.len()];
        Drops { threshold, of: None, at: Instant::now(), counts: Vec::new(), told }
    }

    /// What is to be told of the time since the last call.
    fn since_last(&mut self, statistics: Option<Arc<Statistics>>) -> Vec<WatchKind> {
        let same = match (&self.of, &statistics) {
            (Some(one), Some(other)) => Arc::ptr_eq(one, other),
            _ => false,
        };
        let counts = statistics.as_ref().map_or_else(Vec::new, |statistics| {
            DropReason::ALL.iter().map(|reason| statistics.drops(*reason)).collect()
        });
        self.of = statistics;
        let before = std::mem::replace(&mut self.counts, counts);
        let millis = self.at.elapsed().as_millis().max(1) as u64;
        self.at = Instant::now();
        // Another dataplane counts from the start.
        if same { self.above_threshold(&before, millis) } else { Vec::new() }
    }

    fn above_threshold(&mut self, before: &[u64], millis: u64) -> Vec<WatchKind> {
        let mut events = Vec::new();
        let counts = before.iter().zip(&self.counts).zip(&mut self.told).zip(DropReason::ALL);
        for (((was, is), told), reason) in counts {
            let rate = is.wrapping_sub(*was).saturating_mul(1000) / millis;
            if rate <= self.threshold {
                *told = None;
            } else if told.is_none_or(|told| told.elapsed() >= AGAIN) {
                *told = Some(Instant::now());
                let (reason, threshold) = (reason.name().into(), self.threshold);
                events.push(WatchKind::Drops { reason, rate, threshold });
            }
        }
        events
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_is_told_once_and_again_after_a_pause() {
        let mut drops = Drops::above(10);
        let zero = vec![0; DropReason::ALL.len()];
        drops.counts = zero.clone();
        drops.counts[0] = 11;
        let told = drops.above_threshold(&zero, 1000);
        assert!(matches!(&told[..], [WatchKind::Drops { rate: 11, threshold: 10, .. }]));
        assert!(drops.above_threshold(&zero, 1000).is_empty(), "it was told just now");
        assert!(drops.above_threshold(&zero, 2000).is_empty(), "it is below");
        assert_eq!(drops.above_threshold(&zero, 1000).len(), 1, "above once more");
    }
}
