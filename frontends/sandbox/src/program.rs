//! The launcher as a file in memory.

use std::io::{self, Write};
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::PathBuf;
use std::sync::OnceLock;

use rustix::fs::{MemfdFlags, SealFlags, fcntl_add_seals, memfd_create};
use rustix::io::Errno;

/// The program itself.
pub(crate) const PROGRAM: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/kcompose-launcher"));

/// A path that starts the launcher, for children of this process.
pub(crate) fn path() -> io::Result<PathBuf> {
    static FILE: OnceLock<OwnedFd> = OnceLock::new();
    let file = match FILE.get() {
        Some(file) => file,
        None => {
            let made = file()?;
            FILE.get_or_init(|| made)
        }
    };
    Ok(format!("/proc/self/fd/{}", file.as_raw_fd()).into())
}

/// Sealed, so that a step which gets hold of it can't change what later steps start with (CVE-2019-5736).
fn file() -> io::Result<OwnedFd> {
    let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
    let file = match memfd_create("kcompose-launcher", flags | MemfdFlags::EXEC) {
        // Before Linux 6.3 there is no such flag, and every file in memory can be run.
        Err(Errno::INVAL) => memfd_create("kcompose-launcher", flags)?,
        result => result?,
    };
    let mut file = std::fs::File::from(file);
    file.write_all(PROGRAM)?;
    let file = OwnedFd::from(file);
    fcntl_add_seals(
        &file,
        SealFlags::SEAL | SealFlags::SHRINK | SealFlags::GROW | SealFlags::WRITE,
    )?;
    Ok(file)
}
