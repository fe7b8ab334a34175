//! A directory of this machine as a [`Tree`].

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fs::Metadata;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use kcompose_core::tree::{Entry, Kind, Tree};

use crate::fs;
use crate::problem::Outcome;
use crate::walk;

/// The tree below a directory.
#[derive(Debug)]
pub(crate) struct RootTree {
    root: PathBuf,
    mounts: Vec<PathBuf>,
    /// What is in it, if that was looked at beforehand.
    known: Option<Known>,
}

/// What is in each directory, by name: checks ask for some paths a thousand times.
#[derive(Debug, Default)]
struct Known {
    root: Option<Entry>,
    directories: BTreeMap<Vec<u8>, Vec<(Vec<u8>, Entry)>>,
}

impl RootTree {
    /// The tree whose `/` is this directory.
    pub(crate) fn new(root: &Path) -> Self {
        RootTree {
            root: root.to_owned(),
            mounts: Vec::new(),
            known: None,
        }
    }

    /// The same without what is mounted in it, such as `/proc` and the files that the builder binds: an empty directory,
    /// or a file that cannot be read, stands for a mount. It is read now, but for the contents of files.
    pub(crate) fn without_mounts(root: &Path) -> Outcome<Self> {
        Self::while_visiting(root, &|_, found| Ok(found.mtime()))
    }

    /// The same, while something is done at each path that says which time it has then.
    pub(crate) fn while_visiting(
        root: &Path,
        visit: &(dyn Fn(&Path, &Metadata) -> Outcome<i64> + Sync),
    ) -> Outcome<Self> {
        let mut tree = RootTree {
            root: root.to_owned(),
            mounts: walk::mounts_below(root)?,
            known: None,
        };
        let mut found = walk::everywhere(root, &|path, metadata| {
            let mtime = visit(path, metadata)?;
            Ok(entry_of(path, metadata).map(|entry| (tree.path(path), Entry { mtime, ..entry })))
        })?;
        // The walk leaves mounts out.
        let is_own = |mount: &&PathBuf| mount.parent().is_some_and(|above| !tree.is_mounted(above));
        for mount in tree.mounts.iter().filter(is_own) {
            let entry = mount.symlink_metadata().ok();
            found.extend(entry.and_then(|entry| Some((tree.path(mount), entry_of(mount, &entry)?))));
        }
        tree.known = Some(Known::of(found));
        Ok(tree)
    }

    /// Looks again at paths that were written or deleted since.
    pub(crate) fn look_again(&mut self, paths: &[&str]) {
        for path in paths.iter().map(|path| path.as_bytes()) {
            let at = self.at(path);
            let entry = at.symlink_metadata().ok().and_then(|found| entry_of(&at, &found));
            if let Some(known) = &mut self.known {
                known.put(path, entry);
            }
        }
    }

    fn is_mounted(&self, path: &Path) -> bool {
        self.mounts.iter().any(|mount| path.starts_with(mount))
    }

    /// The path in the tree.
    fn path(&self, at: &Path) -> Vec<u8> {
        let below = at.strip_prefix(&self.root).unwrap_or(at);
        [b"/", below.as_os_str().as_bytes()].concat()
    }

    fn at(&self, path: &[u8]) -> PathBuf {
        self.root.join(fs::relative(path))
    }
}

/// A path as that of the directory above and a name; `None` for the root.
fn divided(path: &[u8]) -> Option<(&[u8], &[u8])> {
    let at = path.iter().rposition(|byte| *byte == b'/')?;
    (path != b"/").then(|| (&path[..at.max(1)], &path[at + 1..]))
}

impl Known {
    fn entry(&self, path: &[u8]) -> Option<&Entry> {
        let Some((above, name)) = divided(path) else {
            return self.root.as_ref();
        };
        let directory = self.directories.get(above)?;
        let at = position(directory, name).ok()?;
        Some(&directory[at].1)
    }

    fn names(&self, path: &[u8]) -> Vec<Vec<u8>> {
        let directory = self.directories.get(path);
        directory.map_or_else(Vec::new, |found| {
            found.iter().map(|(name, _)| name.clone()).collect()
        })
    }

    fn put(&mut self, path: &[u8], entry: Option<Entry>) {
        let Some((above, name)) = divided(path) else {
            self.root = entry;
            return;
        };
        let directory = self.directories.entry(above.to_vec()).or_default();
        match (position(directory, name), entry) {
            (Ok(at), Some(entry)) => directory[at].1 = entry,
            (Ok(at), None) => drop(directory.remove(at)),
            (Err(at), Some(entry)) => directory.insert(at, (name.to_vec(), entry)),
            (Err(_), None) => {}
        }
    }

