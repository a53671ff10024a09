//! Commits: which there are, what differs between them, and the way back.

use axum::Json;
use axum::body::Bytes;
use axum::extract::State;
use schemars::JsonSchema;
use serde::Deserialize;
use sluice_channel::{Command, Reply};
use sluice_control_api::{Applied, Commit, Diff};

use super::Answer;
use super::change::{Kept, order, read_file};
use super::extract::{Author, Params};
use crate::app::App;
use crate::change::{self, Change};
use crate::difference;
use crate::error::ControlError;
use crate::hook::with_unknown_files;

/// How many commits are wanted.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct CommitsParams {
    /// At most so many; all that are kept if left out.
    limit: Option<usize>,
}

pub(super) async fn commits(
    State(app): State<App>,
    Params(params): Params<CommitsParams>,
) -> Answer<Vec<Commit>> {
    let view = app.view();
    Ok(Json(view.commits().take(params.limit.unwrap_or(usize::MAX)).collect()))
}

/// Which commits are compared.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct DiffParams {
    /// The generation to start from.
    from: u64,
    /// The generation to lead to; the last commit if left out.
    to: Option<u64>,
}

pub(super) async fn diff(
    State(app): State<App>,
    Params(DiffParams { from, to }): Params<DiffParams>,
) -> Answer<Diff> {
    let to = to.unwrap_or_else(|| app.view().head.generation());
    let (before, after) = (app.policy_at(from).await?, app.policy_at(to).await?);
    let entries = blocking(move || {
        let (before, after) = (before.state(), after.state());
        difference::entries(before, &before.difference(after))
    });
    Ok(Json(Diff { from, to: Some(to), entries: entries.await? }))
}

/// Which file is compared.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct DiffFileParams {
    /// Its name, for positions in reports.
    file: Option<String>,
}

pub(super) async fn diff_file(
    State(app): State<App>,
    Params(params): Params<DiffFileParams>,
    body: Bytes,
) -> Answer<Diff> {
    let mut file = read_file(params.file, None, body).await?;
    for (name, mut hook) in with_unknown_files(&file.configuration.state) {
        // One that cannot be read is another, as far as can be said.
        let question = Command::HookFile { path: hook.program.clone() };
        if let Ok(Reply::HookFile { digest }) = app.ask(question).await {
            hook.digest = Some(digest);
            file.configuration.state.hooks.insert(name, hook);
        }
    }
    let head = app.view().head.clone();
    let diff = blocking(move || {
        let delta = change::file(&head, &file).delta;
        // What fits by itself may not fit the live changes.
        head.policy.apply(&delta).map_err(|errors| {
            ControlError::Policy(errors.iter().map(ToString::to_string).collect())
        })?;
        let entries = difference::entries(head.state(), &delta);
        Ok(Diff { from: head.generation(), to: None, entries })
    });
    diff.await?.map(Json)
}

/// Where to go back to.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct RollbackParams {
    /// The generation whose state comes back.
    generation: u64,
    /// What the author has to say about it.
    message: Option<String>,
    /// Seconds within which it must be confirmed.
    confirm: Option<u64>,
    /// Whether it is only tried.
    #[serde(default)]
    dry_run: bool,
}

pub(super) async fn rollback(
    State(app): State<App>,
    author: Author,
    Params(params): Params<RollbackParams>,
) -> Answer<Applied> {
    let RollbackParams { generation, message, confirm, dry_run } = params;
    let order = order(author, Kept { message, confirm }, dry_run, None).await?;
    app.change(Change::Rollback { to: generation }, order).await.map(Json)
}

pub(super) async fn confirm(State(app): State<App>, author: Author) -> Answer<Commit> {
    let author = author.name().await;
    app.confirm(author).await.map(Json)
}

/// Large states take a while, and this thread has other requests to answer.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, ControlError> {
    tokio::task::spawn_blocking(work).await.map_err(|_| ControlError::Stopping)
}
