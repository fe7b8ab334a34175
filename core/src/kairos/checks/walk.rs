//! Looking around in a tree.

use crate::tree::{Entry, Kind, Tree, content_following};

use super::Subject;

/// Visits everything below a directory, parents first, names sorted; the directory itself is not visited.
pub(super) fn walk(tree: &dyn Tree, from: &[u8], visit: &mut dyn FnMut(&[u8], &Entry)) {
    let mut ahead = vec![from.to_vec()];
    while let Some(directory) = ahead.pop() {
        for name in tree.names(&directory) {
            let path = join(&directory, &name);
            let Some(entry) = tree.entry(&path) else { continue };
            visit(&path, &entry);
            if entry.kind == Kind::Directory {
                ahead.push(path);
            }
        }
    }
}

/// A name in a directory.
pub(super) fn join(directory: &[u8], name: &[u8]) -> Vec<u8> {
    if directory == b"/" {
        [b"/", name].concat()
    } else {
        [directory, b"/", name].concat()
    }
}

/// Whether a path is itself a directory, no link on the way or at its end.
pub(super) fn is_real_directory(tree: &dyn Tree, path: &str) -> bool {
    tree.entry(path.as_bytes())
        .is_some_and(|entry| entry.kind == Kind::Directory)
}

impl Subject<'_> {
    /// The text of a file, links followed.
    pub(super) fn text(&self, path: &str) -> Option<String> {
        content_following(self.tree, path.as_bytes())
            .map(|content| String::from_utf8_lossy(&content).into_owned())
    }

    /// Whether there is anything at a path, itself or where its link leads.
    pub(super) fn exists(&self, path: &str) -> bool {
        crate::tree::resolve(self.tree, path.as_bytes()).is_some()
    }

    /// The names in a directory, as text, links on the way to it followed.
    pub(super) fn names(&self, path: &str) -> Vec<String> {
        let real = crate::tree::resolve(self.tree, path.as_bytes());
        let names = real.map(|real| self.tree.names(&real)).unwrap_or_default();
        names.iter().map(|name| super::shown(name)).collect()
    }
}
