//! Requests that change live routes.

use axum::Json;
use axum::extract::State;
use ipnet::IpNet;
use schemars::JsonSchema;
use serde::Deserialize;
use sluice_control_api::{AddRoute, Applied, DeleteRoute, Expected, RouteOperation, Transaction};
use sluice_policy::model::{Name, Owner};

use super::Answer;
use super::change::{Kept, order};
use super::extract::{Author, Body, Operations, Params};
use crate::app::App;
use crate::batch::{Batch, Defaults, Reader, Stream};
use crate::change::Change;
use crate::error::ControlError;

/// How many operations a transaction may have: more is a stream.
const MOST_OPERATIONS: usize = 1 << 16;

pub(super) async fn add(
    State(app): State<App>,
    author: Author,
    Params(kept): Params<Kept>,
    Body(route): Body<AddRoute>,
) -> Answer<Applied> {
    let order = order(author, kept, false, None).await?;
    let batch = Reader::one(RouteOperation::Add(route))?;
    app.change(Change::Routes(batch), order).await.map(Json)
}

/// The route to remove.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct DeleteParams {
    /// The destinations it covers.
    #[schemars(with = "String")]
    to: IpNet,
    /// The instance; left out means `default`.
    instance: Option<Name>,
    /// Which of the instance's tables; left out means `main`.
    table: Option<Name>,
    /// Whose route it is; left out means `cli`.
    owner: Option<Owner>,
    /// Only if this commit last set it.
    if_generation: Option<u64>,
    /// Only if the route in use there is this owner's.
    if_owner: Option<Owner>,
    /// What the author has to say about it, in one line.
    message: Option<String>,
    /// Seconds within which it must be confirmed, or everything since is rolled back.
    confirm: Option<u64>,
}

pub(super) async fn delete(
    State(app): State<App>,
    author: Author,
    Params(params): Params<DeleteParams>,
) -> Answer<Applied> {
    let DeleteParams { to, instance, table, owner, if_generation, if_owner, message, confirm } =
        params;
    let order = order(author, Kept { message, confirm }, false, None).await?;
    let expected = Expected { generation: if_generation, absent: false, owner: if_owner };
    let expect = (expected != Expected::default()).then_some(expected);
    let route = DeleteRoute { to, instance, table, owner, expect };
    let batch = Reader::one(RouteOperation::Delete(route))?;
    app.change(Change::Routes(batch), order).await.map(Json)
}

/// How a transaction is done.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct TransactionParams {
    /// What the author has to say about it, in one line.
    message: Option<String>,
    /// Seconds within which it must be confirmed, or everything since is rolled back.
    confirm: Option<u64>,
    /// Whether it is only tried.
    #[serde(default)]
    dry_run: bool,
    /// The generation that must be live.
    generation: Option<u64>,
}

pub(super) async fn transaction(
    State(app): State<App>,
    author: Author,
    Params(params): Params<TransactionParams>,
    Body(transaction): Body<Transaction>,
) -> Answer<Applied> {
    let TransactionParams { message, confirm, dry_run, generation } = params;
    let order = order(author, Kept { message, confirm }, dry_run, generation).await?;
    let batch = read(transaction).await?;
    app.change(Change::Routes(batch), order).await.map(Json)
}

/// How a stream of operations is done.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct LoadParams {
    /// Whose routes are those of lines that do not say it; left out means `cli`.
    owner: Option<Owner>,
    /// The instance of lines that do not say it; left out means `default`.
    instance: Option<Name>,
    /// The table of lines that do not say it; left out means `main`.
    table: Option<Name>,
    /// Whether routes of the owner that are not in the stream are removed: those of the instance
    /// and table, if these are given.
    #[serde(default)]
    replace: bool,
    /// What the author has to say about it, in one line.
    message: Option<String>,
    /// Seconds within which it must be confirmed, or everything since is rolled back.
    confirm: Option<u64>,
    /// The generation that must be live.
    generation: Option<u64>,
}

pub(super) async fn load(
    State(app): State<App>,
    author: Author,
    Params(params): Params<LoadParams>,
    operations: Operations,
) -> Answer<Applied> {
    let LoadParams { owner, instance, table, replace, message, confirm, generation } = params;
    let order = order(author, Kept { message, confirm }, false, generation).await?;
    let defaults = Defaults { owner, instance, table, replace };
    let _alone = app.streaming.try_acquire().map_err(|_| ControlError::Streaming)?;
    let batch = operations.read(Stream::new(defaults)).await?;
    app.change(Change::Routes(batch), order).await.map(Json)
}

async fn read(Transaction { operations }: Transaction) -> Result<Batch, ControlError> {
    if operations.len() > MOST_OPERATIONS {
        return Err(ControlError::Request(format!(
            "operations: there are {}, at most {MOST_OPERATIONS} are taken; send more as a stream \
             to /v1/routes/load (`sluice route load`)",
            operations.len()
        )));
    }
    // Many take a while, and this thread has other requests to answer.
    tokio::task::spawn_blocking(move || Reader::list(operations))
        .await
        .map_err(|_| ControlError::Stopping)?
}
