//! The thread that makes the dataplane be as desired, and the only one that talks to it.
//!
//! It attaches, compares what the dataplane runs with what is desired, and pushes the difference
//! as one transaction; when the dataplane is lost it starts over, with bounded pauses. In between
//! it takes [`Request`]s, one at a time: so changes have one order, and a change that the
//! dataplane refused leaves what is desired as it was.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use sluice_channel::{ChannelError, Client, Command, Reply, Status};
use sluice_control_api::{Applied, Progress};
use sluice_policy::model::{Delta, State};
use sluice_policy::{Policy, Table};
use tokio::sync::{oneshot, watch};

use crate::change::{self, Change, Step};
use crate::changes;
use crate::desired::Desired;
use crate::error::ControlError;
use crate::notice;
use crate::transaction::{self, Broken, Outcome, PATIENCE};
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
        /// Whether it is only tried.
        dry_run: bool,
        /// The generation that must be live.
        expected: Option<u64>,
        /// What came of it.
        answer: oneshot::Sender<Result<Applied, ControlError>>,
    },
    /// To ask the dataplane something.
    Ask {
        /// The question.
        command: Command,
        /// The answer.
        answer: oneshot::Sender<Result<Reply, ControlError>>,
    },
}

/// What is desired when the process starts.
#[derive(Clone, Debug, Default)]
pub(crate) struct Origin {
    /// The configuration file.
    pub(crate) configured: Option<Desired>,
    /// Whether what a running dataplane does goes before the file.
    pub(crate) adopt: bool,
}

/// The thread's state.
pub(crate) struct Reconciler {
    directory: PathBuf,
    origin: Origin,
    desired: Option<Desired>,
    /// What was being committed when the dataplane was lost.
    undecided: Option<Desired>,
    client: Option<Client>,
    progress: Progress,
    view: watch::Sender<Arc<View>>,
    due: Instant,
    pause: Duration,
}

/// Why the dataplane is not as desired.
enum Setback {
    /// The session is over.
    Lost(String),
    /// It runs another generation, and does not want ours.
    Refused { generation: u64, details: Vec<String> },
}

impl From<Broken> for Setback {
    fn from(broken: Broken) -> Self {
        Setback::Lost(broken.to_string())
    }
}

