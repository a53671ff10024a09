//! Making commits: a change is worked out, written down as an intent, pushed, and kept.

use std::panic::resume_unwind;
use std::time::{Duration, Instant};

use sluice_control_api::{Applied, Changes, Commit, CommitKind, Diff, Progress, WatchKind};
use sluice_policy::model::Delta;

use super::{Reconciler, Setback};
use crate::batch::{self, MOST_TOLD, Places};
use crate::change::{self, Change, Order, Step};
use crate::deadline::Deadline;
use crate::difference;
use crate::error::ControlError;
use crate::events;
use crate::head::Head;
use crate::hook;
use crate::kernel;
use crate::store::{Header, StoreError};
use crate::transaction::{self, Broken, MANY, Outcome};

/// What to do about a commit that cannot be written to disk.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Keep {
    /// It is refused.
    OrRefuse,
    /// It takes effect all the same, and is written when it can be.
    IfPossible,
}

/// A commit that is not compiled yet.
pub(super) struct Draft {
    header: Header,
    /// What leads to it from the last one.
    pub(super) delta: Delta,
    places: Option<Places>,
}

impl Draft {
    /// The commit that it makes of the last one, or what does not fit.
    pub(super) fn compile(&self, head: &Head) -> Result<Head, ControlError> {
        let Draft { header, delta, places } = self;
        let applied = match header.kind {
            CommitKind::File { .. } | CommitKind::Route { .. } | CommitKind::Hook { .. } => {
                head.policy.apply_asked(header.generation, delta)
            }
            // What comes back was asked for when it made sense.
            CommitKind::Rollback { .. } | CommitKind::Adopted | CommitKind::Expired { .. } => {
                head.policy.apply_as(header.generation, delta)
            }
        };
        let policy = applied.map_err(|errors| {
            let mut told: Vec<String> = errors
                .iter()
                .take(MOST_TOLD)
                .map(|error| match places {
                    Some(places) => places.say(delta, error),
                    None => error.to_string(),
                })
                .collect();
            if errors.len() > MOST_TOLD {
                told.push(format!("and {} more", errors.len() - MOST_TOLD));
            }
            ControlError::Policy(told)
        })?;
        let changes = difference::count(head.state(), delta);
        let header = Header { changes, ..header.clone() };
        Ok(Head::new(header, policy))
    }
}

/// A commit that may take effect.
struct Prepared {
    next: Head,
    /// Whether it is on disk.
    kept: Result<(), StoreError>,
    /// When it was compiled, and when it was on disk.
    compiled: Duration,
    written: Duration,
}

