//! What every handler has: the view, and the way to the reconciler.

use std::sync::Arc;
use std::sync::mpsc::{SyncSender, TrySendError};
use std::time::Instant;

use sluice_channel::{Command, Neighbour, PortStatus, Reply, RuleStatus, Status, WorkerStatus};
use sluice_control_api::Applied;
use tokio::sync::{oneshot, watch};

use crate::change::Change;
use crate::error::ControlError;
use crate::reconciler::Request;
use crate::view::View;

/// What every handler has.
#[derive(Clone, Debug)]
pub(crate) struct App {
    /// When the process started.
    pub(crate) started: Instant,
    view: watch::Receiver<Arc<View>>,
    requests: SyncSender<Request>,
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
}

impl App {
    pub(crate) fn new(view: watch::Receiver<Arc<View>>, requests: SyncSender<Request>) -> App {
        App { started: Instant::now(), view, requests }
    }

    /// What the reconciler last knew.
    pub(crate) fn view(&self) -> Arc<View> {
        self.view.borrow().clone()
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
        dry_run: bool,
        expected: Option<u64>,
    ) -> Result<Applied, ControlError> {
        self.request(|answer| Request::Change { change, dry_run, expected, answer }).await
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
