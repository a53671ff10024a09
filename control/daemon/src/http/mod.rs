//! The HTTP interface; `sluice-control-api` has the types of its bodies, `docs/api.md` all of it.

mod capture;
mod change;
mod commit;
mod compare;
mod counters;
mod explain;
mod extract;
mod flows;
mod hooks;
mod openapi;
mod peer;
mod routes;
mod runtime;
mod status;
mod tables;
mod watch;

use std::sync::OnceLock;

use axum::extract::DefaultBodyLimit;
use axum::http::Uri;
use axum::{Json, Router};
use serde_json::Value;

use self::openapi::Api;
pub(crate) use self::peer::Peer;
use crate::app::App;
use crate::error::ControlError;

/// The largest configuration file that is read.
const LARGEST_BODY: usize = 64 << 20;

/// What a handler that succeeds answers.
type Answer<T> = Result<Json<T>, ControlError>;

/// All paths.
fn api() -> Api {
    Api::new()
        .get(
            "/v1/status",
            "The two processes, and how far the desired state has come",
            status::status,
        )
        .get("/v1/workers", "Worker cores and the queues they poll", status::workers)
        .get("/v1/ports", "Devices, links and queues", tables::ports)
        .get("/v1/interfaces", "Interfaces and their addresses", tables::interfaces)
        .get("/v1/routes", "Routing tables", tables::routes)
        .post("/v1/routes", "Add a live route", routes::add)
        .delete("/v1/routes", "Remove a live route", routes::delete)
        .post(
            "/v1/transaction",
            "Change many live routes together or not at all",
            routes::transaction,
        )
        .post(
            "/v1/routes/load",
            "Change live routes by a stream of operations, one a line, as one commit",
            routes::load,
        )
        .get("/v1/neighbours", "Link addresses of neighbours", tables::neighbours)
        .post("/v1/neighbours/flush", "Forget neighbours that were learnt", change::flush)
        .get("/v1/flows", "Connections that the workers remember", flows::list)
        .delete("/v1/flows", "End connections", flows::kill)
        .post("/v1/flows/compare", "Which connections would fare otherwise", compare::live)
        .get("/v1/capture", "Packets as they pass, as a file that grows", capture::begin)
        .delete("/v1/capture", "End a capture: its file is completed", capture::end)
        .get("/v1/rules", "Filter rules and how often they matched", tables::rules)
        .get(
            "/v1/policy-routes",
            "Policy routes, whether they have a way out, and how often they matched",
            tables::policy_routes,
        )
        .get("/v1/hooks", "Hooks, and the order in which they run", hooks::hooks)
        .post("/v1/hooks", "Load a hook", hooks::load)
        .delete("/v1/hooks", "Unload a hook", hooks::unload)
        .get("/v1/hooks/programs", "What can be loaded as a hook", hooks::programs)
        .get("/v1/config", "The state that the dataplane confirmed", tables::config)
        .get("/v1/schema", "JSON Schema of the configuration file", schema)
        .get("/v1/stats", "Where every packet went", counters::stats)
        .get("/v1/drops", "Why packets were dropped", counters::drops)
        .get("/v1/pipeline", "What a packet passes, in order", counters::pipeline)
        .get("/v1/runtime", "What the workers' time goes into, by stage and hook", runtime::runtime)
        .post("/v1/apply", "Make the appliance as a configuration file says", change::apply)
        .get("/v1/commits", "What was committed, newest first", commit::commits)
        .get("/v1/diff", "What differs between two generations", commit::diff)
        .post("/v1/diff", "What a configuration file would change", commit::diff_file)
        .post("/v1/rollback", "Make the appliance as an earlier generation was", commit::rollback)
        .post("/v1/confirm", "Keep what waits to be confirmed", commit::confirm)
        .get("/v1/watch", "What happens, while it happens", watch::watch)
        .post("/v1/explain", "What would happen to a packet, and why", explain::explain)
        .post("/v1/explain/many", "The same of many packets at one moment", explain::many)
        .post("/v1/explain/compare", "Which flows would fare otherwise", compare::given)
        .post(
            "/v1/routes/query",
            "Where a packet would be routed, and from which address",
            explain::route,
        )
        .post(
            "/v1/explain/candidate",
            "What would happen to a packet if a file were applied",
            explain::candidate,
        )
        .get("/v1/openapi.json", "This document", openapi_document)
}

/// What answers requests.
pub(crate) fn router(app: App) -> Router {
    api().into_router().fallback(unknown).layer(DefaultBodyLimit::max(LARGEST_BODY)).with_state(app)
}

/// The OpenAPI document of the interface.
pub fn document() -> &'static Value {
    static DOCUMENT: OnceLock<Value> = OnceLock::new();
    DOCUMENT.get_or_init(|| api().into_document())
}

async fn openapi_document() -> Json<&'static Value> {
    Json(document())
}

async fn schema() -> Json<Value> {
    Json(sluice_policy::config::schema())
}

async fn unknown(uri: Uri) -> ControlError {
    ControlError::NoSuchPath(uri.path().to_owned())
}
