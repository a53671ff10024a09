//! The HTTP interface; `sluice-control-api` has its table of paths and the types of its bodies.

mod change;
mod counters;
mod explain;
mod extract;
mod status;
mod tables;

use axum::extract::DefaultBodyLimit;
use axum::http::Uri;
use axum::routing::{get, post};
use axum::{Json, Router};

use crate::app::App;
use crate::error::ControlError;

/// The largest configuration file that is read.
const LARGEST_BODY: usize = 64 << 20;

/// What a handler that succeeds answers.
type Answer<T> = Result<Json<T>, ControlError>;

/// All paths.
pub(crate) fn router(app: App) -> Router {
    Router::new()
        .route("/v1/status", get(status::status))
        .route("/v1/workers", get(status::workers))
        .route("/v1/ports", get(tables::ports))
        .route("/v1/interfaces", get(tables::interfaces))
        .route(
            "/v1/routes",
            get(tables::routes).post(change::add_route).delete(change::delete_route),
        )
        .route("/v1/neighbours", get(tables::neighbours))
        .route("/v1/neighbours/flush", post(change::flush))
        .route("/v1/rules", get(tables::rules))
        .route("/v1/config", get(tables::config))
        .route("/v1/schema", get(schema))
        .route("/v1/stats", get(counters::stats))
        .route("/v1/drops", get(counters::drops))
        .route("/v1/pipeline", get(counters::pipeline))
        .route("/v1/apply", post(change::apply))
        .route("/v1/explain", post(explain::explain))
        .fallback(unknown)
        .layer(DefaultBodyLimit::max(LARGEST_BODY))
        .with_state(app)
}

async fn schema() -> Json<serde_json::Value> {
    Json(sluice_policy::config::schema())
}

async fn unknown(uri: Uri) -> ControlError {
    ControlError::NoSuchPath(uri.path().to_owned())
}
