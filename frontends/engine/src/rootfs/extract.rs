//! The merged tree to a folder.
//!
//! Every directory on the way was made here before anything is written into it, and the folder is new: no link of an
//! image can lead a write out of it.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::io::Write;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use fs_err as fs;
use kcompose_core::tree::Kind;
use rustix::fs::{AtFlags, CWD, FileType, Gid, Mode, Uid, XattrFlags};
use tokio_util::sync::CancellationToken;

use super::ImageError;
use super::index::{Content, Index, Node, Special};
use crate::background::{Stoppable, go_on};
use crate::times::set_time;

/// Writes the tree to a folder that does not exist yet; fails once the token is cancelled.
pub(super) fn extract(index: &Index, into: &Path, stop: &CancellationToken) -> Result<(), ImageError> {
    fs::create_dir_all(into).map_err(ImageError::io("make", into))?;
    let is_empty = into.read_dir().is_ok_and(|mut entries| entries.next().is_none());
    if !is_empty {
        return Err(ImageError::io("unpack into", into)(std::io::Error::other(
            "the folder is not empty",
        )));
    }
    let owners = rustix::process::geteuid().is_root();
    let mut first_names: BTreeMap<u64, PathBuf> = BTreeMap::new();
    for (path, node) in index.iter() {
        let at = place(into, path);
        go_on(stop).map_err(ImageError::io("write", &at))?;
        match first_names
            .get(&node.inode)
            .filter(|_| node.entry.kind != Kind::Directory)
        {
            Some(first) => fs::hard_link(first, &at).map_err(ImageError::io("link", &at))?,
            None => {
                if !make(&at, node, path == b"/", stop).map_err(ImageError::io("write", &at))? {
                    continue;
                }
                first_names.insert(node.inode, at.clone());
                if node.entry.kind != Kind::Directory {
                    dress(&at, node, owners).map_err(ImageError::io("set owner and mode of", &at))?;
                }
            }
        }
    }
    // Modes and times of directories come last: a directory may deny writing, and writing changes its time.
    for (path, node) in index
        .iter()
        .rev()
        .filter(|(_, node)| node.entry.kind == Kind::Directory)
    {
        let at = place(into, path);
        dress(&at, node, owners).map_err(ImageError::io("set owner and mode of", &at))?;
    }
    Ok(())
}

fn place(into: &Path, path: &[u8]) -> PathBuf {
    into.join(OsStr::from_bytes(path.strip_prefix(b"/").unwrap_or(path)))
}

/// Makes an entry; `false` for a device in a user namespace, where nobody can make one. A machine makes its own at boot.
fn make(at: &Path, node: &Node, is_root: bool, stop: &CancellationToken) -> std::io::Result<bool> {
    let device = matches!(node.special, Some(Special::Character(..) | Special::Block(..)));
    match make_entry(at, node, is_root, stop) {
        Err(error) if device && error.kind() == std::io::ErrorKind::PermissionDenied => Ok(false),
        result => result.map(|()| true),
    }
}

fn make_entry(at: &Path, node: &Node, is_root: bool, stop: &CancellationToken) -> std::io::Result<()> {
    match &node.entry.kind {
        Kind::Directory if is_root => Ok(()),
        Kind::Directory => std::fs::create_dir(at),
        Kind::Link(target) => std::os::unix::fs::symlink(OsStr::from_bytes(target), at),
        Kind::File(size) => write(at, node.content.as_ref(), *size, stop),
        Kind::Device | Kind::Special => make_special(at, node.special),
    }
}

fn write(at: &Path, content: Option<&Content>, size: u64, stop: &CancellationToken) -> std::io::Result<()> {
    let mut file = Stoppable::new(std::fs::File::create_new(at)?, stop);
    match content {
        None => Ok(()),
        Some(Content::Path(path)) => std::io::copy(&mut std::fs::File::open(path)?, &mut file).map(drop),
        Some(Content::Piece { file: source, offset }) => {
            let mut buffer = vec![0; usize::try_from(size.min(1 << 20)).unwrap_or(1 << 20)];
            let (mut at, end) = (*offset, offset + size);
            while at < end {
                let wanted = buffer.len().min(usize::try_from(end - at).unwrap_or(usize::MAX));
                source.read_exact_at(&mut buffer[..wanted], at)?;
                file.write_all(&buffer[..wanted])?;
                at += wanted as u64;
            }
            Ok(())
        }
    }
}

fn make_special(at: &Path, special: Option<Special>) -> std::io::Result<()> {
    let (kind, device) = match special {
        None | Some(Special::Pipe) => (FileType::Fifo, 0),
        Some(Special::Socket) => (FileType::Socket, 0),
        Some(Special::Character(major, minor)) => {
            (FileType::CharacterDevice, rustix::fs::makedev(major, minor))
        }
        Some(Special::Block(major, minor)) => (FileType::BlockDevice, rustix::fs::makedev(major, minor)),
    };
    Ok(rustix::fs::mknodat(
        CWD,
        at,
        kind,
        Mode::from_raw_mode(0o600),
        device,
    )?)
}

/// Gives an entry its owner, mode, attributes and time, in the order in which none undoes another.
fn dress(at: &Path, node: &Node, owners: bool) -> std::io::Result<()> {
    let entry = &node.entry;
    if owners {
        let owner = (Some(Uid::from_raw(entry.uid)), Some(Gid::from_raw(entry.gid)));
        rustix::fs::chownat(CWD, at, owner.0, owner.1, AtFlags::SYMLINK_NOFOLLOW)?;
    }
    if !matches!(entry.kind, Kind::Link(_)) {
        rustix::fs::chmodat(CWD, at, Mode::from_raw_mode(entry.mode), AtFlags::empty())?;
    }
    for (name, value) in &node.attributes {
        match rustix::fs::lsetxattr(at, name.as_str(), value, XattrFlags::empty()) {
            Ok(()) => {}
            // Without root only one's own may be set; and a file system may have none.
            Err(rustix::io::Errno::PERM | rustix::io::Errno::NOTSUP)
                if !owners || !name.starts_with("security.") => {}
            Err(error) => return Err(error.into()),
        }
    }
    set_time(at, (entry.mtime, node.nanoseconds.into()))
}
