//! Folders that are deleted when they are dropped.

use std::collections::BTreeSet;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use fs_err as fs;

/// The folders that are not deleted yet.
static LIVE: Mutex<BTreeSet<PathBuf>> = Mutex::new(BTreeSet::new());

/// A temporary folder with mode 0700. Dropping it deletes it.
#[derive(Debug)]
pub struct Folder {
    path: PathBuf,
}

impl Folder {
    /// Creates a folder in the system's folder for temporary files.
    ///
    /// # Errors
    ///
    /// When it cannot be created.
    pub fn new() -> io::Result<Folder> {
        Folder::within(&std::env::temp_dir(), "kcompose-")
    }

    /// Creates a folder in another one; its name begins with a prefix.
    ///
    /// # Errors
    ///
    /// When it cannot be created.
    #[expect(
        clippy::disallowed_methods,
        reason = "this is the one place that sets the mode"
    )]
    pub fn within(parent: &Path, prefix: &str) -> io::Result<Folder> {
        let parent = std::path::absolute(parent)?;
        let folder = tempfile::Builder::new()
            .prefix(prefix)
            .permissions(std::fs::Permissions::from_mode(0o700))
            .tempdir_in(parent)?;
        let path = folder.keep();
        live().insert(path.clone());
        Ok(Folder { path })
    }

    /// Its path, which is absolute.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // What another thread still writes into stays for `clear`.
        if is_gone(&self.path) {
            live().remove(&self.path);
        }
    }
}

/// Deletes every [`Folder`] that is left, for a process that ends without dropping them.
pub fn clear() {
    let left = std::mem::take(&mut *live());
    for path in left {
        // A thread that still writes into it notices that its folder is missing.
        (0..TRIES).any(|_| is_gone(&path));
    }
}

/// How often a folder is deleted that other threads write into.
const TRIES: u32 = 10;

fn is_gone(path: &Path) -> bool {
    match fs::remove_dir_all(path) {
        Ok(()) => true,
        Err(error) => error.kind() == io::ErrorKind::NotFound,
    }
}

fn live() -> MutexGuard<'static, BTreeSet<PathBuf>> {
    LIVE.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use rustix::fs::Mode;
    use rustix::process::umask;

    use super::*;

    /// An image's setuid program, and another user who wants to run it: the folder has to keep that user out.
    #[test]
    fn a_setuid_program_in_a_folder_is_out_of_reach_of_others() {
        let before = umask(Mode::from_raw_mode(0o022));
        let folder = Folder::new();
        umask(before);
        let folder = folder.unwrap();
        let program = folder.path().join("evil");
        fs::write(&program, "#!/bin/sh\n").unwrap();
        fs::set_permissions(&program, std::fs::Permissions::from_mode(0o4755)).unwrap();
        let mode = |path: &Path| fs::symlink_metadata(path).unwrap().permissions().mode() & 0o7777;
        assert_eq!((mode(folder.path()), mode(&program)), (0o700, 0o4755));
        if rustix::process::geteuid().is_root() {
            let mut other = std::process::Command::new(&program);
            std::os::unix::process::CommandExt::uid(&mut other, 65534);
            let refused = other.status().unwrap_err();
            assert_eq!(refused.kind(), io::ErrorKind::PermissionDenied);
        }
    }

    #[test]
    fn a_folder_goes_when_it_is_dropped_or_cleared() {
        let dropped = Folder::new().unwrap();
        let path = dropped.path().to_owned();
        fs::create_dir_all(path.join("a/b")).unwrap();
        drop(dropped);
        assert!(!path.exists());

        let parent = Folder::new().unwrap();
        let forgotten = Folder::within(parent.path(), ".x-").unwrap();
        fs::create_dir_all(forgotten.path().join("a/b")).unwrap();
        let path = forgotten.path().to_owned();
        std::mem::forget(forgotten);
        // Not `clear`, which would take the folders of other tests.
        assert!(live().contains(&path) && path.file_name().unwrap().to_string_lossy().starts_with(".x-"));
        drop(Folder { path: path.clone() });
        assert!(!path.exists() && !live().contains(&path));
    }
}
