//! One dataplane for one directory: a lock file that names its owner.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use crate::ChannelError;

/// Held for as long as the dataplane lives, and freed by the kernel when it dies. The file itself
/// stays: removing it would let two dataplanes hold two locks of one name.
#[derive(Debug)]
pub(crate) struct Lock {
    _file: File,
}

impl Lock {
    /// Takes the lock of a directory, or says who has it.
    pub(crate) fn take(dir: &Path) -> Result<Lock, ChannelError> {
        let path = dir.join("dataplane.lock");
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(&path)
            .map_err(ChannelError::file(&path, "open"))?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let mut owner = String::new();
                // Unreadable or not a number: the owner is just now writing it, and is not named.
                let _ = file.take(32).read_to_string(&mut owner);
                let pid = owner.trim().parse().unwrap_or(0);
                return Err(ChannelError::Running { dir: dir.to_owned(), pid });
            }
            Err(TryLockError::Error(source)) => {
                return Err(ChannelError::file(&path, "lock")(source));
            }
        }
        file.set_len(0).map_err(ChannelError::file(&path, "write"))?;
        writeln!(file, "{}", std::process::id()).map_err(ChannelError::file(&path, "write"))?;
        Ok(Lock { _file: file })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_second_is_told_who_the_first_is() {
        let dir = tempfile::tempdir().unwrap();
        let first = Lock::take(dir.path()).unwrap();
        let error = Lock::take(dir.path()).unwrap_err();
        assert!(matches!(error, ChannelError::Running { pid, .. } if pid == std::process::id()));
        assert!(error.to_string().contains(&format!("process {}", std::process::id())));
        drop(first);
        Lock::take(dir.path()).unwrap();
    }

    #[test]
    fn an_owner_that_has_not_said_its_name_is_not_named() {
        let dir = tempfile::tempdir().unwrap();
        let _first = Lock::take(dir.path()).unwrap();
        std::fs::write(dir.path().join("dataplane.lock"), "\u{1F980}").unwrap();
        let error = Lock::take(dir.path()).unwrap_err();
        assert!(matches!(error, ChannelError::Running { pid: 0, .. }));
    }
}