    fn of(found: Vec<(Vec<u8>, Entry)>) -> Self {
        let mut known = Known::default();
        let mut found = found.into_iter().peekable();
        while let Some((path, entry)) = found.next() {
            let Some((above, name)) = divided(&path) else {
                known.root = Some(entry);
                continue;
            };
            // Whoever walks finds what is in a directory one after the other.
            let mut together = vec![(name.to_vec(), entry)];
            let is_beside = |next: &(Vec<u8>, Entry)| divided(&next.0).is_some_and(|next| next.0 == above);
            while let Some((path, entry)) = found.next_if(is_beside) {
                together.extend(divided(&path).map(|(_, name)| (name.to_vec(), entry)));
            }
            known
                .directories
                .entry(above.to_vec())
                .or_default()
                .append(&mut together);
        }
        for directory in known.directories.values_mut() {
            directory.sort_unstable_by(|one, other| one.0.cmp(&other.0));
        }
        known
    }
}

/// Where a name is in a sorted directory, or would be.
fn position(directory: &[(Vec<u8>, Entry)], name: &[u8]) -> Result<usize, usize> {
    directory.binary_search_by(|(known, _)| known.as_slice().cmp(name))
}

fn entry_of(at: &Path, found: &Metadata) -> Option<Entry> {
    let kind = found.file_type();
    let kind = if kind.is_dir() {
        Kind::Directory
    } else if kind.is_symlink() {
        Kind::Link(std::fs::read_link(at).ok()?.as_os_str().as_bytes().to_vec())
    } else if kind.is_block_device() || kind.is_char_device() {
        Kind::Device
    } else if kind.is_fifo() || kind.is_socket() {
        Kind::Special
    } else {
        Kind::File(found.len())
    };
    let fs::Meta { mode, uid, gid, .. } = fs::meta_of(found);
    Some(Entry {
        kind,
        mode,
        uid,
        gid,
        mtime: found.mtime(),
    })
}

impl Tree for RootTree {
    fn entry(&self, path: &[u8]) -> Option<Entry> {
        if let Some(known) = &self.known {
            return known.entry(path).cloned();
        }
        let at = self.at(path);
        // The root itself may be reached through a link of the machine.
        let found = if path == b"/" {
            at.metadata()
        } else {
            at.symlink_metadata()
        };
        entry_of(&at, &found.ok()?)
    }

    fn piece(&self, path: &[u8], from: u64, length: usize) -> Option<Cow<'_, [u8]>> {
        let at = self.at(path);
        if self.mounts.contains(&at) {
            return None;
        }
        let found = at.symlink_metadata().ok().filter(Metadata::is_file)?;
        let mut piece = vec![0; length.min(usize::try_from(found.len().saturating_sub(from)).ok()?)];
        let file = std::fs::File::open(&at).ok()?;
        file.read_exact_at(&mut piece, from).ok()?;
        Some(Cow::Owned(piece))
    }

    fn names(&self, path: &[u8]) -> Vec<Vec<u8>> {
        if let Some(known) = &self.known {
            return known.names(path);
        }
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

    fn attribute(&self, path: &[u8], name: &str) -> Option<Vec<u8>> {
        let at = self.at(path);
        // Nearly every file has none, which the question for the size says at no cost.
        let size = rustix::fs::lgetxattr(&at, name, &mut [0; 0]).ok()?;
        let mut value = vec![0; size];
        let length = rustix::fs::lgetxattr(&at, name, &mut value).ok()?;
        value.truncate(length);
        Some(value)
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
        check(&RootTree::new(root.path()));
        check(&RootTree::without_mounts(root.path()).unwrap());
    }

    #[test]
    fn what_changed_is_looked_at_again() {
        let root = tempfile::tempdir().unwrap();
        std::fs::create_dir(root.path().join("d")).unwrap();
        std::fs::write(root.path().join("gone"), "").unwrap();
        let mut tree = RootTree::while_visiting(root.path(), &|_, _| Ok(7)).unwrap();
        assert_eq!(tree.entry(b"/gone").unwrap().mtime, 7);
        std::fs::remove_file(root.path().join("gone")).unwrap();
        std::fs::write(root.path().join("d/new"), "abc").unwrap();
        tree.look_again(&["/gone", "/d/new", "/d/never"]);
        assert_eq!(tree.names(b"/"), [b"d".to_vec()]);
        assert_eq!(tree.names(b"/d"), [b"new".to_vec()]);
        assert_eq!(tree.entry(b"/d/new").unwrap().kind, Kind::File(3));
        assert_eq!(tree.entry(b"/gone"), None);
    }

    fn check(tree: &RootTree) {
        assert_eq!(tree.names(b"/"), [b"d".to_vec(), b"l".to_vec()]);
        assert!(tree.names(b"/l").is_empty(), "a link is not followed");
        assert_eq!(tree.entry(b"/d/f").unwrap().kind, Kind::File(3));
        assert_eq!(tree.entry(b"/l").unwrap().kind, Kind::Link(b"d".to_vec()));
        assert_eq!(tree.content(b"/d/f").as_deref(), Some(&b"abc"[..]));
        assert!(tree.content(b"/l").is_none() && tree.entry(b"/no").is_none());
        assert_eq!(tree.piece(b"/d/f", 1, 9).as_deref(), Some(&b"bc"[..]));
        assert_eq!(tree.piece(b"/d/f", 9, 9).as_deref(), Some(&b""[..]));
        assert!(tree.piece(b"/d", 0, 1).is_none() && tree.piece(b"/l", 0, 1).is_none());
    }
}
