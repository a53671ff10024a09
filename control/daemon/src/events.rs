//! What happens, told to whoever watches. Bounded: a reader that does not keep up misses events,
//! and is told how many.

use std::time::SystemTime;

use sluice_control_api::{WatchEvent, WatchKind};
use tokio::sync::broadcast;

/// Events that wait for the slowest reader.
const WAITING: usize = 1024;

/// The way to everyone who watches.
#[derive(Clone, Debug)]
pub(crate) struct Events(broadcast::Sender<WatchEvent>);

impl Events {
    pub(crate) fn new() -> Events {
        Events(broadcast::channel(WAITING).0)
    }

    /// Tells everyone. It does not matter whether anyone listens.
    pub(crate) fn say(&self, event: WatchKind) {
        let _ = self.0.send(now(event));
    }

    /// Listens from now on.
    pub(crate) fn listen(&self) -> broadcast::Receiver<WatchEvent> {
        self.0.subscribe()
    }
}

/// An event of this moment.
pub(crate) fn now(event: WatchKind) -> WatchEvent {
    WatchEvent { time: timestamp(), event }
}

/// This moment by the clock on the wall, RFC 3339.
#[expect(clippy::disallowed_methods, reason = "a date for people: nothing is timed by it")]
pub(crate) fn timestamp() -> String {
    humantime::format_rfc3339_millis(SystemTime::now()).to_string()
}
