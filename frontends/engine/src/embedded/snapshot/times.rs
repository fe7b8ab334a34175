//! Times of files, set as they were or as they are to be.

use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use rustix::fs::{CWD, Timespec, Timestamps};

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
