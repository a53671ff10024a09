//! Waking a thread that sleeps: an eventfd, and a flag that says whether ringing is worth it.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering, fence};

use rustix::event::{EventfdFlags, eventfd};
use rustix::io;

/// One thread's doorbell. Whoever leaves something for the thread rings; the thread, before it
/// sleeps, says so, and then looks once more.
#[derive(Debug)]
pub struct Doorbell {
    event: OwnedFd,
    asleep: AtomicBool,
}

impl Doorbell {
    /// A doorbell of a thread that is awake.
    ///
    /// # Errors
    /// When the process has no descriptors left.
    pub fn new() -> io::Result<Doorbell> {
        let event = eventfd(0, EventfdFlags::NONBLOCK | EventfdFlags::CLOEXEC)?;
        Ok(Doorbell { event, asleep: AtomicBool::new(false) })
    }

    /// Wakes the thread if it sleeps. What was left for it before is seen by it afterwards.
    #[inline]
    pub fn ring(&self) {
        fence(Ordering::SeqCst);
        if self.asleep.load(Ordering::Relaxed) {
            // A full counter means that it has been rung already.
            let _ = io::write(&self.event, &1u64.to_ne_bytes());
        }
    }

    /// Says that the thread is about to sleep. It must look for work once more before it does.
    pub fn about_to_sleep(&self) {
        self.asleep.store(true, Ordering::Relaxed);
        fence(Ordering::SeqCst);
    }

    /// Says that the thread is awake, and forgets what rang.
    pub fn awake(&self) {
        self.asleep.store(false, Ordering::Relaxed);
        let _ = io::read(&self.event, &mut [0u8; 8]);
    }

    /// Whether the thread sleeps.
    pub fn is_asleep(&self) -> bool {
        self.asleep.load(Ordering::Relaxed)
    }
}

impl AsFd for Doorbell {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.event.as_fd()
    }
}
