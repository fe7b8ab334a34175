//! Attributes of mounts (`mount_setattr(2)`, for which rustix has no call).
#![expect(unsafe_code, reason = "a system call without a wrapper")]

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

/// What a mount must have on top of what it has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Attributes {
    /// Nothing below can be written.
    pub read_only: bool,
    /// Device nodes below open nothing.
    pub no_devices: bool,
}

/// Sets attributes of a mount and of those below it; none is taken away.
pub fn set_attributes(mount: BorrowedFd<'_>, attributes: Attributes, recursive: bool) -> io::Result<()> {
    let mut set = 0;
    if attributes.read_only {
        set |= libc::MOUNT_ATTR_RDONLY;
    }
    if attributes.no_devices {
        set |= libc::MOUNT_ATTR_NODEV;
    }
    // SAFETY: all-zero is a value of this plain struct.
    let mut request: libc::mount_attr = unsafe { std::mem::zeroed() };
    request.attr_set = set;
    let recursion = if recursive { libc::AT_RECURSIVE } else { 0 };
    // SAFETY: the path is a string, and the request lives and has the size that is told.
    let result = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            mount.as_raw_fd(),
            c"".as_ptr(),
            libc::AT_EMPTY_PATH | recursion,
            &raw const request,
            size_of::<libc::mount_attr>(),
        )
    };
    match result {
        -1 => Err(io::Error::last_os_error()),
        _ => Ok(()),
    }
}
