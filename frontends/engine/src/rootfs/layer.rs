//! One layer: an archive, unpacked to where its pieces can be read, and the list of what is in it.

use std::fs::File;
use std::io::{self, BufReader, Read, Seek, SeekFrom};
use std::os::unix::fs::FileExt;

use super::budget::Budget;
use super::index::{Node, Special};
use crate::digest::{self, HashWriter};
use kcompose_core::archive::Archive;
use kcompose_core::tree::{Entry, Kind};

/// A layer that can be put over others.
#[derive(Debug)]
pub(super) struct Layer {
    /// The file in which the contents are.
    pub(super) file: File,
    /// The digest of the unpacked archive.
    pub(super) diff_id: String,
    pub(super) items: Vec<Item>,
}

/// One entry of a layer.
#[derive(Debug)]
pub(super) struct Item {
    /// Absolute and normalised.
    pub(super) path: Vec<u8>,
    pub(super) kind: ItemKind,
}

/// What an entry of a layer says.
#[derive(Debug)]
pub(super) enum ItemKind {
    /// What lower layers have at the path is gone.
    Whiteout,
    /// What lower layers have in the directory is gone.
    Opaque,
    /// The path is another name of this one.
    HardLink(Vec<u8>),
    /// The path is this, with its content at an offset.
    Node(Box<Node>, Option<u64>),
}

/// Reads a layer that is compressed in any way, or not at all, from a piece of a file.
pub(super) fn read(file: File, offset: u64, size: u64, budget: &Budget) -> io::Result<Layer> {
    let mut magic = [0; 6];
    let known = usize::try_from(size.min(6)).unwrap_or(6);
    file.read_exact_at(&mut magic[..known], offset)?;
    let piece = || Piece {
        file: &file,
        start: offset,
        at: offset,
        end: offset + size,
    };
    if !is_compressed(&magic) {
        let diff_id = digest::sha256_of(BufReader::with_capacity(1 << 20, piece()))?;
        let items = items(piece(), budget)?;
        return Ok(Layer { file, diff_id, items });
    }
    let mut unpacked = HashWriter::new(budget.file(size)?);
    io::copy(&mut decoder(&magic, piece())?, &mut unpacked)?;
    let (file, diff_id, end) = unpacked.finish();
    let file = file.into_inner();
    let unpacked = Piece {
        file: &file,
        start: 0,
        at: 0,
        end,
    };
    let items = items(unpacked, budget)?;
    Ok(Layer { file, diff_id, items })
}

/// Whether a file begins like gzip, zstd or xz.
pub(super) fn is_compressed(magic: &[u8; 6]) -> bool {
    magic.starts_with(&GZIP) || magic.starts_with(&ZSTD) || magic == XZ
}

const GZIP: [u8; 2] = [0x1f, 0x8b];
const ZSTD: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];
const XZ: &[u8; 6] = b"\xfd7zXZ\0";

/// A reader of what a compressed reader holds.
pub(super) fn decoder<'a>(magic: &[u8; 6], reader: impl Read + 'a) -> io::Result<Box<dyn Read + 'a>> {
    let reader = BufReader::with_capacity(1 << 20, reader);
    if magic.starts_with(&GZIP) {
        return Ok(Box::new(flate2::bufread::MultiGzDecoder::new(reader)));
    }
    if magic.starts_with(&ZSTD) {
        return Ok(Box::new(zstd::stream::read::Decoder::with_buffer(reader)?));
    }
    Err(io::Error::other(
        "it is compressed with xz, which images never are",
    ))
}

fn items(archive: Piece<'_>, budget: &Budget) -> io::Result<Vec<Item>> {
    let (base, end) = (archive.start, archive.end);
    let mut archive = Archive::new(BufReader::with_capacity(64 << 10, archive), &budget.allowance);
    let mut items = Vec::new();
    for entry in archive.members()? {
        let mut entry = entry?;
        let content_end = (base + entry.raw_file_position()).checked_add(entry.size());
        if content_end.is_none_or(|content_end| content_end > end) {
            return Err(io::Error::other("an archive is cut off"));
        }
        if let Some(item) = item(&mut entry, base)? {
            budget.allowance.name(item.attributes_size())?;
            items.push(item);
        }
    }
    Ok(items)
}

impl Item {
    fn attributes_size(&self) -> usize {
        let ItemKind::Node(node, _) = &self.kind else {
            return 0;
        };
        let sizes = node
            .attributes
            .iter()
            .map(|(name, value)| name.len() + value.len());
        sizes.sum()
    }
}

fn item<R: Read>(entry: &mut tar::Entry<'_, R>, base: u64) -> io::Result<Option<Item>> {
    let kind = entry.header().entry_type();
    if matches!(kind, tar::EntryType::XGlobalHeader) {
        return Ok(None);
    }
    let path = normal(&entry.path_bytes())?;
    let cut = path.iter().rposition(|byte| *byte == b'/').unwrap_or(0);
    if let Some(hidden) = path[cut..].strip_prefix(b"/.wh.") {
        return Ok(whiteout(&path[..cut], hidden));
    }
    if kind.is_hard_link() {
        let target = entry
            .link_name_bytes()
            .ok_or_else(|| io::Error::other("a hard link without a target"))?;
        return Ok(Some(Item {
            path,
            kind: ItemKind::HardLink(normal(&target)?),
        }));
    }
    let offset = kind.is_file().then(|| base + entry.raw_file_position());
    let node = node(entry, kind)?;
    Ok(Some(Item {
        path,
        kind: ItemKind::Node(Box::new(node), offset),
    }))
}

