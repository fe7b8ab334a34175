//! What the layers of an image hold together.
//!
//! Rules: <https://github.com/opencontainers/image-spec/blob/main/layer.md>. A whiteout removes what lower layers have,
//! never what its own layer has, whatever the order of entries; a link on the way to an entry is followed inside the tree.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use kcompose_core::limits;
use kcompose_core::tree::{Entry, Kind, Tree};

use super::budget::Budget;
use super::layer::{Item, ItemKind, Layer};

/// Where the bytes of a file are.
#[derive(Clone, Debug)]
pub(super) enum Content {
    /// A piece of an unpacked layer.
    Piece {
        /// The file with the layer in it.
        file: Arc<File>,
        /// Where the content begins.
        offset: u64,
    },
    /// A file of this machine.
    Path(std::path::PathBuf),
}

/// An entry of the merged tree.
#[derive(Clone, Debug)]
pub(super) struct Node {
    pub(super) entry: Entry,
    pub(super) content: Option<Content>,
    /// Extended attributes, by name.
    pub(super) attributes: Vec<(String, Vec<u8>)>,
    /// What a special file is.
    pub(super) special: Option<Special>,
    /// Nanoseconds beside the entry's seconds.
    pub(super) nanoseconds: u32,
    /// Equal in all names of one file.
    pub(super) inode: u64,
}

/// A file that is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Special {
    Pipe,
    Socket,
    Character(u32, u32),
    Block(u32, u32),
}

/// The merged tree.
#[derive(Debug, Default)]
pub(super) struct Index {
    nodes: BTreeMap<Vec<u8>, Node>,
    inodes: u64,
}

impl Index {
    /// A tree with nothing but `/`.
    pub(super) fn new() -> Self {
        let mut index = Index::default();
        let root = index.directory();
        index.nodes.insert(b"/".to_vec(), root);
        index
    }

    /// All entries; what is in a directory comes behind it.
    pub(super) fn iter(&self) -> impl DoubleEndedIterator<Item = (&[u8], &Node)> {
        self.nodes.iter().map(|(path, node)| (path.as_slice(), node))
    }

    /// Puts a layer over what is there.
    pub(super) fn apply(&mut self, layer: Layer, budget: &mut Budget) -> io::Result<()> {
        let file = Arc::new(layer.file);
        for item in &layer.items {
            match &item.kind {
                ItemKind::Whiteout => {
                    let path = self.place(&item.path, budget)?;
                    self.remove(&path);
                }
                ItemKind::Opaque => {
                    let path = self.place(&item.path, budget)?;
                    self.remove_below(&path);
                }
                ItemKind::HardLink(_) | ItemKind::Node(..) => {}
            }
        }
        let mut items = layer.items.into_iter();
        items.try_for_each(|item| self.add(item, &file, budget))
    }

    /// Adds a node as it is; for trees that are no layers.
    pub(super) fn insert(&mut self, path: Vec<u8>, node: Node) {
        self.nodes.insert(path, node);
    }

    fn add(&mut self, item: Item, file: &Arc<File>, budget: &mut Budget) -> io::Result<()> {
        let path = self.place(&item.path, budget)?;
        let node = match item.kind {
            ItemKind::Whiteout | ItemKind::Opaque => return Ok(()),
            ItemKind::HardLink(target) => {
                let target_path = self.place(&target, budget)?;
                let target = String::from_utf8_lossy(&target).into_owned();
                let found = self.nodes.get(&target_path).cloned();
                found.ok_or_else(|| {
                    io::Error::other(format!("a hard link leads to `{target}`, which is not there"))
                })?
            }
            ItemKind::Node(node, offset) => {
                self.inodes += 1;
                let content = offset.map(|offset| Content::Piece {
                    file: Arc::clone(file),
                    offset,
                });
                Node {
                    content,
                    inode: self.inodes,
                    ..*node
                }
            }
        };
        if path == b"/" && node.entry.kind != Kind::Directory {
            return Err(io::Error::other("its root is not a directory"));
        }
        if node.entry.kind != Kind::Directory {
            self.remove(&path);
        }
        self.nodes.insert(path, node);
        Ok(())
    }

    /// The path at which an entry belongs: links above it are followed, missing directories are made.
    fn place(&mut self, path: &[u8], budget: &mut Budget) -> io::Result<Vec<u8>> {
        let Some(cut) = path
            .iter()
            .rposition(|byte| *byte == b'/')
            .filter(|_| path != b"/")
        else {
            return Ok(b"/".to_vec());
        };
        let (above, name) = (&path[..cut], &path[cut..]);
        if above.is_empty() || self.is_directory(above) {
            return Ok(path.to_vec());
        }
        let placed = [&self.real_directory(above, budget)?, name].concat();
        if placed != path {
            budget.allowance.name(placed.len())?;
        }
        Ok(placed)
    }

