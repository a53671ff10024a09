//! Making commits: a change is worked out, written down as an intent, pushed, and kept.

use std::borrow::Cow;
use std::panic::resume_unwind;

use sluice_control_api::{Applied, Commit, CommitKind, Diff, Progress, WatchKind};
use sluice_policy::model::Delta;

use super::{Reconciler, Setback};
use crate::batch::{self, MOST_TOLD};
use crate::change::{self, Change, Order, Step};
use crate::deadline::Deadline;
use crate::difference;
use crate::error::ControlError;
use crate::events;
use crate::head::Head;
use crate::hook;
use crate::store::{Header, StoreError};
use crate::transaction::{self, Broken, Outcome};

/// So many operations take longer to write than a thread takes to start.
const MANY: usize = 4096;

/// What to do about a commit that cannot be written to disk.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Keep {
    /// It is refused.
    OrRefuse,
    /// It takes effect all the same, and is written when it can be.
    IfPossible,
}

impl Reconciler {
    /// Changes what is desired, if the dataplane takes it.
    pub(super) fn change(
        &mut self,
        change: Change,
        order: &Order,
    ) -> Result<Applied, ControlError> {
        let of_file = matches!(change, Change::File { .. });
        let whole = of_file || matches!(change, Change::Rollback { .. });
        let live = self.live(whole)?;
        if let Some(expected) = order.expected.filter(|expected| *expected != live) {
            return Err(ControlError::Conflict { expected, live });
        }
        let mut notes = Vec::new();
        let step = match change {
            Change::File(file) => {
                let wanted = &file.configuration.dataplane;
                if self.head.header.dataplane.as_ref().is_some_and(|running| running != wanted) {
                    notes.push(
                        "`dataplane` differs from what the dataplane was started with: it takes \
                         effect at the next `sluice up`"
                            .into(),
                    );
                }
                change::file(&self.head, &file)
            }
            Change::Routes(routes) => batch::work_out(&self.head, routes)?,
            Change::Hook(hook) => hook::work_out(&self.head, hook)?,
            Change::Rollback { to: 0 } => return Err(self.view.borrow().no_such_commit(0)),
            Change::Rollback { to } => self.back(to, CommitKind::Rollback { to })?,
        };
        notes.extend_from_slice(&step.notes);
        let (next, delta) = self.compose(step, order)?;
        let changes = next.header.changes;
        let diff = order.dry_run.then(|| Diff {
            from: self.head.generation(),
            to: None,
            entries: difference::entries(self.head.state(), &delta),
        });
        let mut applied = Applied {
            generation: live,
            dry_run: order.dry_run,
            changes,
            waiting: Vec::new(),
            notes,
            diff,
            confirm: None,
        };
        let nothing = delta.operations.is_empty() && next.header.stale == self.head.header.stale;
        if nothing && order.confirm.is_some() {
            applied.notes.push("nothing changes: there is nothing to confirm".into());
        }
        if !order.dry_run && !nothing {
            applied.generation = next.generation();
            let push = self.pushed(live, &delta, &next)?;
            applied.waiting = self.perform(next, &delta, &push, live, Keep::OrRefuse)?;
            applied.confirm = self.head.confirm();
        }
        if of_file && !order.dry_run {
            // Whatever was wrong with the file of the start, this one is in its place.
            self.wanted = None;
            self.notes.clear();
            self.publish();
        }
        Ok(applied)
    }

    /// Keeps what waits to be confirmed.
    pub(super) fn confirm(&mut self, author: &str) -> Result<Commit, ControlError> {
        let deadline = self.head.header.confirm.as_ref().ok_or(ControlError::NothingToConfirm)?;
        if deadline.remaining().is_none() {
            return Err(ControlError::TooLate { base: deadline.base });
        }
        if self.undecided.is_some() {
            // What is under way belongs to what waits: first it must be known how it ends.
            return Err(ControlError::NoDataplane(self.reason()));
        }
        let mut confirmed = self.head.clone();
        confirmed.header.confirm = None;
        let kept = self.store.confirm(&confirmed);
        self.tell_problem();
        kept?;
        self.head = confirmed;
        let generation = self.head.generation();
        tracing::info!(generation, author, "confirmed");
        self.events.say(WatchKind::Confirm { generation, author: author.into() });
        self.publish();
        Ok(self.head.commit())
    }

