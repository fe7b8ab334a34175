//! Many layers as one: directories made anew, files linked.

use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use fs_err as fs;
use rustix::fs::{AtFlags, CWD, Gid, Mode, Uid};

use crate::embedded::problem::Problem;
use crate::layer::Stack;
use crate::times::set_times_of;

/// Makes a folder hold what layers, the top one first, hold together.
pub(in crate::embedded) fn flatten(lower: &[PathBuf], into: &Path) -> Result<(), Problem> {
    directory(&Stack::new(lower), into)
}

/// Makes a folder hold what another one does, whiteouts too.
pub(in crate::embedded) fn linked(from: &Path, into: &Path) -> Result<(), Problem> {
    for entry in fs::read_dir(from).map_err(Problem::io("read", from))? {
        let from = entry.map_err(Problem::io("read", from))?.path();
        let path = into.join(from.file_name().unwrap_or_default());
        let metadata = fs::symlink_metadata(&from).map_err(Problem::io("read", &from))?;
        if metadata.is_dir() {
            fs::create_dir(&path).map_err(Problem::io("write", &path))?;
            linked(&from, &path)?;
            dress(&path, &from, &metadata).map_err(Problem::io("write", &path))?;
        } else {
            link(&from, &path, &metadata).map_err(Problem::io("write", &path))?;
        }
    }
    Ok(())
}

fn directory(stack: &Stack, into: &Path) -> Result<(), Problem> {
    for name in stack.names()? {
        let Some(found) = stack.entry(&name)? else {
            continue;
        };
        let path = into.join(&name);
        if found.metadata.is_dir() {
            fs::create_dir(&path).map_err(Problem::io("write", &path))?;
            directory(&found.inside, &path)?;
            dress(&path, &found.path, &found.metadata).map_err(Problem::io("write", &path))?;
        } else {
            link(&found.path, &path, &found.metadata).map_err(Problem::io("write", &path))?;
        }
    }
    Ok(())
}

/// Gives a new directory the owner, the mode, the attributes and the times of another.
fn dress(path: &Path, like: &Path, metadata: &std::fs::Metadata) -> io::Result<()> {
    owned(path, metadata)?;
    attributes(path, like)?;
    set_times_of(path, metadata)
}

/// Gives a path the owner and the mode of another. Owner first: changing it takes setuid bits away.
pub(in crate::embedded) fn owned(path: &Path, metadata: &std::fs::Metadata) -> io::Result<()> {
    let (uid, gid) = (Uid::from_raw(metadata.uid()), Gid::from_raw(metadata.gid()));
    rustix::fs::chownat(CWD, path, Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW)?;
    if !metadata.is_symlink() {
        rustix::fs::chmodat(
            CWD,
            path,
            Mode::from_raw_mode(metadata.mode() & 0o7777),
            AtFlags::empty(),
        )?;
    }
    Ok(())
}

fn attributes(path: &Path, like: &Path) -> io::Result<()> {
    let mut names = vec![0u8; 1 << 16];
    let length = match rustix::fs::llistxattr(like, &mut names) {
        Ok(length) => length,
        Err(rustix::io::Errno::NOTSUP) => 0,
        Err(error) => return Err(error.into()),
    };
    let mut value = vec![0u8; 1 << 16];
    for name in names[..length]
        .split(|byte| *byte == 0)
        .filter(|name| !name.is_empty())
    {
        let length = rustix::fs::lgetxattr(like, name, &mut value)?;
        rustix::fs::lsetxattr(path, name, &value[..length], rustix::fs::XattrFlags::empty())?;
    }
    Ok(())
}

/// A file system has a limit of names for one file; beyond it, and across file systems, a copy serves.
fn link(from: &Path, to: &Path, metadata: &std::fs::Metadata) -> io::Result<()> {
    match rustix::fs::linkat(CWD, from, CWD, to, AtFlags::empty()) {
        Ok(()) => return Ok(()),
        Err(rustix::io::Errno::MLINK | rustix::io::Errno::XDEV) if metadata.is_file() => {}
        Err(error) => return Err(error.into()),
    }
    fs::copy(from, to)?;
    dress(to, from, metadata)
}
