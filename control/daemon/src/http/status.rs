//! How the two processes and the workers are.

use axum::Json;
use axum::extract::State;
use sluice_control_api::{Dataplane, Mempool, Status, Worker, WorkerQueue};

use super::Answer;
use crate::app::App;

/// Never fails: without a dataplane it says so.
pub(super) async fn status(State(app): State<App>) -> Json<Status> {
    // First the question, which may find that the dataplane is gone, then the view.
    let dataplane = app.status().await.ok();
    let view = app.view();
    Json(Status {
        version: env!("CARGO_PKG_VERSION").into(),
        pid: std::process::id(),
        uptime_seconds: app.started.elapsed().as_secs(),
        file: view.file.as_deref().map(Into::into),
        live_routes: view.live,
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
        persistence: Default::default(),
        confirm: None,
        agent_stalled_ms: None,
    })
}

pub(super) async fn workers(State(app): State<App>) -> Answer<Vec<Worker>> {
    let workers = app.workers().await?;
    let view = app.view();
    let blocks: Vec<_> = view.statistics()?.blocks().collect();
    let workers = workers.into_iter().map(|worker| Worker {
        stalled_ms: None,
        loops: blocks.get(usize::from(worker.worker)).map_or(0, |block| block.core().loops.get()),
        busy_percent: None,
        worker: worker.worker,
        core: worker.core,
        generation: worker.generation,
        sleeping: worker.sleeping,
        queues: worker
            .queues
            .into_iter()
            .map(|(port, queue)| WorkerQueue { port, queue })
            .collect(),
    });
    Ok(Json(workers.collect()))
}
