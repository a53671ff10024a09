//! Bringing a dataplane up to the last commit, and finding out how what was under way ended.
//!
//! A generation is one state, under one number, in both processes and on disk. So the dataplane's
//! number and digests say what it runs: the last commit, the one that was under way, an earlier
//! one, or something that this process does not know. The last is taken over as a commit and never
//! overwritten: somebody meant it.

use sluice_channel::{Client, Command, Reply, Status};
use sluice_control_api::{CommitKind, Progress, WatchKind};
use sluice_policy::Table;
use sluice_policy::model::{Delta, State};

use super::commit::Keep;
use super::{Reconciler, SHORTEST_PAUSE, Setback};
use crate::change::{self, FileChange, Order, Step};
use crate::difference;
use crate::error::ControlError;
use crate::events;
use crate::head::Head;
use crate::store::Header;
use crate::transaction::{self, Broken, Outcome, PATIENCE};

impl From<Broken> for Setback {
    fn from(broken: Broken) -> Self {
        Setback::Lost(broken.to_string())
    }
}

impl Reconciler {
    /// Makes the attached dataplane be as desired.
    pub(super) fn reconcile(&mut self) -> Result<(), Setback> {
        let mut status = self.ask_status()?;
        self.store.seen(status.generation);
        self.settle_undecided(&status);
        if self.is_unknown(&status) {
            self.adopt(&status)?;
            status = self.ask_status()?;
        }
        if self.head.overdue() {
            self.expire(&status)?;
            status = self.ask_status()?;
        }
        if let Some(file) = self.wanted.take() {
            self.apply_wanted(&status, file)?;
            status = self.ask_status()?;
        }
        self.bring_up(&status)
    }

    /// A commit that was under way when the session, or this process, ended took effect if the
    /// dataplane runs it, and did not if it does not.
    fn settle_undecided(&mut self, status: &Status) {
        let Some(undecided) = self.undecided.take() else { return };
        let generation = undecided.generation();
        if runs(status, &undecided) {
            tracing::info!(generation, "the commit that was under way took effect");
            self.finish(undecided);
        } else {
            tracing::warn!(generation, "the commit that was under way did not take effect");
            self.store.discard();
        }
    }

    /// Whether the dataplane runs what no commit accounts for.
    fn is_unknown(&self, status: &Status) -> bool {
        let head = self.head.generation();
        status.generation > head
            || (status.generation == head && head != 0 && !runs(status, &self.head))
    }

    /// Takes over what the dataplane runs.
    fn adopt(&mut self, status: &Status) -> Result<(), Setback> {
        let (found, known) = (status.generation, self.head.generation());
        let state = self.ask_state(&Table::ALL)?;
        let generation = if found > known { found } else { self.store.next_generation() };
        let delta = self.head.state().difference(&state);
        let header = Header {
            generation,
            time: events::timestamp(),
            message: Some(format!("taken over from a dataplane at generation {found}")),
            author: Order::own(None).author,
            kind: CommitKind::Adopted,
            changes: difference::count(self.head.state(), &delta),
            confirm: None,
            files: match &self.wanted {
                Some(file) => change::also_read(&self.head, file),
                None => self.head.header.files.clone(),
            },
            ..self.head.header.clone()
        };
        let next = Head::compile(header, &state)
            .map_err(|error| Setback::Refused { generation: found, details: vec![error] })?;
        tracing::warn!(
            "the dataplane runs a generation {found} that is not known here; it is taken over"
        );
        if let Some(file) = self.wanted.take() {
            self.warn(format!(
                "{0} was not applied, since the dataplane ran what was not known here: \
                 `sluice apply {0}` applies it",
                file.name
            ));
        }
        if generation == found {
            self.finish(next);
            return Ok(());
        }
        let nothing = Delta::default();
        let perform = self.perform(|_| Ok(next), &delta, &nothing, found, Keep::IfPossible);
        perform.map(drop).map_err(|error| setback(error, found))
    }

    /// Rolls back what nobody confirmed.
    fn expire(&mut self, status: &Status) -> Result<(), Setback> {
        let Some(deadline) = self.head.header.confirm.clone() else { return Ok(()) };
        let step = match self.back(deadline.base, CommitKind::Expired { to: deadline.base }) {
            Ok(step) => step,
            Err(error) => {
                self.warn(format!(
                    "nobody confirmed within {} s, and it cannot be rolled back: {error}",
                    deadline.seconds
                ));
                self.head.header.confirm = None;
                let _ = self.store.confirm(&self.head);
                return Ok(());
            }
        };
        tracing::warn!("nobody confirmed within {} s: rolling back", deadline.seconds);
        let message = format!("not confirmed within {} s", deadline.seconds);
        self.take_step(status, step, &Order::own(Some(message)), Keep::IfPossible)
    }

