//! What goes on while it goes on: a line a second, printed by a thread of its own, so that the one that
//! sends and receives does nothing but store two numbers.

use std::io::IsTerminal;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

/// How often a line is printed.
const EVERY: Duration = Duration::from_secs(1);

/// What the generator tells: packets of all trials so far.
#[derive(Default, Debug)]
pub struct Counts {
    sent: AtomicU64,
    received: AtomicU64,
    ended: AtomicBool,
}

impl Counts {
    /// Stores how many were sent and how many came back.
    pub fn store(&self, sent: u64, received: u64) {
        self.sent.store(sent, Ordering::Relaxed);
        self.received.store(received, Ordering::Relaxed);
    }
}

/// Prints lines until it is dropped.
pub struct Progress {
    counts: Arc<Counts>,
    thread: Option<JoinHandle<()>>,
}

impl Progress {
    /// Starts to print on standard error, if it is asked for or people look.
    pub fn start(asked: bool) -> Progress {
        let counts = Arc::new(Counts::default());
        let thread = (asked || std::io::stderr().is_terminal()).then(|| {
            let counts = Arc::clone(&counts);
            thread::spawn(move || print(&counts))
        });
        Progress { counts, thread }
    }

    /// Where the generator stores what it has done.
    pub fn counts(&self) -> Arc<Counts> {
        Arc::clone(&self.counts)
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.counts.ended.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            thread.thread().unpark();
            thread.join().ok();
        }
    }
}

fn print(counts: &Counts) {
    let start = Instant::now();
    let (mut last, mut before) = (start, (0, 0));
    loop {
        thread::park_timeout(EVERY.saturating_sub(last.elapsed()));
        if counts.ended.load(Ordering::Relaxed) {
            return;
        }
        let elapsed = last.elapsed();
        if elapsed < EVERY {
            continue;
        }
        let now = (counts.sent.load(Ordering::Relaxed), counts.received.load(Ordering::Relaxed));
        let seconds = elapsed.as_secs_f64();
        eprintln!("{}", line(start.elapsed(), seconds, before, now));
        (last, before) = (Instant::now(), now);
    }
}

fn line(at: Duration, seconds: f64, before: (u64, u64), now: (u64, u64)) -> String {
    let rate = |before: u64, now: u64| now.saturating_sub(before) as f64 / seconds / 1e6;
    format!(
        "{:>6.0} s: {:>8.3} M/s sent, {:>8.3} M/s back",
        at.as_secs_f64(),
        rate(before.0, now.0),
        rate(before.1, now.1)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_tells_rates() {
        let text = line(Duration::from_secs(3), 2.0, (1_000_000, 0), (5_000_000, 1_000_000));
        assert_eq!(text, "     3 s:    2.000 M/s sent,    0.500 M/s back");
    }

    #[test]
    fn it_ends_at_once() {
        let started = Instant::now();
        drop(Progress::start(true));
        assert!(started.elapsed() < Duration::from_millis(500));
    }
}
