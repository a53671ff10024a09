//! SIGHUP: the control process is told to read the configuration file again.
//!
//! It is told once it answers, since one that is only starting would die of the signal. Signals
//! that arrive until then are one: the last content of the file is what counts.

use std::pin::Pin;

use sluice_control_api::Status;

use super::POLL;
use crate::client::Client;

/// Whether the file is to be read again.
pub(super) struct Reload {
    client: Client,
    asked: bool,
    running: Option<Pin<Box<dyn Future<Output = u32>>>>,
}

impl Reload {
    pub(super) fn new(client: Client) -> Reload {
        Reload { client, asked: false, running: None }
    }

    /// A signal came.
    pub(super) fn ask(&mut self) {
        self.asked = true;
    }

    /// The process that is to be told, each time that it was asked for; while it is not, nothing.
    /// Goes on where it was when it is called again.
    pub(super) async fn due(&mut self) -> u32 {
        if self.running.is_none() && !std::mem::take(&mut self.asked) {
            return std::future::pending().await;
        }
        let client = &self.client;
        let process = self.running.get_or_insert_with(|| Box::pin(answering(client.clone()))).await;
        self.running = None;
        process
    }
}

/// The control process, when it answers.
async fn answering(client: Client) -> u32 {
    loop {
        if let Ok(status) = client.get::<Status>("/v1/status").await {
            return status.pid;
        }
        tokio::time::sleep(POLL).await;
    }
}
