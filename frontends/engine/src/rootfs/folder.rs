//! A root tree that is a folder of this machine.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::{FileExt, FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use kcompose_core::tree::{Entry, Kind, Tree};

use super::ImageError;
use super::index::{Content, Index, Node, Special};
use crate::digest;

/// A folder that is somebody's `/`.
#[derive(Debug)]
pub(super) struct Folder {
    path: PathBuf,
}

impl Folder {
    pub(super) fn new(path: &Path) -> Result<Self, ImageError> {
        let path = path.canonicalize().map_err(ImageError::io("read", path))?;
        Ok(Folder { path })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// An id of the content: a digest over what every entry is, its size and its time. No content is read for it.
    pub(super) fn id(&self) -> Result<String, ImageError> {
        let mut text = String::new();
        for (path, node) in self.index()?.iter() {
            let Entry {
                kind,
                mode,
                uid,
                gid,
                mtime,
            } = &node.entry;
            let _ = writeln!(
                text,
                "{path:?} {kind:?} {mode} {uid} {gid} {mtime} {}",
                node.nanoseconds
            );
        }
        Ok(digest::sha256(text.as_bytes()))
    }

    /// All that is in it.
    pub(super) fn index(&self) -> Result<Index, ImageError> {
        let mut index = Index::new();
        let mut inodes = BTreeMap::new();
        let mut folders = vec![b"/".to_vec()];
        while let Some(folder) = folders.pop() {
            for name in self.names(&folder) {
                let path = if folder == b"/" {
                    [b"/", name.as_slice()].concat()
                } else {
                    [&folder, b"/".as_slice(), &name].concat()
                };
                let node = self.node(&path, &mut inodes)?;
                if node.entry.kind == Kind::Directory {
                    folders.push(path.clone());
                }
                index.insert(path, node);
            }
        }
        Ok(index)
    }

    fn node(&self, path: &[u8], inodes: &mut BTreeMap<(u64, u64), u64>) -> Result<Node, ImageError> {
        let at = self.at(path);
        let metadata = at.symlink_metadata().map_err(ImageError::io("read", &at))?;
        let next = inodes.len() as u64 + 1;
        let inode = *inodes.entry((metadata.dev(), metadata.ino())).or_insert(next);
        let entry = entry_of(&at, &metadata).ok_or_else(|| {
            ImageError::io("read", &at)(std::io::Error::other("a symbolic link changed while it was read"))
        })?;
        Ok(Node {
            content: matches!(entry.kind, Kind::File(_)).then(|| Content::Path(at.clone())),
            special: special(&metadata),
            entry,
            attributes: attributes(&at),
            nanoseconds: u32::try_from(metadata.mtime_nsec()).unwrap_or(0),
            inode,
        })
    }

    fn at(&self, path: &[u8]) -> PathBuf {
        self.path.join(std::ffi::OsStr::from_bytes(
            path.strip_prefix(b"/").unwrap_or(path),
        ))
    }

    /// Whether every directory on the way is one, so that no link of the tree leads out of it.
    fn is_inside(&self, path: &[u8]) -> bool {
        let cuts = path
            .iter()
            .enumerate()
            .skip(1)
            .filter(|(_, byte)| **byte == b'/')
            .map(|(cut, _)| cut);
        cuts.map(|cut| self.at(&path[..cut]))
            .all(|above| above.symlink_metadata().is_ok_and(|found| found.is_dir()))
    }
}

impl Tree for Folder {
    fn entry(&self, path: &[u8]) -> Option<Entry> {
        let at = self.at(path);
        self.is_inside(path)
            .then(|| entry_of(&at, &at.symlink_metadata().ok()?))?
    }

    fn piece(&self, path: &[u8], from: u64, length: usize) -> Option<Cow<'_, [u8]>> {
        let Kind::File(size) = self.entry(path)?.kind else {
            return None;
        };
        let mut piece = vec![0; length.min(usize::try_from(size.saturating_sub(from)).ok()?)];
        let file = std::fs::File::open(self.at(path)).ok()?;
        file.read_exact_at(&mut piece, from).ok()?;
        Some(Cow::Owned(piece))
    }

    fn names(&self, path: &[u8]) -> Vec<Vec<u8>> {
        let at = self.at(path);
        if !self.is_inside(path) || !at.symlink_metadata().is_ok_and(|found| found.is_dir()) {
            return Vec::new();
        }
        let entries = at.read_dir().into_iter().flatten().flatten();
        let mut names: Vec<Vec<u8>> = entries.map(|entry| entry.file_name().into_vec()).collect();
        names.sort_unstable();
        names
    }

    fn attribute(&self, path: &[u8], name: &str) -> Option<Vec<u8>> {
        if !self.is_inside(path) {
            return None;
        }
        let at = self.at(path);
        // Nearly every file has none, which the question for the size says at no cost.
        let size = rustix::fs::lgetxattr(&at, name, &mut [0; 0]).ok()?;
        let mut value = vec![0; size];
        let length = rustix::fs::lgetxattr(&at, name, &mut value).ok()?;
        value.truncate(length);
        Some(value)
    }
}

fn entry_of(at: &Path, metadata: &std::fs::Metadata) -> Option<Entry> {
    let kind = metadata.file_type();
    let kind = if kind.is_dir() {
        Kind::Directory
    } else if kind.is_symlink() {
        Kind::Link(at.read_link().ok()?.into_os_string().into_vec())
    } else if kind.is_file() {
        Kind::File(metadata.len())
    } else if kind.is_char_device() || kind.is_block_device() {
        Kind::Device
    } else {
        Kind::Special
    };
    let (mode, mtime) = (metadata.mode() & 0o7777, metadata.mtime());
    Some(Entry {
        kind,
        mode,
        uid: metadata.uid(),
        gid: metadata.gid(),
        mtime,
    })
}

fn special(metadata: &std::fs::Metadata) -> Option<Special> {
    let kind = metadata.file_type();
    let device = (
        rustix::fs::major(metadata.rdev()),
        rustix::fs::minor(metadata.rdev()),
    );
    if kind.is_fifo() {
        Some(Special::Pipe)
    } else if kind.is_socket() {
        Some(Special::Socket)
    } else if kind.is_char_device() {
        Some(Special::Character(device.0, device.1))
    } else if kind.is_block_device() {
        Some(Special::Block(device.0, device.1))
    } else {
        None
    }
}

/// Extended attributes; a file system that has none gives none.
fn attributes(at: &Path) -> Vec<(String, Vec<u8>)> {
    let mut names = [0; 4096];
    let length = rustix::fs::llistxattr(at, &mut names).unwrap_or(0);
    let names = names[..length]
        .split(|byte| *byte == 0)
        .filter(|name| !name.is_empty());
    names
        .filter_map(|name| {
            let mut value = [0; 65536];
            let length = rustix::fs::lgetxattr(at, name, &mut value).ok()?;
            Some((
                String::from_utf8_lossy(name).into_owned(),
                value[..length].to_vec(),
            ))
        })
        .collect()
}
