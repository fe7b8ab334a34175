//! A root file system as data.
//!
//! Checks ([`crate::kairos`]) look at a tree through [`Tree`]: the step binary implements it over the real root, the
//! engine over the layers of an image, tests over [`MemoryTree`]. Paths are absolute, normalised, and bytes: names in a
//! root file system need not be UTF-8.

use std::borrow::Cow;
use std::collections::BTreeMap;

use crate::limits;

/// What a path is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A regular file and its size in bytes.
    File(u64),
    /// A directory.
    Directory,
    /// A symbolic link and its target, as written.
    Link(Vec<u8>),
    /// A device node.
    Device,
    /// A pipe or a socket.
    Special,
}

/// A path's type, owner and mode.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// What it is.
    pub kind: Kind,
    /// Permission bits with setuid, setgid and sticky (07777).
    pub mode: u32,
    /// The numeric owner.
    pub uid: u32,
    /// The numeric group.
    pub gid: u32,
    /// Seconds since 1970 of the last modification.
    pub mtime: i64,
}

/// A root file system that can be looked at.
///
/// No method follows a symbolic link in the last component or on the way; [`resolve`] does that for all trees.
pub trait Tree {
    /// The entry at an absolute path, links not followed; `None` if nothing is there.
    fn entry(&self, path: &[u8]) -> Option<Entry>;

    /// The whole content of a regular file; `None` if it is none, cannot be read, or is over [`limits::IMAGE_FILE`].
    fn content(&self, path: &[u8]) -> Option<Cow<'_, [u8]>> {
        let limit = usize::try_from(limits::IMAGE_FILE.value).ok()?;
        let content = self.piece(path, 0, limit.saturating_add(1))?;
        (content.len() <= limit).then_some(content)
    }

    /// The bytes of a regular file from an offset on: at most so many, fewer at its end; `None` if it is none or cannot be
    /// read.
    fn piece(&self, path: &[u8], from: u64, length: usize) -> Option<Cow<'_, [u8]>>;

    /// The names in a directory, sorted by bytes; empty if it is none.
    fn names(&self, path: &[u8]) -> Vec<Vec<u8>>;

    /// The value of an extended attribute, such as `security.capability`; `None` if the entry has none of this name.
    fn attribute(&self, path: &[u8], name: &str) -> Option<Vec<u8>>;
}

/// The path that remains when every symbolic link on the way is followed inside the tree; `None` if nothing is there or
/// the links form a loop.
pub fn resolve(tree: &dyn Tree, path: &[u8]) -> Option<Vec<u8>> {
    let mut rest: Vec<Vec<u8>> = components(path).rev().map(<[u8]>::to_vec).collect();
    let mut at: Vec<u8> = Vec::new();
    let mut followed = 0;
    while let Some(name) = rest.pop() {
        if name == b".." {
            at.truncate(at.iter().rposition(|byte| *byte == b'/').unwrap_or(0));
            continue;
        }
        let next = [at.as_slice(), b"/", &name].concat();
        let entry = tree.entry(&next)?;
        let Kind::Link(target) = entry.kind else {
            at = next;
            continue;
        };
        followed += 1;
        if followed > 40 {
            return None;
        }
        if target.starts_with(b"/") {
            at.clear();
        }
        rest.extend(components(&target).rev().map(<[u8]>::to_vec));
    }
    Some(if at.is_empty() { b"/".to_vec() } else { at })
}

/// The entry at a path, links followed.
pub fn entry_following(tree: &dyn Tree, path: &[u8]) -> Option<Entry> {
    tree.entry(&resolve(tree, path)?)
}

/// The content of the file at a path, links followed.
pub fn content_following<'a>(tree: &'a dyn Tree, path: &[u8]) -> Option<Cow<'a, [u8]>> {
    tree.content(&resolve(tree, path)?)
}

fn components(path: &[u8]) -> impl DoubleEndedIterator<Item = &[u8]> {
    path.split(|byte| *byte == b'/')
        .filter(|name| !name.is_empty() && *name != b".")
}

/// A tree in memory, for tests and for small generated trees.
#[derive(Clone, Debug, Default)]
pub struct MemoryTree {
    entries: BTreeMap<Vec<u8>, (Entry, Vec<u8>)>,
    attributes: BTreeMap<(Vec<u8>, String), Vec<u8>>,
}

