//! One control process for a directory, be it the appliance's or the one with its commits: a lock
//! file that is held for life and names its holder.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// Why the directory cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// Another control process has it.
    #[error(
        "another control process ({owner}) has {}; stop it, or name another directory with --dir \
         or --state",
        directory.display()
    )]
    Held {
        /// The directory.
        directory: PathBuf,
        /// `pid N`, as far as it is known.
        owner: String,
    },
    /// The lock file cannot be opened, locked or written.
    #[error("cannot lock {}: {source}; does the directory exist and may you write there?", path.display())]
    Io {
        /// The lock file.
        path: PathBuf,
        /// What failed.
        source: io::Error,
    },
}

/// The lock, held until it is dropped or the process ends, however it ends.
#[derive(Debug)]
pub struct DirectoryLock {
    _file: File,
}

impl DirectoryLock {
    /// Takes the directory by its lock file, or says who has it.
    pub fn acquire(directory: &Path, file: &str) -> Result<DirectoryLock, LockError> {
        let path = directory.join(file);
        let io = |source| LockError::Io { path: path.clone(), source };
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(&path)
            .map_err(io)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let mut pid = String::new();
                // Ours to read or not, the answer is the same.
                let _ = file.take(32).read_to_string(&mut pid);
                let owner = match pid.trim() {
                    "" => "pid unknown".to_owned(),
                    pid => format!("pid {pid}"),
                };
                return Err(LockError::Held { directory: directory.into(), owner });
            }
            Err(TryLockError::Error(source)) => return Err(io(source)),
        }
        file.set_len(0).map_err(io)?;
        file.rewind().map_err(io)?;
        writeln!(file, "{}", std::process::id()).map_err(io)?;
        Ok(DirectoryLock { _file: file })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_second_is_told_the_first() {
        let directory = tempfile::tempdir().unwrap();
        let first = DirectoryLock::acquire(directory.path(), "control.lock").unwrap();
        let refused =
            DirectoryLock::acquire(directory.path(), "control.lock").unwrap_err().to_string();
        assert!(refused.contains(&format!("pid {}", std::process::id())), "{refused}");
        drop(first);
        DirectoryLock::acquire(directory.path(), "control.lock").unwrap();
    }

    #[test]
    fn a_missing_directory_is_named() {
        let refused =
            DirectoryLock::acquire(Path::new("/nonexistent/sluice"), "control.lock").unwrap_err();
        assert!(refused.to_string().contains("/nonexistent/sluice/control.lock"));
    }
}
