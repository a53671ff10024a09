//! DPDK's environment abstraction layer: memory, drivers, devices. One in a process.

use std::ffi::{CStr, CString, OsStr, c_char, c_int};
use std::fmt::Write;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::error::{DpdkError, errno, errno_text};
use crate::thread::CpuSet;
use crate::{hugepages, log};

/// How EAL is started.
#[derive(Clone, Copy, Debug)]
pub struct EalOptions<'a> {
    /// Sets this dataplane apart from others on the machine (EAL's file prefix).
    pub name: &'a str,
    /// Memory for packet buffers and queues.
    pub memory_mib: u32,
    /// Whether to take it from hugepages.
    pub hugepages: Hugepages,
    /// What DPDK logs; it goes to `tracing` (debug, target `dpdk`) and into errors.
    pub log_level: LogLevel,
}

impl Default for EalOptions<'_> {
    fn default() -> Self {
        EalOptions {
            name: "sluice",
            memory_mib: 256,
            hugepages: Hugepages::default(),
            log_level: LogLevel::default(),
        }
    }
}

/// Where packet memory comes from.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Hugepages {
    /// Hugepages when enough are free, else ordinary pages, which is said once.
    #[default]
    Auto,
    /// Ordinary pages. PCI devices cannot be used then.
    Off,
}

/// The least severe messages that DPDK logs.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[repr(u8)]
pub enum LogLevel {
    /// Errors.
    Error = 4,
    /// Warnings.
    Warning = 5,
    /// What is normal but worth knowing.
    #[default]
    Notice = 6,
    /// What goes on.
    Info = 7,
    /// Everything.
    Debug = 8,
}

/// The running EAL. Clones are handles to the same one; the last to go, pools and ports included,
/// ends it.
#[derive(Clone, Debug)]
pub struct Eal {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    hugepages: bool,
    memory_mib: u32,
}

static STARTED: AtomicBool = AtomicBool::new(false);

impl Eal {
    /// Starts EAL with no devices; [`Port::attach`](crate::Port::attach) adds them.
    ///
    /// The calling thread becomes DPDK's main thread and keeps the affinity it had. Nothing is left
    /// in the file system, also after a kill.
    ///
    /// # Errors
    ///
    /// It was started before, the memory cannot be had, or the process lacks a right; DPDK's own
    /// words are in the error.
    pub fn init(options: &EalOptions<'_>) -> Result<Eal, DpdkError> {
        if options.name.is_empty()
            || !options.name.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b))
            || options.name.len() > 32
        {
            return Err(DpdkError::Text {
                what: "name",
                value: options.name.to_owned(),
                reason: "1 to 32 letters, digits, '-', '_' and '.' are allowed",
            });
        }
        if options.memory_mib == 0 {
            return Err(DpdkError::Eal {
                memory_mib: 0,
                reason: "some memory is needed; 256 MiB suffice for a few ports".to_owned(),
            });
        }
        if STARTED.swap(true, Ordering::AcqRel) {
            return Err(DpdkError::EalTwice);
        }
        let hugepages = match options.hugepages {
            Hugepages::Off => false,
            Hugepages::Auto => match hugepages::available(options.memory_mib) {
                Ok(()) => true,
                Err(reason) => {
                    tracing::warn!(
                        "running without hugepages, slower and without PCI devices: {reason}"
                    );
                    false
                }
            },
        };

        log::redirect();
        let affinity = CpuSet::current();
        let arguments = arguments(options, hugepages, affinity.as_ref());
        tracing::debug!(target: "dpdk", "EAL arguments: {}", arguments.join(" "));
        let (started, said) = log::capture(|| start(&arguments));
        if let Some(affinity) = affinity {
            affinity.apply();
        }
        started.map_err(|errno| DpdkError::Eal {
            memory_mib: options.memory_mib,
            reason: if said.is_empty() { errno_text(errno) } else { said },
        })?;
        log::redirect_libraries();
        remove_runtime_directory();
        Ok(Eal { inner: Arc::new(Inner { hugepages, memory_mib: options.memory_mib }) })
    }

    /// Whether packet memory is hugepages.
    #[must_use]
    pub fn hugepages(&self) -> bool {
        self.inner.hugepages
    }

    /// The memory that EAL was started with.
    #[must_use]
    pub fn memory_mib(&self) -> u32 {
        self.inner.memory_mib
    }

    /// The version of the DPDK that runs, as `DPDK 22.11.11`.
    #[must_use]
    pub fn version() -> String {
        // SAFETY: returns a string that lives as long as the process.
        unsafe { CStr::from_ptr(sluice_dpdk_sys::rte_version()) }.to_string_lossy().into_owned()
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        // SAFETY: pools, ports and queues hold a handle to EAL, so that the last handle goes when
        // none of them is left; buffers in use keep their pool.
        unsafe { sluice_dpdk_sys::rte_eal_cleanup() };
    }
}

