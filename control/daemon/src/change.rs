//! Changes that can be asked for, worked out against the last commit.

use std::sync::Arc;

use sluice_control_api::{AddRoute, CommitKind, DeleteRoute};
use sluice_policy::config::{Configuration, Dataplane};
use sluice_policy::model::{
    DEFAULT_INSTANCE, Delta, Name, NextHop, Operation, Owner, Position, Route, RouteKey, State,
    Target,
};

use crate::error::ControlError;
use crate::head::Head;
use crate::store::{FileRead, Header};

/// The file of positions of live changes.
const LIVE: &str = "cli";

/// How many files' contents are remembered.
const MOST_FILES: usize = 16;

/// A change that can be asked for.
#[derive(Clone, Debug)]
pub(crate) enum Change {
    /// To be as a configuration file says, and to keep the live changes.
    File(Box<FileChange>),
    /// To add a live route.
    AddRoute(AddRoute),
    /// To remove a live route.
    DeleteRoute(DeleteRoute),
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
    /// The files that were read.
    pub(crate) files: Vec<FileRead>,
}

/// Works a file out.
pub(crate) fn file(head: &Head, file: &FileChange) -> Step {
    Step {
        delta: head.towards(&file.configuration.state),
        kind: CommitKind::File { file: file.name.to_string() },
        file: Some(file.name.clone()),
        dataplane: Some(file.configuration.dataplane.clone()),
        files: remember(&head.header.files, file.read.as_ref()),
    }
}

/// Works the way back to an earlier state out. The files that were read since stay read: what
/// was rolled back does not come again at the next start.
pub(crate) fn back(head: &Head, to: &Header, state: &State, kind: CommitKind) -> Step {
    Step {
        delta: head.asked(state),
        kind,
        file: to.file.clone(),
        dataplane: to.dataplane.clone(),
        files: head.header.files.clone(),
    }
}

/// Works a live route out that is to be added; the error says what does not fit.
pub(crate) fn add_route(head: &Head, route: AddRoute) -> Result<Step, ControlError> {
    Ok(route_step(head, added_route(head.state(), route)?))
}

/// Works a live route out that is to be removed; the error says what does not fit.
pub(crate) fn delete_route(head: &Head, route: DeleteRoute) -> Result<Step, ControlError> {
    let key = key(route.to, route.instance)?;
    if !head.state().routes.contains_key(&key) {
        return Err(ControlError::NoSuchRoute { prefix: route.to, instance: key.instance });
    }
    Ok(route_step(head, Delta { operations: vec![Operation::Route(key, None)] }))
}

fn route_step(head: &Head, delta: Delta) -> Step {
    let Header { file, dataplane, files, .. } = head.header.clone();
    Step { delta, kind: CommitKind::Route, file, dataplane, files }
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

fn added_route(state: &State, wanted: AddRoute) -> Result<Delta, ControlError> {
    let AddRoute { to, instance, via, blackhole, reject, replace } = wanted;
    let key = key(to, instance)?;
    let target = match (via.is_empty(), blackhole, reject) {
        (false, false, false) => Target::NextHops(
            via.into_iter()
                .map(|hop| NextHop {
                    via: hop.address,
                    interface: hop.interface,
                    weight: hop.weight,
                })
                .collect(),
        ),
        (true, true, false) => Target::Blackhole,
        (true, false, true) => Target::Reject,
        _ => {
            return Err(ControlError::Request(format!(
                "route {to}: give exactly one of `via`, `blackhole` and `reject`"
            )));
        }
    };
    if let Some(present) = state.routes.get(&key) {
        if present.target == target {
            return Ok(Delta::default());
        }
        if !replace {
            return Err(ControlError::RouteExists { prefix: to, instance: key.instance });
        }
    }
    let position = Position { file: LIVE.into(), line: 0, column: 0 };
    let route = Route::new(target, &key.owner, position);
    Ok(Delta { operations: vec![Operation::Route(key, Some(route))] })
}

fn key(prefix: ipnet::IpNet, instance: Option<Name>) -> Result<RouteKey, ControlError> {
    if prefix.trunc() != prefix {
        return Err(ControlError::Request(format!(
            "route {prefix}: bits are set beyond the prefix; {} is meant?",
            prefix.trunc()
        )));
    }
    let instance = instance.unwrap_or_else(|| Arc::from(DEFAULT_INSTANCE));
    Ok(RouteKey::main(instance, prefix, Owner::Cli))
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
