//! What is looked at before a driver is asked, and what is made of its refusal.

use std::ffi::CStr;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileTypeExt;
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::device::{self, Device, Driver};
use crate::eal::Eal;
use crate::error::{DpdkError, errno_text};
use crate::{capability, interface};

/// What is attached, so that nothing is attached twice. The lock also keeps attaching, setting up and
/// detaching one at a time, which EAL's lists and our looking at open descriptors and the log rely on.
static ATTACHED: Mutex<Vec<Attached>> = Mutex::new(Vec::new());

/// An attached device.
#[derive(Debug)]
pub(crate) struct Attached {
    /// The name that DPDK knows it by.
    pub(crate) name: String,
    /// The kernel's interface that it took.
    pub(crate) interface: Option<u32>,
    /// The device string.
    pub(crate) text: String,
}

/// The list of what is attached.
pub(crate) fn attached() -> MutexGuard<'static, Vec<Attached>> {
    ATTACHED.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Looks for what would make the driver fail, and returns the index of the kernel's interface that the
/// device takes, if it takes one. Drivers say less, or say it on the log only.
pub(crate) fn check(
    eal: &Eal,
    device: &Device,
    attached: &[Attached],
) -> Result<Option<u32>, DpdkError> {
    let text = || device.text().to_owned();
    if let Some(other) = attached.iter().find(|other| other.name == device.name()) {
        return Err(DpdkError::AlreadyAttached { device: text(), by: other.text.clone() });
    }
    if device.driver() == Driver::Pci && !eal.hugepages() {
        return Err(DpdkError::NeedsHugepages { device: text() });
    }
    if let Some(capabilities) = capability::missing(device) {
        return Err(DpdkError::Capability { device: text(), capabilities });
    }
    for path in device.files() {
        if let Err(error) = reachable(path) {
            let path = path.display().to_string();
            return Err(DpdkError::File { device: text(), path, error });
        }
    }
    let Some(name) = device.interface() else {
        return Ok(None);
    };
    let Some(index) = interface::index(name) else {
        return Err(DpdkError::NoInterface { device: text(), interface: name.to_owned() });
    };
    if let Some(other) = attached.iter().find(|other| other.interface == Some(index)) {
        return Err(DpdkError::InterfaceUsedTwice {
            device: text(),
            interface: name.to_owned(),
            by: other.text.clone(),
        });
    }
    Ok(Some(index))
}

/// Whether a file that a driver reads can be opened; of sockets and devices, whether they are there.
fn reachable(path: &Path) -> io::Result<()> {
    let kind = path.metadata()?.file_type();
    if kind.is_socket() || kind.is_char_device() {
        return Ok(());
    }
    File::open(path).map(drop)
}

/// The error for a device that EAL refused with `errno`, having logged `said`.
pub(crate) fn refusal(device: &Device, errno: i32, said: String) -> DpdkError {
    let text = device.text().to_owned();
    if errno == -libc::EEXIST {
        return DpdkError::AlreadyAttached { device: text, by: device.name().to_owned() };
    }
    // What EAL says when none of its buses and drivers knows the name.
    if said.contains("failed to parse device") {
        if device.driver() == Driver::Other {
            let name = device.name().to_owned();
            return DpdkError::UnknownDriver { device: text, name, known: device::known() };
        }
        let reason = format!(
            "DPDK has not loaded a driver for it; drivers are plugins in {} (Debian: the packages \
             librte-net-* and librte-bus-*)",
            driver_directory()
        );
        return DpdkError::Attach { device: text, reason };
    }
    let mut reason = match said {
        said if said.is_empty() && errno == -1 => {
            "its driver refuses it without saying why; does it know all of the arguments?"
                .to_owned()
        }
        said if said.is_empty() => errno_text(errno),
        said => said,
    };
    match device.driver() {
        Driver::Pci => reason.push_str(
            " (is it bound to vfio-pci? `dpdk-devbind.py --status` shows it; Mellanox devices stay \
             with the kernel's driver)",
        ),
        Driver::AfXdp => reason.push_str(
            " (an XDP program or socket may be on the interface already, or its MTU is above 3,498)",
        ),
        _ => {}
    }
    DpdkError::Attach { device: text, reason }
}

/// Where EAL looks for drivers.
fn driver_directory() -> String {
    // SAFETY: the string is a constant.
    let directory = unsafe { CStr::from_ptr(sluice_dpdk_sys::sluice_driver_directory()) };
    match directory.to_string_lossy() {
        directory if directory.is_empty() => "a directory that DPDK was not built with".to_owned(),
        directory => directory.into_owned(),
    }
}
