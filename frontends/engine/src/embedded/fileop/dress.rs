//! Owner, mode, times and attributes of what was made.

use std::fs::Metadata;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use rustix::fs::{AtFlags, CWD, Gid, Mode, Timespec, Timestamps, Uid, XattrFlags};
use rustix::io::Errno;

use super::{FileOpError, Root};
use crate::embedded::attributes::{attribute, attribute_names};

/// A numeric owner and group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Owner {
    pub(super) uid: u32,
    pub(super) gid: u32,
}

pub(super) fn mode_of(place: &Path) -> io::Result<u32> {
    Ok(place.symlink_metadata()?.mode() & 0o7777)
}

pub(super) fn set_mode(place: &Path, mode: u32) -> io::Result<()> {
    Ok(rustix::fs::chmodat(
        CWD,
        place,
        Mode::from_raw_mode(mode),
        AtFlags::empty(),
    )?)
}

/// Gives something, a link itself included, to an owner.
pub(super) fn set_owner(root: &Root, place: &Path, owner: Owner) -> Result<(), FileOpError> {
    let Owner { uid, gid } = owner;
    let ids = (Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)));
    match rustix::fs::chownat(CWD, place, ids.0, ids.1, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(()) => Ok(()),
        // The kernel's answer to an id that the user namespace does not have.
        Err(Errno::INVAL) => Err(FileOpError::Range {
            path: root.shown(place),
            uid,
            gid,
        }),
        Err(error) => Err(root.io("set the owner of", place)(error.into())),
    }
}

pub(super) fn set_owner_if(root: &Root, place: &Path, owner: Option<Owner>) -> Result<(), FileOpError> {
    owner.map_or(Ok(()), |owner| set_owner(root, place, owner))
}

pub(super) fn set_time_if(root: &Root, place: &Path, time: Option<Timespec>) -> Result<(), FileOpError> {
    let Some(time) = time else {
        return Ok(());
    };
    let both = Timestamps {
        last_access: time,
        last_modification: time,
    };
    set_times(place, &both).map_err(root.io("set the time of", place))
}

/// Sets one time, or if there is none those of the source.
pub(super) fn set_time_or(
    root: &Root,
    place: &Path,
    time: Option<Timespec>,
    source: &Metadata,
) -> Result<(), FileOpError> {
    if time.is_some() {
        return set_time_if(root, place, time);
    }
    let times = Timestamps {
        last_access: Timespec {
            tv_sec: source.atime(),
            tv_nsec: source.atime_nsec(),
        },
        last_modification: Timespec {
            tv_sec: source.mtime(),
            tv_nsec: source.mtime_nsec(),
        },
    };
    set_times(place, &times).map_err(root.io("set the time of", place))
}

fn set_times(place: &Path, times: &Timestamps) -> io::Result<()> {
    Ok(rustix::fs::utimensat(
        CWD,
        place,
        times,
        AtFlags::SYMLINK_NOFOLLOW,
    )?)
}

/// Copies the attributes that can be; what a file system or the kernel refuses is left out, as BuildKit does.
pub(super) fn copy_attributes(source: &Path, target: &Path) {
    for name in attribute_names(source) {
        if let Some(value) = attribute(source, &name) {
            let _ = rustix::fs::lsetxattr(target, name.as_slice(), &value, XattrFlags::empty());
        }
    }
}
