//! Captures that are under way: one task each, which asks the dataplane for what it has copied and
//! makes a file of it for as long as somebody reads.
//!
//! The task owns the capture: it outlives the reader for as long as it takes to end it. Should this
//! process die, the dataplane ends what its session had begun.

mod pcapng;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::body::Bytes;
use sluice_channel::{CapturePage, CaptureRequest, Command, Reply};
use tokio::sync::{Notify, mpsc};
use tokio::time::Instant;

use self::pcapng::File;
use crate::app::App;
use crate::error::ControlError;

/// How often the dataplane is asked while it has little to say.
const INTERVAL: Duration = Duration::from_millis(20);

/// Pieces of the file that wait for the reader; while there are so many, packets wait in the
/// dataplane.
const PIECES: usize = 4;

/// When a capture ends by itself.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Limits {
    /// After so many packets.
    pub(crate) count: Option<u64>,
    /// After so long.
    pub(crate) time: Option<Duration>,
}

/// The captures that are under way, by number, each with what ends it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Captures(Arc<Mutex<BTreeMap<u32, Arc<Notify>>>>);

impl Captures {
    /// Has a capture end; whether there is one of that number.
    pub(crate) fn end(&self, capture: u32) -> bool {
        let captures = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        captures.get(&capture).map(|end| end.notify_one()).is_some()
    }

    fn begin(&self, capture: u32) -> Arc<Notify> {
        let end = Arc::new(Notify::new());
        let mut captures = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        captures.insert(capture, Arc::clone(&end));
        end
    }

    fn forget(&self, capture: u32) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&capture);
    }
}

/// Begins a capture. Returns its number, and the file as it grows.
pub(crate) async fn begin(
    app: &App,
    request: CaptureRequest,
    limits: Limits,
) -> Result<(u32, mpsc::Receiver<Bytes>), ControlError> {
    let broken = |error: pcap_file::PcapError| ControlError::Request(error.to_string());
    let file = File::new(request.snaplen).map_err(broken)?;
    let command = Command::Capture(request);
    let name = command.name();
    let capture = match app.ask(command).await? {
        Reply::Capturing { capture } => capture,
        Reply::Refused(reasons) => return Err(ControlError::NoCapture(reasons)),
        _ => return Err(ControlError::Unexpected { command: name }),
    };
    let (pieces, reader) = mpsc::channel(PIECES);
    let deadline = limits.time.map(|time| Instant::now() + time);
    let end = app.captures.begin(capture);
    let task = Task {
        app: app.clone(),
        capture,
        file,
        left: limits.count,
        deadline,
        end,
        pieces: Some(pieces),
        missed: 0,
    };
    tokio::spawn(task.run());
    Ok((capture, reader))
}

/// A capture under way.
struct Task {
    app: App,
    capture: u32,
    file: File,
    /// Packets that are still wanted.
    left: Option<u64>,
    deadline: Option<Instant>,
    end: Arc<Notify>,
    /// The way to the reader, while there is one.
    pieces: Option<mpsc::Sender<Bytes>>,
    missed: u64,
}

impl Task {
    async fn run(mut self) {
        if self.read().await.is_some() && self.file.finish(self.missed).is_ok() {
            self.pass_on().await;
        }
        self.app.captures.forget(self.capture);
    }

    /// Reads until the capture has ended; `None` when it was broken off, and the file has no end.
    async fn read(&mut self) -> Option<()> {
        let mut stop = false;
        self.pass_on().await;
        loop {
            let page = self.page(stop).await?;
            let more = page.more;
            self.write(page)?;
            self.pass_on().await;
            if stop && !more {
                return Some(());
            }
            stop = stop || self.pieces.is_none() || self.left == Some(0);
            if !stop && !more {
                stop = self.pause().await;
            }
        }
    }

    async fn page(&mut self, stop: bool) -> Option<CapturePage> {
        loop {
            match self.app.ask(Command::Captured { capture: self.capture, stop }).await {
                Ok(Reply::Captured(page)) => return Some(page),
                Err(ControlError::Busy) => tokio::time::sleep(INTERVAL).await,
                _ => return None,
            }
        }
    }

    fn write(&mut self, page: CapturePage) -> Option<()> {
        self.missed = page.missed;
        if self.pieces.is_none() {
            return Some(());
        }
        for packet in &page.packets {
            match &mut self.left {
                Some(0) => break,
                Some(left) => *left -= 1,
                None => {}
            }
            self.file.write(packet).ok()?;
        }
        Some(())
    }

    /// Gives the reader what there is of the file. One that is gone is forgotten.
    async fn pass_on(&mut self) {
        let piece = self.file.take();
        let Some(pieces) = &self.pieces else { return };
        if piece.is_empty() {
            return;
        }
        let taken = tokio::select! {
            sent = pieces.send(piece.into()) => sent.is_ok(),
            () = self.app.stopped() => false,
        };
        if !taken {
            self.pieces = None;
        }
    }

    /// Waits for more; whether the capture is to end.
    async fn pause(&mut self) -> bool {
        let Some(pieces) = &self.pieces else { return true };
        let deadline = self.deadline;
        let late = async {
            match deadline {
                Some(deadline) => tokio::time::sleep_until(deadline).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = tokio::time::sleep(INTERVAL) => false,
            () = self.end.notified() => true,
            () = pieces.closed() => true,
            () = late => true,
            () = self.app.stopped() => true,
        }
    }
}