    /// Applies the file that the process was started with. Where there is an earlier commit, a
    /// file that is refused is no reason to run without any.
    fn apply_wanted(&mut self, status: &Status, mut file: FileChange) -> Result<(), Setback> {
        let first = self.head.generation() == 0;
        let looked = self.look_at_state(&mut file.configuration.state);
        let taken = looked.map_err(|error| setback(error, status.generation)).and_then(|()| {
            let step = change::file(&self.head, &file);
            if step.delta.operations.is_empty() {
                return Ok(());
            }
            let keep = if first { Keep::IfPossible } else { Keep::OrRefuse };
            self.take_step(status, step, &Order::own(None), keep)
        });
        match taken {
            Err(Setback::Refused { details, .. }) if !first => {
                self.warn(format!(
                    "{0} was changed and could not be applied, generation {1} stays: {2}; \
                     `sluice apply {0}` tries again",
                    file.name,
                    self.head.generation(),
                    details.join("; ")
                ));
                Ok(())
            }
            Err(setback) => {
                self.wanted = Some(file);
                Err(setback)
            }
            Ok(()) => Ok(()),
        }
    }

    /// Makes a step that happens by itself a commit, from whatever the dataplane runs.
    fn take_step(
        &mut self,
        status: &Status,
        step: Step,
        order: &Order,
        keep: Keep,
    ) -> Result<(), Setback> {
        let generation = status.generation;
        let compiled = self.draft(step, order).and_then(|draft| {
            let next = draft.compile(&self.head)?;
            Ok((draft.delta, next))
        });
        let (delta, next) = compiled.map_err(|error| setback(error, generation))?;
        let push = self.leading(status, &next)?;
        let performed = self.perform(|_| Ok(next), &delta, &push, generation, keep);
        performed.map(drop).map_err(|error| setback(error, generation))
    }

    /// Gives the dataplane what it lacks of the last commit.
    fn bring_up(&mut self, status: &Status) -> Result<(), Setback> {
        let generation = self.head.generation();
        if !(runs(status, &self.head) && status.generation == generation) {
            let refused = |details| Setback::Refused { generation: status.generation, details };
            let delta = self.leading(status, &self.head.clone())?;
            let operations = delta.operations.len();
            let client = self.attached()?;
            match transaction::push(client, status.generation, generation, &delta, || true)? {
                Outcome::Committed { waiting } => {
                    tracing::info!(generation, operations, ?waiting, "the dataplane is brought up");
                }
                Outcome::Refused(details) => return Err(refused(details)),
                Outcome::Abandoned => return Err(refused(Vec::new())),
                Outcome::Conflict { live } => {
                    let detail = format!("generation {live} came in between; it is tried again");
                    return Err(refused(vec![detail]));
                }
            }
        }
        if !self.announced {
            self.announced = true;
            tracing::info!(generation, pid = status.pid, "the dataplane is as desired");
            self.events.say(WatchKind::DataplaneAttached {
                pid: status.pid,
                version: status.version.clone(),
                generation,
            });
        }
        self.pause = SHORTEST_PAUSE;
        self.progress = Progress::Committed { generation };
        self.publish();
        Ok(())
    }

    /// What leads from what the dataplane runs to `target`: only tables that differ are asked for,
    /// only what differs in them is sent.
    pub(super) fn leading(&mut self, status: &Status, target: &Head) -> Result<Delta, Setback> {
        let tables = target.policy.digests().differing(&status.digests);
        if tables.is_empty() {
            return Ok(Delta::default());
        }
        // Generation 0 is the same everywhere and need not be asked for.
        let running = match status.generation {
            0 => State::default(),
            _ => self.ask_state(&tables)?,
        };
        Ok(running.difference(&target.state().only(&tables)))
    }

    pub(super) fn ask_status(&mut self) -> Result<Status, Setback> {
        match self.attached()?.call(&Command::Status, PATIENCE) {
            Ok(Reply::Status(status)) => Ok(status),
            Ok(_) => Err(Broken::Unexpected("status").into()),
            Err(error) => Err(Setback::Lost(error.to_string())),
        }
    }

    fn ask_state(&mut self, tables: &[Table]) -> Result<State, Setback> {
        match self.attached()?.call(&Command::State { tables: tables.to_vec() }, PATIENCE) {
            Ok(Reply::State(state)) => Ok(state),
            Ok(_) => Err(Broken::Unexpected("state").into()),
            Err(error) => Err(Setback::Lost(error.to_string())),
        }
    }

    fn attached(&mut self) -> Result<&mut Client, Setback> {
        let reason = self.reason();
        self.client.as_mut().ok_or(Setback::Lost(reason))
    }

    /// Says something that the operator should know, and keeps it for the status.
    fn warn(&mut self, note: String) {
        tracing::warn!("{note}");
        self.notes.push(note);
    }
}

/// Whether the dataplane runs a commit.
fn runs(status: &Status, head: &Head) -> bool {
    status.generation == head.generation() && status.digests == head.policy.digests()
}

fn setback(error: ControlError, generation: u64) -> Setback {
    match error {
        ControlError::NoDataplane(reason) | ControlError::Undecided(reason) => {
            Setback::Lost(reason)
        }
        ControlError::Refused(details) | ControlError::Policy(details) => {
            Setback::Refused { generation, details }
        }
        other => Setback::Refused { generation, details: vec![other.to_string()] },
    }
}