impl Reconciler {
    /// Changes what is desired, if the dataplane takes it.
    pub(super) fn change(
        &mut self,
        mut change: Change,
        order: &Order,
    ) -> Result<Applied, ControlError> {
        let of_file = matches!(change, Change::File { .. });
        let whole = of_file || matches!(change, Change::Rollback { .. });
        let live = self.live(whole)?;
        if let Some(expected) = order.expected.filter(|expected| *expected != live) {
            return Err(ControlError::Conflict { expected, live });
        }
        self.look_at_files(&mut change)?;
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
            Change::Learnt(learnt) => kernel::work_out(&self.head, learnt),
            Change::Hook(hook) => hook::work_out(&self.head, hook)?,
            Change::Rollback { to: 0 } => return Err(self.view.borrow().no_such_commit(0)),
            Change::Rollback { to } => self.back(to, CommitKind::Rollback { to })?,
        };
        notes.extend_from_slice(&step.notes);
        let draft = self.draft(step, order)?;
        let (asked, live_header) = (&draft.header, &self.head.header);
        let nothing = draft.delta.operations.is_empty()
            && asked.stale == live_header.stale
            && asked.kernel_routes == live_header.kernel_routes;
        if nothing && order.confirm.is_some() {
            notes.push("nothing changes: there is nothing to confirm".into());
        }
        let mut applied = Applied {
            generation: live,
            dry_run: order.dry_run,
            changes: Changes::default(),
            waiting: Vec::new(),
            notes,
            diff: None,
            confirm: None,
        };
        if order.dry_run || nothing {
            let next = draft.compile(&self.head)?;
            applied.changes = next.header.changes;
            applied.diff = order.dry_run.then(|| Diff {
                from: live,
                to: None,
                entries: difference::entries(self.head.state(), &draft.delta),
            });
        } else {
            applied.generation = draft.header.generation;
            applied.waiting = self.make(&draft, live)?;
            applied.changes = self.head.header.changes;
            applied.confirm = self.head.confirm();
        }
        if draft.delta.operations.len() >= MANY {
            // To free a million routes takes a while; nobody need wait for it.
            std::thread::spawn(move || drop(draft));
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

    /// Makes a draft the next commit, from generation `live`, which the dataplane runs.
    fn make(&mut self, draft: &Draft, live: u64) -> Result<Vec<u16>, ControlError> {
        let delta = &draft.delta;
        if matches!(self.progress, Progress::Committed { .. }) {
            return self.perform(|head| draft.compile(head), delta, delta, live, Keep::OrRefuse);
        }
        // The dataplane does not run the last commit: it is led from what it runs.
        let next = draft.compile(&self.head)?;
        let asked = self.ask_status().and_then(|status| {
            if status.generation != live {
                let details = vec![format!("generation {} came in between", status.generation)];
                return Err(Setback::Refused { generation: status.generation, details });
            }
            self.leading(&status, &next)
        });
        match asked {
            Ok(push) => self.perform(|_| Ok(next), delta, &push, live, Keep::OrRefuse),
            Err(Setback::Lost(reason)) => {
                self.lost(&reason);
                Err(ControlError::NoDataplane(reason))
            }
            Err(Setback::Refused { details, .. }) => Err(ControlError::NotCommitted(details)),
        }
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

    /// The commit that a step would make.
    pub(super) fn draft(&self, step: Step, order: &Order) -> Result<Draft, ControlError> {
        let Step { mut delta, kind, file, dataplane, kernel_routes, files, stale, places, .. } =
            step;
        let generation = self.store.next_generation();
        delta.stamp(generation);
        let header = Header {
            generation,
            time: events::timestamp(),
            author: order.author.clone(),
            message: order.message.clone(),
            confirm: self.deadline(&kind, order)?,
            kind,
            file,
            dataplane,
            kernel_routes,
            files,
            stale,
            ..Header::nothing()
        };
        Ok(Draft { header, delta, places })
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
        next: impl FnOnce(&Head) -> Result<Head, ControlError> + Send,
        delta: &Delta,
        push: &Delta,
        expected: u64,
        keep: Keep,
    ) -> Result<Vec<u16>, ControlError> {
        let Some(client) = &mut self.client else {
            return Err(ControlError::NoDataplane(self.reason()));
        };
        let begun = Instant::now();
        let (store, head) = (&mut self.store, &self.head);
        let generation = store.next_generation();
        let prepare = || {
            let next = next(head)?;
            let compiled = begun.elapsed();
            let kept = store.intend(head, &next, delta);
            Ok(Prepared { next, kept, compiled, written: begun.elapsed() })
        };
        let may = |prepared: &Result<Prepared, ControlError>| {
            prepared.as_ref().is_ok_and(|next| keep == Keep::IfPossible || next.kept.is_ok())
        };
        let mut prepared = None;
        let mut sent = Duration::ZERO;
        let pushed = if delta.operations.len() < MANY {
            let ready = prepared.insert(prepare());
            match may(ready) {
                true => transaction::push(client, expected, generation, push, || true),
                false => Ok(Outcome::Abandoned),
            }
        } else {
            // Compiled and written while they are sent; on disk before they take effect all the same.
            std::thread::scope(|scope| {
                let preparing = scope.spawn(prepare);
                transaction::push(client, expected, generation, push, || {
                    sent = begun.elapsed();
                    let joined = preparing.join().unwrap_or_else(|panic| resume_unwind(panic));
                    may(prepared.insert(joined))
                })
            })
        };
        let took = begun.elapsed();
        self.tell_problem();
        match (pushed, prepared) {
            (Ok(Outcome::Committed { waiting }), Some(Ok(prepared))) => {
                let Prepared { next, compiled, written, .. } = prepared;
                let (operations, ms) = (push.operations.len(), Duration::as_millis);
                let (compile, disk, send) = (ms(&compiled), ms(&(written - compiled)), ms(&sent));
                let adopt = ms(&(took - sent.max(written)));
                tracing::debug!(generation, operations, compile, disk, send, adopt, "took (ms)");
                self.finish(next);
                Ok(waiting)
            }
            (Ok(Outcome::Refused(details)), _) => {
                self.store.discard();
                Err(ControlError::Refused(details))
            }
            (Ok(Outcome::Conflict { live }), _) => {
                self.store.discard();
                // The dataplane is not as we believed: find out how it is.
                self.lost("another generation came in between");
                Err(ControlError::Conflict { expected, live })
            }
            (Err(broken @ (Broken::During(_) | Broken::Unexpected(_))), Some(Ok(prepared))) => {
                let reason = broken.to_string();
                self.undecided = Some(prepared.next);
                self.lost(&reason);
                Err(ControlError::Undecided(reason))
            }
            (Err(broken), _) => {
                self.store.discard();
                self.lost(&broken.to_string());
                Err(ControlError::NoDataplane(broken.to_string()))
            }
            (Ok(Outcome::Abandoned | Outcome::Committed { .. }), prepared) => {
                self.store.discard();
                Err(match prepared {
                    Some(Err(error)) => error,
                    Some(Ok(Prepared { kept: Err(error), .. })) => ControlError::NotKept(error),
                    _ => ControlError::Stopping,
                })
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
