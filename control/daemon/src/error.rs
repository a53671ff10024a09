//! Why a request did not succeed, and the HTTP answer that says so.

use std::fmt;

use axum::Json;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use sluice_control_api::{Failure, RouteConflict};
use sluice_policy::config::Diagnostics;
use sluice_policy::model::{Name, Owner, Position};

use crate::store::StoreError;

/// Why a request did not succeed. Nothing was changed, unless it is
/// [`Undecided`](ControlError::Undecided).
#[derive(Debug, thiserror::Error)]
pub enum ControlError {
    /// The configuration file is wrong.
    #[error("the configuration is wrong")]
    Config(Diagnostics),
    /// What is asked for makes no sense together with the rest.
    #[error("the change does not fit; nothing changed")]
    Policy(Vec<String>),
    /// The request itself is wrong.
    #[error("{0}")]
    Request(String),
    /// The dataplane said no.
    #[error("the dataplane refused the change; nothing changed")]
    Refused(Vec<String>),
    /// The caller, or this process, believed in a generation that is not the live one.
    #[error("generation {live} is live, not {expected}; nothing changed")]
    Conflict {
        /// The generation that was expected.
        expected: u64,
        /// The generation that is there.
        live: u64,
    },
    /// Operations are wrong by themselves.
    #[error("{}", Summary("operations are wrong", .0.len(), .0))]
    Operations(Vec<String>),
    /// Something else is there than the change expects.
    #[error("{}", Summary("something else is there than expected", *.total, .told))]
    NotAsExpected {
        /// How many times.
        total: usize,
        /// Some of them.
        told: Vec<RouteConflict>,
    },
    /// Routes that should be removed are not there.
    #[error("{}", Summary("routes are not there", *.total, .told))]
    NoSuchRoute {
        /// How many.
        total: usize,
        /// Some of them.
        told: Vec<String>,
    },
    /// A hook's name is taken.
    #[error(
        "hook `{name}` is loaded already (program {program}, by {owner}); nothing changed: unload \
         it first, or give this one another name"
    )]
    HookTaken {
        /// The name.
        name: Name,
        /// The program of the one that has it.
        program: Name,
        /// Who loaded that.
        owner: Owner,
    },
    /// A hook of the configuration file cannot be unloaded live.
    #[error(
        "hook `{name}` is of the configuration file ({position}); nothing changed: take it out \
         there, and `sluice apply` the file"
    )]
    HookOfFile {
        /// The hook.
        name: Name,
        /// Where it was configured.
        position: Position,
    },
    /// There is no such hook.
    #[error("no hook is loaded as `{name}`; there are: {known}")]
    NoSuchHook {
        /// What was asked for.
        name: Name,
        /// Those that there are.
        known: String,
    },
    /// An owner whose stale routes should be removed has no mark.
    #[error(
        "{place}owner {owner} is not marked stale, nothing is swept: `sluice route stale --owner \
         {owner}` marks its routes"
    )]
    NotStale {
        /// Which operation.
        place: String,
        /// Whose routes.
        owner: Owner,
    },
    /// There is no such commit.
    #[error("there is no commit {generation}; there are {oldest} to {newest} (`sluice commits`)")]
    NoSuchCommit {
        /// What was asked for.
        generation: u64,
        /// The oldest that there is.
        oldest: u64,
        /// The last.
        newest: u64,
    },
    /// A commit is there and cannot be read.
    #[error("a commit cannot be read; nothing changed: {0}")]
    Unreadable(String),
    /// A change cannot be written to disk.
    #[error("the change could not be kept, and was not made: {0}")]
    NotKept(#[from] StoreError),
    /// Something waits to be confirmed already.
    #[error(
        "a change waits to be confirmed already, for {seconds} s more: `sluice confirm` keeps what \
         is live, `sluice rollback {base}` goes back; what changes meanwhile belongs to it"
    )]
    ConfirmPending {
        /// What comes back.
        base: u64,
        /// What is left.
        seconds: u64,
    },
    /// Nothing waits to be confirmed.
    #[error("nothing waits to be confirmed")]
    NothingToConfirm,
    /// It was not confirmed in time.
    #[error("the time to confirm is over; generation {base} comes back")]
    TooLate {
        /// What comes back.
        base: u64,
    },
    /// The path is unknown.
    #[error("there is no `{0}`; see the documentation of the interface")]
    NoSuchPath(String),
    /// The dataplane cannot be asked.
    #[error("no dataplane: {0}; attaching is tried again and again")]
    NoDataplane(String),
    /// The dataplane does not run what is desired (yet), so that nothing can be said about it.
    #[error("the dataplane does not run the desired state yet; see `sluice show status`")]
    NotCommitted(Vec<String>),
    /// The dataplane was lost while it committed.
    #[error(
        "the dataplane was lost during the commit: {0}; whether it took effect shows when it is \
         back (`sluice show status`)"
    )]
    Undecided(String),
    /// The dataplane cannot get at its connections.
    #[error("the dataplane cannot reach its flow tables")]
    NoFlows(Vec<String>),
    /// The dataplane does not capture.
    #[error("nothing is captured")]
    NoCapture(Vec<String>),
    /// There is no such capture.
    #[error("there is no capture {0}, or it has ended")]
    NoSuchCapture(u32),
    /// The dataplane answered something else than what was asked.
    #[error("the dataplane answered `{command}` with something else; are both of one version?")]
    Unexpected {
        /// What was asked.
        command: &'static str,
    },
    /// Another stream is read.
    #[error("another stream of routes is read at present: try again when it is done")]
    Streaming,
    /// A stream did not come to its end.
    #[error("the stream of routes broke off: {0}; nothing changed")]
    BrokeOff(String),
    /// Too many requests wait.
    #[error("too many requests are waiting for the dataplane; try again")]
    Busy,
    /// The process is stopping.
    #[error("the control process is stopping")]
    Stopping,
}

