//! Changes that can be asked for, worked out against the last commit.

use std::collections::BTreeMap;

use sluice_control_api::CommitKind;
use sluice_policy::config::{Configuration, Dataplane, KernelRoutes};
use sluice_policy::model::{Delta, Name, Owner, State};

use crate::batch::{Batch, Places};
use crate::head::Head;
pub(crate) use crate::hook::HookChange;
use crate::kernel::Learnt;
use crate::store::{FileRead, Header};

/// How many files' contents are remembered.
const MOST_FILES: usize = 16;

/// A change that can be asked for.
#[derive(Clone, Debug)]
pub(crate) enum Change {
    /// To be as a configuration file says, and to keep the live changes.
    File(Box<FileChange>),
    /// To change live routes.
    Routes(Batch),
    /// To have the routes that were learnt from the kernel.
    Learnt(Learnt),
    /// To load or unload a hook.
    Hook(HookChange),
    /// To be as an earlier commit was.
    Rollback {
        /// Its number.
        to: u64,
    },
}

/// A configuration file that was read.
#[derive(Clone, Debug)]
pub(crate) struct FileChange {
    /// Its name, as it was given.
    pub(crate) name: Name,
    /// What was read from where; none when it came from nowhere that is known.
    pub(crate) read: Option<FileRead>,
    /// What it says.
    pub(crate) configuration: Configuration,
}

/// What is asked for beside the change itself.
#[derive(Clone, Debug, Default)]
pub(crate) struct Order {
    /// Who asks.
    pub(crate) author: String,
    /// What they have to say.
    pub(crate) message: Option<String>,
    /// Whether it is only tried.
    pub(crate) dry_run: bool,
    /// The generation that must be live.
    pub(crate) expected: Option<u64>,
    /// Within how many seconds it must be confirmed.
    pub(crate) confirm: Option<u64>,
}

impl Order {
    /// What happens by itself.
    pub(crate) fn own(message: Option<String>) -> Order {
        Order { author: "sluice-control".into(), message, ..Order::default() }
    }
}

/// What a change comes to.
#[derive(Debug)]
pub(crate) struct Step {
    /// What to do to what was desired.
    pub(crate) delta: Delta,
    /// What is done.
    pub(crate) kind: CommitKind,
    /// The configuration file of the lower layer afterwards.
    pub(crate) file: Option<Name>,
    /// What that file says about the dataplane's start.
    pub(crate) dataplane: Option<Dataplane>,
    /// The kernel's routes that are followed.
    pub(crate) kernel_routes: Vec<KernelRoutes>,
    /// The files that were read.
    pub(crate) files: Vec<FileRead>,
    /// The owners that are marked stale.
    pub(crate) stale: BTreeMap<Owner, u64>,
    /// Which operations of a request the steps of the delta come from.
    pub(crate) places: Option<Places>,
    /// What the author should know.
    pub(crate) notes: Vec<String>,
}

impl Step {
    /// A step that leaves all but the state as it is.
    pub(crate) fn of_head(head: &Head, delta: Delta, kind: CommitKind) -> Step {
        let Header { file, dataplane, kernel_routes, files, stale, .. } = head.header.clone();
        let (places, notes) = (None, Vec::new());
        Step { delta, kind, file, dataplane, kernel_routes, files, stale, places, notes }
    }
}

/// Works a file out.
pub(crate) fn file(head: &Head, file: &FileChange) -> Step {
    let delta = head.towards(&file.configuration.state);
    let kind = CommitKind::File { file: file.name.to_string() };
    let live = head.state().hooks.iter().filter(|(_, hook)| hook.owner != Owner::Static);
    let taken_over = live
        .map(|(name, _)| name)
        .filter(|name| file.configuration.state.hooks.contains_key(*name));
    let notes = taken_over
        .map(|name| format!("hook {name}, which was loaded live, is the file's from now on"));
    Step {
        notes: notes.collect(),
        file: Some(file.name.clone()),
        dataplane: Some(file.configuration.dataplane.clone()),
        kernel_routes: file.configuration.kernel_routes.clone(),
        files: remember(&head.header.files, file.read.as_ref()),
        ..Step::of_head(head, delta, kind)
    }
}

/// Works the way back to an earlier state out. The files that were read since stay read: what
/// was rolled back does not come again at the next start. A mark of stale routes comes back with
/// what was marked; what was gone and comes back is set anew, and is not stale.
pub(crate) fn back(head: &Head, to: &Header, state: &State, kind: CommitKind) -> Step {
    Step {
        file: to.file.clone(),
        dataplane: to.dataplane.clone(),
        kernel_routes: to.kernel_routes.clone(),
        stale: to.stale.clone(),
        ..Step::of_head(head, head.asked(state), kind)
    }
}

fn remember(known: &[FileRead], read: Option<&FileRead>) -> Vec<FileRead> {
    let Some(read) = read else { return known.to_vec() };
    let others = known.iter().filter(|other| other.path != read.path);
    let mut files: Vec<FileRead> = others.cloned().chain([read.clone()]).collect();
    files.drain(..files.len().saturating_sub(MOST_FILES));
    files
}

/// The files that were read, and this one.
pub(crate) fn also_read(head: &Head, file: &FileChange) -> Vec<FileRead> {
    remember(&head.header.files, file.read.as_ref())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_files_that_are_remembered_are_bounded() {
        let read = |path: u32, sha256: &str| FileRead {
            path: path.to_string(),
            sha256: sha256.to_owned(),
        };
        let mut files = Vec::new();
        for path in 0..20 {
            files = remember(&files, Some(&read(path, "one")));
        }
        assert_eq!(files.len(), MOST_FILES);
        files = remember(&files, Some(&read(10, "two")));
        assert_eq!(files.len(), MOST_FILES, "a path is there once");
        assert_eq!(files.last(), Some(&read(10, "two")));
        assert_eq!(remember(&files, None), files);
    }
}
