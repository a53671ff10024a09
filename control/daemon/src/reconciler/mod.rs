//! The thread that makes the dataplane be as desired, and the only one that talks to it.
//!
//! It attaches, compares what the dataplane runs with the last commit, table by table, and pushes
//! the difference as one transaction; when the dataplane is lost it starts over, with bounded
//! pauses. In between it takes [`Request`]s, one at a time: so commits have one order, and a change
//! that was refused, by the dataplane or by the disk, leaves everything as it was.
//!
//! * `attach` brings a dataplane up to the last commit, and settles what was under way.
//! * `commit` makes commits.
//! * `hook_files` asks what is in the files that hooks are loaded from.

mod attach;
mod commit;
mod hook_files;

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use sluice_channel::{ChannelError, Client, Command, Reply};
use sluice_control_api::{Applied, Commit, Persistence, Progress, WatchKind};
use tokio::sync::{oneshot, watch};

use crate::change::{Change, FileChange, Order};
use crate::error::ControlError;
use crate::events::Events;
use crate::head::Head;
use crate::notice;
use crate::store::{Loaded, Store};
use crate::transaction::PATIENCE;
use crate::view::View;

/// How often the dataplane is looked after when nothing is asked.
const TICK: Duration = Duration::from_millis(100);
/// How long one try to attach may take.
const ATTACH_PATIENCE: Duration = Duration::from_millis(500);
/// Pauses between tries to attach, and between offers of what was refused.
const SHORTEST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);
const OFFER_PAUSE: Duration = Duration::from_secs(5);

/// What others ask of the thread.
#[derive(Debug)]
pub(crate) enum Request {
    /// To change what is desired.
    Change {
        /// The change.
        change: Change,
        /// Who asks, and how it is meant.
        order: Order,
        /// What came of it.
        answer: oneshot::Sender<Result<Applied, ControlError>>,
    },
    /// To keep what waits to be confirmed.
    Confirm {
        /// Who asks.
        author: String,
        /// What stays.
        answer: oneshot::Sender<Result<Commit, ControlError>>,
    },
    /// To ask the dataplane something.
    Ask {
        /// The question.
        command: Command,
        /// The answer.
        answer: oneshot::Sender<Result<Reply, ControlError>>,
    },
}

/// The thread's state.
pub(crate) struct Reconciler {
    directory: PathBuf,
    store: Store,
    /// The last commit.
    head: Head,
    /// What was being committed when the dataplane, or this process, was lost.
    undecided: Option<Head>,
    /// The configuration file that is to be applied when a dataplane is there.
    wanted: Option<FileChange>,
    client: Option<Client>,
    /// Whether it was said that the dataplane of this session runs what is desired.
    announced: bool,
    progress: Progress,
    notes: Vec<String>,
    view: watch::Sender<Arc<View>>,
    events: Events,
    due: Instant,
    pause: Duration,
    /// The problem with the disk that was told last.
    told: Option<String>,
}

/// Why the dataplane is not as desired.
#[derive(Debug)]
enum Setback {
    /// The session is over.
    Lost(String),
    /// It runs another generation, and does not want ours.
    Refused { generation: u64, details: Vec<String> },
}

impl Reconciler {
    /// Starts from what the disk holds; `wanted` is a file to apply, `notes` is what is wrong with
    /// one that is not.
    pub(crate) fn new(
        directory: PathBuf,
        loaded: Loaded,
        wanted: Option<FileChange>,
        notes: Vec<String>,
        events: Events,
    ) -> (Self, watch::Receiver<Arc<View>>) {
        let Loaded { store, head, pending } = loaded;
        let progress = Progress::Waiting { reason: "not attached yet".into() };
        let view = View {
            progress: progress.clone(),
            head: head.clone(),
            history: store.history().clone(),
            persistence: Persistence::default(),
            notes: notes.clone(),
            statistics: None,
        };
        let (view, watcher) = watch::channel(Arc::new(view));
        let mut reconciler = Reconciler {
            directory,
            store,
            head,
            undecided: pending,
            wanted,
            client: None,
            announced: false,
            progress,
            notes,
            view,
            events,
            due: Instant::now(),
            pause: SHORTEST_PAUSE,
            told: None,
        };
        reconciler.tell_problem();
        reconciler.publish();
        (reconciler, watcher)
    }

