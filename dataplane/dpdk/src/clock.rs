//! The time stamp counter: the only clock cheap enough to read once per loop.

/// The time stamp counter of the calling core. Invariant and synchronised across cores on every
/// processor that DPDK is used on.
#[inline]
#[must_use]
pub fn tsc() -> u64 {
    #[cfg(target_arch = "x86_64")]
    {
        // SAFETY: every x86-64 processor has RDTSC, and Linux leaves it enabled for user mode.
        unsafe { core::arch::x86_64::_rdtsc() }
    }
    #[cfg(not(target_arch = "x86_64"))]
    {
        // SAFETY: reads a counter; no precondition.
        unsafe { sluice_dpdk_sys::sluice_rdtsc() }
    }
}

/// Ticks of [`tsc`] in a second, as EAL measured them at start; 0 before [`Eal::init`](crate::Eal::init).
#[must_use]
pub fn tsc_hz() -> u64 {
    // SAFETY: reads a global that EAL writes once, during init.
    unsafe { sluice_dpdk_sys::rte_get_tsc_hz() }
}
