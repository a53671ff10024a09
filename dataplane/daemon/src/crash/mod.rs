//! What is left of a dataplane that panicked: a report that the next one reads.
//!
//! A panic is a bug, and a router with a bug in one worker does not forward half-heartedly: the
//! process aborts at once and `sluice up` starts it again. Before that it leaves two files in
//! `crash/` below its directory: `STAMP.json` says which thread, on which core, in which function
//! and with which policy it died and of what; `STAMP.pcap` holds the packets that the worker had in
//! hand. The next dataplane logs the report and tells the control process. A packet that was in
//! hand in two crashes is named as poison: it is most likely what caused both.
//!
//! A worker's panic is caught on the worker's own stack, where its burst still is
//! ([`of_worker`]); any other thread's is reported by the panic hook ([`install`]). Nothing of this
//! is on a packet's path. At most [`KEPT`] reports are kept.

mod packet;
mod report;

use std::cell::RefCell;
use std::panic::PanicHookInfo;
use std::path::{Path, PathBuf};
use std::process::abort;
use std::sync::OnceLock;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use assert_no_alloc::permit_alloc;
use sluice_channel::CrashReport;
use sluice_hooks::{Burst, Guard};

use packet::InHand;
use report::Report;

/// Reports that are kept; the oldest give way.
pub const KEPT: usize = 16;

/// Where reports go.
static DIRECTORY: OnceLock<PathBuf> = OnceLock::new();

/// What a thread died of.
struct Panic {
    message: String,
    backtrace: String,
}

thread_local! {
    /// Whether this thread is a worker, whose panics are caught; and its first one.
    static WORKER: RefCell<Option<Option<Panic>>> = const { RefCell::new(None) };
}

/// Has panics of this process reported below `dir`.
pub fn install(dir: &Path) {
    let _ = DIRECTORY.set(directory(dir));
    std::panic::set_hook(Box::new(|info| permit_alloc(|| panicked(info))));
}

/// Tells of a panic; a worker's and a hook's are dealt with where they are caught.
fn panicked(info: &PanicHookInfo<'_>) {
    let message = message(info);
    let backtrace = std::backtrace::Backtrace::force_capture().to_string();
    let thread = match std::thread::current().name() {
        Some("main") | None => "agent".to_owned(),
        Some(name) => name.to_owned(),
    };
    if Guard::is_entered() {
        // An author's hook: it is caught where it was called, and taken out after a few.
        tracing::error!(thread, "a hook panicked: {message}");
        return;
    }
    tracing::error!(thread, "panicked: {message}");
    let mut panic = Some(Panic { message, backtrace });
    WORKER.with_borrow_mut(|worker| {
        if let Some(first @ None) = worker {
            *first = panic.take();
        }
    });
    // Not a worker, or it panics again while it unwinds: nobody will catch that.
    if let Some(panic) = panic {
        leave(Report::new(thread, None, 0, panic), &[]);
        abort();
    }
}

/// Says that the calling thread is a worker, which catches its panics itself.
pub fn expect_worker() {
    WORKER.with_borrow_mut(|worker| *worker = Some(None));
}

/// Reports the calling worker's panic with the packets that it has in hand, and aborts.
pub fn of_worker(index: usize, core: u16, generation: u64, burst: &Burst) -> ! {
    let panic = WORKER.with_borrow_mut(|worker| worker.take().flatten());
    let panic = panic.unwrap_or_else(|| Panic {
        message: "for a reason that is not known".to_owned(),
        backtrace: String::new(),
    });
    let in_hand: Vec<InHand> = packet::in_hand(burst);
    leave(Report::new(format!("worker-{index}"), Some(core), generation, panic), &in_hand);
    abort()
}

/// The report of the last dataplane of `dir`, if it crashed and no other has told so.
pub fn last(dir: &Path) -> Option<CrashReport> {
    report::last(&directory(dir))
}

fn directory(dir: &Path) -> PathBuf {
    dir.join("crash")
}

fn leave(report: Report, packets: &[InHand]) {
    let Some(directory) = DIRECTORY.get() else { return };
    match report.leave(directory, packets) {
        Ok(path) => tracing::error!("a report is in {}", path.display()),
        Err(error) => {
            tracing::error!("cannot leave a report in {}: {error}", directory.display());
        }
    }
}

/// The time of day, for people and for names of files.
#[expect(clippy::disallowed_methods, reason = "nothing expires by it")]
fn since_1970() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}

/// `index out of bounds: … at pipelines/src/route.rs:10:5`.
fn message(info: &PanicHookInfo<'_>) -> String {
    let payload = info.payload();
    let what = payload.downcast_ref::<&str>().copied();
    let what = what.or_else(|| payload.downcast_ref::<String>().map(String::as_str));
    let what = what.unwrap_or("something that is not text");
    match info.location() {
        Some(place) => format!("{what}, at {place}"),
        None => what.to_owned(),
    }
}
