//! The merged tree as one archive.

use std::collections::BTreeMap;
use std::io::{self, Read, Write};
use std::os::unix::fs::FileExt;

use kcompose_core::tree;

use super::index::{Content, Index, Node, Special};
use crate::layer::{Header, Kind, LayerArchive};

/// Writes every entry but the root itself, sorted as layers are: names by bytes, a directory before what is in it.
pub(super) fn pack(index: &Index, writer: impl Write) -> io::Result<()> {
    let mut archive = LayerArchive::new(io::BufWriter::with_capacity(1 << 18, writer));
    let mut first_names: BTreeMap<u64, Vec<u8>> = BTreeMap::new();
    let mut entries: Vec<(&[u8], &Node)> = index.iter().filter(|(path, _)| *path != b"/").collect();
    // As strings, `a-b` comes before `a/c`; in a walk it comes after.
    entries.sort_by(|(one, _), (other, _)| one.split(is_slash).cmp(other.split(is_slash)));
    for (path, node) in entries {
        let mut header = header(path, node);
        if node.entry.kind != tree::Kind::Directory {
            match first_names.get(&node.inode) {
                Some(first) => header.link_to(first),
                None => drop(first_names.insert(node.inode, header.name.clone())),
            }
        }
        match &header.kind {
            Kind::File(size) => archive.add(&header, content(node, *size)?)?,
            Kind::HardLink(_)
            | Kind::SymbolicLink(_)
            | Kind::Character(..)
            | Kind::Block(..)
            | Kind::Directory
            | Kind::Pipe => archive.add(&header, io::empty())?,
        }
    }
    archive.finish()?.flush()
}

fn is_slash(byte: &u8) -> bool {
    *byte == b'/'
}

fn header(path: &[u8], node: &Node) -> Header {
    let mut name = path.strip_prefix(b"/").unwrap_or(path).to_vec();
    let kind = match (&node.entry.kind, node.special) {
        (tree::Kind::File(size), _) => Kind::File(*size),
        (tree::Kind::Directory, _) => Kind::Directory,
        (tree::Kind::Link(target), _) => Kind::SymbolicLink(target.clone()),
        (tree::Kind::Device | tree::Kind::Special, Some(Special::Character(major, minor))) => {
            Kind::Character(major, minor)
        }
        (tree::Kind::Device | tree::Kind::Special, Some(Special::Block(major, minor))) => {
            Kind::Block(major, minor)
        }
        (tree::Kind::Device | tree::Kind::Special, Some(Special::Pipe | Special::Socket) | None) => {
            Kind::Pipe
        }
    };
    if kind == Kind::Directory {
        name.push(b'/');
    }
    let capability = node
        .attributes
        .iter()
        .find(|(name, _)| name == "security.capability");
    Header {
        name,
        kind,
        mode: node.entry.mode,
        uid: node.entry.uid,
        gid: node.entry.gid,
        mtime: node.entry.mtime,
        capability: capability.map(|(_, value)| value.clone()),
        linked_device: (0, 0),
    }
}

fn content(node: &Node, size: u64) -> io::Result<Box<dyn Read + '_>> {
    match &node.content {
        None => Ok(Box::new(io::empty())),
        Some(Content::Path(path)) => Ok(Box::new(fs_err::File::open(path)?)),
        Some(Content::Piece { file, offset }) => Ok(Box::new(Piece {
            file,
            at: *offset,
            end: offset + size,
        })),
    }
}

/// A piece of a file, read without moving the file's own position.
struct Piece<'a> {
    file: &'a std::fs::File,
    at: u64,
    end: u64,
}

impl Read for Piece<'_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let left = usize::try_from(self.end - self.at).unwrap_or(usize::MAX);
        let wanted = into.len().min(left);
        let count = self.file.read_at(&mut into[..wanted], self.at)?;
        self.at += count as u64;
        Ok(count)
    }
}