/// One mistake as it is, more in a few words: what, how many, and those that are told.
struct Summary<'a, T>(&'static str, usize, &'a [T]);

impl<T: fmt::Display> fmt::Display for Summary<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Summary(_, 1, [one]) => write!(f, "{one}; nothing changed"),
            Summary(what, total, _) => write!(f, "{total} times: {what}; nothing changed"),
        }
    }
}

/// The details that go with a [`Summary`].
fn details<T: fmt::Display>(total: usize, told: &[T]) -> Vec<String> {
    if total == 1 {
        return Vec::new();
    }
    let more = (total > told.len()).then(|| format!("and {} more", total - told.len()));
    told.iter().map(ToString::to_string).chain(more).collect()
}

impl ControlError {
    fn status(&self) -> StatusCode {
        match self {
            Self::Config(_)
            | Self::Policy(_)
            | Self::Request(_)
            | Self::Operations(_)
            | Self::NoCapture(_)
            | Self::BrokeOff(_) => StatusCode::BAD_REQUEST,
            Self::NoSuchRoute { .. }
            | Self::NoSuchHook { .. }
            | Self::NoSuchCommit { .. }
            | Self::NoSuchCapture(_)
            | Self::NoSuchPath(_) => StatusCode::NOT_FOUND,
            Self::Refused(_)
            | Self::Conflict { .. }
            | Self::NotAsExpected { .. }
            | Self::NotStale { .. }
            | Self::HookTaken { .. }
            | Self::HookOfFile { .. }
            | Self::ConfirmPending { .. }
            | Self::NothingToConfirm
            | Self::TooLate { .. } => StatusCode::CONFLICT,
            Self::NotKept(_) => StatusCode::INSUFFICIENT_STORAGE,
            Self::NoDataplane(_)
            | Self::NotCommitted(_)
            | Self::NoFlows(_)
            | Self::Undecided(_)
            | Self::Busy
            | Self::Streaming
            | Self::Stopping => StatusCode::SERVICE_UNAVAILABLE,
            Self::Unexpected { .. } | Self::Unreadable(_) => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }

    /// The body of the answer.
    pub fn failure(&self) -> Failure {
        let details = match self {
            Self::Config(diagnostics) => diagnostics.0.iter().map(ToString::to_string).collect(),
            Self::Policy(details)
            | Self::Refused(details)
            | Self::NotCommitted(details)
            | Self::NoFlows(details)
            | Self::NoCapture(details) => details.clone(),
            Self::Operations(told) => details(told.len(), told),
            Self::NotAsExpected { total, told } => details(*total, told),
            Self::NoSuchRoute { total, told } => details(*total, told),
            _ => Vec::new(),
        };
        let conflicts = match self {
            Self::NotAsExpected { told, .. } => told.clone(),
            _ => Vec::new(),
        };
        Failure { error: self.to_string(), details, conflicts }
    }
}

impl IntoResponse for ControlError {
    fn into_response(self) -> Response {
        (self.status(), Json(self.failure())).into_response()
    }
}
