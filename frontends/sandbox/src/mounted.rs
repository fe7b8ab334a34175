//! Trees as one file system for this program itself, for a moment.
//!
//! The mounts are in a mount namespace of one thread: nobody else sees them, and they go with the thread, whatever ends
//! it.

use std::ffi::CString;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use kcompose_launcher::{Overlay, identity};
use rustix::fs::CWD;
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, MountFlags, MoveMountFlags, fsconfig_create,
    fsconfig_set_flag, fsconfig_set_string, fsmount, fsopen, mount, move_mount,
};

use crate::Problem;

/// Does something while trees are mounted on folders, which only `work` sees.
///
/// # Errors
///
/// When the kernel refuses: it takes root's rights, or those that [`enter`](crate::enter) gives.
pub fn mounted<T: Send>(
    mounts: &[(PathBuf, Overlay)],
    work: impl FnOnce() -> T + Send,
) -> Result<T, Problem> {
    let inside = || {
        identity::own_mounts().map_err(|failure| Problem::Refused {
            attempt: failure.attempt,
            error: failure.error,
        })?;
        for (at, overlay) in mounts {
            let what = format!("mounting an overlay on {}", at.display());
            mount_overlay(at, overlay).map_err(refused(&what))?;
        }
        Ok(work())
    };
    std::thread::scope(|scope| match scope.spawn(inside).join() {
        Ok(result) => result,
        Err(panic) => std::panic::resume_unwind(panic),
    })
}

fn refused(attempt: &str) -> impl FnOnce(rustix::io::Errno) -> Problem {
    let attempt = attempt.to_owned();
    move |error| Problem::Refused {
        attempt,
        error: std::io::Error::from(error).to_string(),
    }
}

/// What a layer is read from must not depend on the kernel's defaults, which distributions change; and what is thrown away
/// when it breaks off needs no syncing.
const SETTINGS: [(&str, &str); 3] = [
    ("index", "off"),
    ("metacopy", "off"),
    ("redirect_dir", "nofollow"),
];

fn flags(overlay: &Overlay) -> impl Iterator<Item = &'static str> {
    let map = std::fs::read_to_string("/proc/self/uid_map").unwrap_or_default();
    let first = map.split_whitespace().eq(["0", "0", "4294967295"]);
    let volatile = overlay.upper.is_some().then_some("volatile");
    volatile.into_iter().chain((!first).then_some("userxattr"))
}

fn mount_overlay(at: &Path, overlay: &Overlay) -> rustix::io::Result<()> {
    match stack(overlay) {
        Ok(tree) => move_mount(tree.as_fd(), "", CWD, at, MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH),
        // Before Linux 6.8 there is no parameter for one lower tree.
        Err(rustix::io::Errno::INVAL | rustix::io::Errno::NOSYS) => mount_the_old_way(at, overlay),
        Err(error) => Err(error),
    }
}

fn stack(overlay: &Overlay) -> rustix::io::Result<OwnedFd> {
    let context = fsopen("overlay", FsOpenFlags::FSOPEN_CLOEXEC)?;
    for lower in &overlay.lower {
        fsconfig_set_string(context.as_fd(), "lowerdir+", lower.as_path())?;
    }
    for (key, path) in [("upperdir", &overlay.upper), ("workdir", &overlay.work)] {
        if let Some(path) = path {
            fsconfig_set_string(context.as_fd(), key, path.as_path())?;
        }
    }
    for (key, value) in SETTINGS {
        fsconfig_set_string(context.as_fd(), key, value)?;
    }
    for key in flags(overlay) {
        fsconfig_set_flag(context.as_fd(), key)?;
    }
    fsconfig_create(context.as_fd())?;
    fsmount(
        context.as_fd(),
        FsMountFlags::FSMOUNT_CLOEXEC,
        MountAttrFlags::empty(),
    )
}

/// All options must fit a page; what uses this flattens long rows of trees before.
fn mount_the_old_way(at: &Path, overlay: &Overlay) -> rustix::io::Result<()> {
    let escaped = |path: &PathBuf| -> Vec<u8> {
        let special = |byte: &u8| b"\\:,".contains(byte);
        let bytes = path.as_os_str().as_bytes().iter();
        bytes
            .flat_map(|byte| special(byte).then_some(b'\\').into_iter().chain([*byte]))
            .collect()
    };
    let lower: Vec<Vec<u8>> = overlay.lower.iter().map(escaped).collect();
    let mut options = [b"lowerdir=", lower.join(&b':').as_slice()].concat();
    for (key, path) in [("upperdir", &overlay.upper), ("workdir", &overlay.work)] {
        if let Some(path) = path {
            options.extend([b",", key.as_bytes(), b"=", escaped(path).as_slice()].concat());
        }
    }
    for (key, value) in SETTINGS {
        options.extend(format!(",{key}={value}").into_bytes());
    }
    for key in flags(overlay) {
        options.extend(format!(",{key}").into_bytes());
    }
    let options = CString::new(options).map_err(|_| rustix::io::Errno::INVAL)?;
    mount(
        "overlay",
        at,
        "overlay",
        MountFlags::empty(),
        Some(options.as_c_str()),
    )
}
