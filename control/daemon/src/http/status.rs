//! How the two processes and the workers are.

use axum::Json;
use axum::extract::State;
use sluice_control_api::{Dataplane, Mempool, Status, Worker, WorkerQueue};

use super::Answer;
use crate::app::App;

/// Never fails: without a dataplane it says so.
pub(super) async fn status(State(app): State<App>) -> Json<Status> {
    // An agent that is stuck does not answer, and nobody should wait for it to be told so.
    let health = app.health();
    let dataplane = match health.agent_stalled {
        None => app.status().await.ok(),
        Some(_) => None,
    };
    // First the question, which may find that the dataplane is gone, then the view.
    let view = app.view();
    Json(Status {
        version: env!("CARGO_PKG_VERSION").into(),
        pid: std::process::id(),
        uptime_seconds: app.started.elapsed().as_secs(),
        file: view.head.header.file.as_deref().map(Into::into),
        live_routes: view.head.live(),
        progress: view.progress.clone(),
        dataplane: dataplane.map(|status| Dataplane {
            version: status.version,
            pid: status.pid,
            uptime_seconds: status.uptime_seconds,
            generation: status.generation,
            hugepages: status.hugepages,
            memory_mib: status.memory_mib.into(),
            mempools: status
                .mempools
                .into_iter()
                .map(|pool| Mempool { name: pool.name, size: pool.size, in_use: pool.in_use })
                .collect(),
        }),
        persistence: view.persistence.clone(),
        confirm: view.head.confirm(),
        agent_stalled_ms: health.agent_stalled.map(|stalled| stalled.as_millis() as u64),
        notes: view.notes.clone(),
    })
}

pub(super) async fn workers(State(app): State<App>) -> Answer<Vec<Worker>> {
    let workers = app.workers().await?;
    let health = app.health();
    let workers = workers.into_iter().map(|worker| {
        let load = health.workers.get(usize::from(worker.worker));
        Worker {
            worker: worker.worker,
            core: worker.core,
            generation: worker.generation,
            sleeping: worker.sleeping,
            queues: worker
                .queues
                .into_iter()
                .map(|(port, queue)| WorkerQueue { port, queue })
                .collect(),
            stalled_ms: worker.stalled_ms,
            loops: worker.loops,
            busy_percent: load.and_then(|load| load.busy_percent),
            load_percent: load.map(|load| load.load_percent),
            packets_per_burst: load.and_then(|load| load.packets_per_burst),
            cycles_per_packet: load.and_then(|load| load.cycles_per_packet),
        }
    });
    Ok(Json(workers.collect()))
}
