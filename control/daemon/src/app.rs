//! What every handler has: the view, and the way to the reconciler.

use std::sync::Arc;
use std::sync::mpsc::{SyncSender, TrySendError};
use std::time::Instant;

use sluice_channel::{
    Command, HookReport, Neighbour, PortStatus, Reply, RuleStatus, Status, WorkerStatus,
};
use sluice_control_api::{Applied, Commit};
use sluice_policy::Policy;
use tokio::sync::{Semaphore, oneshot, watch};

use crate::capture::Captures;
use crate::change::{Change, Order};
use crate::error::ControlError;
use crate::events::Events;
use crate::head::Head;
use crate::reconciler::Request;
use crate::store::Header;
use crate::view::View;
use crate::watchdog::Health;

/// What every handler has.
#[derive(Clone, Debug)]
pub(crate) struct App {
    /// When the process started.
    pub(crate) started: Instant,
    view: watch::Receiver<Arc<View>>,
    requests: SyncSender<Request>,
    /// What happens.
    pub(crate) events: Events,
    health: watch::Receiver<Health>,
    stopping: watch::Receiver<bool>,
    /// Held while a stream of operations is read, so that no more than one takes memory.
    pub(crate) streaming: Arc<Semaphore>,
    /// What is captured.
    pub(crate) captures: Captures,
}

/// Asks the dataplane, and takes the answer out of its reply.
macro_rules! questions {
    ($($(#[$doc:meta])* $name:ident: $question:ident -> $answer:ty;)*) => {
        impl App {
            $($(#[$doc])*
            pub(crate) async fn $name(&self) -> Result<$answer, ControlError> {
                match self.ask(Command::$question).await? {
                    Reply::$question(answer) => Ok(answer),
                    _ => Err(ControlError::Unexpected { command: Command::$question.name() }),
                }
            })*
        }
    };
}

questions! {
    /// The dataplane as a whole.
    status: Status -> Status;
    /// Its ports.
    ports: Ports -> Vec<PortStatus>;
    /// Its neighbour table.
    neighbours: Neighbours -> Vec<Neighbour>;
    /// Its workers.
    workers: Workers -> Vec<WorkerStatus>;
    /// Its rules' counters.
    rules: Rules -> Vec<RuleStatus>;
    /// Its programs and foreign hooks.
    hooks: Hooks -> HookReport;
}

impl App {
    pub(crate) fn new(
        view: watch::Receiver<Arc<View>>,
        requests: SyncSender<Request>,
        events: Events,
        health: watch::Receiver<Health>,
        stopping: watch::Receiver<bool>,
    ) -> App {
        let streaming = Arc::new(Semaphore::new(1));
        let (started, captures) = (Instant::now(), Captures::default());
        App { started, view, requests, events, health, stopping, streaming, captures }
    }

    /// How the dataplane's threads are.
    pub(crate) fn health(&self) -> Health {
        self.health.borrow().clone()
    }

    /// Waits until the process stops.
    pub(crate) async fn stopped(&self) {
        // A sender that is gone has stopped as well.
        let _ = self.stopping.clone().wait_for(|stopping| *stopping).await;
    }

    /// What the reconciler last knew.
    pub(crate) fn view(&self) -> Arc<View> {
        self.view.borrow().clone()
    }

    /// What the reconciler knows, as it changes.
    pub(crate) fn views(&self) -> watch::Receiver<Arc<View>> {
        self.view.clone()
    }

    /// Asks the dataplane.
    pub(crate) async fn ask(&self, command: Command) -> Result<Reply, ControlError> {
        self.request(|answer| Request::Ask { command, answer }).await
    }

    /// Asks the dataplane to do something that has no answer but that it is done.
    pub(crate) async fn tell(&self, command: Command) -> Result<(), ControlError> {
        let name = command.name();
        match self.ask(command).await? {
            Reply::Done => Ok(()),
            Reply::Refused(reasons) => Err(ControlError::Refused(reasons)),
            _ => Err(ControlError::Unexpected { command: name }),
        }
    }

    /// Changes what is desired.
    pub(crate) async fn change(
        &self,
        change: Change,
        order: Order,
    ) -> Result<Applied, ControlError> {
        self.request(|answer| Request::Change { change, order, answer }).await
    }

    /// Keeps what waits to be confirmed.
    pub(crate) async fn confirm(&self, author: String) -> Result<Commit, ControlError> {
        self.request(|answer| Request::Confirm { author, answer }).await
    }

    /// The policy of a commit, as the dataplane ran it under that number.
    pub(crate) async fn policy_at(&self, generation: u64) -> Result<Arc<Policy>, ControlError> {
        self.head_at(generation).await.map(|head| head.policy)
    }

    /// A commit, with its policy.
    pub(crate) async fn head_at(&self, generation: u64) -> Result<Head, ControlError> {
        let view = self.view();
        if generation == view.head.generation() {
            return Ok(view.head.clone());
        }
        // Large tables take a while to read and to compile.
        tokio::task::spawn_blocking(move || read(&view, generation))
            .await
            .unwrap_or(Err(ControlError::Stopping))
    }

    async fn request<T>(
        &self,
        request: impl FnOnce(oneshot::Sender<Result<T, ControlError>>) -> Request,
    ) -> Result<T, ControlError> {
        let (sender, answer) = oneshot::channel();
        self.requests.try_send(request(sender)).map_err(|error| match error {
            TrySendError::Full(_) => ControlError::Busy,
            TrySendError::Disconnected(_) => ControlError::Stopping,
        })?;
        answer.await.unwrap_or(Err(ControlError::Stopping))
    }
}

fn read(view: &View, generation: u64) -> Result<Head, ControlError> {
    let unreadable = |error: &dyn std::fmt::Display| ControlError::Unreadable(error.to_string());
    let missing = || view.no_such_commit(generation);
    let header = match generation {
        0 => Header::nothing(),
        _ => view.history.header(generation).cloned().ok_or_else(missing)?,
    };
    let state = view.history.state(generation).ok_or_else(missing)?;
    let state = state.map_err(|error| unreadable(&error))?;
    Head::compile(header, &state).map_err(|error| unreadable(&error))
}
