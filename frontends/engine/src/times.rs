//! Times of files: set as they were, or as they are to be.

use std::fs::Metadata;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use rustix::fs::{AtFlags, CWD, Timespec, Timestamps};

/// A moment: seconds since 1970, and nanoseconds after them.
pub(crate) type Moment = (i64, i64);

/// Nanoseconds since 1970 as a moment.
pub(crate) fn moment(nanoseconds: i64) -> Moment {
    (
        nanoseconds.div_euclid(1_000_000_000),
        nanoseconds.rem_euclid(1_000_000_000),
    )
}

/// Gives a file, or a link itself, both times.
pub(crate) fn set_times(path: &Path, accessed: Moment, modified: Moment) -> io::Result<()> {
    let time = |(seconds, nanoseconds): Moment| Timespec {
        tv_sec: seconds,
        tv_nsec: nanoseconds,
    };
    let times = Timestamps {
        last_access: time(accessed),
        last_modification: time(modified),
    };
    Ok(rustix::fs::utimensat(
        CWD,
        path,
        &times,
        AtFlags::SYMLINK_NOFOLLOW,
    )?)
}

/// Gives a file, or a link itself, one time as both.
pub(crate) fn set_time(path: &Path, time: Moment) -> io::Result<()> {
    set_times(path, time, time)
}

/// Gives a file, or a link itself, the times of another.
pub(crate) fn set_times_of(path: &Path, like: &Metadata) -> io::Result<()> {
    set_times(
        path,
        (like.atime(), like.atime_nsec()),
        (like.mtime(), like.mtime_nsec()),
    )
}
