//! Requests that change something.

use axum::Json;
use axum::body::Bytes;
use axum::extract::State;
use schemars::JsonSchema;
use serde::Deserialize;
use sluice_channel::Command;
use sluice_control_api::{AddRoute, Applied, DeleteRoute, Flush};
use sluice_policy::config;

use super::Answer;
use super::extract::{Body, Params};
use crate::app::App;
use crate::change::Change;
use crate::error::ControlError;

/// How a file is applied.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct ApplyParams {
    /// Its name, for positions in reports.
    file: Option<String>,
    /// Whether it is only tried.
    #[serde(default)]
    dry_run: bool,
    /// The generation that must be live.
    generation: Option<u64>,
}

pub(super) async fn apply(
    State(app): State<App>,
    Params(params): Params<ApplyParams>,
    body: Bytes,
) -> Answer<Applied> {
    let name = params.file.unwrap_or_else(|| "configuration".into());
    let file = name.clone();
    // A large file takes a while, and this thread has other requests to answer.
    let configuration = tokio::task::spawn_blocking(move || config::read(&body, &file))
        .await
        .map_err(|_| ControlError::Stopping)?
        .map_err(ControlError::Config)?;
    let change = Change::File { name: name.into(), configuration: Box::new(configuration) };
    app.change(change, params.dry_run, params.generation).await.map(Json)
}

pub(super) async fn add_route(
    State(app): State<App>,
    Body(route): Body<AddRoute>,
) -> Answer<Applied> {
    app.change(Change::AddRoute(route), false, None).await.map(Json)
}

pub(super) async fn delete_route(
    State(app): State<App>,
    Params(route): Params<DeleteRoute>,
) -> Answer<Applied> {
    app.change(Change::DeleteRoute(route), false, None).await.map(Json)
}

pub(super) async fn flush(
    State(app): State<App>,
    Body(Flush { interface, address }): Body<Flush>,
) -> Answer<serde_json::Value> {
    app.tell(Command::FlushNeighbours { interface, address }).await?;
    Ok(Json(serde_json::json!({})))
}
