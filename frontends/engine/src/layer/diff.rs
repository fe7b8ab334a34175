//! What a step changed, as a layer.
//!
//! The rules are those of BuildKit's differ for overlayfs (`util/overlay` there) and of containerd's writer of changes
//! (`pkg/archive`): a layer's digest depends on what is left out as much as on what is in.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::{OsStr, OsString};
use std::fs::{File, Metadata};
use std::io::{self, BufReader, Read, Write};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use super::overlay::{Found, Marks, Stack, attribute, is_opaque, is_redirected, is_whiteout, metadata_of};
use super::{Header, Kind, LayerArchive, LayerError};

/// Writes what the upper directory of an overlay changes in what is below, as BuildKit would.
///
/// `lower` are the layers below, the top one first; none if there was nothing. Gives back what was written to.
pub fn diff<W: Write>(upper: &Path, lower: &[PathBuf], writer: W) -> Result<W, LayerError> {
    let mut layer = Layer::new(upper, writer);
    layer.changes(&Name::default(), upper, &Stack::new(lower))?;
    layer.archive.finish().map_err(LayerError::Write)
}

/// Writes a tree as one layer. Gives back what was written to.
pub fn whole<W: Write>(tree: &Path, writer: W) -> Result<W, LayerError> {
    diff(tree, &[], writer)
}

/// A path from the root without a slash before or behind it.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
struct Name(Vec<u8>);

impl Name {
    fn join(&self, name: &OsStr) -> Name {
        if self.0.is_empty() {
            return Name(name.as_bytes().to_vec());
        }
        Name([&self.0, b"/".as_slice(), name.as_bytes()].concat())
    }

    /// The directory that it is in, unless that is the root.
    fn parent(&self) -> Option<Name> {
        let slash = self.0.iter().rposition(|byte| *byte == b'/')?;
        Some(Name(self.0[..slash].to_vec()))
    }

    /// The name of the entry that says that this one is deleted.
    fn whiteout(&self) -> Vec<u8> {
        let start = self
            .0
            .iter()
            .rposition(|byte| *byte == b'/')
            .map_or(0, |at| at + 1);
        [&self.0[..start], b".wh.", &self.0[start..]].concat()
    }
}

struct Layer<'a, W: Write> {
    archive: LayerArchive<W>,
    upper: &'a Path,
    marks: Marks,
    /// Directories that are in the layer already.
    directories: BTreeSet<Name>,
    /// The first name of each file that has several.
    first_names: BTreeMap<u64, Vec<u8>>,
    /// Names of unchanged files, which go in as soon as another name of the same file is a change.
    held_back: BTreeMap<u64, Vec<Name>>,
}

impl<'a, W: Write> Layer<'a, W> {
    fn new(upper: &'a Path, writer: W) -> Self {
        Layer {
            archive: LayerArchive::new(writer),
            upper,
            marks: Marks::here(),
            directories: BTreeSet::new(),
            first_names: BTreeMap::new(),
            held_back: BTreeMap::new(),
        }
    }

    /// The changes in one directory of the upper tree.
    fn changes(&mut self, name: &Name, path: &Path, below: &Stack) -> Result<(), LayerError> {
        for child in sorted_names(path)? {
            let name = name.join(&child);
            let path = path.join(&child);
            let metadata = present(&path)?;
            let base = below.entry(&child)?;
            if is_whiteout(&metadata) {
                if base.is_some() {
                    self.delete(&name)?;
                }
                continue;
            }
            if !is_same(base.as_ref(), &path, &metadata)? {
                self.add(&name, &path, &metadata)?;
            }
            if !metadata.is_dir() {
                continue;
            }
            if is_redirected(&path, self.marks)? {
                return Err(LayerError::Redirect { path });
            }
            match base {
                Some(base) if is_opaque(&path, self.marks)? => {
                    let upper = Stack::new(std::slice::from_ref(&path));
                    self.replacement(&name, &upper, &base.inside)?;
                }
                base => {
                    let below = base.map_or_else(Stack::empty, |base| base.inside);
                    self.changes(&name, &path, &below)?;
                }
            }
        }
        Ok(())
    }