impl MemoryTree {
    /// A tree with nothing but `/`.
    pub fn new() -> Self {
        let mut tree = Self::default();
        tree.put("/", Kind::Directory, 0o755, Vec::new());
        tree
    }

    /// Adds a regular file, and the directories above it.
    pub fn file(&mut self, path: &str, mode: u32, content: impl Into<Vec<u8>>) -> &mut Self {
        let content = content.into();
        self.parents(path);
        self.put(path, Kind::File(content.len() as u64), mode, content)
    }

    /// Adds a directory, and those above it.
    pub fn directory(&mut self, path: &str, mode: u32) -> &mut Self {
        self.parents(path);
        self.put(path, Kind::Directory, mode, Vec::new())
    }

    /// Adds a symbolic link, and the directories above it.
    pub fn link(&mut self, path: &str, target: &str) -> &mut Self {
        self.parents(path);
        self.put(path, Kind::Link(target.as_bytes().to_vec()), 0o777, Vec::new())
    }

    /// Gives an entry an extended attribute.
    pub fn attribute(&mut self, path: &str, name: &str, value: impl Into<Vec<u8>>) -> &mut Self {
        let key = (path.as_bytes().to_vec(), name.to_owned());
        self.attributes.insert(key, value.into());
        self
    }

    /// Takes a path out, and everything below it.
    pub fn remove(&mut self, path: &str) -> &mut Self {
        let below = format!("{path}/");
        self.entries
            .retain(|known, _| known != path.as_bytes() && !known.starts_with(below.as_bytes()));
        self
    }

    /// The entry at a path, to change it.
    pub fn entry_mut(&mut self, path: &str) -> Option<&mut Entry> {
        self.entries.get_mut(path.as_bytes()).map(|(entry, _)| entry)
    }

    fn parents(&mut self, path: &str) {
        for (at, _) in path.match_indices('/').skip(1) {
            if !self.entries.contains_key(&path.as_bytes()[..at]) {
                self.put(&path[..at], Kind::Directory, 0o755, Vec::new());
            }
        }
    }

    fn put(&mut self, path: &str, kind: Kind, mode: u32, content: Vec<u8>) -> &mut Self {
        let entry = Entry {
            kind,
            mode,
            uid: 0,
            gid: 0,
            mtime: 0,
        };
        self.entries.insert(path.as_bytes().to_vec(), (entry, content));
        self
    }
}

impl Tree for MemoryTree {
    fn entry(&self, path: &[u8]) -> Option<Entry> {
        self.entries.get(path).map(|(entry, _)| entry.clone())
    }

    fn piece(&self, path: &[u8], from: u64, length: usize) -> Option<Cow<'_, [u8]>> {
        let (entry, content) = self.entries.get(path)?;
        let from = usize::try_from(from).unwrap_or(usize::MAX).min(content.len());
        let end = from.saturating_add(length).min(content.len());
        matches!(entry.kind, Kind::File(_)).then_some(Cow::Borrowed(&content[from..end]))
    }

    fn names(&self, path: &[u8]) -> Vec<Vec<u8>> {
        let prefix = if path == b"/" {
            b"/".to_vec()
        } else {
            [path, b"/"].concat()
        };
        self.entries
            .range(prefix.clone()..)
            .take_while(|(known, _)| known.starts_with(&prefix))
            .map(|(known, _)| &known[prefix.len()..])
            .filter(|name| !name.is_empty() && !name.contains(&b'/'))
            .map(<[u8]>::to_vec)
            .collect()
    }

    fn attribute(&self, path: &[u8], name: &str) -> Option<Vec<u8>> {
        self.attributes.get(&(path.to_vec(), name.to_owned())).cloned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_are_followed_inside_the_tree() {
        let mut tree = MemoryTree::new();
        tree.file("/usr/lib/x", 0o644, "x")
            .link("/lib", "usr/lib")
            .link("/abs", "/lib/x")
            .link("/loop", "loop");
        tree.link("/usr/up", "../lib/../lib/x");
        assert_eq!(resolve(&tree, b"/lib/x").unwrap(), b"/usr/lib/x");
        assert_eq!(resolve(&tree, b"/abs").unwrap(), b"/usr/lib/x");
        assert_eq!(resolve(&tree, b"/usr/up").unwrap(), b"/usr/lib/x");
        assert_eq!(resolve(&tree, b"/loop"), None);
        assert_eq!(tree.names(b"/usr"), [b"lib".to_vec(), b"up".to_vec()]);
    }
}