impl Reconciler {
    pub(crate) fn new(directory: PathBuf, origin: Origin) -> (Self, watch::Receiver<Arc<View>>) {
        let progress = Progress::Waiting { reason: "not attached yet".into() };
        let view = View {
            progress: progress.clone(),
            policy: None,
            file: None,
            live: 0,
            statistics: None,
        };
        let (view, watcher) = watch::channel(Arc::new(view));
        let reconciler = Reconciler {
            directory,
            origin,
            desired: None,
            undecided: None,
            client: None,
            progress,
            view,
            due: Instant::now(),
            pause: SHORTEST_PAUSE,
        };
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
                Ok(Request::Change { change, dry_run, expected, answer }) => {
                    let _ = answer.send(self.change(change, dry_run, expected));
                }
                Ok(Request::Ask { command, answer }) => {
                    let _ = answer.send(self.ask(&command));
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return,
            }
        }
    }

    /// Looks after the session: notices, loss, attaching, reconciling.
    fn tend(&mut self) {
        if let Some(client) = &mut self.client {
            client.notices().iter().for_each(notice::log);
            if client.lost() {
                self.lost("the dataplane is gone");
            }
        }
        if matches!(self.progress, Progress::Committed { .. }) || Instant::now() < self.due {
            return;
        }
        if self.client.is_none() {
            match Client::attach(&self.directory, ATTACH_PATIENCE) {
                Ok(client) => self.client = Some(client),
                Err(error) => return self.set_back(Setback::Lost(error.to_string())),
            }
        }
        if let Err(setback) = self.reconcile() {
            self.set_back(setback);
        }
    }

    /// Makes the attached dataplane be as desired.
    fn reconcile(&mut self) -> Result<(), Setback> {
        let Some(client) = &mut self.client else { return Ok(()) };
        let status = ask_status(client)?;
        let refused = |details| Setback::Refused { generation: status.generation, details };
        let mut state = None;
        if self.desired.is_none() {
            let running = ask_state(client, &status)?;
            let desired = first_desired(&self.origin, &running, status.generation);
            self.desired = Some(desired.map_err(refused)?);
            state = Some(running);
        }
        if let Some(undecided) = self.undecided.take()
            && undecided.policy.digests() == status.digests
        {
            tracing::info!("the change that was under way when the dataplane was lost took effect");
            self.desired = Some(undecided);
        }
        let Some(desired) = &self.desired else { return Ok(()) };
        if desired.policy.digests() == status.digests {
            tracing::info!(generation = status.generation, "the dataplane is as desired");
            self.committed(status.generation);
            return Ok(());
        }
        let running = match state {
            Some(state) => state,
            None => ask_state(client, &status)?,
        };
        let delta = running.difference(desired.state());
        let changes = changes::count(&running, &delta);
        match transaction::push(client, status.generation, delta)? {
            Outcome::Committed { generation, waiting } => {
                tracing::info!(generation, ?waiting, "committed: {changes}");
                self.committed(generation);
                Ok(())
            }
            Outcome::Refused(details) => Err(refused(details)),
            Outcome::Conflict { live } => Err(Setback::Refused {
                generation: live,
                details: vec![format!("generation {live} came in between; it is tried again")],
            }),
        }
    }

    /// Changes what is desired, if the dataplane takes it.
    fn change(
        &mut self,
        change: Change,
        dry_run: bool,
        expected: Option<u64>,
    ) -> Result<Applied, ControlError> {
        let base = self.base(&change)?;
        if let Some(expected) = expected.filter(|expected| *expected != base.generation) {
            return Err(ControlError::Conflict { expected, live: base.generation });
        }
        let Step { mut delta, desired: next, notes } = change::step(&base.desired, change)?;
        let running = base.running.as_ref().unwrap_or(base.desired.state());
        if base.running.is_some() {
            delta = running.difference(next.state());
        }
        let changes = changes::count(running, &delta);
        let (mut generation, mut waiting) = (base.generation, Vec::new());
        if !dry_run {
            if !delta.operations.is_empty() {
                (generation, waiting) = self.push(generation, delta, &next)?;
                tracing::info!(generation, ?waiting, "committed: {changes}");
            }
            self.desired = Some(next);
            self.committed(generation);
        }
        Ok(Applied { generation, dry_run, changes, waiting, notes, diff: None, confirm: None })
    }

    /// What a change starts from. A whole file may also be applied while the dataplane refuses
    /// what is desired: that is the way out.
    fn base(&mut self, change: &Change) -> Result<Base, ControlError> {
        match (&self.progress, &self.desired) {
            (Progress::Committed { generation }, Some(desired)) => {
                Ok(Base { generation: *generation, desired: desired.clone(), running: None })
            }
            (Progress::Refused { .. }, desired) if matches!(change, Change::File { .. }) => {
                let desired = desired.clone().unwrap_or_else(Desired::nothing);
                let Some(client) = &mut self.client else {
                    return Err(ControlError::NoDataplane(self.reason()));
                };
                let running = ask_status(client).and_then(|status| {
                    let state = ask_state(client, &status)?;
                    Ok(Base { generation: status.generation, desired, running: Some(state) })
                });
                running.map_err(|setback| match setback {
                    Setback::Lost(reason) => {
                        self.lost(&reason);
                        ControlError::NoDataplane(reason)
                    }
                    Setback::Refused { details, .. } => ControlError::NotCommitted(details),
                })
            }
            (Progress::Refused { details, .. }, _) => {
                Err(ControlError::NotCommitted(details.clone()))
            }
            _ => Err(ControlError::NoDataplane(self.reason())),
        }
    }

    /// Pushes a change that was asked for; the generation that it made and who waits for it.
    fn push(
        &mut self,
        expected: u64,
        delta: Delta,
        next: &Desired,
    ) -> Result<(u64, Vec<u16>), ControlError> {
        let Some(client) = &mut self.client else {
            return Err(ControlError::NoDataplane(self.reason()));
        };
        match transaction::push(client, expected, delta) {
            Ok(Outcome::Committed { generation, waiting }) => Ok((generation, waiting)),
            Ok(Outcome::Refused(details)) => Err(ControlError::Refused(details)),
            Ok(Outcome::Conflict { live }) => {
                // The dataplane is not as we believed: find out how it is.
                self.lost("another generation came in between");
                Err(ControlError::Conflict { expected, live })
            }
            Err(broken) => {
                let reason = broken.to_string();
                self.lost(&reason);
                Err(match broken {
                    Broken::During(_) => {
                        self.undecided = Some(next.clone());
                        ControlError::Undecided(reason)
                    }
                    Broken::Before(_) | Broken::Unexpected(_) => ControlError::NoDataplane(reason),
                })
            }
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

    /// The dataplane runs what is desired.
    fn committed(&mut self, generation: u64) {
        self.progress = Progress::Committed { generation };
        self.pause = SHORTEST_PAUSE;
        self.publish();
    }

    /// The session is over; another is tried at once.
    fn lost(&mut self, reason: &str) {
        tracing::warn!("the dataplane is lost: {reason}");
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

    fn publish(&self) {
        let desired = self.desired.as_ref();
        self.view.send_replace(Arc::new(View {
            progress: self.progress.clone(),
            policy: desired.map(|desired| desired.policy.clone()),
            file: desired.and_then(|desired| desired.file.clone()),
            live: desired.map_or(0, Desired::live),
            statistics: self.client.as_ref().map(Client::statistics),
        }));
    }
}

/// What a change starts from.
struct Base {
    generation: u64,
    desired: Desired,
    /// What the dataplane runs, if that is not what is desired.
    running: Option<State>,
}

/// What is desired at first, given what the dataplane runs when it is first met.
fn first_desired(
    origin: &Origin,
    running: &State,
    generation: u64,
) -> Result<Desired, Vec<String>> {
    let configured = origin.configured.clone().map(|mut configured| {
        configured.keep_live(running);
        configured
    });
    match configured {
        Some(desired)
            if !origin.adopt
                || generation == 0
                || desired.policy.digests() == running.digests() =>
        {
            Ok(desired)
        }
        _ => Desired::adopted(running)
            .map_err(|errors| errors.iter().map(ToString::to_string).collect()),
    }
}

fn ask_status(client: &mut Client) -> Result<Status, Setback> {
    match client.call(&Command::Status, PATIENCE) {
        Ok(Reply::Status(status)) => Ok(status),
        Ok(_) => Err(Broken::Unexpected("status").into()),
        Err(error) => Err(Setback::Lost(error.to_string())),
    }
}

/// What the dataplane runs. Generation 0 is the same everywhere and need not be asked for.
fn ask_state(client: &mut Client, status: &Status) -> Result<State, Setback> {
    if status.generation == 0 {
        return Ok(Policy::empty().state().clone());
    }
    match client.call(&Command::State { tables: Table::ALL.to_vec() }, PATIENCE) {
        Ok(Reply::State(state)) => Ok(state),
        Ok(_) => Err(Broken::Unexpected("state").into()),
        Err(error) => Err(Setback::Lost(error.to_string())),
    }
}
