//! What the reconciler last knew, for anyone to read without asking it.

use std::sync::Arc;

use sluice_channel::Statistics;
use sluice_control_api::Progress;
use sluice_policy::Policy;
use sluice_policy::model::Name;

use crate::error::ControlError;

/// What the reconciler last knew.
#[derive(Clone, Debug)]
pub(crate) struct View {
    /// How far the desired state has come.
    pub(crate) progress: Progress,
    /// What is desired; none before the first dataplane was met.
    pub(crate) policy: Option<Arc<Policy>>,
    /// The configuration file of what is desired.
    pub(crate) file: Option<Name>,
    /// How many live changes there are.
    pub(crate) live: usize,
    /// The counters of the attached dataplane.
    pub(crate) statistics: Option<Arc<Statistics>>,
}

impl View {
    /// What is desired and its generation, if that is what the dataplane runs.
    pub(crate) fn live(&self) -> Result<(&Policy, u64), ControlError> {
        match (&self.progress, &self.policy) {
            (Progress::Committed { generation }, Some(policy)) => Ok((policy, *generation)),
            (Progress::Refused { details, .. }, _) => {
                Err(ControlError::NotCommitted(details.clone()))
            }
            (Progress::Waiting { reason }, _) => Err(ControlError::NoDataplane(reason.clone())),
            (Progress::Committed { .. }, None) => Err(ControlError::NotCommitted(Vec::new())),
        }
    }

    /// The counters.
    pub(crate) fn statistics(&self) -> Result<&Statistics, ControlError> {
        self.statistics.as_deref().ok_or_else(|| match &self.progress {
            Progress::Waiting { reason } => ControlError::NoDataplane(reason.clone()),
            _ => ControlError::NotCommitted(Vec::new()),
        })
    }
}