    /// The generation that the dataplane runs. A whole state may also be applied while the
    /// dataplane refuses what is desired: that is the way out.
    fn live(&mut self, whole: bool) -> Result<u64, ControlError> {
        match &self.progress {
            Progress::Committed { generation } => Ok(*generation),
            Progress::Refused { generation, .. } if whole => Ok(*generation),
            Progress::Refused { details, .. } => Err(ControlError::NotCommitted(details.clone())),
            Progress::Waiting { reason } => Err(ControlError::NoDataplane(reason.clone())),
        }
    }

    /// What to push: `delta`, unless the dataplane does not run the last commit.
    fn pushed<'a>(
        &mut self,
        live: u64,
        delta: &'a Delta,
        next: &Head,
    ) -> Result<Cow<'a, Delta>, ControlError> {
        if matches!(self.progress, Progress::Committed { .. }) {
            return Ok(Cow::Borrowed(delta));
        }
        let asked = self.ask_status().and_then(|status| {
            if status.generation != live {
                let details = vec![format!("generation {} came in between", status.generation)];
                return Err(Setback::Refused { generation: status.generation, details });
            }
            self.leading(&status, next)
        });
        asked.map(Cow::Owned).map_err(|setback| match setback {
            Setback::Lost(reason) => {
                self.lost(&reason);
                ControlError::NoDataplane(reason)
            }
            Setback::Refused { details, .. } => ControlError::NotCommitted(details),
        })
    }

    /// The way back to an earlier commit.
    pub(super) fn back(&self, to: u64, kind: CommitKind) -> Result<Step, ControlError> {
        let history = self.store.history();
        let unreadable =
            |error: &dyn std::fmt::Display| ControlError::Unreadable(error.to_string());
        let Some(state) = history.state(to) else {
            return Err(self.view.borrow().no_such_commit(to));
        };
        let state = state.map_err(|error| unreadable(&error))?;
        let nothing = Header::nothing();
        let header = history.header(to).unwrap_or(&nothing);
        Ok(change::back(&self.head, header, &state, kind))
    }

    /// The commit that a step makes, and what leads to it; or what does not fit.
    pub(super) fn compose(&self, step: Step, order: &Order) -> Result<(Head, Delta), ControlError> {
        let Step { mut delta, kind, file, dataplane, files, stale, places, notes: _ } = step;
        let generation = self.store.next_generation();
        delta.stamp(generation);
        let applied = match kind {
            CommitKind::File { .. } | CommitKind::Route { .. } | CommitKind::Hook { .. } => {
                self.head.policy.apply_asked(generation, &delta)
            }
            // What comes back was asked for when it made sense.
            CommitKind::Rollback { .. } | CommitKind::Adopted | CommitKind::Expired { .. } => {
                self.head.policy.apply_as(generation, &delta)
            }
        };
        let policy = applied.map_err(|errors| {
            let mut told: Vec<String> = errors
                .iter()
                .take(MOST_TOLD)
                .map(|error| match &places {
                    Some(places) => places.say(&delta, error),
                    None => error.to_string(),
                })
                .collect();
            if errors.len() > MOST_TOLD {
                told.push(format!("and {} more", errors.len() - MOST_TOLD));
            }
            ControlError::Policy(told)
        })?;
        let header = Header {
            generation,
            time: events::timestamp(),
            author: order.author.clone(),
            message: order.message.clone(),
            changes: difference::count(self.head.state(), &delta),
            confirm: self.deadline(&kind, order)?,
            kind,
            file,
            dataplane,
            files,
            stale,
            ..Header::nothing()
        };
        Ok((Head { header, policy: policy.into() }, delta))
    }

    /// Until when the next commit must be confirmed: what changes while something waits belongs to
    /// it, and going back to where it started from ends it.
    fn deadline(&self, kind: &CommitKind, order: &Order) -> Result<Option<Deadline>, ControlError> {
        match (&self.head.header.confirm, order.confirm) {
            (None, None) => Ok(None),
            (None, Some(seconds)) => Ok(Some(Deadline::start(self.head.generation(), seconds))),
            (Some(waits), Some(_)) => Err(ControlError::ConfirmPending {
                base: waits.base,
                seconds: waits.confirm().remaining_seconds,
            }),
            (Some(waits), None) => Ok(match kind {
                CommitKind::Expired { .. } => None,
                CommitKind::Rollback { to } if *to == waits.base => None,
                _ => Some(waits.clone()),
            }),
        }
    }

    /// Makes `next` take effect: `delta` leads to it from the last commit, `push` from generation
    /// `expected`, which the dataplane runs. The workers that do not run it yet.
    pub(super) fn perform(
        &mut self,
        next: Head,
        delta: &Delta,
        push: &Delta,
        expected: u64,
        keep: Keep,
    ) -> Result<Vec<u16>, ControlError> {
        let Some(client) = &mut self.client else {
            return Err(ControlError::NoDataplane(self.reason()));
        };
        let (store, head, generation) = (&mut self.store, &self.head, next.generation());
        let mut intend = || store.intend(head, &next, delta);
        let may = |intended: &Result<(), StoreError>| keep == Keep::IfPossible || intended.is_ok();
        let mut intended = Ok(());
        let pushed = if delta.operations.len() < MANY {
            intended = intend();
            match may(&intended) {
                true => transaction::push(client, expected, generation, push, || true),
                false => Ok(Outcome::Abandoned),
            }
        } else {
            // Written while they are sent; on disk before they take effect all the same.
            std::thread::scope(|scope| {
                let writing = scope.spawn(intend);
                transaction::push(client, expected, generation, push, || {
                    intended = writing.join().unwrap_or_else(|panic| resume_unwind(panic));
                    may(&intended)
                })
            })
        };
        self.tell_problem();
        match pushed {
            Ok(Outcome::Abandoned) => {
                self.store.discard();
                Err(intended.err().map_or(ControlError::Stopping, ControlError::NotKept))
            }
            Ok(Outcome::Committed { waiting }) => {
                self.finish(next);
                Ok(waiting)
            }
            Ok(Outcome::Refused(details)) => {
                self.store.discard();
                Err(ControlError::Refused(details))
            }
            Ok(Outcome::Conflict { live }) => {
                self.store.discard();
                // The dataplane is not as we believed: find out how it is.
                self.lost("another generation came in between");
                Err(ControlError::Conflict { expected, live })
            }
            Err(Broken::Before(error)) => {
                self.store.discard();
                self.lost(&error.to_string());
                Err(ControlError::NoDataplane(error.to_string()))
            }
            Err(broken @ (Broken::During(_) | Broken::Unexpected(_))) => {
                let reason = broken.to_string();
                self.undecided = Some(next);
                self.lost(&reason);
                Err(ControlError::Undecided(reason))
            }
        }
    }

    /// `next` took effect.
    pub(super) fn finish(&mut self, next: Head) {
        self.head = next;
        self.store.settle(&self.head);
        self.tell_problem();
        let commit = self.head.commit();
        tracing::info!(
            generation = commit.generation,
            author = commit.author,
            message = commit.message,
            "committed: {}",
            commit.changes
        );
        self.events.say(match commit.kind {
            CommitKind::Rollback { .. } | CommitKind::Expired { .. } => {
                WatchKind::RolledBack { commit }
            }
            _ => WatchKind::Commit { commit },
        });
        self.progress = Progress::Committed { generation: self.head.generation() };
        self.publish();
    }
}
