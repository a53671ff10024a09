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
//! | `GET /v1/rules` | `?instance=` | [`Vec<Rule>`](Rule) |
//! | `GET /v1/workers` | | [`Vec<Worker>`](Worker) |
//! | `GET /v1/stats` | | [`Stats`] |
//! | `GET /v1/drops` | `?all=true` | [`Vec<DropCount>`](DropCount) |
//! | `GET /v1/pipeline` | | [`Pipeline`] |
//! | `GET /v1/config` | | [`Config`] |
//! | `GET /v1/schema` | | JSON Schema of the configuration file |
//! | `POST /v1/apply` | `?file=&dry_run=&generation=`, YAML body | [`Applied`] |
//! | `POST /v1/routes` | [`AddRoute`] | [`Applied`] |
//! | `DELETE /v1/routes` | [`DeleteRoute`] as query | [`Applied`] |
//! | `POST /v1/neighbours/flush` | [`Flush`] | `{}` |
//! | `POST /v1/explain` | `sluice_policy::explain::Query` | [`Explained`] |
//!
//! Anything that does not succeed answers with [`Failure`]: 400 for a request or a configuration
//! that is wrong, 404 for a thing that is not there, 409 for a change that the dataplane refused
//! or that met something else than it expected, 503 while there is no dataplane to ask.
//!
//! Counters are exact 64-bit numbers and wrap. Fields are added, never renamed or removed,
//! within `/v1`; a reader ignores fields that it does not know.

#![forbid(unsafe_code)]

mod change;
mod counters;
mod explain;
mod status;
mod tables;

pub use change::{AddRoute, Applied, Change, Changes, DeleteRoute, Failure, Flush, Hop};
pub use counters::{
    Account, DropCount, InstancePipeline, Pipeline, PipelineEvent, PipelineStage, PortStats,
    RuleDrops, Stats, WorkerStats,
};
pub use explain::{EgressState, Explained, NextHopState};
pub use status::{Dataplane, Mempool, Progress, Status};
pub use tables::{
    Config, ConfigFilter, ConfigNeighbour, Interface, Neighbour, Port, Route, Rule, Worker,
    WorkerQueue,
};

/// Name of the socket in the appliance's directory.
pub const SOCKET: &str = "control.sock";
