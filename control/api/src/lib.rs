//! What the control process says over HTTP: one type for each body of `<dir>/control.sock`,
//! shared by the daemon, which answers with them, and the command, which draws them as tables.
//!
//! | method and path | query or body | answer |
//! |---|---|---|
//! | `GET /v1/status` | | [`Status`] |
//! | `GET /v1/ports` | | [`Vec<Port>`](Port) |
//! | `GET /v1/interfaces` | | [`Vec<Interface>`](Interface) |
//! | `GET /v1/routes` | `?instance=` | [`Vec<Route>`](Route) |
//! | `GET /v1/neighbours` | | [`Vec<Neighbour>`](Neighbour) |
//! | `GET /v1/flows` | `?instance=&src=&dst=&proto=&port=&state=&sort=&limit=` | [`Flows`] |
//! | `DELETE /v1/flows` | the same but `sort` and `limit`; `&all=true` where nothing is named | [`FlowsKilled`] |
//! | `POST /v1/flows/compare` | [`CompareLiveFlows`] | [`LiveFlowChanges`] |
//! | `GET /v1/capture` | `?instance=&interface=&direction=&drops=&src=&dst=&host=&proto=&port=&count=&seconds=&snaplen=&buffer=` | a file (pcapng) as it grows |
//! | `DELETE /v1/capture` | `?capture=`, the number in the header [`CAPTURE_HEADER`] of the file | `{}`; the file ends |
//! | `GET /v1/rules` | `?instance=` | [`Vec<Rule>`](Rule) |
//! | `GET /v1/policy-routes` | `?instance=` | [`Vec<PolicyRoute>`](PolicyRoute) |
//! | `GET /v1/workers` | | [`Vec<Worker>`](Worker) |
//! | `GET /v1/stats` | | [`Stats`] |
//! | `GET /v1/drops` | `?all=true` | [`Vec<DropCount>`](DropCount) |
//! | `GET /v1/pipeline` | | [`Pipeline`] |
//! | `GET /v1/runtime` | `?interval=` | [`Runtime`] |
//! | `GET /v1/config` | | [`Config`] |
//! | `GET /v1/schema` | | JSON Schema of the configuration file |
//! | `POST /v1/apply` | `?file=&dry_run=&generation=&message=&confirm=`, YAML body | [`Applied`] |
//! | `POST /v1/routes` | `?message=&confirm=`, [`AddRoute`] | [`Applied`] |
//! | `DELETE /v1/routes` | `?message=&confirm=`, [`DeleteRoute`] as query | [`Applied`] |
//! | `POST /v1/transaction` | `?message=&confirm=&dry_run=&generation=`, [`Transaction`] | [`Applied`] |
//! | `GET /v1/hooks` | `?instance=&event=` | [`Hooks`] |
//! | `GET /v1/hooks/programs` | | [`Vec<HookProgram>`](HookProgram) |
//! | `POST /v1/hooks` | `?message=&confirm=&dry_run=`, [`LoadHook`] | [`Applied`] |
//! | `DELETE /v1/hooks` | `?name=&message=&confirm=` | [`Applied`] |
//! | `GET /v1/commits` | `?limit=` | [`Vec<Commit>`](Commit), newest first |
//! | `GET /v1/diff` | `?from=&to=`; `to` left out means what is live | [`Diff`] |
//! | `POST /v1/diff` | `?file=`, YAML body | [`Diff`] from what is live |
//! | `POST /v1/rollback` | `?generation=&message=&confirm=&dry_run=` | [`Applied`] |
//! | `POST /v1/confirm` | | [`Commit`] that stays |
//! | `GET /v1/watch` | `?drops=` | a [`WatchEvent`] a line |
//! | `POST /v1/neighbours/flush` | [`Flush`] | `{}` |
//! | `POST /v1/explain` | `?at=`, `sluice_policy::explain::Query` | [`Explained`] |
//! | `POST /v1/explain/many` | `Vec<Query>` | [`Vec<Explained>`](Explained) |
//! | `POST /v1/explain/compare` | [`CompareFlows`] | [`Vec<FlowChange>`](FlowChange) |
//! | `POST /v1/routes/query` | `?at=`, `sluice_policy::explain::RouteQuery` | [`QueriedRoute`] |
//! | `POST /v1/explain/candidate` | `?file=`, [`CandidateQuery`] | [`Explained`] as if the file were applied |
//!
//! Anything that does not succeed answers with [`Failure`]: 400 for a request or a configuration
//! that is wrong, 404 for a thing that is not there, 409 for a change that the dataplane refused
//! or that met something else than it expected, 503 while there is no dataplane to ask, 507 for a
//! change that cannot be written to disk and was therefore not made.
//!
//! `confirm` is a number of seconds. The author of a commit is the user at the other end of the
//! socket; for root, the header [`AUTHOR_HEADER`] may name who became root.
//!
//! Counters are exact 64-bit numbers and wrap. Fields are added, never renamed or removed,
//! within `/v1`; a reader ignores fields that it does not know.

#![forbid(unsafe_code)]

mod capture;
mod change;
mod commit;
mod counters;
mod explain;
mod flows;
mod hooks;
mod runtime;
mod status;
mod tables;
mod transaction;
mod watch;

pub use capture::{CAPTURE_HEADER, CaptureDirection};
pub use change::{Applied, Change, Changes, Failure, Flush};
pub use commit::{Commit, CommitKind, Confirm, Diff, DiffEntry, DiffKind};
pub use counters::{
    Account, DropCount, FlowTable, InstancePipeline, Pipeline, PipelineEvent, PipelineStage,
    PortStats, RuleDrops, Stats, WorkerStats,
};
pub use explain::{
    Basis, Candidate, CandidateQuery, CompareFlows, Explained, FlowChange, FlowKnown, FlowWay,
    QueriedRoute,
};
pub use flows::{
    CompareLiveFlows, Flow, FlowDirection, FlowRate, FlowSelection, FlowSort, FlowState, Flows,
    FlowsKilled, LiveFlowChange, LiveFlowChanges, RememberedWay,
};
pub use hooks::{
    EventOrder, Hook, HookInInstance, HookModule, HookPlace, HookProgram, Hooks, LoadHook,
    NamedCounter, Origin, ProgramSetting,
};
pub use runtime::{PlaceRuntime, Runtime, Work, WorkerRuntime};
pub use status::{DamagedFile, Dataplane, Mempool, Persistence, Progress, Status};
pub use tables::{
    Config, ConfigFilter, ConfigNeighbour, Interface, Neighbour, PolicyRoute, Port, Route, Rule,
    Worker, WorkerQueue,
};
pub use transaction::{
    AddRoute, DeleteRoute, Expect, Expected, Hop, Lookup, OwnerRoutes, RouteConflict,
    RouteOperation, Transaction, WithdrawRoutes,
};
pub use watch::{WatchEvent, WatchKind};

/// Name of the socket in the appliance's directory.
pub const SOCKET: &str = "control.sock";

/// Header in which a client that runs as root says who became root (`SUDO_USER`).
pub const AUTHOR_HEADER: &str = "x-sluice-author";
