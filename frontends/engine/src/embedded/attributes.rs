//! Extended attributes of files, directories and links.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use crate::layer::{Marks, all_attribute_names};

/// The attributes of a file or of a link itself, sorted, without the notes of overlayfs.
pub(crate) fn attribute_names(path: &Path) -> Vec<Vec<u8>> {
    let notes = Marks::here().attribute("");
    let mut names = all_attribute_names(path);
    names.retain(|name| !name.starts_with(notes.as_bytes()));
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
