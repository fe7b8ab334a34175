//! Folders of a store. Reading may follow links, deleting never does.

use std::ffi::OsStr;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, Dir, Mode, OFlags, openat, unlinkat};
use rustix::io::Errno;

/// The treatment of links on the way to a folder of a store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Links {
    /// They are followed: for what is only read.
    Follow,
    /// They are an error: for what may be deleted, as a link leads anywhere.
    Refuse,
}

/// Returns the sorted paths of the entries of a folder below a root; none if there is no such folder.
pub fn entries(root: &Path, folder: &Path, links: Links) -> io::Result<Vec<PathBuf>> {
    let names = match Folder::open(root, folder, links)? {
        Some(open) => open.names()?,
        None => Vec::new(),
    };
    Ok(names
        .iter()
        .map(|name| root.join(folder).join(OsStr::from_bytes(name)))
        .collect())
}

/// An open folder of a store. Its entries are deleted by its descriptor, so that a link that takes the folder's place
/// meanwhile changes nothing.
#[derive(Debug)]
pub(crate) struct Folder(OwnedFd);

impl Folder {
    /// Opens a folder below a root; `None` if there is none.
    pub(crate) fn open(root: &Path, folder: &Path, links: Links) -> io::Result<Option<Self>> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let below = match links {
            Links::Follow => flags,
            Links::Refuse => flags | OFlags::NOFOLLOW,
        };
        let mut path = root.to_owned();
        let mut open = match openat(CWD, root, flags, Mode::empty()) {
            Err(Errno::NOENT) => return Ok(None),
            open => open?,
        };
        for part in folder {
            path.push(part);
            open = match openat(&open, part, below, Mode::empty()) {
                Err(Errno::NOENT) => return Ok(None),
                Err(Errno::NOTDIR | Errno::LOOP) if links == Links::Refuse && path.is_symlink() => {
                    return Err(is_link(&path));
                }
                open => open?,
            };
        }
        Ok(Some(Folder(open)))
    }

    /// The sorted names of the entries.
    pub(crate) fn names(&self) -> io::Result<Vec<Vec<u8>>> {
        let mut names = Vec::new();
        for entry in Dir::read_from(&self.0)? {
            let entry = entry?;
            let name = entry.file_name().to_bytes();
            if name != b"." && name != b".." {
                names.push(name.to_owned());
            }
        }
        names.sort();
        Ok(names)
    }

    /// Deletes a file or a link; one that is gone already is fine.
    pub(crate) fn remove(&self, name: &[u8]) -> io::Result<()> {
        match unlinkat(&self.0, name, AtFlags::empty()) {
            Err(Errno::NOENT) => Ok(()),
            removed => Ok(removed?),
        }
    }
}

/// Deletes a file of a store, if no folder on its way is a link.
pub(crate) fn remove(root: &Path, file: &Path) -> io::Result<()> {
    let folder = file.parent().unwrap_or(Path::new(""));
    let name = file.file_name().unwrap_or_default();
    match Folder::open(root, folder, Links::Refuse)? {
        Some(folder) => folder.remove(name.as_bytes()),
        None => Ok(()),
    }
}

fn is_link(path: &Path) -> io::Error {
    let reason = format!(
        "`{}` is a link, and nothing is deleted through a link",
        path.display()
    );
    io::Error::other(reason)
}
