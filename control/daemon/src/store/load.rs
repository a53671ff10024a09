//! Reading the directory at the start: what can be used is taken up, what cannot is put aside and
//! named, and the last commit that can be read is the one that counts.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Instant;

use sluice_control_api::DamagedFile;
use sluice_policy::model::{Delta, State};

use super::history::{History, Unreadable};
use super::record::{self, Damage, Header};
use super::{COMMITS, PENDING, Store, Unclaimed, disk};
use crate::head::Head;
use crate::lock::LockError;

/// How many damaged files are named.
const MOST_NAMED: usize = 32;

/// What a directory held.
#[derive(Debug)]
pub(crate) struct Loaded {
    /// The directory.
    pub(crate) store: Store,
    /// The last commit that can be read.
    pub(crate) head: Head,
    /// What was under way when the last process ended.
    pub(crate) pending: Option<Head>,
}

impl Store {
    /// Takes the directory, and reads what it holds. The only failure is that another process has
    /// it; a directory that cannot be written is a [problem](Store::problem).
    pub(crate) fn open(directory: &Path) -> Result<Loaded, LockError> {
        let mut store = Store {
            directory: directory.into(),
            lock: None,
            history: History::new(&directory.join(COMMITS)),
            highest: 0,
            pending: None,
            behind: false,
            problem: None,
            retry: Instant::now(),
            damaged: Vec::new(),
        };
        let written = match store.claim() {
            Ok(()) => store.probe(),
            Err(Unclaimed::Held(held)) => return Err(held),
            Err(Unclaimed::Failed(failed)) => Err(failed),
        };
        let _ = store.note(written);
        store.scan();
        let head = store.last_readable();
        let pending = store.read_pending(&head);
        Ok(Loaded { store, head, pending })
    }

    /// Finds out what commits there are.
    fn scan(&mut self) {
        let commits = self.directory.join(COMMITS);
        let entries = std::fs::read_dir(&commits).into_iter().flatten().flatten();
        let mut found = BTreeMap::new();
        for name in entries.filter_map(|entry| entry.file_name().into_string().ok()) {
            let Some((number, ending)) = name.split_once('.') else { continue };
            let Ok(generation) = number.parse::<u64>() else { continue };
            self.highest = self.highest.max(generation);
            match ending {
                "ndjson" => drop(found.insert(generation, commits.join(name))),
                "ndjson.damaged" if self.damaged.len() < MOST_NAMED => {
                    let file = commits.join(name).display().to_string();
                    let problem = "it was put aside at an earlier start".into();
                    self.damaged.push(DamagedFile { file, problem });
                }
                // A process that was killed while it wrote this one left it.
                "tmp" => drop(std::fs::remove_file(commits.join(name))),
                _ => {}
            }
        }
        let mut headers: Vec<Header> = Vec::new();
        for (generation, path) in found {
            let header = record::read_header(&path).and_then(|header| match header.base {
                _ if header.generation != generation => Err(Damage::Misnamed(header.generation)),
                Some(base) if !headers.iter().any(|known| known.generation == base) => {
                    Err(Damage::Orphan(base))
                }
                _ => Ok(header),
            });
            match header {
                Ok(header) => headers.push(header),
                Err(damage) => self.put_aside(&path, &damage),
            }
        }
        headers.into_iter().for_each(|header| self.history.put(header));
    }

    /// The last commit that can be read; what is later and cannot is put aside.
    fn last_readable(&mut self) -> Head {
        loop {
            let Some(header) = self.history.headers().last().cloned() else {
                return Head::nothing();
            };
            let fault = match self.head(&header) {
                Ok(head) => return head,
                Err(fault) => fault,
            };
            self.put_aside(&fault.path, &fault.damage);
            let gone = self.history.forget(|header| header.generation == fault.generation);
            for orphan in gone.iter().filter(|header| header.generation != fault.generation) {
                let path = self.history.path(orphan.generation);
                self.put_aside(&path, &Damage::Orphan(orphan.base.unwrap_or_default()));
            }
        }
    }

    fn head(&self, header: &Header) -> Result<Head, Unreadable> {
        let generation = header.generation;
        let fault = |damage| Unreadable { generation, path: self.history.path(generation), damage };
        let state = match self.history.state(generation) {
            Some(state) => state?,
            None => return Err(fault(Damage::Orphan(header.base.unwrap_or_default()))),
        };
        Head::compile(header.clone(), &state).map_err(|error| fault(Damage::Unfit(error)))
    }

    /// What was under way, if it follows `head`.
    fn read_pending(&mut self, head: &Head) -> Option<Head> {
        let path = self.directory.join(PENDING);
        if !path.exists() {
            return None;
        }
        let (header, delta) = match record::read(&path) {
            Ok(read) => read,
            Err(damage) => {
                self.put_aside(&path, &damage);
                return None;
            }
        };
        match follow(head, &header, &delta) {
            Some(Ok(next)) => {
                self.pending = Some(header);
                Some(next)
            }
            Some(Err(damage)) => {
                self.put_aside(&path, &damage);
                None
            }
            // It is older than what was committed since: the process that ended after that could
            // not remove it.
            None => {
                self.discard();
                None
            }
        }
    }

    fn put_aside(&mut self, path: &Path, damage: &Damage) {
        let aside = PathBuf::from(format!("{}.damaged", path.display()));
        let problem = damage.to_string();
        tracing::error!("{} cannot be used: {problem}", path.display());
        let file = match disk::rename(path, &aside) {
            Ok(()) => aside,
            Err(_) => path.into(),
        };
        if self.damaged.len() < MOST_NAMED {
            self.damaged.push(DamagedFile { file: file.display().to_string(), problem });
        }
    }
}

/// What a record that was under way leads to, if it starts from `head`.
fn follow(head: &Head, header: &Header, delta: &Delta) -> Option<Result<Head, Damage>> {
    if header.generation <= head.header.generation {
        return None;
    }
    let mut state = match header.base {
        None => State::default(),
        Some(base) if base == head.header.generation => head.state().clone(),
        Some(base) => return Some(Err(Damage::Orphan(base))),
    };
    state.apply(delta);
    Some(Head::compile(header.clone(), &state).map_err(Damage::Unfit))
}
