//! The commits on disk, for anyone to read: a list of headers, and states that are put together
//! from a whole record and the differences after it.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use sluice_policy::model::{Delta, State};

use super::record::{self, Damage, Header};

/// The commits that can be read, as they are at one time. A commit that is pruned later can no
/// longer be read, and reading says so.
#[derive(Clone, Debug)]
pub(crate) struct History {
    directory: Arc<Path>,
    /// Oldest first.
    headers: Arc<Vec<Header>>,
    /// The way to one of them, mostly the last.
    way: Way,
}

/// What must be read for a commit.
#[derive(Clone, Copy, Debug, Default)]
struct Way {
    /// The commit.
    last: u64,
    /// How many records, the whole one included.
    commits: usize,
    /// The size of the whole one.
    whole: u64,
    /// The sizes of the others together.
    differences: u64,
}

/// A way of so many commits is worth shortening, if the whole record is at most so many times what
/// the differences are: a record of a million routes is not written anew for a few.
const SHORT_CHAIN: usize = 32;
const CHEAP: u64 = 64;

/// A record that cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("{}: {damage}", path.display())]
pub(crate) struct Unreadable {
    /// Which.
    pub(crate) generation: u64,
    /// Where it is.
    pub(crate) path: PathBuf,
    /// What is wrong with it.
    pub(crate) damage: Damage,
}

impl History {
    pub(super) fn new(directory: &Path) -> History {
        History { directory: directory.into(), headers: Arc::default(), way: Way::default() }
    }

    /// Every commit, oldest first.
    pub(crate) fn headers(&self) -> &[Header] {
        &self.headers
    }

    /// A commit.
    pub(crate) fn header(&self, generation: u64) -> Option<&Header> {
        let at = self.headers.binary_search_by_key(&generation, |header| header.generation);
        at.ok().map(|at| &self.headers[at])
    }

    /// The state that a commit made; that of generation 0 is empty. `None` for a number that is
    /// not there.
    pub(crate) fn state(&self, generation: u64) -> Option<Result<State, Unreadable>> {
        if generation == 0 {
            return Some(Ok(State::default()));
        }
        let chain = self.chain(generation)?;
        Some(chain.into_iter().try_fold(State::default(), |mut state, header| {
            state.apply(&self.delta(header.generation)?);
            Ok(state)
        }))
    }

    /// What leads to a commit: a whole record, and the differences up to the commit.
    fn chain(&self, generation: u64) -> Option<Vec<&Header>> {
        let mut chain = vec![self.header(generation)?];
        while let Some(base) = chain[chain.len() - 1].base {
            chain.push(self.header(base)?);
        }
        chain.reverse();
        Some(chain)
    }

    fn delta(&self, generation: u64) -> Result<Delta, Unreadable> {
        let path = self.path(generation);
        let fault = |damage| Unreadable { generation, path: path.clone(), damage };
        let (header, delta) = record::read(&path).map_err(fault)?;
        if header.generation != generation {
            return Err(fault(Damage::Misnamed(header.generation)));
        }
        Ok(delta)
    }

    /// Where a commit is.
    pub(super) fn path(&self, generation: u64) -> PathBuf {
        self.directory.join(format!("{generation:010}.ndjson"))
    }

    /// Whether the next record is better a whole one: the way to the last commit is long, or long
    /// enough for a part of what a whole one takes.
    pub(super) fn wants_whole(&mut self, most: usize) -> bool {
        let Some(last) = self.headers.last().map(|last| last.generation) else { return true };
        if self.way.last != last
            && let Some(way) = self.measure(last)
        {
            self.way = way;
        }
        let Way { last: measured, commits, whole, differences } = self.way;
        measured != last
            || commits >= most
            || differences > whole
            || (commits >= SHORT_CHAIN && differences > whole / CHEAP)
    }

    /// The way to a commit, as it is on disk.
    fn measure(&self, generation: u64) -> Option<Way> {
        let chain = self.chain(generation)?;
        let size = |header: &&Header| self.size(header.generation);
        let differences = chain[1..].iter().map(size).sum();
        Some(Way { last: generation, commits: chain.len(), whole: size(&chain[0]), differences })
    }

    fn size(&self, generation: u64) -> u64 {
        std::fs::metadata(self.path(generation)).map_or(0, |file| file.len())
    }

    /// Puts a commit at the end, or in the place of the one that has its number.
    pub(super) fn put(&mut self, header: Header) {
        let (generation, size) = (header.generation, self.size(header.generation));
        match header.base {
            None => self.way = Way { last: generation, commits: 1, whole: size, differences: 0 },
            Some(base) if base == self.way.last => {
                self.way.last = generation;
                self.way.commits += 1;
                self.way.differences += size;
            }
            // It is measured when it is asked for.
            Some(_) => {}
        }
        let headers = Arc::make_mut(&mut self.headers);
        headers.retain(|known| known.generation < header.generation);
        headers.push(header);
    }

    /// Forgets commits, and all that start from one that is forgotten. Returns those.
    pub(super) fn forget(&mut self, mut gone: impl FnMut(&Header) -> bool) -> Vec<Header> {
        let mut forgotten: Vec<Header> = Vec::new();
        Arc::make_mut(&mut self.headers).retain(|header| {
            let orphan = header
                .base
                .is_some_and(|base| forgotten.iter().any(|other| other.generation == base));
            let keep = !orphan && !gone(header);
            if !keep {
                forgotten.push(header.clone());
            }
            keep
        });
        forgotten
    }

    /// The oldest commit that must stay for the last `keep` to be readable, and `needed`.
    pub(super) fn horizon(&self, keep: usize, needed: Option<u64>) -> u64 {
        let oldest = self.headers.len().saturating_sub(keep);
        let oldest = self.headers.get(oldest).map_or(0, |header| header.generation);
        let oldest = needed.map_or(oldest, |needed| oldest.min(needed));
        self.chain(oldest).map_or(oldest, |chain| chain[0].generation)
    }
}
