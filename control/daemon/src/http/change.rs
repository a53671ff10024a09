//! Requests that change something.

use std::path::Path;

use axum::Json;
use axum::body::Bytes;
use axum::extract::State;
use schemars::JsonSchema;
use serde::Deserialize;
use sluice_channel::Command;
use sluice_control_api::{Applied, Flush};
use sluice_policy::config;

use super::Answer;
use super::extract::{Author, Body, Params};
use crate::app::App;
use crate::change::{Change, FileChange, Order};
use crate::error::ControlError;
use crate::store::FileRead;

/// The longest message of a commit, in bytes.
const LONGEST_MESSAGE: usize = 1024;
/// The longest time to confirm: a day.
const LONGEST_CONFIRM: u64 = 24 * 60 * 60;

/// How a commit is kept.
#[derive(Deserialize, JsonSchema, Default)]
#[serde(deny_unknown_fields)]
pub(super) struct Kept {
    /// What the author has to say about it, in one line.
    pub(super) message: Option<String>,
    /// Seconds within which it must be confirmed, or everything since is rolled back.
    pub(super) confirm: Option<u64>,
}

/// What a request says about its commit, checked.
pub(super) async fn order(
    author: Author,
    Kept { message, confirm }: Kept,
    dry_run: bool,
    expected: Option<u64>,
) -> Result<Order, ControlError> {
    if let Some(message) = &message
        && (message.len() > LONGEST_MESSAGE || message.chars().any(char::is_control))
    {
        return Err(ControlError::Request(format!(
            "a message is one line of at most {LONGEST_MESSAGE} bytes; this one has {}",
            message.len()
        )));
    }
    if let Some(seconds) = confirm
        && !(1..=LONGEST_CONFIRM).contains(&seconds)
    {
        return Err(ControlError::Request(format!(
            "confirm {seconds}: 1 to {LONGEST_CONFIRM} seconds are allowed"
        )));
    }
    let message = message.filter(|message| !message.trim().is_empty());
    Ok(Order { author: author.name().await, message, dry_run, expected, confirm })
}

/// How a file is applied.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct ApplyParams {
    /// Its name, for positions in reports.
    file: Option<String>,
    /// Its absolute path, for the next start to know that this content was read; `file` if left
    /// out.
    path: Option<String>,
    /// Whether it is only tried.
    #[serde(default)]
    dry_run: bool,
    /// The generation that must be live.
    generation: Option<u64>,
    /// What the author has to say about it, in one line.
    message: Option<String>,
    /// Seconds within which it must be confirmed, or everything since is rolled back.
    confirm: Option<u64>,
}

pub(super) async fn apply(
    State(app): State<App>,
    author: Author,
    Params(params): Params<ApplyParams>,
    body: Bytes,
) -> Answer<Applied> {
    let ApplyParams { file, path, dry_run, generation, message, confirm } = params;
    let order = order(author, Kept { message, confirm }, dry_run, generation).await?;
    let change = read_file(file, path, body).await?;
    app.change(Change::File(change.into()), order).await.map(Json)
}

/// Reads a configuration file that came as a body.
pub(super) async fn read_file(
    file: Option<String>,
    path: Option<String>,
    body: Bytes,
) -> Result<FileChange, ControlError> {
    // A large file takes a while, and this thread has other requests to answer.
    tokio::task::spawn_blocking(move || {
        let name = file.as_deref().unwrap_or("configuration");
        let configuration = config::read(&body, name).map_err(ControlError::Config)?;
        let path = path.as_deref().or(file.as_deref()).map(Path::new);
        let read = path.and_then(|path| FileRead::of(path, &body));
        Ok(FileChange { name: name.into(), read, configuration })
    })
    .await
    .map_err(|_| ControlError::Stopping)?
}

pub(super) async fn flush(
    State(app): State<App>,
    Body(Flush { interface, address }): Body<Flush>,
) -> Answer<serde_json::Value> {
    app.tell(Command::FlushNeighbours { interface, address }).await?;
    Ok(Json(serde_json::json!({})))
}
