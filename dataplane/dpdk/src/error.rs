//! What can go wrong between Sluice and DPDK, said so that an operator knows what to do.

use std::ffi::CStr;
use std::fmt;
use std::io;

use crate::port::Port;

/// An error of this crate. Each names the thing, the value and the cure.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DpdkError {
    /// EAL was started already; there is one in a process, also after a failed start.
    #[error("DPDK's EAL was started already: there is one in a process")]
    EalTwice,
    /// EAL did not start.
    #[error("DPDK's EAL does not start with {memory_mib} MiB of memory: {reason}")]
    Eal {
        /// The memory it was asked to take.
        memory_mib: u32,
        /// The last lines of its log.
        reason: String,
    },
    /// A string that DPDK cannot be given.
    #[error("{what} {value:?} cannot be given to DPDK: {reason}")]
    Text {
        /// What it names.
        what: &'static str,
        /// The string.
        value: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// A pool does not fit into the memory that EAL was given.
    #[error(
        "mempool {pool:?} of {mbufs} buffers needs about {needed_mib} MiB, and {free_mib} MiB of the \
         {given_mib} MiB that the dataplane was given are free: give it more memory or have fewer \
         queues and ports"
    )]
    Memory {
        /// The pool's name.
        pool: String,
        /// How many buffers were asked for.
        mbufs: u32,
        /// What they need.
        needed_mib: u64,
        /// What is free.
        free_mib: u64,
        /// What EAL was started with.
        given_mib: u32,
    },
    /// A pool cannot be made for another reason.
    #[error("mempool {pool:?} of {mbufs} buffers cannot be made: {reason}")]
    Pool {
        /// The pool's name.
        pool: String,
        /// How many buffers were asked for.
        mbufs: u32,
        /// What DPDK says.
        reason: String,
    },
    /// A device string that is not one.
    #[error("device {device:?} is not a device string: {reason}")]
    DeviceString {
        /// The string.
        device: String,
        /// What is wrong with it.
        reason: String,
    },
    /// No driver answers to the name.
    #[error("no driver is called {name:?} (device {device:?}); known are {known}")]
    UnknownDriver {
        /// The string.
        device: String,
        /// The name that was looked for.
        name: String,
        /// The names that work.
        known: String,
    },
    /// The device is attached already.
    #[error(
        "device {device:?} is attached already, as port {by:?}: give each port a device of its own"
    )]
    AlreadyAttached {
        /// The string.
        device: String,
        /// The string that it was attached with.
        by: String,
    },
    /// The interface belongs to another port already.
    #[error("interface {interface:?} of device {device:?} is used by {by:?} already")]
    InterfaceUsedTwice {
        /// The string.
        device: String,
        /// The kernel's name of the interface.
        interface: String,
        /// The device that has it.
        by: String,
    },
    /// The kernel has no such interface.
    #[error(
        "interface {interface:?} of device {device:?} does not exist in this network namespace \
         (`ip link` lists those that do)"
    )]
    NoInterface {
        /// The string.
        device: String,
        /// The name that was looked for.
        interface: String,
    },
    /// A file that the device string names is not there.
    #[error("device {device:?}: {path:?} cannot be opened: {error}")]
    File {
        /// The string.
        device: String,
        /// The path in it.
        path: String,
        /// Why not.
        error: io::Error,
    },
    /// The process may not do what the driver does.
    #[error(
        "device {device:?} needs the capability {capabilities}, which this process lacks: run it as \
         root, or give it the capability (setcap, docker --cap-add, systemd AmbientCapabilities)"
    )]
    Capability {
        /// The string.
        device: String,
        /// The capabilities that are missing.
        capabilities: String,
    },
    /// A device of the machine cannot be used without hugepages.
    #[error(
        "device {device:?} is on the PCI bus and needs hugepages, and the dataplane runs without: \
         reserve some (echo 512 > /proc/sys/vm/nr_hugepages) and start it again"
    )]
    NeedsHugepages {
        /// The string.
        device: String,
    },
    /// The driver refused the device.
    #[error("device {device:?} cannot be attached: {reason}")]
    Attach {
        /// The string.
        device: String,
        /// The driver's last words.
        reason: String,
    },
    /// More receive queues than the device has.
    #[error("device {device:?} has {available} receive queues, and {asked} were asked for")]
    Queues {
        /// The string.
        device: String,
        /// How many were asked for.
        asked: u16,
        /// How many there are.
        available: u16,
    },
    /// A step of bringing up a port failed.
    #[error("device {device:?}: {step} failed: {reason}")]
    Port {
        /// The string.
        device: String,
        /// What was done.
        step: &'static str,
        /// What the driver says.
        reason: String,
    },
    /// Queues or descriptors of the port are still out.
    #[error(
        "device {device:?} cannot be changed while {handles} of its queues and descriptors are in use"
    )]
    InUse {
        /// The string.
        device: String,
        /// How many.
        handles: usize,
    },
    /// There is no such core, or the process may not use it.
    #[error("core {core} does not exist or is not allowed to this process; it may use {allowed}")]
    Core {
        /// The core.
        core: u16,
        /// The cores there are.
        allowed: String,
    },
    /// A program that Sluice has verified, and DPDK will not have.
    #[error("librte_bpf refuses the program: {reason}")]
    Program {
        /// What it says.
        reason: String,
    },
    /// A thread could not be made known to DPDK.
    #[error("the thread cannot be registered with DPDK: {reason}")]
    Thread {
        /// What DPDK says.
        reason: String,
    },
}

/// A port that could not be closed, given back with the reason.
#[derive(thiserror::Error)]
#[error("{error}")]
pub struct CloseError {
    /// The port, as it was.
    pub port: Box<Port>,
    /// Why it is still open.
    pub error: DpdkError,
}

impl fmt::Debug for CloseError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.error, f)
    }
}

/// The text of an errno value, with or without its sign.
pub(crate) fn errno_text(errno: i32) -> String {
    // SAFETY: rte_strerror takes any value and returns a string of the calling thread that stays
    // as it is until the thread's next call.
    let text = unsafe { CStr::from_ptr(sluice_dpdk_sys::rte_strerror(errno.abs())) };
    text.to_string_lossy().into_owned()
}

/// The `rte_errno` of the calling thread.
pub(crate) fn errno() -> i32 {
    // SAFETY: reads a thread-local of DPDK.
    unsafe { sluice_dpdk_sys::sluice_errno() }
}