    /// The changes in a directory that hides what was below: it is compared name by name.
    fn replacement(&mut self, name: &Name, upper: &Stack, below: &Stack) -> Result<(), LayerError> {
        let mut names = below.names()?;
        names.extend(upper.names()?);
        for child in names {
            let name = name.join(&child);
            let base = below.entry(&child)?;
            let Some(found) = upper.entry(&child)? else {
                self.delete(&name)?;
                continue;
            };
            if !is_same(base.as_ref(), &found.path, &found.metadata)? {
                self.add(&name, &found.path, &found.metadata)?;
            } else if has_other_names(&found.metadata) {
                self.hold_back(&name, &found.path, &found.metadata)?;
            }
            if found.metadata.is_dir() {
                let below = base.map_or_else(Stack::empty, |base| base.inside);
                self.replacement(&name, &found.inside, &below)?;
            }
        }
        Ok(())
    }

    fn delete(&mut self, name: &Name) -> Result<(), LayerError> {
        self.add_parents(name)?;
        let header = Header {
            name: name.whiteout(),
            kind: Kind::File(0),
            ..Header::default()
        };
        self.archive.add(&header, io::empty()).map_err(LayerError::Write)
    }

    /// An unchanged name of a file with several names: a link, if one of them is in the layer.
    fn hold_back(&mut self, name: &Name, path: &Path, metadata: &Metadata) -> Result<(), LayerError> {
        if self.first_names.contains_key(&metadata.ino()) {
            return self.add(name, path, metadata);
        }
        self.held_back
            .entry(metadata.ino())
            .or_default()
            .push(name.clone());
        Ok(())
    }

    fn add(&mut self, name: &Name, path: &Path, metadata: &Metadata) -> Result<(), LayerError> {
        let Some(mut header) = header(name, path, metadata)? else {
            return Ok(());
        };
        let mut other_names = Vec::new();
        if has_other_names(metadata) {
            match self.first_names.get(&metadata.ino()) {
                Some(first) => header.link_to(first),
                None => {
                    self.first_names.insert(metadata.ino(), header.name.clone());
                    other_names = self.held_back.remove(&metadata.ino()).unwrap_or_default();
                }
            }
        }
        self.add_parents(name)?;
        self.write(&header, path)?;
        if metadata.is_dir() {
            self.directories.insert(name.clone());
        }
        let first = header.name.clone();
        for name in other_names {
            header.name.clone_from(&name.0);
            header.link_to(&first);
            self.add_parents(&name)?;
            self.write(&header, path)?;
        }
        Ok(())
    }

    /// A directory comes before what is in it, even if it is as it was.
    fn add_parents(&mut self, name: &Name) -> Result<(), LayerError> {
        let Some(parent) = name.parent() else {
            return Ok(());
        };
        if self.directories.contains(&parent) {
            return Ok(());
        }
        let path = self.upper.join(OsStr::from_bytes(&parent.0));
        let metadata = present(&path)?;
        self.add(&parent, &path, &metadata)
    }

    fn write(&mut self, header: &Header, path: &Path) -> Result<(), LayerError> {
        if !matches!(header.kind, Kind::File(1..)) {
            return self.archive.add(header, io::empty()).map_err(LayerError::Write);
        }
        let file = File::open(path).map_err(LayerError::read(path))?;
        let content = BufReader::with_capacity(1 << 18, file);
        self.archive.add(header, content).map_err(LayerError::Write)
    }
}

/// The names in a directory of this machine, sorted by bytes.
pub(super) fn sorted_names(directory: &Path) -> Result<BTreeSet<OsString>, LayerError> {
    let entries = std::fs::read_dir(directory).map_err(LayerError::read(directory))?;
    entries
        .map(|entry| Ok(entry.map_err(LayerError::read(directory))?.file_name()))
        .collect()
}

