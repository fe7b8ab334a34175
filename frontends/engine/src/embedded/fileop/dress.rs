//! Owner, mode, times and attributes of what was made.

use std::fs::Metadata;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use rustix::fs::{AtFlags, CWD, Gid, Mode, Uid, XattrFlags};
use rustix::io::Errno;

use super::{FileOpError, Root};
use crate::embedded::attributes::{attribute, attribute_names};
use crate::times::{Moment, set_time, set_times_of};

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

pub(super) fn set_time_if(root: &Root, place: &Path, time: Option<Moment>) -> Result<(), FileOpError> {
    let Some(time) = time else {
        return Ok(());
    };
    set_time(place, time).map_err(root.io("set the time of", place))
}

/// Sets one time, or if there is none those of the source.
pub(super) fn set_time_or(
    root: &Root,
    place: &Path,
    time: Option<Moment>,
    source: &Metadata,
) -> Result<(), FileOpError> {
    if time.is_some() {
        return set_time_if(root, place, time);
    }
    set_times_of(place, source).map_err(root.io("set the time of", place))
}

/// Copies the attributes that can be; what a file system or the kernel refuses is left out, as BuildKit does.
pub(super) fn copy_attributes(source: &Path, target: &Path) {
    for name in attribute_names(source) {
        if let Some(value) = attribute(source, &name) {
            let _ = rustix::fs::lsetxattr(target, name.as_slice(), &value, XattrFlags::empty());
        }
    }
}
