//! What the workers' time goes into.

use std::time::{Duration, Instant};

use axum::Json;
use axum::extract::State;
use schemars::JsonSchema;
use serde::Deserialize;
use sluice_channel::HookStatus;
use sluice_control_api::{Hook, Origin, PlaceRuntime, Runtime, WorkerRuntime};
use sluice_policy::{Event, Stage};

use super::Answer;
use super::extract::Params;
use super::hooks::Running;
use crate::app::App;
use crate::error::ControlError;
use crate::load::Reading;
use crate::watchdog::monotonic_ms;

/// The longest interval, in seconds.
const LONGEST: f64 = 60.0;

/// The time that is asked about.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Over {
    /// Seconds from now on, up to 60; left out, the time since the dataplane started.
    interval: Option<f64>,
}

pub(super) async fn runtime(
    State(app): State<App>,
    Params(Over { interval }): Params<Over>,
) -> Answer<Runtime> {
    if interval.is_some_and(|seconds| !(seconds > 0.0 && seconds <= LONGEST)) {
        let text = format!("interval: more than 0 and at most {LONGEST} seconds are allowed");
        return Err(ControlError::Request(text));
    }
    let report = app.hooks().await?;
    let view = app.view();
    let statistics = view.statistics()?;
    let first = Reading::all(statistics);
    let (seconds, readings) = match interval {
        None => {
            let started = statistics.agent().started.get();
            (monotonic_ms().saturating_sub(started) as f64 / 1000.0, first)
        }
        Some(seconds) => {
            let began = Instant::now();
            tokio::time::sleep(Duration::from_secs_f64(seconds)).await;
            let now = Reading::all(statistics);
            let seconds = began.elapsed().as_secs_f64();
            (seconds, now.iter().zip(&first).map(|(now, first)| now.since(first)).collect())
        }
    };
    let (policy, _) = view.live()?;
    let hooks = Running::new(policy, &report, statistics).hooks;
    let hooks: Vec<(Hook, &HookStatus)> = hooks.into_iter().zip(&report.hooks).collect();
    let hertz = statistics.agent().hertz.get();
    let of = |worker: Option<u16>, reading: &Reading, workers: usize| WorkerRuntime {
        worker,
        load_percent: reading.load(seconds, hertz, workers),
        work: reading.work(),
        places: places(reading, &hooks),
    };
    let all = readings.iter().fold(Reading::ZERO, |all, reading| all.plus(reading));
    Ok(Json(Runtime {
        seconds: (seconds * 1000.0).round() / 1000.0,
        hertz,
        total: of(None, &all, readings.len()),
        workers: (0..).zip(&readings).map(|(n, reading)| of(Some(n), reading, 1)).collect(),
    }))
}

/// Stages in the order of a packet's way; hooks stand behind the last stage of their event.
fn places(reading: &Reading, hooks: &[(Hook, &HookStatus)]) -> Vec<PlaceRuntime> {
    let stages = Stage::ALL.into_iter().enumerate().map(|(n, stage)| {
        let place = PlaceRuntime {
            name: stage.name().into(),
            event: stage.event(),
            instance: None,
            origin: Origin::Stage,
            work: reading.stage(stage).into(),
        };
        (n, place)
    });
    let behind = |event: Event| {
        let last = Stage::ALL.iter().rposition(|stage| stage.event() == Some(event));
        last.unwrap_or(Stage::ALL.len())
    };
    let hooks = hooks.iter().filter_map(|(hook, status)| {
        let place = PlaceRuntime {
            name: hook.name.clone(),
            event: Some(hook.event),
            instance: hook.instance.clone(),
            origin: hook.origin.clone(),
            work: reading.hook(status.slot?).into(),
        };
        Some((behind(hook.event), place))
    });
    let mut places: Vec<(usize, PlaceRuntime)> = stages.chain(hooks).collect();
    // Stable: stages come first among equals.
    places.sort_by_key(|(n, _)| *n);
    places.into_iter().map(|(_, place)| place).collect()
}
