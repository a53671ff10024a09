//! DPDK's log, kept off the operator's terminal and quoted in errors.
//!
//! EAL and the drivers say why something failed only in their log, in words; the functions return
//! `-1`. The log therefore goes to a bounded buffer. [`capture`] collects what is logged while it
//! runs, so that an error can quote it; everything is also a `tracing` event of level debug and
//! target `dpdk`.

use std::collections::VecDeque;
use std::ffi::c_char;
use std::sync::{Mutex, PoisonError};

/// The most lines that are kept.
const LINES: usize = 64;

/// The longest line that is kept; the rest is cut off.
const LINE: usize = 400;

static RECENT: Mutex<VecDeque<String>> = Mutex::new(VecDeque::new());

/// Sends DPDK's log here. Before EAL starts.
pub(crate) fn redirect() {
    // SAFETY: `sink` is a function for the whole life of the process and accepts calls from any
    // thread.
    let failed = unsafe { sluice_dpdk_sys::sluice_log_to(Some(sink)) };
    if failed != 0 {
        tracing::warn!("DPDK's log cannot be redirected and goes to the terminal");
    }
}

/// Sends the log of what drivers brought along here, too. Once EAL has loaded them.
pub(crate) fn redirect_libraries() {
    // SAFETY: `redirect` has set the sink; the functions that are called are those that the libraries
    // document for this.
    unsafe { sluice_dpdk_sys::sluice_log_xdp() };
}

unsafe extern "C" fn sink(text: *const c_char, length: usize) {
    if text.is_null() {
        return;
    }
    // SAFETY: stdio hands over `length` readable bytes that nobody writes during the call.
    let bytes = unsafe { std::slice::from_raw_parts(text.cast::<u8>(), length) };
    let mut recent = RECENT.lock().unwrap_or_else(PoisonError::into_inner);
    for line in String::from_utf8_lossy(bytes).lines() {
        let line = line.trim();
        if line.is_empty() {
            continue;
        }
        let kept: String = line.chars().take(LINE).collect();
        tracing::debug!(target: "dpdk", "{kept}");
        if recent.len() == LINES {
            recent.pop_front();
        }
        recent.push_back(kept);
    }
}

/// Runs `operation` and returns with its result what DPDK logged meanwhile, joined to one line.
///
/// Lines that other threads caused are among them; callers hold the lock under which ports are
/// attached, so that this is rare.
pub(crate) fn capture<T>(operation: impl FnOnce() -> T) -> (T, String) {
    RECENT.lock().unwrap_or_else(PoisonError::into_inner).clear();
    let result = operation();
    let lines: Vec<String> =
        RECENT.lock().unwrap_or_else(PoisonError::into_inner).drain(..).collect();
    (result, summarise(&lines))
}

/// Joins log lines to a reason, without those that say nothing.
fn summarise(lines: &[String]) -> String {
    /// What EAL and ethdev add to a driver's reason without knowing more, and notices that are no
    /// reason.
    const NOISE: &[&str] = &[
        "EAL: Detected",
        "EAL: Selected IOVA",
        "EAL: Static memory layout",
        "EAL: No available",
        "EAL: Driver cannot attach the device",
        "EAL: Failed to attach device on primary process",
        "EAL: Couldn't map new region for DMA",
        "Initializing pmd_",
        "telemetry",
        "libbpf: elf: skipping",
        "libxdp: No bpffs found",
        "libxdp: Can't use dispatcher",
        "libxdp: Falling back to loading single prog",
        "TELEMETRY",
    ];
    let mut reasons: Vec<&str> = Vec::new();
    for line in lines {
        let noise = NOISE.iter().any(|noise| line.contains(noise));
        if !noise && !reasons.contains(&line.as_str()) {
            reasons.push(line);
        }
    }
    reasons.join("; ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reason_is_what_the_driver_says() {
        let lines = [
            "Initializing pmd_af_packet for net_af_packet0",
            "rte_pmd_init_internals(): net_af_packet0: ioctl failed (SIOCGIFINDEX)",
            "EAL: Driver cannot attach the device (net_af_packet0)",
            "EAL: Failed to attach device on primary process",
        ]
        .map(str::to_owned);
        assert_eq!(summarise(&lines), lines[1]);
        assert_eq!(summarise(&lines[2..]), "", "EAL's own words are no reason");
        assert_eq!(summarise(&[]), "");
    }
}
