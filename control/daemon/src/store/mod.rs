//! What was committed, on disk.
//!
//! ```text
//! DIR/lock                       held by the one process that writes here; names it
//! DIR/commits/0000000012.ndjson  a commit: whole, or the difference to its predecessor
//! DIR/pending.ndjson             the commit that is under way
//! DIR/*.damaged                  what could not be read, put aside
//! ```
//!
//! A commit is written as `pending` before the dataplane is told to take it, and renamed when the
//! dataplane has: whatever dies in between, the one of the two that is left says how it ended. A
//! `pending` that the dataplane runs took effect; any other did not.
//!
//! Nothing is promised that is not on disk: a change that cannot be written is refused before the
//! dataplane hears of it. The exceptions are what must happen all the same, the first policy after
//! a start and the rollback of what nobody confirmed; those are written later, when it can be done,
//! and [`Store::problem`] says that they are not.

mod disk;
mod history;
mod load;
mod record;
mod upgrade;

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use sluice_control_api::DamagedFile;
use sluice_policy::model::{Delta, State};

pub use self::disk::StoreError;
pub(crate) use self::history::History;
pub(crate) use self::load::Loaded;
use self::record::Content;
pub(crate) use self::record::{FileRead, Header};
use crate::head::Head;
use crate::lock::{DirectoryLock, LockError};

/// How many commits stay.
const KEPT: usize = 128;
/// The longest way from a whole record to a commit, in commits.
const LONGEST_CHAIN: usize = 512;
/// How often it is tried again what could not be written.
const RETRY: Duration = Duration::from_secs(2);

const COMMITS: &str = "commits";
const PENDING: &str = "pending.ndjson";
const LOCK: &str = "lock";

/// What was committed, on disk.
#[derive(Debug)]
pub(crate) struct Store {
    directory: PathBuf,
    lock: Option<DirectoryLock>,
    history: History,
    /// The highest number that was ever given, also to what cannot be read any more.
    highest: u64,
    /// The commit that is on disk as under way.
    pending: Option<Header>,
    /// Whether the last commit is not on disk.
    behind: bool,
    problem: Option<String>,
    retry: Instant,
    damaged: Vec<DamagedFile>,
}

impl Store {
    /// How the directory is at present.
    pub(crate) fn directory(&self) -> &Path {
        &self.directory
    }

    /// The commits that can be read.
    pub(crate) fn history(&self) -> &History {
        &self.history
    }

    /// Why commits cannot be kept, as far as is known.
    pub(crate) fn problem(&self) -> Option<&str> {
        self.problem.as_deref()
    }

    /// What could not be read and was put aside.
    pub(crate) fn damaged(&self) -> &[DamagedFile] {
        &self.damaged
    }

    /// The number of the next commit.
    pub(crate) fn next_generation(&self) -> u64 {
        self.highest + 1
    }

    /// A number that was given elsewhere is not given again.
    pub(crate) fn seen(&mut self, generation: u64) {
        self.highest = self.highest.max(generation);
    }

    /// Writes down that `next` is about to follow `head`, `delta` after it.
    pub(crate) fn intend(
        &mut self,
        head: &Head,
        next: &Head,
        delta: &Delta,
    ) -> Result<(), StoreError> {
        let written = self.write_intent(head, next, delta);
        self.note(written)
    }

    fn write_intent(&mut self, head: &Head, next: &Head, delta: &Delta) -> Result<(), StoreError> {
        self.catch_up(head)?;
        let entries = size(next.state());
        let follows = self.history.headers().last().map(|last| last.generation);
        let whole = follows != Some(head.header.generation)
            || 2 * delta.operations.len() > entries
            || self.history.wants_whole(LONGEST_CHAIN);
        let base = (!whole).then_some(head.header.generation);
        let header = Header { base, ..next.header.clone() };
        let pending = self.directory.join(PENDING);
        let content = match whole {
            true => Content::Whole(next.state()),
            false => Content::Step(delta),
        };
        disk::write(&pending, |file| record::write(&header, content, file))?;
        self.pending = Some(header);
        Ok(())
    }

    /// What was under way did not take effect.
    pub(crate) fn discard(&mut self) {
        self.pending = None;
        // One that stays is discarded when it is found, and overwritten by the next.
        let _ = disk::remove(&self.directory.join(PENDING));
    }

