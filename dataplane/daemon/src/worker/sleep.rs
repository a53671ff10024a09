//! How a worker with nothing to do sleeps: in epoll on its ports' descriptors and its doorbell.
//!
//! A port without a descriptor (rings, pcap, vhost-user) can only be looked at: a worker that
//! polls one naps, for an eighth of the time that nothing has come, one millisecond at the most.

use std::num::NonZeroU64;
use std::os::fd::{AsFd, BorrowedFd};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, epoll, poll};
use rustix::io;

/// How long a worker polls in vain before it sleeps.
pub const PATIENCE: Duration = Duration::from_micros(50);
/// The longest nap, and how often held packets are looked at.
pub const NAP: Duration = Duration::from_millis(1);

/// Has the calling thread's naps end when they are over. The kernel may end them 50 µs later
/// otherwise, for want of precision or to save power: several times a short nap.
pub fn on_time() {
    // Naps are longer without, and all else is as it was.
    let _ = rustix::thread::set_current_timer_slack(NonZeroU64::new(1));
}

/// What the worker waits on.
pub struct Sleeper {
    epoll: std::os::fd::OwnedFd,
    events: Vec<epoll::Event>,
}

impl Sleeper {
    /// A sleeper that waits on `doorbell`.
    ///
    /// # Errors
    /// When the process has no descriptors left.
    pub fn new(doorbell: BorrowedFd<'_>) -> io::Result<Sleeper> {
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        let sleeper = Sleeper { epoll, events: Vec::with_capacity(16) };
        sleeper.watch(doorbell)?;
        Ok(sleeper)
    }

    /// Waits on this descriptor too; closing it ends that.
    ///
    /// # Errors
    /// When the kernel cannot watch it.
    pub fn watch(&self, descriptor: BorrowedFd<'_>) -> io::Result<()> {
        let data = epoll::EventData::new_u64(0);
        epoll::add(&self.epoll, descriptor, data, epoll::EventFlags::IN)
    }

    /// Stops waiting on a descriptor.
    pub fn forget(&self, descriptor: impl AsFd) {
        let _ = epoll::delete(&self.epoll, descriptor);
    }

    /// Sleeps until something comes, or for `limit`. Whether a descriptor reported an error.
    ///
    /// It waits for the epoll descriptor itself: `ppoll` keeps time to the nanosecond, where `epoll_wait`
    /// makes of each nap a millisecond.
    pub fn sleep(&mut self, limit: Option<Duration>) -> bool {
        let limit = limit.map(|limit| Timespec {
            tv_sec: limit.as_secs() as i64,
            tv_nsec: i64::from(limit.subsec_nanos()),
        });
        let mut waited_for = [PollFd::new(&self.epoll, PollFlags::IN)];
        // An interrupted sleep is a short one.
        if !poll(&mut waited_for, limit.as_ref()).is_ok_and(|ready| ready > 0) {
            return false;
        }
        self.events.clear();
        let events = rustix::buffer::spare_capacity(&mut self.events);
        let _ = epoll::wait(&self.epoll, events, Some(&Timespec::default()));
        let error = epoll::EventFlags::ERR | epoll::EventFlags::HUP;
        self.events.iter().any(|event| { event.flags }.intersects(error))
    }
}

/// How long to sleep: `blind` when a polled port has no descriptor, `holding` when packets are
/// held, `idle` the time since the last packet.
pub fn limit(blind: bool, holding: bool, idle: Duration) -> Option<Duration> {
    let nap = blind.then(|| (idle / 8).min(NAP));
    let look = holding.then_some(NAP);
    nap.into_iter().chain(look).min()
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;
    use crate::doorbell::Doorbell;

    #[test]
    fn naps_end_when_they_are_over() {
        std::thread::spawn(|| {
            on_time();
            assert_eq!(rustix::thread::current_timer_slack(), Ok(1));
        })
        .join()
        .unwrap();
    }

    #[test]
    fn a_nap_is_as_short_as_it_is_asked_for() {
        let doorbell = Doorbell::new().unwrap();
        let mut sleeper = Sleeper::new(doorbell.as_fd()).unwrap();
        let nap = Duration::from_micros(10);
        let shortest = (0..100).map(|_| {
            let began = Instant::now();
            assert!(!sleeper.sleep(Some(nap)));
            began.elapsed()
        });
        let shortest = shortest.min().unwrap();
        assert!(nap <= shortest && shortest < NAP / 2, "{shortest:?}");
    }

    #[test]
    fn only_blind_ports_and_held_packets_bound_the_sleep() {
        assert_eq!(limit(false, false, Duration::from_secs(9)), None);
        assert_eq!(limit(false, true, Duration::from_secs(9)), Some(NAP));
        assert_eq!(limit(true, false, Duration::from_micros(80)), Some(Duration::from_micros(10)));
        assert_eq!(limit(true, true, Duration::from_secs(9)), Some(NAP));
    }
}