/// What is at a path that a directory named.
fn present(path: &Path) -> Result<Metadata, LayerError> {
    let gone = || LayerError::read(path)(io::Error::other("it vanished while it was read"));
    metadata_of(path)?.ok_or_else(gone)
}

fn has_other_names(metadata: &Metadata) -> bool {
    !metadata.is_dir() && metadata.nlink() > 1
}

/// The header of an entry; `None` for a socket, which layers cannot hold.
fn header(name: &Name, path: &Path, metadata: &Metadata) -> Result<Option<Header>, LayerError> {
    let kind = metadata.file_type();
    let device = || {
        (
            rustix::fs::major(metadata.rdev()),
            rustix::fs::minor(metadata.rdev()),
        )
    };
    let kind = if kind.is_socket() {
        return Ok(None);
    } else if kind.is_dir() {
        Kind::Directory
    } else if kind.is_symlink() {
        Kind::SymbolicLink(link_target(path)?)
    } else if kind.is_char_device() {
        Kind::Character(device().0, device().1)
    } else if kind.is_block_device() {
        Kind::Block(device().0, device().1)
    } else if kind.is_fifo() {
        Kind::Pipe
    } else {
        Kind::File(metadata.len())
    };
    let mut name = name.0.clone();
    if kind == Kind::Directory {
        name.push(b'/');
    }
    Ok(Some(Header {
        name,
        kind,
        mode: metadata.mode() & 0o7777,
        uid: metadata.uid(),
        gid: metadata.gid(),
        mtime: metadata.mtime(),
        capability: attribute(path, CAPABILITY)?.filter(|value| !value.is_empty()),
        linked_device: (0, 0),
    }))
}

const CAPABILITY: &str = "security.capability";

fn link_target(path: &Path) -> Result<Vec<u8>, LayerError> {
    let target = path.read_link().map_err(LayerError::read(path))?;
    Ok(target.into_os_string().into_vec())
}

/// Whether an entry is as it was below, as far as a layer tells. A directory's time does not count.
pub(super) fn is_same(base: Option<&Found>, path: &Path, metadata: &Metadata) -> Result<bool, LayerError> {
    let Some(base) = base else {
        return Ok(false);
    };
    let (before, now) = (&base.metadata, metadata);
    if (before.dev(), before.ino()) == (now.dev(), now.ino()) {
        return Ok(true);
    }
    let facts = |of: &Metadata| (of.mode(), of.uid(), of.gid(), of.rdev());
    if facts(before) != facts(now) || attribute(&base.path, CAPABILITY)? != attribute(path, CAPABILITY)? {
        return Ok(false);
    }
    if now.is_dir() {
        return Ok(true);
    }
    if (before.len(), before.mtime(), before.mtime_nsec()) != (now.len(), now.mtime(), now.mtime_nsec()) {
        return Ok(false);
    }
    // A time without nanoseconds may come from an archive, which cut them off: it says little.
    if now.mtime_nsec() != 0 {
        return Ok(true);
    }
    if now.is_symlink() {
        return Ok(link_target(&base.path)? == link_target(path)?);
    }
    Ok(now.len() == 0 || has_same_content(&base.path, path)?)
}

fn has_same_content(one: &Path, other: &Path) -> Result<bool, LayerError> {
    let open = |path: &Path| File::open(path).map_err(LayerError::read(path));
    let (mut first, mut second) = (open(one)?, open(other)?);
    let (mut left, mut right) = (vec![0; 1 << 17], vec![0; 1 << 17]);
    loop {
        let length = fill(&mut first, &mut left).map_err(LayerError::read(one))?;
        let other_length = fill(&mut second, &mut right).map_err(LayerError::read(other))?;
        if left[..length] != right[..other_length] {
            return Ok(false);
        }
        if length == 0 {
            return Ok(true);
        }
    }
}

/// Reads until the buffer is full or the file at its end.
fn fill(file: &mut File, buffer: &mut [u8]) -> io::Result<usize> {
    let mut length = 0;
    while length < buffer.len() {
        match file.read(&mut buffer[length..]) {
            Ok(0) => break,
            Ok(count) => length += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(length)
}
