//! Mount points that are in no layer.
//!
//! A mount point that the root lacks has to be made, and goes again when the step is over: as BuildKit does it
//! (`executor/stubs.go`), so that a layer holds the same on both engines. That includes what BuildKit leaves: the mount
//! points of `/dev`, `/proc` and `/sys`, and the time at which a stub was made as that of its folder.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{self, AtFlags, FileType, Mode, OFlags, Timespec, Timestamps};

use kcompose_launcher::inside;

/// The paths that the step's mounts will bring into being.
#[derive(Debug)]
pub(crate) struct Stubs(Vec<PathBuf>);

impl Stubs {
    /// What of `targets` is missing in a root.
    pub(crate) fn missing<'a>(
        root: BorrowedFd<'_>,
        targets: impl Iterator<Item = &'a Path>,
        with_parents: bool,
    ) -> Self {
        let mut missing = Vec::new();
        for target in targets {
            let Ok(real) = inside::real_path(root, target) else {
                continue;
            };
            let levels = if with_parents { usize::MAX } else { 1 };
            let folders = real.ancestors().take_while(|path| path.parent().is_some());
            missing.extend(
                folders
                    .take(levels)
                    .take_while(|path| !exists(root, path))
                    .map(Path::to_owned),
            );
        }
        Stubs(missing)
    }

    /// Removes what is still empty, and leaves the times of its folder alone.
    pub(crate) fn remove(&self, root: BorrowedFd<'_>) {
        for path in &self.0 {
            // Another program may have put anything in its place; nothing is lost when it stays.
            let _ = remove_one(root, path);
        }
    }
}

fn exists(root: BorrowedFd<'_>, real: &Path) -> bool {
    inside::open(root, real, OFlags::PATH | OFlags::NOFOLLOW).is_ok()
}

fn remove_one(root: BorrowedFd<'_>, path: &Path) -> std::io::Result<()> {
    let real = inside::real_path(root, path)?;
    let (Some(parent), Some(name)) = (real.parent(), real.file_name()) else {
        return Ok(());
    };
    let parent = inside::open(root, parent, OFlags::RDONLY | OFlags::DIRECTORY)?;
    let entry = fs::statat(&parent, name, AtFlags::SYMLINK_NOFOLLOW)?;
    let flags = match FileType::from_raw_mode(entry.st_mode) {
        FileType::Directory => AtFlags::REMOVEDIR,
        _ if entry.st_size == 0 => AtFlags::empty(),
        _ => return Ok(()),
    };
    if flags == AtFlags::REMOVEDIR && !is_empty(&parent, name)? {
        return Ok(());
    }
    let times = fs::fstat(&parent)?;
    fs::unlinkat(&parent, name, flags)?;
    let time = |tv_sec, tv_nsec: u64| Timespec {
        tv_sec,
        tv_nsec: tv_nsec.cast_signed(),
    };
    let before = Timestamps {
        last_access: time(times.st_atime, times.st_atime_nsec),
        last_modification: time(times.st_mtime, times.st_mtime_nsec),
    };
    Ok(fs::futimens(&parent, &before)?)
}

fn is_empty(parent: &OwnedFd, name: &std::ffi::OsStr) -> std::io::Result<bool> {
    let folder = fs::openat(
        parent.as_fd(),
        name,
        OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC,
        Mode::empty(),
    )?;
    for entry in fs::Dir::new(folder)? {
        if ![&b"."[..], b".."].contains(&entry?.file_name().to_bytes()) {
            return Ok(false);
        }
    }
    Ok(true)
}
