//! Threads that poll: pinned to a core, and known to DPDK so that mempool caches work.

use std::fs;
use std::marker::PhantomData;
use std::mem;

use crate::error::{DpdkError, errno, errno_text};

/// A thread's registration with DPDK; it ends when the guard is dropped, on the thread itself.
#[derive(Debug)]
pub struct ThreadGuard {
    /// Registration is a property of the thread that made it.
    not_send: PhantomData<*const ()>,
}

/// Makes the calling thread known to DPDK: it gets an lcore id, and with it a cache in each mempool.
/// Without, every alloc and free goes to the pool's shared ring.
///
/// # Errors
///
/// EAL does not run, or more threads are registered than DPDK has lcore ids.
pub fn register_thread() -> Result<ThreadGuard, DpdkError> {
    // SAFETY: takes no arguments and may be called from any thread at any time.
    if unsafe { sluice_dpdk_sys::rte_thread_register() } != 0 {
        let reason = match errno() {
            libc::ENOMEM => {
                format!("more than {} threads are registered", sluice_dpdk_sys::SLUICE_MAX_LCORE)
            }
            libc::EINVAL => "EAL does not run".to_owned(),
            other => errno_text(other),
        };
        return Err(DpdkError::Thread { reason });
    }
    Ok(ThreadGuard { not_send: PhantomData })
}

impl Drop for ThreadGuard {
    fn drop(&mut self) {
        // SAFETY: the guard cannot leave its thread, so that this is the thread that registered.
        unsafe { sluice_dpdk_sys::rte_thread_unregister() };
    }
}

/// Pins the calling thread to one core.
///
/// # Errors
///
/// The core does not exist, is offline, or is outside of what the process may use.
pub fn pin_current_thread(core: u16) -> Result<(), DpdkError> {
    let mut set = CpuSet::empty();
    if !set.add(core) || !set.apply() {
        return Err(DpdkError::Core { core, allowed: allowed_cores() });
    }
    Ok(())
}

/// Keeps the calling thread, and every thread that it starts from now on, off `cores`, where there
/// are others. A system that forbids it leaves them where they are, which works too.
pub fn keep_off_cores(cores: &[u16]) {
    let Some(mut rest) = CpuSet::current() else { return };
    cores.iter().for_each(|&core| rest.remove(core));
    if rest.cores().next().is_some() && !rest.apply() {
        tracing::warn!("threads share the workers' cores: the system forbids to move them");
    }
}

/// A set of cores, as the kernel takes and gives it.
pub(crate) struct CpuSet(libc::cpu_set_t);

impl CpuSet {
    /// No core.
    pub(crate) fn empty() -> CpuSet {
        // SAFETY: a cpu_set_t is an array of integers.
        CpuSet(unsafe { mem::zeroed() })
    }

    /// The cores that the calling thread may run on.
    pub(crate) fn current() -> Option<CpuSet> {
        let mut set = CpuSet::empty();
        // SAFETY: the set is as long as it is said to be.
        let failed = unsafe {
            libc::sched_getaffinity(0, mem::size_of::<libc::cpu_set_t>(), &raw mut set.0)
        };
        (failed == 0).then_some(set)
    }

    /// Adds a core; false if the set cannot hold it.
    fn add(&mut self, core: u16) -> bool {
        let core = usize::from(core);
        if core >= CpuSet::capacity() {
            return false;
        }
        // SAFETY: the index was checked against the size of the set.
        unsafe { libc::CPU_SET(core, &mut self.0) };
        true
    }

    /// Removes a core.
    fn remove(&mut self, core: u16) {
        let core = usize::from(core);
        if core < CpuSet::capacity() {
            // SAFETY: the index was checked against the size of the set.
            unsafe { libc::CPU_CLR(core, &mut self.0) };
        }
    }

    /// The cores in the set.
    pub(crate) fn cores(&self) -> impl Iterator<Item = usize> {
        (0..CpuSet::capacity()).filter(|&core| {
            // SAFETY: the index is below the size of the set.
            unsafe { libc::CPU_ISSET(core, &self.0) }
        })
    }

    /// Restricts the calling thread to the set.
    pub(crate) fn apply(&self) -> bool {
        // SAFETY: the set is as long as it is said to be; 0 is the calling thread.
        unsafe {
            libc::sched_setaffinity(0, mem::size_of::<libc::cpu_set_t>(), &raw const self.0) == 0
        }
    }

    fn capacity() -> usize {
        mem::size_of::<libc::cpu_set_t>() * 8
    }
}

/// The cores that the process may use, as the kernel writes them: `0-3,8`.
fn allowed_cores() -> String {
    fs::read_to_string("/proc/self/status")
        .ok()
        .and_then(|status| {
            let line = status.lines().find(|line| line.starts_with("Cpus_allowed_list:"))?;
            Some(line.split_once(':')?.1.trim().to_owned())
        })
        .unwrap_or_else(|| "those that `nproc` counts".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_core_that_does_not_exist_is_named() {
        let error = std::thread::spawn(|| pin_current_thread(999)).join().unwrap().unwrap_err();
        assert!(error.to_string().starts_with("core 999 does not exist"), "{error}");
        let error =
            std::thread::spawn(|| pin_current_thread(u16::MAX)).join().unwrap().unwrap_err();
        assert!(error.to_string().contains("core 65535"), "{error}");
    }

    #[test]
    fn a_pinned_thread_stays_on_its_core() {
        std::thread::spawn(|| {
            let core = CpuSet::current().unwrap().cores().next().unwrap();
            pin_current_thread(u16::try_from(core).unwrap()).unwrap();
            assert_eq!(CpuSet::current().unwrap().cores().collect::<Vec<_>>(), [core]);
        })
        .join()
        .unwrap();
    }

    #[test]
    fn threads_keep_off_the_workers_cores_where_there_are_others() {
        let allowed: Vec<usize> = CpuSet::current().unwrap().cores().collect();
        let (first, others) = allowed.split_first().unwrap();
        let first = u16::try_from(*first).unwrap();
        let cores_without = |workers: Vec<u16>| {
            let inherited = move || {
                keep_off_cores(&workers);
                let cores = || CpuSet::current().unwrap().cores().collect::<Vec<_>>();
                std::thread::spawn(cores).join().unwrap()
            };
            std::thread::spawn(inherited).join().unwrap()
        };
        let expected = if others.is_empty() { &allowed } else { others };
        assert_eq!(cores_without(vec![first, u16::MAX]), expected);
        let all = allowed.iter().map(|&core| u16::try_from(core).unwrap()).collect();
        assert_eq!(cores_without(all), allowed, "there are no others");
    }

    #[test]
    fn registering_needs_eal() {
        let error = register_thread().unwrap_err();
        assert!(error.to_string().contains("EAL"), "{error}");
    }
}
