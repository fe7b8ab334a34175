//! What overlayfs leaves in an upper directory, as a layer that lies over anything.
//!
//! Overlayfs notes in attributes what a file was copied from and that a directory hides what is below it. Such a layer
//! means something only over the layers that it was made on. So the notes go, and a directory that hides becomes one in
//! which each hidden name is deleted: that is what `BuildKit` makes of it in a layer too.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use fs_err as fs;
use rustix::fs::{CWD, FileType, Mode, Timespec, Timestamps};

use crate::embedded::problem::Problem;
use crate::layer::{Marks, Stack};

/// Removes overlayfs' notes from an upper directory that was on these layers, the top one first.
pub(in crate::embedded) fn seal(upper: &Path, lower: &[PathBuf]) -> Result<(), Problem> {
    let marks = Marks::here();
    let sealer = Sealer {
        prefix: marks.attribute(""),
        opaque: marks.attribute("opaque"),
    };
    sealer.directory(upper, &Stack::new(lower), false)
}

struct Sealer {
    prefix: String,
    opaque: String,
}

impl Sealer {
    /// `hides`: whether a directory above hides what is below.
    fn directory(&self, path: &Path, below: &Stack, hides: bool) -> Result<(), Problem> {
        let hides = self.strip(path).map_err(Problem::io("read", path))? || hides;
        let names = names(path).map_err(Problem::io("read", path))?;
        for name in &names {
            let child = path.join(name);
            let metadata = fs::symlink_metadata(&child).map_err(Problem::io("read", &child))?;
            if metadata.is_dir() {
                let below = below.entry(name)?.map_or_else(Stack::empty, |found| found.inside);
                self.directory(&child, &below, hides)?;
            } else {
                self.strip(&child).map_err(Problem::io("read", &child))?;
            }
        }
        if hides {
            let hidden = below.names()?;
            let hidden = hidden.difference(&names);
            delete(path, hidden).map_err(Problem::io("write", path))?;
        }
        Ok(())
    }

    /// Removes the notes of one file; true if one said that it hides what is below.
    fn strip(&self, path: &Path) -> io::Result<bool> {
        let mut hides = false;
        for name in attributes(path)? {
            if name.starts_with(&self.prefix) {
                hides |= name == self.opaque;
                rustix::fs::lremovexattr(path, name.as_str())?;
            }
        }
        Ok(hides)
    }
}

fn names(path: &Path) -> io::Result<BTreeSet<OsString>> {
    fs::read_dir(path)?.map(|entry| Ok(entry?.file_name())).collect()
}

/// The names of the extended attributes of a file or of a link itself.
fn attributes(path: &Path) -> io::Result<Vec<String>> {
    // Nearly everything has none, and what has some has short ones.
    let mut buffer = vec![0u8; 256];
    let length = loop {
        match rustix::fs::llistxattr(path, &mut buffer) {
            Ok(length) => break length,
            Err(rustix::io::Errno::RANGE) if buffer.len() < 1 << 16 => buffer.resize(1 << 16, 0),
            Err(rustix::io::Errno::NOTSUP) => return Ok(Vec::new()),
            Err(error) => return Err(error.into()),
        }
    };
    let names = buffer[..length]
        .split(|byte| *byte == 0)
        .filter(|name| !name.is_empty());
    Ok(names
        .map(|name| String::from_utf8_lossy(name).into_owned())
        .collect())
}

/// Marks names as deleted; the directory keeps its time.
fn delete<'a>(directory: &Path, names: impl Iterator<Item = &'a OsString>) -> io::Result<()> {
    let metadata = fs::symlink_metadata(directory)?;
    let mut any = false;
    for name in names {
        any = true;
        let kind = FileType::CharacterDevice;
        rustix::fs::mknodat(
            CWD,
            directory.join(name),
            kind,
            Mode::empty(),
            rustix::fs::makedev(0, 0),
        )?;
    }
    if any {
        set_time(directory, &metadata)?;
    }
    Ok(())
}

/// Gives a directory the times that it had.
pub(in crate::embedded) fn set_time(path: &Path, metadata: &std::fs::Metadata) -> io::Result<()> {
    let times = Timestamps {
        last_access: time(metadata.atime(), metadata.atime_nsec()),
        last_modification: time(metadata.mtime(), metadata.mtime_nsec()),
    };
    rustix::fs::utimensat(CWD, path, &times, rustix::fs::AtFlags::SYMLINK_NOFOLLOW)?;
    Ok(())
}

/// Gives a file the first time there is.
pub(in crate::embedded) fn set_epoch(path: &Path) -> io::Result<()> {
    let times = Timestamps {
        last_access: time(0, 0),
        last_modification: time(0, 0),
    };
    rustix::fs::utimensat(CWD, path, &times, rustix::fs::AtFlags::SYMLINK_NOFOLLOW)?;
    Ok(())
}

fn time(seconds: i64, nanoseconds: i64) -> Timespec {
    Timespec {
        tv_sec: seconds,
        tv_nsec: nanoseconds,
    }
}
