//! The control process's end.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use crate::{ChannelError, Command, Notice, Reply, Statistics};

/// The control process's end of the channel. Every wait has a deadline.
#[derive(Debug)]
pub struct Client {
    statistics: Arc<Statistics>,
}

impl Client {
    /// Attaches to the dataplane of `dir`, waiting for it to appear.
    pub fn attach(dir: &Path, patience: Duration) -> Result<Client, ChannelError> {
        Err(ChannelError::Absent {
            path: dir.join("dataplane.sock"),
            patience,
            source: std::io::ErrorKind::NotFound.into(),
        })
    }

    /// Sends a command and waits for its reply.
    pub fn call(&mut self, _command: &Command, _patience: Duration) -> Result<Reply, ChannelError> {
        Err(ChannelError::Lost)
    }

    /// What the dataplane has said unasked since the last call.
    pub fn notices(&mut self) -> Vec<Notice> {
        Vec::new()
    }

    /// The statistics segment. It outlives the session, and then stands still.
    pub fn statistics(&self) -> Arc<Statistics> {
        self.statistics.clone()
    }

    /// Whether the session is over.
    pub fn lost(&self) -> bool {
        true
    }
}
