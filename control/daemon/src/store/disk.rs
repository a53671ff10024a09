//! Files that are there as a whole or not at all, also after the power failed: written beside
//! their place, flushed, renamed, and their directory flushed.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, BufWriter, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

/// Why something cannot be kept.
#[derive(Debug, thiserror::Error)]
#[error("cannot {action} {}: {source}; {}", path.display(), self.cure())]
pub struct StoreError {
    action: &'static str,
    path: PathBuf,
    source: io::Error,
}

impl StoreError {
    pub(super) fn new<'a>(
        action: &'static str,
        path: &'a Path,
    ) -> impl FnOnce(io::Error) -> StoreError + use<'a> {
        move |source| StoreError { action, path: path.into(), source }
    }

    fn cure(&self) -> &'static str {
        match self.source.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
                "make room there, or name another directory with --state"
            }
            io::ErrorKind::ReadOnlyFilesystem => {
                "mount it writable, or name another directory with --state"
            }
            io::ErrorKind::PermissionDenied => "allow it, or name another directory with --state",
            _ => "see to that disk, or name another directory with --state",
        }
    }
}

/// Writes a file in full, durably, in the place of the one that may be there.
pub(super) fn write(
    path: &Path,
    fill: impl FnOnce(&mut BufWriter<File>) -> io::Result<()>,
) -> Result<(), StoreError> {
    let beside = path.with_extension("tmp");
    let written = write_beside(&beside, fill).map_err(StoreError::new("write", path));
    let renamed = written.and_then(|()| rename(&beside, path));
    if renamed.is_err() {
        // A full disk is not made fuller.
        let _ = fs::remove_file(&beside);
    }
    renamed
}

fn write_beside(
    path: &Path,
    fill: impl FnOnce(&mut BufWriter<File>) -> io::Result<()>,
) -> io::Result<()> {
    let file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path)?;
    let mut file = BufWriter::with_capacity(1 << 16, file);
    fill(&mut file)?;
    file.flush()?;
    file.get_ref().sync_all()
}

/// Renames a file, durably; both names are in one directory or the old one need not be forgotten
/// durably.
pub(super) fn rename(from: &Path, to: &Path) -> Result<(), StoreError> {
    fs::rename(from, to).map_err(StoreError::new("rename a file to", to))?;
    sync_directory_of(to)
}

/// Removes a file, durably. One that is not there is removed.
pub(super) fn remove(path: &Path) -> Result<(), StoreError> {
    match fs::remove_file(path) {
        Ok(()) => sync_directory_of(path),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(StoreError::new("remove", path)(error)),
    }
}

/// Makes a directory for the owner alone, durably, if it is not there.
pub(super) fn make_directory(path: &Path) -> Result<(), StoreError> {
    if path.is_dir() {
        return Ok(());
    }
    if let Some(parent) = path.parent() {
        DirBuilder::new()
            .recursive(true)
            .mode(0o755)
            .create(parent)
            .map_err(StoreError::new("make the directory", parent))?;
    }
    match DirBuilder::new().mode(0o700).create(path) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
            Err(StoreError::new("make the directory", path)(error))
        }
        _ => sync_directory_of(path),
    }
}

fn sync_directory_of(path: &Path) -> Result<(), StoreError> {
    let Some(directory) = path.parent() else { return Ok(()) };
    File::open(directory)
        .and_then(|directory| directory.sync_all())
        .map_err(StoreError::new("flush the directory", directory))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_replaced_as_a_whole_or_stays() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("file");
        write(&path, |file| file.write_all(b"one")).unwrap();
        let error = write(&path, |file| {
            file.write_all(b"two")?;
            Err(io::Error::from(io::ErrorKind::StorageFull))
        });
        let text = error.unwrap_err().to_string();
        assert!(text.contains("/file") && text.contains("make room"), "{text}");
        assert_eq!(fs::read(&path).unwrap(), b"one");
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1, "nothing is left beside");
        remove(&path).unwrap();
        remove(&path).unwrap();
    }

    #[test]
    fn the_directory_is_the_owners() {
        use std::os::unix::fs::PermissionsExt as _;
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a/b/state");
        make_directory(&path).unwrap();
        make_directory(&path).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o700);
    }
}
