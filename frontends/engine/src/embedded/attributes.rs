//! Extended attributes of files, directories and links.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use crate::layer::Marks;

/// The attributes of a file or of a link itself, sorted, without the notes of overlayfs.
pub(crate) fn attribute_names(path: &Path) -> Vec<Vec<u8>> {
    let mut buffer = vec![0; 1 << 16];
    let length = rustix::fs::llistxattr(path, buffer.as_mut_slice()).unwrap_or(0);
    let notes = Marks::here().attribute("");
    let mut names: Vec<Vec<u8>> = buffer[..length]
        .split(|byte| *byte == 0)
        .filter(|name| !name.is_empty() && !name.starts_with(notes.as_bytes()))
        .map(<[u8]>::to_vec)
        .collect();
    names.sort_unstable();
    names
}

/// The value of an attribute.
pub(crate) fn attribute(path: &Path, name: &[u8]) -> Option<Vec<u8>> {
    let name = OsStr::from_bytes(name);
    // The kernel's limit for a value.
    let mut buffer = vec![0; 1 << 16];
    let length = rustix::fs::lgetxattr(path, name, buffer.as_mut_slice()).ok()?;
    buffer.truncate(length);
    Some(buffer)
}