/// Removes the directory that EAL makes for files which it then does not make.
fn remove_runtime_directory() {
    // SAFETY: EAL has started; the string is its own and stays as it is.
    let directory = unsafe { CStr::from_ptr(sluice_dpdk_sys::rte_eal_get_runtime_dir()) };
    // Fails if something is in it, which is as it should be.
    let _ = fs::remove_dir(OsStr::from_bytes(directory.to_bytes()));
}

/// EAL's command line.
fn arguments(options: &EalOptions<'_>, hugepages: bool, affinity: Option<&CpuSet>) -> Vec<String> {
    let mut arguments = vec![
        "sluice".to_owned(),
        format!("--file-prefix={}", options.name),
        "-m".to_owned(),
        options.memory_mib.to_string(),
        "--no-telemetry".to_owned(),
        format!("--log-level=lib.*:{}", options.log_level as u8),
        format!("--log-level=pmd.*:{}", options.log_level as u8),
        format!("--log-level=bus.*:{}", options.log_level as u8),
    ];
    // One lcore, DPDK's main thread, that is not bound to one core: workers are threads of our own.
    let mut cores = String::new();
    for core in affinity.iter().flat_map(|set| set.cores()) {
        let comma = if cores.is_empty() { "" } else { "," };
        write!(cores, "{comma}{core}").expect("writing to a string does not fail");
    }
    if !cores.is_empty() {
        arguments.push(format!("--lcores=0@({cores})"));
    }
    if hugepages {
        // EAL would go on to take what it finds.
        let limits = vec![options.memory_mib.to_string(); numa_nodes()].join(",");
        arguments.push(format!("--socket-limit={limits}"));
    }
    let memory: &[&str] = if hugepages {
        // Nothing of EAL is in the file system. Memory in few files, as vhost-user peers map at
        // most eight. An allow list that names no device: those that are there stay untouched until
        // they are attached by name.
        &["--in-memory", "--single-file-segments", "-a", "0000:00:00.0"]
    } else {
        // 22.11 refuses --no-huge with --in-memory.
        &["--no-huge", "--no-shconf", "--no-pci"]
    };
    arguments.extend(memory.iter().map(|&argument| argument.to_owned()));
    arguments
}

/// How many NUMA nodes the machine has, at least 1.
fn numa_nodes() -> usize {
    let number = |name: &str| name.strip_prefix("node")?.parse::<usize>().ok();
    fs::read_dir("/sys/devices/system/node")
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| number(entry.file_name().to_str()?))
        .max()
        .map_or(1, |last| last + 1)
}

/// Calls `rte_eal_init`.
fn start(arguments: &[String]) -> Result<(), i32> {
    // EAL keeps pointers into its arguments, permutes and sometimes cuts them: they live for ever.
    let mut argv: Vec<*mut c_char> = arguments
        .iter()
        .map(|argument| {
            CString::new(argument.as_str()).expect("arguments hold no NUL byte").into_raw()
        })
        .collect();
    argv.push(std::ptr::null_mut());
    let argv = argv.leak();
    let count = c_int::try_from(argv.len() - 1).expect("a handful of arguments");
    // SAFETY: `argv` holds `count` C strings and a final null, all writable and never freed; this
    // is called once in the process.
    if unsafe { sluice_dpdk_sys::rte_eal_init(count, argv.as_mut_ptr()) } < 0 {
        return Err(errno());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_asked_for_is_checked_before_eal_is_started() {
        for name in ["", "a b", "../x", "a/b", &"x".repeat(33)] {
            let error =
                Eal::init(&EalOptions { name, ..EalOptions::default() }).expect_err("bad name");
            assert!(matches!(error, DpdkError::Text { .. }), "{error}");
        }
        let none = EalOptions { memory_mib: 0, ..EalOptions::default() };
        let error = Eal::init(&none).expect_err("no memory").to_string();
        assert!(error.contains("0 MiB"), "{error}");
    }

    #[test]
    fn without_hugepages_no_shared_files_and_no_pci() {
        let arguments = arguments(&EalOptions::default(), false, CpuSet::current().as_ref());
        for wanted in ["--no-huge", "--no-shconf", "--no-pci", "--file-prefix=sluice"] {
            assert!(arguments.iter().any(|argument| argument == wanted), "{wanted}");
        }
        assert!(!arguments.iter().any(|argument| argument == "--in-memory"));
    }
}