    /// `head` took effect: what was under way, or what could not be written down before.
    pub(crate) fn settle(&mut self, head: &Head) {
        self.seen(head.header.generation);
        let kept = match self.pending.take() {
            Some(pending) if pending.generation == head.header.generation => {
                let (from, to) =
                    (self.directory.join(PENDING), self.history.path(pending.generation));
                disk::rename(&from, &to).map(|()| self.kept(pending))
            }
            _ => self.write_whole(head),
        };
        self.behind = kept.is_err();
        let _ = self.note(kept);
    }

    /// Writes down that `head` needs no confirmation any more. It is the last commit.
    pub(crate) fn confirm(&mut self, head: &Head) -> Result<(), StoreError> {
        let written = self.write_whole(head);
        self.note(written)
    }

    /// Tries again what could not be written. To be called now and then.
    pub(crate) fn tend(&mut self, head: &Head) {
        if self.problem.is_none() || Instant::now() < self.retry {
            return;
        }
        let written = self.catch_up(head).and_then(|()| self.probe());
        let _ = self.note(written);
    }

    /// Writes the last commit, should it not be on disk.
    fn catch_up(&mut self, head: &Head) -> Result<(), StoreError> {
        self.claim()?;
        if self.behind {
            self.write_whole(head)?;
            self.behind = false;
        }
        Ok(())
    }

    fn write_whole(&mut self, head: &Head) -> Result<(), StoreError> {
        self.claim()?;
        let header = Header { base: None, ..head.header.clone() };
        if header.generation == 0 {
            return Ok(());
        }
        let path = self.history.path(header.generation);
        let content = Content::Whole(head.state());
        disk::write(&path, |file| record::write(&header, content, file))?;
        self.kept(header);
        Ok(())
    }

    /// Makes the directory, and makes it ours.
    fn claim(&mut self) -> Result<(), Unclaimed> {
        if self.lock.is_some() {
            return Ok(());
        }
        disk::make_directory(&self.directory)?;
        disk::make_directory(&self.directory.join(COMMITS))?;
        match DirectoryLock::acquire(&self.directory, LOCK) {
            Ok(lock) => self.lock = Some(lock),
            Err(LockError::Io { path, source }) => {
                return Err(StoreError::new("lock", &path)(source).into());
            }
            Err(held @ LockError::Held { .. }) => return Err(Unclaimed::Held(held)),
        }
        Ok(())
    }

    /// Whether a file can be written at present.
    fn probe(&mut self) -> Result<(), StoreError> {
        let path = self.directory.join("probe");
        disk::write(&path, |file| std::io::Write::write_all(file, &[0; 4096]))?;
        disk::remove(&path)
    }

    /// A commit is on disk: takes it up, and prunes what is too old.
    fn kept(&mut self, header: Header) {
        let needed = header.confirm.as_ref().map(|deadline| deadline.base);
        self.seen(header.generation);
        self.history.put(header);
        let horizon = self.history.horizon(KEPT, needed);
        // The newest first: whenever this is cut off, no commit is left without what it starts from.
        for old in self.history.forget(|header| header.generation < horizon).iter().rev() {
            // One that stays is found at the next start, and pruned then.
            let _ = std::fs::remove_file(self.history.path(old.generation));
        }
    }

    /// Remembers whether writing succeeded.
    fn note<T>(&mut self, written: Result<T, StoreError>) -> Result<T, StoreError> {
        self.retry = Instant::now() + RETRY;
        self.problem = written.as_ref().err().map(ToString::to_string);
        written
    }
}

/// Why the directory is not ours.
#[derive(Debug, thiserror::Error)]
enum Unclaimed {
    /// Another process has it.
    #[error(transparent)]
    Held(LockError),
    /// It cannot be made or locked.
    #[error(transparent)]
    Failed(#[from] StoreError),
}

impl From<Unclaimed> for StoreError {
    fn from(unclaimed: Unclaimed) -> StoreError {
        match unclaimed {
            Unclaimed::Failed(failed) => failed,
            Unclaimed::Held(held) => {
                StoreError::new("lock", Path::new(LOCK))(std::io::Error::other(held))
            }
        }
    }
}

/// How many operations a whole record takes.
fn size(state: &State) -> usize {
    let State { ports, interfaces, instances, routes, filters, neighbours, .. } = state;
    let State { policy_routes, hooks, timeouts, .. } = state;
    ports.len()
        + interfaces.len()
        + instances.len()
        + routes.len()
        + filters.len()
        + neighbours.len()
        + policy_routes.len()
        + hooks.len()
        + timeouts.len()
}

#[cfg(test)]
mod tests;