    /// Runs until nobody can send a request any more.
    pub(crate) fn run(mut self, requests: &Receiver<Request>) {
        loop {
            self.tend();
            let wait = match self.client {
                Some(_) => TICK,
                None => self.due.saturating_duration_since(Instant::now()).min(TICK),
            };
            match requests.recv_timeout(wait) {
                Ok(Request::Change { change, order, answer }) => {
                    let _ = answer.send(self.change(change, &order));
                }
                Ok(Request::Confirm { author, answer }) => {
                    let _ = answer.send(self.confirm(&author));
                }
                Ok(Request::Ask { command, answer }) => {
                    let _ = answer.send(self.ask(&command));
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return,
            }
        }
    }

    /// Looks after the disk and the session: notices, loss, attaching, reconciling.
    fn tend(&mut self) {
        if self.store.problem().is_some() {
            self.store.tend(&self.head);
            self.tell_problem();
        }
        if let Some(client) = &mut self.client {
            client.notices().into_iter().for_each(|notice| notice::tell(notice, &self.events));
            if client.lost() {
                self.lost("the dataplane is gone");
            }
        }
        let settled = matches!(self.progress, Progress::Committed { .. }) && !self.head.overdue();
        if settled || Instant::now() < self.due {
            return;
        }
        if self.client.is_none() {
            match Client::attach(&self.directory, ATTACH_PATIENCE) {
                Ok(client) => {
                    self.client = Some(client);
                    self.announced = false;
                }
                Err(error) => return self.set_back(Setback::Lost(error.to_string())),
            }
        }
        if let Err(setback) = self.reconcile() {
            self.set_back(setback);
        }
    }

    fn ask(&mut self, command: &Command) -> Result<Reply, ControlError> {
        let Some(client) = &mut self.client else {
            return Err(ControlError::NoDataplane(self.reason()));
        };
        client.call(command, PATIENCE).map_err(|error| {
            let reason = error.to_string();
            // A dataplane that does not answer in time is as good as gone.
            if !matches!(error, ChannelError::Busy { .. } | ChannelError::TooLarge { .. }) {
                self.lost(&reason);
            }
            ControlError::NoDataplane(reason)
        })
    }

    /// The session is over; another is tried at once.
    fn lost(&mut self, reason: &str) {
        tracing::warn!("the dataplane is lost: {reason}");
        self.events.say(WatchKind::DataplaneLost { reason: reason.into() });
        self.client = None;
        self.due = Instant::now();
        self.progress = Progress::Waiting { reason: reason.to_owned() };
        self.publish();
    }

    /// The dataplane is not as desired; it is tried again after a pause.
    fn set_back(&mut self, setback: Setback) {
        let (progress, pause) = match setback {
            Setback::Lost(reason) => {
                self.client = None;
                let pause = self.pause;
                self.pause = (pause * 2).min(LONGEST_PAUSE);
                (Progress::Waiting { reason }, pause)
            }
            Setback::Refused { generation, details } => {
                (Progress::Refused { generation, details }, OFFER_PAUSE)
            }
        };
        // Said once, not at every try; and a dataplane that is just starting is not worth a word.
        match &progress {
            Progress::Refused { details, .. } if progress != self.progress => {
                tracing::error!("the dataplane refused what is desired:");
                details.iter().for_each(|detail| tracing::error!("  {detail}"));
            }
            Progress::Waiting { reason } if self.pause == LONGEST_PAUSE && pause < self.pause => {
                tracing::warn!("still waiting for a dataplane: {reason}");
            }
            _ => {}
        }
        self.due = Instant::now() + pause;
        self.progress = progress;
        self.publish();
    }

    fn reason(&self) -> String {
        match &self.progress {
            Progress::Waiting { reason } => reason.clone(),
            _ => "not attached".into(),
        }
    }

    /// Says that commits cannot be kept, or can be again.
    fn tell_problem(&mut self) {
        let problem = self.store.problem().map(ToOwned::to_owned);
        if problem == self.told {
            return;
        }
        match &problem {
            Some(problem) => tracing::error!("commits cannot be kept on disk: {problem}"),
            None => tracing::info!("commits can be kept on disk again"),
        }
        self.told.clone_from(&problem);
        self.events.say(WatchKind::Persistence { problem });
        self.publish();
    }

    fn publish(&self) {
        self.view.send_replace(Arc::new(View {
            progress: self.progress.clone(),
            head: self.head.clone(),
            history: self.store.history().clone(),
            persistence: Persistence {
                directory: self.store.directory().display().to_string(),
                error: self.store.problem().map(ToOwned::to_owned),
                damaged: self.store.damaged().to_vec(),
            },
            notes: self.notes.clone(),
            statistics: self.client.as_ref().map(Client::statistics),
        }));
    }
}
