//! A directory of this machine as a [`Tree`].

use std::borrow::Cow;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use kcompose_core::tree::{Entry, Kind, Tree};

use crate::fs;
use crate::problem::Outcome;
use crate::walk;

/// The tree below a directory.
#[derive(Clone, Debug)]
pub(crate) struct RootTree {
    root: PathBuf,
    mounts: Vec<PathBuf>,
}

impl RootTree {
    /// The tree whose `/` is this directory.
    pub(crate) fn new(root: &Path) -> Self {
        RootTree {
            root: root.to_owned(),
            mounts: Vec::new(),
        }
    }

    /// The same without what is mounted in it, such as `/proc` and the files that the builder binds: an empty directory,
    /// or a file that cannot be read, stands for a mount.
    pub(crate) fn without_mounts(root: &Path) -> Outcome<Self> {
        Ok(RootTree {
            root: root.to_owned(),
            mounts: walk::mounts_below(root)?,
        })
    }

    fn at(&self, path: &[u8]) -> PathBuf {
        self.root.join(fs::relative(path))
    }
}

impl Tree for RootTree {
    fn entry(&self, path: &[u8]) -> Option<Entry> {
        let at = self.at(path);
        // The root itself may be reached through a link of the machine.
        let found = if path == b"/" {
            at.metadata()
        } else {
            at.symlink_metadata()
        }
        .ok()?;
        let kind = found.file_type();
        let kind = if kind.is_dir() {
            Kind::Directory
        } else if kind.is_symlink() {
            Kind::Link(std::fs::read_link(&at).ok()?.as_os_str().as_bytes().to_vec())
        } else if kind.is_block_device() || kind.is_char_device() || kind.is_fifo() || kind.is_socket() {
            Kind::Special
        } else {
            Kind::File(found.len())
        };
        let fs::Meta { mode, uid, gid, .. } = fs::meta_of(&found);
        Some(Entry {
            kind,
            mode,
            uid,
            gid,
            mtime: found.mtime(),
        })
    }

    fn content(&self, path: &[u8]) -> Option<Cow<'_, [u8]>> {
        let at = self.at(path);
        if self.mounts.contains(&at) {
            return None;
        }
        let found = at.symlink_metadata().ok()?;
        found.is_file().then(|| std::fs::read(&at).ok())?.map(Cow::Owned)
    }

    fn names(&self, path: &[u8]) -> Vec<Vec<u8>> {
        let at = self.at(path);
        if self.mounts.contains(&at) {
            return Vec::new();
        }
        if path != b"/" && !at.symlink_metadata().is_ok_and(|found| found.is_dir()) {
            return Vec::new();
        }
        fs::names(&at)
            .into_iter()
            .map(|name| name.as_bytes().to_vec())
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_shows_what_is_in_it() {
        let root = tempfile::tempdir().unwrap();
        std::fs::create_dir(root.path().join("d")).unwrap();
        std::fs::write(root.path().join("d/f"), "abc").unwrap();
        std::os::unix::fs::symlink("d", root.path().join("l")).unwrap();
        let tree = RootTree::new(root.path());
        assert_eq!(tree.names(b"/"), [b"d".to_vec(), b"l".to_vec()]);
        assert!(tree.names(b"/l").is_empty(), "a link is not followed");
        assert_eq!(tree.entry(b"/d/f").unwrap().kind, Kind::File(3));
        assert_eq!(tree.entry(b"/l").unwrap().kind, Kind::Link(b"d".to_vec()));
        assert_eq!(tree.content(b"/d/f").as_deref(), Some(&b"abc"[..]));
        assert!(tree.content(b"/l").is_none() && tree.entry(b"/no").is_none());
    }
}