/// `.wh.NAME` hides a name, `.wh..wh..opq` all of them; other names that begin so are bookkeeping of aufs.
fn whiteout(above: &[u8], hidden: &[u8]) -> Option<Item> {
    if hidden == b".wh..opq" {
        let path = if above.is_empty() {
            b"/".to_vec()
        } else {
            above.to_vec()
        };
        return Some(Item {
            path,
            kind: ItemKind::Opaque,
        });
    }
    if hidden.starts_with(b".wh.") || hidden.is_empty() {
        return None;
    }
    Some(Item {
        path: [above, b"/", hidden].concat(),
        kind: ItemKind::Whiteout,
    })
}

fn node<R: Read>(entry: &mut tar::Entry<'_, R>, kind: tar::EntryType) -> io::Result<Node> {
    use tar::EntryType as Type;

    let header = entry.header().clone();
    let device = || {
        (
            header.device_major().ok().flatten().unwrap_or(0),
            header.device_minor().ok().flatten().unwrap_or(0),
        )
    };
    let (found, special) = match kind {
        Type::Regular | Type::Continuous => (Kind::File(entry.size()), None),
        Type::Directory => (Kind::Directory, None),
        Type::Symlink => (
            Kind::Link(entry.link_name_bytes().unwrap_or_default().into_owned()),
            None,
        ),
        Type::Fifo => (Kind::Special, Some(Special::Pipe)),
        Type::Char => (Kind::Device, Some(Special::Character(device().0, device().1))),
        Type::Block => (Kind::Device, Some(Special::Block(device().0, device().1))),
        other => {
            return Err(io::Error::other(format!(
                "an entry of the kind {other:?}, which layers have not"
            )));
        }
    };
    let extensions = extensions(entry)?;
    // Some writers leave fields empty that say nothing.
    let (mtime, nanoseconds) = extensions
        .time
        .unwrap_or((i64::try_from(header.mtime().unwrap_or(0)).unwrap_or(0), 0));
    let number = |value: u64| u32::try_from(value).unwrap_or(u32::MAX);
    let entry = Entry {
        kind: found,
        mode: header.mode()? & 0o7777,
        uid: extensions.uid.unwrap_or(number(header.uid().unwrap_or(0))),
        gid: extensions.gid.unwrap_or(number(header.gid().unwrap_or(0))),
        mtime,
    };
    Ok(Node {
        entry,
        content: None,
        attributes: extensions.attributes,
        special,
        nanoseconds,
        inode: 0,
    })
}

/// What extended headers say beside the path and the size, which the archive's reader knows.
#[derive(Default)]
struct Extensions {
    attributes: Vec<(String, Vec<u8>)>,
    time: Option<(i64, u32)>,
    uid: Option<u32>,
    gid: Option<u32>,
}

fn extensions<R: Read>(entry: &mut tar::Entry<'_, R>) -> io::Result<Extensions> {
    let mut found = Extensions::default();
    let Some(records) = entry.pax_extensions()? else {
        return Ok(found);
    };
    for record in records {
        let record = record?;
        let Ok(key) = record.key() else { continue };
        let text = || record.value().unwrap_or_default();
        match key {
            "mtime" => found.time = time(text()),
            "uid" => found.uid = text().parse().ok(),
            "gid" => found.gid = text().parse().ok(),
            key => {
                if let Some(name) = key.strip_prefix("SCHILY.xattr.") {
                    found
                        .attributes
                        .push((name.to_owned(), record.value_bytes().to_vec()));
                }
            }
        }
    }
    Ok(found)
}

/// Seconds with a fraction.
fn time(text: &str) -> Option<(i64, u32)> {
    let (seconds, fraction) = text.split_once('.').unwrap_or((text, ""));
    let digits: String = fraction.chars().chain(std::iter::repeat('0')).take(9).collect();
    Some((seconds.parse().ok()?, digits.parse().ok()?))
}

/// A path of an archive as an absolute one; one that leaves the root is refused.
fn normal(path: &[u8]) -> io::Result<Vec<u8>> {
    let mut normal = Vec::with_capacity(path.len() + 1);
    for name in path
        .split(|byte| *byte == b'/')
        .filter(|name| !name.is_empty() && *name != b".")
    {
        if name == b".." {
            return Err(io::Error::other(format!(
                "the path `{}` leaves the root",
                String::from_utf8_lossy(path)
            )));
        }
        normal.push(b'/');
        normal.extend_from_slice(name);
    }
    Ok(if normal.is_empty() { b"/".to_vec() } else { normal })
}

/// A piece of a file, read without moving the file's own position: several layers share one archive.
struct Piece<'a> {
    file: &'a File,
    start: u64,
    at: u64,
    end: u64,
}

impl Read for Piece<'_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let left = usize::try_from(self.end.saturating_sub(self.at)).unwrap_or(usize::MAX);
        let wanted = into.len().min(left);
        let count = self.file.read_at(&mut into[..wanted], self.at)?;
        self.at += count as u64;
        Ok(count)
    }
}

impl Seek for Piece<'_> {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        // The reader of archives only skips forward.
        if let SeekFrom::Current(distance) = to {
            self.at = self
                .at
                .checked_add_signed(distance)
                .ok_or_else(|| io::Error::other("a seek before the start"))?;
        }
        Ok(self.at - self.start)
    }
}
