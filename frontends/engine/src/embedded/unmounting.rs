//! Steps that ended, whose mounts the kernel still takes down.

use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use fs_err as fs;
use kcompose_sandbox::Unmounted;
use tokio::task::JoinHandle;

use super::snapshot;
use super::store::Draft;
use crate::times::set_times_of;

/// Those of a build.
#[derive(Debug, Default)]
pub(super) struct Unmounting(Mutex<Vec<JoinHandle<()>>>);

impl Unmounting {
    /// The folder that something of the step is mounted on goes when that no longer is, as deleting it would take the mount
    /// down first.
    pub(super) fn add(&self, step: Unmounted, draft: Arc<Draft>) {
        let gone = tokio::spawn(async move {
            step.wait().await;
            // It may hold a whole root that nobody wanted. That a thread panics would be said by it.
            let _ = tokio::task::spawn_blocking(move || drop(draft)).await;
        });
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(gone);
    }

    /// Waits for all that were added.
    pub(super) async fn wait(&self) {
        let steps = std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner));
        for step in steps {
            // It ends in the one way or the other.
            let _ = step.await;
        }
    }
}

/// Takes what a step wrote out of the folder that its overlay has for it, which stays behind beside `folder`.
///
/// So nobody has to wait before that is in another overlay: the kernel knows the folder itself as one that is in use, and not
/// what is in it (`ovl_is_inuse` in fs/overlayfs). Nobody sees the old mount any more.
pub(super) fn take_out(folder: &Path) -> io::Result<()> {
    let (files, left) = (folder.join("fs"), folder.with_extension("left"));
    fs::rename(&files, &left)?;
    fs::create_dir(&files)?;
    for entry in fs::read_dir(&left)? {
        let entry = entry?;
        fs::rename(entry.path(), files.join(entry.file_name()))?;
    }
    let before = fs::symlink_metadata(&left)?;
    snapshot::owned(&files, &before)?;
    set_times_of(&files, &before)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt;

    use super::*;

    #[test]
    fn what_was_written_lies_in_another_folder_with_the_same_looks() {
        let draft = tempfile::tempdir().unwrap();
        let folder = draft.path().join("written1");
        let files = folder.join("fs");
        fs::create_dir_all(files.join("d")).unwrap();
        fs::write(files.join("d/f"), "text").unwrap();
        std::os::unix::fs::symlink("nowhere", files.join("l")).unwrap();
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o751);
        fs::set_permissions(&files, mode).unwrap();
        let before = fs::metadata(&files).unwrap();
        take_out(&folder).unwrap();
        let after = fs::metadata(&files).unwrap();
        assert_ne!(after.ino(), before.ino());
        assert_eq!((after.mode(), after.mtime()), (before.mode(), before.mtime()));
        assert_eq!(fs::read_to_string(files.join("d/f")).unwrap(), "text");
        assert!(fs::read_link(files.join("l")).is_ok());
        assert_eq!(
            fs::read_dir(draft.path().join("written1.left")).unwrap().count(),
            0
        );
    }
}
