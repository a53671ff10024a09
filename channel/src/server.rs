//! The dataplane's end.

use std::os::fd::BorrowedFd;
use std::path::Path;
use std::sync::Arc;

use thiserror::Error;

use crate::frame::Malformed;
use crate::{ChannelError, Command, Limits, Notice, Reply, Statistics};

/// What the dataplane's end has to say to the agent.
#[derive(Debug)]
pub enum Incoming {
    /// A control process has attached.
    Attached {
        /// Its process; 0 when it is not visible from here.
        pid: u32,
    },
    /// A whole command, to be answered with [`Server::reply`] under the same sequence.
    Command {
        /// What the reply has to carry.
        sequence: u64,
        /// The command.
        command: Command,
    },
    /// The session is over: an open transaction is to be discarded.
    Detached {
        /// Why.
        reason: Detachment,
    },
    /// Somebody asked to attach and may not.
    Refused {
        /// Its process; 0 when it is not visible from here.
        pid: u32,
        /// Why not.
        reason: Refusal,
    },
}

/// Why a session ended.
#[derive(Clone, PartialEq, Debug, Error)]
pub enum Detachment {
    /// The control process closed its end or died.
    #[error("the control process is gone")]
    HungUp,
    /// The control process broke the protocol.
    #[error("the control process sent something malformed: {0}")]
    Malformed(Malformed),
    /// The control process stopped in the middle of a message.
    #[error("the control process has been silent in the middle of a message")]
    Silent,
}

/// Why a control process may not attach.
#[derive(Clone, PartialEq, Debug, Error)]
pub enum Refusal {
    /// It runs as another user.
    #[error("user {uid} may not control this dataplane: only root and user {ours} may")]
    Foreign {
        /// Its user.
        uid: u32,
        /// Our own.
        ours: u32,
    },
    /// There is one already.
    #[error("control process {pid} is attached already: stop it first")]
    Taken {
        /// The one that is attached.
        pid: u32,
    },
    /// It is of another release.
    #[error(
        "the dataplane is {ours} and the control process is {theirs}: \
         run both from the same release, and restart the older one"
    )]
    Version {
        /// This program's release.
        ours: String,
        /// The other's.
        theirs: String,
    },
    /// It connected and did not speak the protocol.
    #[error("no greeting that this dataplane understands")]
    Stranger,
}

/// The last reply is still on its way.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Error)]
#[error("the control process has not yet taken the last reply")]
pub struct Busy;

/// The dataplane's end of the channel. No method ever blocks.
#[derive(Debug)]
pub struct Server {
    statistics: Arc<Statistics>,
}

impl Server {
    /// Listens in `dir`, which is made if it is not there.
    pub fn bind(_dir: &Path, limits: Limits) -> Result<Server, ChannelError> {
        Ok(Server { statistics: Arc::new(Statistics::in_memory(limits)?) })
    }

    /// What to wait on: when any of these is readable, [`service`](Self::service) has work.
    /// The set changes whenever `service` returns something.
    pub fn poll_descriptors(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        std::iter::empty()
    }

    /// Does whatever can be done at once; call it until it returns `None`.
    pub fn service(&mut self) -> Option<Incoming> {
        None
    }

    /// Answers a command.
    pub fn reply(&mut self, _sequence: u64, _reply: &Reply) -> Result<(), Busy> {
        Ok(())
    }

    /// Tells the control process something, if there is one and it keeps up.
    pub fn event(&mut self, _notice: &Notice) {}

    /// Whether a control process is attached.
    pub fn attached(&self) -> bool {
        false
    }

    /// How many sessions there have been.
    pub fn epoch(&self) -> u64 {
        0
    }

    /// The statistics segment.
    pub fn statistics(&self) -> Arc<Statistics> {
        self.statistics.clone()
    }
}
