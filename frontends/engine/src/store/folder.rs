//! Folders of a store, without following links.

use std::ffi::OsStr;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, Dir, Mode, OFlags, openat};
use rustix::io::Errno;

/// Returns the sorted paths of what is in a folder below a root; nothing if there is no such folder.
///
/// A link on the way below the root is an error: what is listed may be deleted, and a link leads anywhere.
pub fn entries(root: &Path, folder: &Path) -> io::Result<Vec<PathBuf>> {
    let Some(open) = open(root, folder)? else {
        return Ok(Vec::new());
    };
    let mut paths = Vec::new();
    for entry in Dir::new(open)? {
        let entry = entry?;
        let name = entry.file_name().to_bytes();
        if name != b"." && name != b".." {
            paths.push(root.join(folder).join(OsStr::from_bytes(name)));
        }
    }
    paths.sort();
    Ok(paths)
}

fn open(root: &Path, folder: &Path) -> io::Result<Option<OwnedFd>> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let mut path = root.to_owned();
    let mut open = match openat(CWD, root, flags, Mode::empty()) {
        Err(Errno::NOENT) => return Ok(None),
        open => open?,
    };
    for part in folder {
        path.push(part);
        open = match openat(&open, part, flags | OFlags::NOFOLLOW, Mode::empty()) {
            Err(Errno::NOENT) => return Ok(None),
            Err(Errno::NOTDIR | Errno::LOOP) if path.is_symlink() => {
                let reason = format!(
                    "`{}` is a link, and no link is followed in a store",
                    path.display()
                );
                return Err(io::Error::other(reason));
            }
            open => open?,
        };
    }
    Ok(Some(open))
}
