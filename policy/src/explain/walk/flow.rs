//! The flow stage: how the packet stands to its connection.

use sluice_flow::{Strictness, Table};
use sluice_packet::{ConnectionState, Fragment};

use super::Walk;
use crate::event::Stage;
use crate::explain::{Query, Remembered};
use crate::model::Standing;

impl Walk<'_> {
    /// Takes the packet's state from the question, else from what the dataplane remembers of its
    /// connection, else from the packet itself, as the workers take that of a first one.
    ///
    /// There is a step only where a filter of the instance looks at states, or where one was given.
    pub(super) fn flow(&mut self) {
        let (asked, tracks) = (self.asked, self.instance.tracks());
        let (state, why) = match (asked.state, asked.remembered) {
            (Some(state), _) => (state, "as the question says"),
            (None, Remembered::Present(state)) => (state, "the dataplane has its connection"),
            (None, Remembered::Unasked) if !tracks => return,
            (None, Remembered::Absent) => (self.first(), "the dataplane has no connection of it"),
            (None, Remembered::Unasked) => (self.first(), "taken to be of no connection yet"),
        };
        self.descriptor.state = state.into();
        let unread = if tracks { "" } else { "; no filter of the instance looks at it" };
        self.pass(Stage::Flow, format!("{}: {why}{unread}", state.name()), Vec::new());
    }

    /// What the packet is when there is no connection for it.
    fn first(&self) -> Standing {
        let d = &self.descriptor;
        match Table::classify(d, Strictness::Strict) {
            // A later fragment whose first is not known.
            ConnectionState::Untracked if d.fragment == Fragment::Later => Standing::Invalid,
            state => state.into(),
        }
    }
}

/// What the question says about the packet's connection.
#[derive(Clone, Copy, Default)]
pub(super) struct Asked {
    state: Option<Standing>,
    remembered: Remembered,
}

impl From<&Query> for Asked {
    fn from(q: &Query) -> Asked {
        Asked { state: q.state, remembered: q.flow }
    }
}

#[cfg(test)]
mod tests;