    /// The directory that a path leads to, made if it is missing; empty for the root.
    fn real_directory(&mut self, path: &[u8], budget: &mut Budget) -> io::Result<Vec<u8>> {
        let mut ahead: Vec<Vec<u8>> = components(path);
        let mut at: Vec<u8> = Vec::new();
        let mut followed = 0;
        while let Some(name) = ahead.pop() {
            if name == b".." {
                at.truncate(at.iter().rposition(|byte| *byte == b'/').unwrap_or(0));
                continue;
            }
            let next = [at.as_slice(), b"/", &name].concat();
            if limits::ARCHIVE_PATH.is_exceeded_by(next.len()) {
                let what = "a path in it, with its links followed,";
                return Err(limits::ARCHIVE_PATH.exceeded(what).into());
            }
            budget.walk(next.len())?;
            match self.nodes.get(&next).map(|node| &node.entry.kind) {
                // Links that form a loop lead nowhere; a directory takes the place of the last one.
                Some(Kind::Link(target)) if followed < 40 => {
                    followed += 1;
                    if target.starts_with(b"/") {
                        at.clear();
                    }
                    budget.walk(target.len())?;
                    ahead.extend(components(target));
                }
                Some(Kind::Directory) => at = next,
                Some(_) | None => {
                    budget.allowance.member()?;
                    budget.allowance.name(next.len())?;
                    let directory = self.directory();
                    self.nodes.insert(next.clone(), directory);
                    at = next;
                }
            }
        }
        Ok(at)
    }

    fn is_directory(&self, path: &[u8]) -> bool {
        self.nodes
            .get(path)
            .is_some_and(|node| node.entry.kind == Kind::Directory)
    }

    fn directory(&mut self) -> Node {
        self.inodes += 1;
        let entry = Entry {
            kind: Kind::Directory,
            mode: 0o755,
            uid: 0,
            gid: 0,
            mtime: 0,
        };
        Node {
            entry,
            content: None,
            attributes: Vec::new(),
            special: None,
            nanoseconds: 0,
            inode: self.inodes,
        }
    }

    fn remove(&mut self, path: &[u8]) {
        self.remove_below(path);
        if path != b"/" {
            self.nodes.remove(path);
        }
    }

    fn remove_below(&mut self, path: &[u8]) {
        let prefix = below(path);
        let gone: Vec<Vec<u8>> = self.names_below(&prefix).map(<[u8]>::to_vec).collect();
        for path in gone {
            self.nodes.remove(&path);
        }
    }

    fn names_below<'a>(&'a self, prefix: &'a [u8]) -> impl Iterator<Item = &'a [u8]> {
        self.nodes
            .range(prefix.to_vec()..)
            .map(|(path, _)| path.as_slice())
            .take_while(move |path| path.starts_with(prefix))
            .filter(move |path| path.len() > prefix.len())
    }
}

/// The names of a path, the last one first.
fn components(path: &[u8]) -> Vec<Vec<u8>> {
    let names = path.split(|byte| *byte == b'/').rev();
    names
        .filter(|name| !name.is_empty() && *name != b".")
        .map(<[u8]>::to_vec)
        .collect()
}

/// The beginning of all paths in a directory.
fn below(path: &[u8]) -> Vec<u8> {
    if path == b"/" {
        b"/".to_vec()
    } else {
        [path, b"/"].concat()
    }
}

impl Tree for Index {
    fn entry(&self, path: &[u8]) -> Option<Entry> {
        self.nodes.get(path).map(|node| node.entry.clone())
    }

    fn piece(&self, path: &[u8], from: u64, length: usize) -> Option<Cow<'_, [u8]>> {
        let node = self.nodes.get(path)?;
        let Kind::File(size) = node.entry.kind else {
            return None;
        };
        let mut piece = vec![0; length.min(usize::try_from(size.saturating_sub(from)).ok()?)];
        match node.content.as_ref()? {
            Content::Piece { file, offset } => file.read_exact_at(&mut piece, offset + from),
            Content::Path(path) => {
                std::fs::File::open(path).and_then(|file| file.read_exact_at(&mut piece, from))
            }
        }
        .ok()?;
        Some(Cow::Owned(piece))
    }

    fn names(&self, path: &[u8]) -> Vec<Vec<u8>> {
        let prefix = below(path);
        self.names_below(&prefix)
            .map(|path| &path[prefix.len()..])
            .filter(|name| !name.contains(&b'/'))
            .map(<[u8]>::to_vec)
            .collect()
    }

    fn attribute(&self, path: &[u8], name: &str) -> Option<Vec<u8>> {
        let mut attributes = self.nodes.get(path)?.attributes.iter();
        attributes
            .find(|(known, _)| known == name)
            .map(|(_, value)| value.clone())
    }
}
