//! What the reconciler last knew, for anyone to read without asking it.

use std::sync::Arc;

use sluice_channel::Statistics;
use sluice_control_api::{Commit, Persistence, Progress, Route};
use sluice_policy::{Policy, RouteInfo};

use crate::error::ControlError;
use crate::head::{self, Head};
use crate::store::History;

/// A route of a commit, as it is told.
pub(crate) fn route(head: &Head, route: RouteInfo<'_>) -> Route {
    Route {
        stale: head.is_stale(&route.owner, route.generation),
        instance: route.instance.clone(),
        table: route.table,
        prefix: route.prefix,
        owner: route.owner,
        preference: route.preference,
        metric: route.metric,
        tag: route.tag,
        generation: route.generation,
        target: route.target.into_owned(),
        unresolved: route.unresolved,
        through: route.through,
        active: route.active,
        position: route.position.cloned(),
    }
}

/// What the reconciler last knew.
#[derive(Clone, Debug)]
pub(crate) struct View {
    /// How far the desired state has come.
    pub(crate) progress: Progress,
    /// What is desired: the last commit.
    pub(crate) head: Head,
    /// The commits that can be read.
    pub(crate) history: History,
    /// How commits are kept.
    pub(crate) persistence: Persistence,
    /// What the operator should know.
    pub(crate) notes: Vec<String>,
    /// The counters of the attached dataplane.
    pub(crate) statistics: Option<Arc<Statistics>>,
}

impl View {
    /// What is desired and its generation, if that is what the dataplane runs.
    pub(crate) fn live(&self) -> Result<(&Policy, u64), ControlError> {
        match &self.progress {
            Progress::Committed { generation } => Ok((&self.head.policy, *generation)),
            Progress::Refused { details, .. } => Err(ControlError::NotCommitted(details.clone())),
            Progress::Waiting { reason } => Err(ControlError::NoDataplane(reason.clone())),
        }
    }

    /// The counters.
    pub(crate) fn statistics(&self) -> Result<&Statistics, ControlError> {
        self.statistics.as_deref().ok_or_else(|| match &self.progress {
            Progress::Waiting { reason } => ControlError::NoDataplane(reason.clone()),
            _ => ControlError::NotCommitted(Vec::new()),
        })
    }

    /// The commits, newest first.
    pub(crate) fn commits(&self) -> impl Iterator<Item = Commit> {
        let last = (self.head.generation() != 0).then(|| Commit {
            live: matches!(self.progress, Progress::Committed { .. }),
            ..self.head.commit()
        });
        let earlier = self.history.headers().iter().rev();
        let earlier = earlier.filter(|header| header.generation < self.head.generation());
        last.into_iter().chain(earlier.map(head::told))
    }

    /// That there is no such commit, and which there are.
    pub(crate) fn no_such_commit(&self, generation: u64) -> ControlError {
        let oldest = self.history.headers().first().map(|header| header.generation);
        let newest = self.head.generation();
        ControlError::NoSuchCommit { generation, oldest: oldest.unwrap_or(newest), newest }
    }
}
