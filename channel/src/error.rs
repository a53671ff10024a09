//! What can go wrong between the two processes.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use thiserror::Error;

use crate::frame::Malformed;

/// Why an end of the channel could not be set up, or could not go on.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ChannelError {
    /// A file of the channel's could not be used.
    #[error("{}: cannot {action}: {source}", path.display())]
    File {
        /// The file or directory.
        path: PathBuf,
        /// What was tried.
        action: &'static str,
        /// Why not.
        source: io::Error,
    },
    /// Another dataplane owns the directory.
    #[error(
        "a dataplane already runs in {} (process {pid}): stop it, or use another --dir",
        dir.display()
    )]
    Running {
        /// The directory.
        dir: PathBuf,
        /// That dataplane's process; 0 when it did not say.
        pid: u32,
    },
    /// There is no room for shared memory.
    #[error("cannot share {bytes} bytes of memory: {source}; lower the limits or free some memory")]
    Memory {
        /// How much was wanted.
        bytes: usize,
        /// Why not.
        source: io::Error,
    },
    /// Nobody listens.
    #[error("no dataplane answers at {} within {patience:?}: {source}; is it running?", path.display())]
    Absent {
        /// The socket.
        path: PathBuf,
        /// How long was tried.
        patience: Duration,
        /// The last failure.
        source: io::Error,
    },
    /// The other end belongs to somebody else.
    #[error("the process at the other end runs as user {uid}: only root and user {ours} may")]
    Foreign {
        /// Its user.
        uid: u32,
        /// Our own.
        ours: u32,
    },
    /// The dataplane would not have us.
    #[error("the dataplane refused: {reason}")]
    Refused {
        /// What it said.
        reason: String,
    },
    /// The two ends are of different releases.
    #[error(
        "the control process is {ours} and the dataplane is {theirs}: \
         run both from the same release, and restart the older one"
    )]
    Version {
        /// This program's release.
        ours: String,
        /// The other's.
        theirs: String,
    },
    /// What was handed over is not the memory that was promised.
    #[error("the shared memory that the dataplane handed over is not what its release lays out")]
    Segment,
    /// The socket failed, or carried something that is not part of the protocol.
    #[error("the channel's socket failed while {action}: {source}")]
    Socket {
        /// What was going on.
        action: &'static str,
        /// How it failed.
        source: io::Error,
    },
    /// The ring had no room for all of the command in time; it has no effect.
    #[error("the dataplane has been busy for {patience:?} and did not take `{command}`: try again")]
    Busy {
        /// The command.
        command: &'static str,
        /// How long was tried.
        patience: Duration,
    },
    /// No answer came. Whether the command took effect is not known.
    #[error("the dataplane has not answered `{command}` within {patience:?}")]
    Deadline {
        /// The command.
        command: &'static str,
        /// How long was waited.
        patience: Duration,
    },
    /// The session is over: attach again.
    #[error("the dataplane is gone, or has ended the session")]
    Lost,
    /// The other end broke the protocol; the session is over.
    #[error("the dataplane sent something malformed: {0}")]
    Malformed(#[from] Malformed),
    /// The command is too large to send.
    #[error("`{command}` takes {bytes} bytes, over the limit of {limit}: send it in parts")]
    TooLarge {
        /// The command.
        command: &'static str,
        /// Its size.
        bytes: usize,
        /// The largest that passes.
        limit: usize,
    },
}

impl ChannelError {
    /// For what failed with a file.
    pub(crate) fn file<E: Into<io::Error>>(
        path: &Path,
        action: &'static str,
    ) -> impl FnOnce(E) -> ChannelError {
        move |source| ChannelError::File { path: path.to_owned(), action, source: source.into() }
    }
}
