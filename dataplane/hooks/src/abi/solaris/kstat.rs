//! A module's own numbers (`net_kstat_create`), read whenever somebody asks.

use std::ffi::CStr;
use std::sync::{Mutex, PoisonError};

use super::frame;
use super::types::{kstat_named_t, kstat_t};

/// `KSTAT_TYPE_NAMED`.
const NAMED: u8 = 1;

/// The statistics that a module has installed, by address.
#[derive(Default)]
pub(super) struct Statistics(Mutex<Vec<usize>>);

impl Statistics {
    fn all(&self) -> std::sync::MutexGuard<'_, Vec<usize>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What they are at, by the name of each with that of its kstat.
    pub(super) fn read(&self) -> Vec<(String, u64)> {
        let mut found = Vec::new();
        for &address in self.all().iter() {
            let statistics = std::ptr::with_exposed_provenance::<kstat_t>(address);
            // SAFETY: the header makes them, with as many numbers as they say, and takes them back
            // before it frees them. A worker may be adding: a number of 64 bits is read whole.
            unsafe {
                if (*statistics).ks_type != NAMED {
                    continue;
                }
                let of = text(&(*statistics).ks_name);
                let first = (*statistics).ks_data.cast::<kstat_named_t>();
                for at in 0..(*statistics).ks_ndata as usize {
                    let named = first.add(at);
                    let value = (&raw const (*named).value).read_volatile();
                    found.push((format!("{of}:{}", text(&(*named).name)), value));
                }
            }
        }
        found
    }
}

fn text(name: &[std::ffi::c_char; 31]) -> String {
    let bytes = name.map(|c| c as u8);
    match CStr::from_bytes_until_nul(&bytes) {
        Ok(text) => text.to_string_lossy().into_owned(),
        Err(_) => String::from_utf8_lossy(&bytes).into_owned(),
    }
}

pub(super) unsafe extern "C" fn install(statistics: *mut kstat_t) {
    frame::foreign(|foreign| {
        let mut all = foreign.statistics.all();
        if !all.contains(&statistics.addr()) {
            all.push(statistics.expose_provenance());
        }
    });
}

pub(super) unsafe extern "C" fn delete(statistics: *mut kstat_t) {
    frame::foreign(|foreign| foreign.statistics.all().retain(|at| *at != statistics.addr()));
}
