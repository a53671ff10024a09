//! A dataplane without packets, and the control process as its own program beside it.

#![allow(dead_code, unreachable_pub, missing_docs)]

pub mod control;
pub mod fake;
pub mod markdown;

use std::time::{Duration, Instant};

/// Longest wait for something that happens by itself.
const PATIENCE: Duration = Duration::from_secs(20);

/// Waits until `check` yields something.
pub fn eventually<T>(what: &str, mut check: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = check() {
            return found;
        }
        assert!(Instant::now() < deadline, "never: {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// A configuration with two ports, and what else is given.
pub fn configuration(rest: &str) -> String {
    format!(
        "dataplane: {{ cores: [0], memory: 64 }}\n\
         ports:\n  \
           lan: {{ device: net_null0, addresses: [10.0.1.1/24, \"fd00:1::1/64\"] }}\n  \
           wan: {{ device: net_null1, addresses: [10.0.2.1/24] }}\n{rest}"
    )
}
