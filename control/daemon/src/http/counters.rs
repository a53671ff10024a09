//! The statistics segment, summed over workers.

use std::time::Duration;

use axum::Json;
use axum::extract::State;
use schemars::JsonSchema;
use serde::Deserialize;
use sluice_channel::Statistics;
use sluice_channel::statistics::{CoreCounters, FlowCounters};
use sluice_control_api::{
    Account, DropCount, FlowTable, InstancePipeline, Pipeline, PipelineEvent, PipelineStage,
    PortStats, Rule, RuleDrops, Stats, WorkerStats,
};
use sluice_policy::model::Action;
use sluice_policy::{DropReason, Event, Stage};

use super::Answer;
use super::extract::Params;
use super::hooks::Running;
use super::tables::counted_rules;
use crate::app::App;
use crate::view::View;

/// A worker's counters are written while they are read. Where the account does not balance, it
/// is read again, so that what remains is a fault and not a burst in flight.
const READINGS: u32 = 20;
const BETWEEN_READINGS: Duration = Duration::from_micros(500);

pub(super) async fn stats(State(app): State<App>) -> Answer<Stats> {
    let ports = app.ports().await?;
    let view = app.view();
    let statistics = view.statistics()?;
    let ports = ports.into_iter().filter(|port| port.id.index() < statistics.gauges().len());
    let ports = ports.map(|port| {
        let gauges = statistics.port_gauges(port.id);
        PortStats {
            port: port.name,
            link: port.link,
            rx_packets: statistics.port(port.id, |counters| &counters.rx_packets),
            rx_bytes: statistics.port(port.id, |counters| &counters.rx_bytes),
            tx_packets: statistics.port(port.id, |counters| &counters.tx_packets),
            tx_bytes: statistics.port(port.id, |counters| &counters.tx_bytes),
            tx_refused: statistics.port(port.id, |counters| &counters.tx_refused),
            kernel_drops: gauges.kernel_drops.get(),
            missed: gauges.missed.get(),
            device_errors: gauges.device_errors.get(),
        }
    });
    let ports = ports.collect();
    let workers = settled_workers(statistics).await;
    let total = workers
        .iter()
        .fold(Account::default().settled(), |total, worker| total.plus(&worker.account));
    Ok(Json(Stats { total, workers, ports }))
}

async fn settled_workers(statistics: &Statistics) -> Vec<WorkerStats> {
    let mut workers = read_workers(statistics);
    for _ in 1..READINGS {
        if workers.iter().all(|worker| worker.account.balanced) {
            break;
        }
        tokio::time::sleep(BETWEEN_READINGS).await;
        // Keep what balanced: each worker's account stands for itself.
        for (known, fresh) in workers.iter_mut().zip(read_workers(statistics)) {
            if !known.account.balanced {
                *known = fresh;
            }
        }
    }
    workers
}

fn read_workers(statistics: &Statistics) -> Vec<WorkerStats> {
    (0..)
        .zip(statistics.blocks())
        .map(|(worker, block)| read_worker(worker, block.core(), block.flows()))
        .collect()
}

fn read_worker(worker: u16, core: &CoreCounters, flows: &FlowCounters) -> WorkerStats {
    WorkerStats {
        worker,
        account: Account {
            rx: core.rx.get(),
            generated: core.generated.get(),
            handed_in: core.handed_in.get(),
            tx: core.tx.get(),
            punted: core.punted.get(),
            consumed: core.consumed.get(),
            dropped: core.dropped.get(),
            handed_out: core.handed_out.get(),
            held: core.held.get(),
            ..Account::default()
        }
        .settled(),
        loops: core.loops.get(),
        busy_loops: core.busy_loops.get(),
        sleeps: core.sleeps.get(),
        generation: core.generation.get(),
        flows: FlowTable {
            capacity: flows.capacity.get(),
            in_use: flows.in_use.get(),
            half_open: flows.half_open.get(),
            inserted: flows.inserted.get(),
            aged: flows.aged.get(),
            killed: flows.killed.get(),
            evicted_half_open: flows.evicted_half_open.get(),
            evicted_closing: flows.evicted_closing.get(),
            evicted_idle: flows.evicted_idle.get(),
            full: flows.full.get(),
        },
    }
}

/// Which drops are wanted.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct DropParams {
    /// Also those that never happened.
    #[serde(default)]
    all: bool,
}

pub(super) async fn drops(
    State(app): State<App>,
    Params(params): Params<DropParams>,
) -> Answer<Vec<DropCount>> {
    // Which rule dropped is known for the live generation only; the sums are known anyway.
    let counters = app.rules().await?;
    let view = app.view();
    let rules =
        view.live().map_or_else(|_| Vec::new(), |(policy, _)| counted_rules(policy, &counters));
    Ok(Json(drop_counts(&view, &rules, params.all)?))
}

fn drop_counts(
    view: &View,
    rules: &[Rule],
    all: bool,
) -> Result<Vec<DropCount>, crate::error::ControlError> {
    let statistics = view.statistics()?;
    let drops = DropReason::ALL.iter().map(|reason| DropCount {
        reason: reason.name().into(),
        stage: reason.stage(),
        packets: statistics.drops(*reason),
        help: reason.help().into(),
        rules: rules
            .iter()
            .filter(|rule| denies(rule.action) && rule.point.drop_reason_of(&rule.name) == *reason)
            .filter(|rule| all || rule.packets != 0)
            .map(rule_drops)
            .collect(),
    });
    Ok(drops.filter(|drop| all || drop.packets != 0).collect())
}

fn denies(action: Action) -> bool {
    matches!(action, Action::Drop | Action::Reject)
}

fn rule_drops(rule: &Rule) -> RuleDrops {
    RuleDrops {
        instance: rule.instance.clone(),
        point: rule.point,
        name: rule.name.clone(),
        action: rule.action,
        packets: rule.packets,
        position: rule.position.clone(),
    }
}

pub(super) async fn pipeline(State(app): State<App>) -> Answer<Pipeline> {
    let report = app.hooks().await?;
    let view = app.view();
    let (policy, generation) = view.live()?;
    let statistics = view.statistics()?;
    let running = Running::new(policy, &report, statistics);
    let instances = policy.instances().map(|instance| InstancePipeline {
        instance: instance.name.clone(),
        interfaces: policy
            .interfaces()
            .filter(|interface| interface.instance == instance.id)
            .map(|interface| interface.name.clone())
            .collect(),
        events: Event::ALL
            .into_iter()
            .map(|event| PipelineEvent {
                event,
                stages: instance.stages(event).to_vec(),
                order: running.names(instance, event),
            })
            .filter(|event| !event.order.is_empty())
            .collect(),
    });
    let instances: Vec<_> = instances.collect();
    let stages = Stage::ALL.into_iter().map(|stage| stage_counters(statistics, stage)).collect();
    Ok(Json(Pipeline { generation, instances, stages, hooks: running.hooks }))
}

/// What a stage has counted.
pub(super) fn stage_counters(statistics: &Statistics, stage: Stage) -> PipelineStage {
    let packets = statistics.stage(stage, |counters| &counters.packets);
    let cycles = statistics.stage(stage, |counters| &counters.cycles);
    PipelineStage {
        stage,
        bursts: statistics.stage(stage, |counters| &counters.bursts),
        packets,
        dropped: statistics.stage(stage, |counters| &counters.dropped),
        cycles_per_packet: cycles.checked_div(packets).filter(|cycles| *cycles != 0),
    }
}
