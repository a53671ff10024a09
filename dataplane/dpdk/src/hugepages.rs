//! Whether the machine has hugepages to spare.
//!
//! EAL cannot be started a second time in a process, so that what it is asked for must be known to
//! work: free pages are counted and then reserved for a moment, which also sees the limits of a
//! container.

use std::fs;
use std::path::Path;
use std::ptr;

/// Where the kernel shows its hugepage sizes.
const SIZES: &str = "/sys/kernel/mm/hugepages";

/// Whether `mib` MiB of hugepages of one size can be had by this process.
///
/// # Errors
///
/// Says in words why not.
pub(crate) fn available(mib: u32) -> Result<(), String> {
    let needed = u64::from(mib) << 20;
    let sizes = sizes(Path::new(SIZES));
    let free: u64 = sizes.iter().map(|&(size, free)| size * free).sum();
    for &(size, free) in &sizes {
        if size * free >= needed && reserve(needed.next_multiple_of(size), size) {
            return Ok(());
        }
    }
    Err(match free >> 20 {
        0 => "no hugepages are free".to_owned(),
        free if free < u64::from(mib) => format!("{free} MiB of hugepages are free, {mib} needed"),
        free => format!("{free} MiB of hugepages are free, and this process may not take {mib}"),
    })
}

/// The sizes in bytes with the number of free pages of each, largest first.
fn sizes(directory: &Path) -> Vec<(u64, u64)> {
    let mut sizes: Vec<(u64, u64)> = fs::read_dir(directory)
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| {
            let name = entry.file_name();
            let kib: u64 =
                name.to_str()?.strip_prefix("hugepages-")?.strip_suffix("kB")?.parse().ok()?;
            let number = |file: &str| -> Option<u64> {
                fs::read_to_string(entry.path().join(file)).ok()?.trim().parse().ok()
            };
            // Pages that someone has mapped but not touched yet still count as free.
            let free = number("free_hugepages")?.saturating_sub(number("resv_hugepages")?);
            Some((kib << 10, free))
        })
        .collect();
    sizes.sort_unstable_by(|a, b| b.cmp(a));
    sizes
}

/// Maps hugepages of `page` bytes without touching them, and gives them back.
fn reserve(bytes: u64, page: u64) -> bool {
    let Ok(length) = usize::try_from(bytes) else {
        return false;
    };
    let size = i32::try_from(page.trailing_zeros()).unwrap_or(0) << libc::MAP_HUGE_SHIFT;
    // SAFETY: a new anonymous mapping at an address of the kernel's choice aliases nothing.
    let mapping = unsafe {
        libc::mmap(
            ptr::null_mut(),
            length,
            libc::PROT_READ | libc::PROT_WRITE,
            libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_HUGETLB | size,
            -1,
            0,
        )
    };
    if mapping == libc::MAP_FAILED {
        return false;
    }
    // SAFETY: exactly the mapping made above, to which no reference exists.
    unsafe { libc::munmap(mapping, length) };
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_and_reserved_pages_do_not_count() {
        let directory =
            std::env::temp_dir().join(format!("sluice-dpdk-hugepages-{}", std::process::id()));
        for (size, free, reserved) in [("hugepages-2048kB", 10, 4), ("hugepages-1048576kB", 1, 0)] {
            let path = directory.join(size);
            fs::create_dir_all(&path).unwrap();
            fs::write(path.join("free_hugepages"), format!("{free}\n")).unwrap();
            fs::write(path.join("resv_hugepages"), format!("{reserved}\n")).unwrap();
        }
        assert_eq!(sizes(&directory), [(1 << 30, 1), (2 << 20, 6)]);
        fs::remove_dir_all(&directory).unwrap();
        assert_eq!(sizes(&directory), []);
    }
}
