//! Whole files and folders, or nothing.

use std::io::{self, Write};
use std::path::{Path, PathBuf};

use fs_err as fs;

use crate::error::EngineError;

/// Writes a file beside its destination and renames it when it is whole.
pub(super) fn file(
    destination: &Path,
    write: impl FnOnce(&mut fs::File) -> Result<(), EngineError>,
) -> Result<(), EngineError> {
    let failed = |error| EngineError::io("write", destination, error);
    let temporary = tempfile::Builder::new()
        .prefix(".kcompose-")
        .permissions(permissions(0o666))
        .tempfile_in(folder(destination))
        .map_err(failed)?;
    let (file, path) = temporary.into_parts();
    let mut file = fs::File::from_parts(file, destination);
    write(&mut file)?;
    file.flush().map_err(failed)?;
    path.persist(destination).map_err(|error| failed(error.error))
}

/// Fills a folder beside its destination and renames it when it is whole. What was there before is replaced.
pub(super) fn directory(
    destination: &Path,
    fill: impl FnOnce(&Path) -> Result<(), EngineError>,
) -> Result<(), EngineError> {
    let failed = |error| EngineError::io("write", destination, error);
    let temporary = tempfile::Builder::new()
        .prefix(".kcompose-")
        .tempdir_in(folder(destination))
        .map_err(failed)?;
    fill(temporary.path())?;
    replace(temporary.path(), destination).map_err(failed)
}

fn replace(new: &Path, destination: &Path) -> io::Result<()> {
    match fs::symlink_metadata(destination) {
        Ok(found) if found.is_dir() => {
            let old = tempfile::Builder::new()
                .prefix(".kcompose-")
                .tempdir_in(folder(destination))?;
            fs::rename(destination, old.path())?;
            fs::rename(new, destination)
        }
        Ok(_) => Err(io::Error::new(
            io::ErrorKind::AlreadyExists,
            "a file with this name exists",
        )),
        Err(_) => fs::rename(new, destination),
    }
}

fn folder(destination: &Path) -> PathBuf {
    let parent = destination
        .parent()
        .filter(|parent| !parent.as_os_str().is_empty());
    parent.unwrap_or(Path::new(".")).to_owned()
}

/// Of a new file: what the umask leaves of it.
fn permissions(mode: u32) -> std::fs::Permissions {
    std::os::unix::fs::PermissionsExt::from_mode(mode)
}
