//! The one thing that is asked of a shared object: its name.
//!
//! Format: System V ABI, chapters 4 and 5; 64 bits, little endian. Only what leads to the name is read: the libraries of a
//! root are tens of megabytes.

use crate::tree::Tree;

/// Whether a file is a shared object, and its `DT_SONAME` if it has one.
pub(super) fn soname(tree: &dyn Tree, path: &[u8]) -> Option<Option<String>> {
    const SHARED: u16 = 3;
    let start = tree.piece(path, 0, HEADER)?;
    if !start.starts_with(b"\x7fELF\x02\x01") || u16_at(&start, 16)? != SHARED {
        return None;
    }
    let (size, count) = (usize::from(u16_at(&start, 54)?), usize::from(u16_at(&start, 56)?));
    let table = tree.piece(path, u64_at(&start, 32)?, size * count)?;
    let segments: Vec<Segment> = table.chunks_exact(size.max(1)).filter_map(Segment::of).collect();
    let dynamic = segments.iter().find(|segment| segment.kind == Segment::DYNAMIC)?;
    let entries = tree.piece(
        path,
        dynamic.offset,
        usize::try_from(dynamic.length).ok()?.min(LONGEST),
    )?;
    Some(name_at(&entries, &segments).and_then(|at| text_at(tree, path, at)))
}

/// The header of a file.
const HEADER: usize = 64;

/// Dynamic sections and names have a few hundred bytes; what says that it is longer than this is damaged.
const LONGEST: usize = 1 << 16;

/// What the loader maps.
struct Segment {
    kind: u32,
    offset: u64,
    address: u64,
    length: u64,
}

impl Segment {
    const LOAD: u32 = 1;
    const DYNAMIC: u32 = 2;

    fn of(header: &[u8]) -> Option<Self> {
        Some(Segment {
            kind: u32_at(header, 0)?,
            offset: u64_at(header, 8)?,
            address: u64_at(header, 16)?,
            length: u64_at(header, 32)?,
        })
    }

    /// Where in the file an address is that the loader would see.
    fn in_file(&self, address: u64) -> Option<u64> {
        let inside = address.checked_sub(self.address)?;
        (self.kind == Segment::LOAD && inside < self.length).then(|| self.offset.checked_add(inside))?
    }
}

/// Where in the file the name is.
fn name_at(dynamic: &[u8], segments: &[Segment]) -> Option<u64> {
    const STRINGS: u64 = 5;
    const NAME: u64 = 14;
    let value = |wanted: u64| {
        let entries = dynamic.chunks_exact(16);
        entries
            .filter(|entry| u64_at(entry, 0) == Some(wanted))
            .find_map(|entry| u64_at(entry, 8))
    };
    let (strings, name) = (value(STRINGS)?, value(NAME)?);
    let start = segments.iter().find_map(|segment| segment.in_file(strings))?;
    start.checked_add(name)
}

fn text_at(tree: &dyn Tree, path: &[u8], at: u64) -> Option<String> {
    // Most names are short, and most of what follows is other names.
    [256, LONGEST].into_iter().find_map(|length| {
        let piece = tree.piece(path, at, length)?;
        let end = piece.iter().position(|byte| *byte == 0)?;
        Some(String::from_utf8_lossy(&piece[..end]).into_owned())
    })
}

fn u16_at(file: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_le_bytes(
        file.get(at..at.checked_add(2)?)?.try_into().ok()?,
    ))
}

pub(super) fn u32_at(file: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(
        file.get(at..at.checked_add(4)?)?.try_into().ok()?,
    ))
}

fn u64_at(file: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_le_bytes(
        file.get(at..at.checked_add(8)?)?.try_into().ok()?,
    ))
}
