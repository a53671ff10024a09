//! Until when a commit must be confirmed.
//!
//! The time is that of `CLOCK_BOOTTIME`, which no step of the clock on the wall moves and which
//! goes on while the machine sleeps; the machine's boot id tells a restart, after which the count
//! means nothing and the deadline has passed.

use std::sync::OnceLock;
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};
use serde::{Deserialize, Serialize};
use sluice_control_api::Confirm;

/// Until when a commit must be confirmed, and what comes back if it is not.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(crate) struct Deadline {
    /// The generation that comes back.
    pub(crate) base: u64,
    /// How many seconds were given.
    pub(crate) seconds: u64,
    /// When, in milliseconds of `CLOCK_BOOTTIME`.
    due_ms: u64,
    /// The boot that this count belongs to.
    boot: String,
}

impl Deadline {
    /// In so many seconds from now.
    pub(crate) fn start(base: u64, seconds: u64) -> Deadline {
        let due_ms = now_ms().saturating_add(seconds.saturating_mul(1000));
        Deadline { base, seconds, due_ms, boot: boot_id().into() }
    }

    /// What is left; nothing when it has passed.
    pub(crate) fn remaining(&self) -> Option<Duration> {
        self.remaining_at(now_ms(), boot_id())
    }

    fn remaining_at(&self, now_ms: u64, boot: &str) -> Option<Duration> {
        if self.boot != boot {
            return None;
        }
        self.due_ms.checked_sub(now_ms).filter(|left| *left > 0).map(Duration::from_millis)
    }

    /// What is left, for people: the second that has begun counts.
    pub(crate) fn confirm(&self) -> Confirm {
        let left = self.remaining().unwrap_or_default();
        let remaining_seconds = left.as_secs() + u64::from(left.subsec_nanos() > 0);
        Confirm { base: self.base, remaining_seconds }
    }
}

fn now_ms() -> u64 {
    let now = clock_gettime(ClockId::Boottime);
    now.tv_sec.cast_unsigned() * 1000 + now.tv_nsec.cast_unsigned() / 1_000_000
}

/// Where there is none, a deadline outlives a restart for as long as the count allows.
fn boot_id() -> &'static str {
    static ID: OnceLock<String> = OnceLock::new();
    ID.get_or_init(|| {
        let id = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
        id.trim().to_owned()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_counts_down_and_ends_with_the_boot() {
        let deadline = Deadline { base: 3, seconds: 60, due_ms: 61_000, boot: "a".into() };
        assert_eq!(deadline.remaining_at(1_000, "a"), Some(Duration::from_secs(60)));
        assert_eq!(deadline.remaining_at(61_000, "a"), None);
        assert_eq!(deadline.remaining_at(99_000, "a"), None);
        assert_eq!(deadline.remaining_at(1_000, "b"), None, "the machine was restarted");
    }

    #[test]
    fn what_has_begun_counts() {
        let confirm = Deadline::start(3, 60).confirm();
        assert_eq!(confirm, Confirm { base: 3, remaining_seconds: 60 });
        assert_eq!(Deadline::start(3, 0).remaining(), None);
    }
}
