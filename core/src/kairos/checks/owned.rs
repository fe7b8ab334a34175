//! Which paths of an image are whose: those of packages, as dpkg's database says, and those of the flavor, as the image says.

use std::collections::BTreeSet;

use crate::tree::{Tree, content_following};

/// Where the image says which files the flavor writes (`own PATH`), and which may be hidden (`hidden PATH`).
pub const ACCEPTED: &str = "/usr/lib/kcompose/accepted";

/// Where dpkg keeps the lists of paths.
const INFO: &[u8] = b"/var/lib/dpkg/info";

/// Directories of `/` that are links into `/usr`.
const MERGED: [&[u8]; 6] = [b"bin", b"sbin", b"lib", b"lib64", b"lib32", b"libx32"];

/// The paths of an image that have an owner.
#[derive(Debug, Default)]
pub(super) struct Owned {
    packages: BTreeSet<Vec<u8>>,
    own: Vec<Vec<u8>>,
    hidden: Vec<Vec<u8>>,
}

impl Owned {
    /// Reads them from a tree.
    pub(super) fn read(tree: &dyn Tree) -> Self {
        let mut owned = Owned::default();
        for name in tree.names(INFO).iter().filter(|name| name.ends_with(b".list")) {
            let list = tree.content(&[INFO, b"/", name].concat()).unwrap_or_default();
            owned
                .packages
                .extend(list.split(|byte| *byte == b'\n').map(in_image));
        }
        // A file that another package moved away is still its package's.
        let diversions = tree.content(b"/var/lib/dpkg/diversions").unwrap_or_default();
        let lines: Vec<&[u8]> = diversions.split(|byte| *byte == b'\n').collect();
        owned
            .packages
            .extend(lines.chunks_exact(3).map(|three| in_image(three[1])));
        let accepted = content_following(tree, ACCEPTED.as_bytes()).unwrap_or_default();
        for line in accepted.split(|byte| *byte == b'\n') {
            if let Some(path) = line.strip_prefix(b"own ") {
                owned.own.push(path.to_vec());
            } else if let Some(path) = line.strip_prefix(b"hidden ") {
                owned.hidden.push(path.to_vec());
            }
        }
        owned
    }

    /// Tells an image with lists of what packages ship from one without.
    pub(super) fn knows_packages(&self) -> bool {
        !self.packages.is_empty()
    }

    /// Whether a package ships a path.
    pub(super) fn is_of_package(&self, path: &[u8]) -> bool {
        self.packages.contains(path)
    }

    /// Whether the flavor writes a path, or what it is in, with a `file` or `copy`.
    pub(super) fn is_of_flavor(&self, path: &[u8]) -> bool {
        self.own.iter().any(|own| is_within(path, own))
    }

    /// Whether the flavor accepts that a path is hidden.
    pub(super) fn may_be_hidden(&self, path: &[u8]) -> bool {
        self.hidden.iter().any(|hidden| is_within(path, hidden))
    }
}

fn is_within(path: &[u8], top: &[u8]) -> bool {
    path.strip_prefix(top)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with(b"/"))
}

/// The path in an image with merged `/usr` of a path as packages or other images have it.
pub(super) fn in_image(line: &[u8]) -> Vec<u8> {
    let top = line.split(|byte| *byte == b'/').nth(1).unwrap_or_default();
    if MERGED.contains(&top) {
        [b"/usr", line].concat()
    } else {
        line.to_vec()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tree::MemoryTree;

    #[test]
    fn owners_are_read_from_the_image() {
        let mut tree = MemoryTree::new();
        tree.file("/var/lib/dpkg/info/a.list", 0o644, "/.\n/bin/a\n/etc/x\n")
            .file("/var/lib/dpkg/diversions", 0o644, "/etc/x\n/etc/x.real\nb\n")
            .file(ACCEPTED, 0o644, "own /etc/own\nhidden /usr/local/lib\n");
        let owned = Owned::read(&tree);
        assert!(owned.is_of_package(b"/usr/bin/a") && owned.is_of_package(b"/etc/x.real"));
        assert!(!owned.is_of_package(b"/etc/y"));
        assert!(owned.is_of_flavor(b"/etc/own/key") && !owned.is_of_flavor(b"/etc/owner"));
        assert!(owned.may_be_hidden(b"/usr/local/lib/x") && !owned.may_be_hidden(b"/usr/local/bin/x"));
    }
}
