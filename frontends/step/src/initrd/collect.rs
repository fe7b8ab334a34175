//! What goes into the initrd, taken from a root without running anything of it.

use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use kcompose_core::tree::{self, Kind, Tree};

use crate::fs;
use crate::problem::{Doing, Outcome, Problem};
use crate::root_tree::RootTree;

use super::cpio::Node;
use kcompose_core::elf;

/// The nodes so far, and the root that they are taken from.
#[derive(Debug)]
pub(crate) struct Collection {
    root: PathBuf,
    tree: RootTree,
    search: Vec<String>,
    nodes: BTreeMap<Vec<u8>, Node>,
    libraries: BTreeSet<String>,
    /// Directories that some program names for its libraries; a library may rely on the program that loads it.
    named: Vec<String>,
}

impl Collection {
    /// An empty collection from a root.
    pub(crate) fn new(root: &Path) -> Outcome<Self> {
        let search = library_directories(root)?;
        let tree = RootTree::new(root);
        let (nodes, libraries, named) = (BTreeMap::new(), BTreeSet::new(), Vec::new());
        Ok(Collection {
            root: root.to_owned(),
            tree,
            search,
            nodes,
            libraries,
            named,
        })
    }

    /// The nodes, with all directories above them.
    pub(crate) fn into_nodes(self) -> BTreeMap<Vec<u8>, Node> {
        self.nodes
    }

    /// Puts a node at a path, in place of what is there.
    pub(crate) fn put(&mut self, path: &[u8], node: Node) -> Outcome<()> {
        let slashes: Vec<usize> = (1..path.len()).filter(|at| path[*at] == b'/').collect();
        for at in slashes {
            match self.nodes.entry(path[..at].to_vec()).or_insert(Node::Directory) {
                Node::Directory => {}
                Node::File(..) | Node::Link(_) => {
                    let (above, below) = (
                        String::from_utf8_lossy(&path[..at]),
                        String::from_utf8_lossy(path),
                    );
                    let message =
                        format!("`{below}` cannot be in the initrd: `{above}` is no directory there");
                    return Err(Problem::new("kcompose::step::initrd", message).into());
                }
            }
        }
        self.nodes.insert(path.to_vec(), node);
        Ok(())
    }

    /// Whether the root has a path.
    pub(crate) fn has(&self, path: &str) -> bool {
        tree::resolve(&self.tree, path.as_bytes()).is_some()
    }

    /// Takes a file with the links on the way to it, and the libraries that it needs.
    pub(crate) fn take(&mut self, path: &str) -> Outcome<()> {
        self.take_bytes(path.as_bytes())
    }

    fn take_bytes(&mut self, path: &[u8]) -> Outcome<()> {
        let path = self.real_parent(path)?;
        if self.nodes.contains_key(&path) {
            return Ok(());
        }
        let entry = self.tree.entry(&path).ok_or_else(|| missing(&path))?;
        match entry.kind {
            Kind::Link(target) => {
                self.put(&path, Node::Link(target.clone()))?;
                self.take_bytes(&beside(&path, &target))
            }
            Kind::File(_) => {
                let at = self.root.join(fs::relative(&path));
                let content = std::fs::read(&at).doing("read", &at)?;
                let needs = elf::needs(&content);
                self.put(&path, Node::File(entry.mode, content))?;
                needs.map_or(Ok(()), |needs| self.take_needs(&path, &needs))
            }
            Kind::Directory => self.put(&path, Node::Directory),
            Kind::Device | Kind::Special => Err(missing(&path).into()),
        }
    }

    /// Takes a directory with all that is in it.
    pub(crate) fn take_directory(&mut self, path: &str) -> Outcome<()> {
        let path = tree::resolve(&self.tree, path.as_bytes()).ok_or_else(|| missing(path.as_bytes()))?;
        self.take_bytes(&path)?;
        for name in self.tree.names(&path) {
            let below = [path.as_slice(), b"/", &name].concat();
            if self
                .tree
                .entry(&below)
                .is_some_and(|entry| entry.kind == Kind::Directory)
            {
                self.take_directory(&String::from_utf8_lossy(&below))?;
            } else {
                self.take_bytes(&below)?;
            }
        }
        Ok(())
    }

    /// The path with the links above its last name resolved: `/lib/x` is `/usr/lib/x`.
    fn real_parent(&self, path: &[u8]) -> Outcome<Vec<u8>> {
        let slash = path
            .iter()
            .rposition(|byte| *byte == b'/')
            .ok_or_else(|| missing(path))?;
        let parent = tree::resolve(&self.tree, &path[..slash]).ok_or_else(|| missing(path))?;
        let parent = if parent == b"/" { Vec::new() } else { parent };
        Ok([parent.as_slice(), &path[slash..]].concat())
    }

    fn take_needs(&mut self, path: &[u8], needs: &elf::Needs) -> Outcome<()> {
        if let Some(interpreter) = &needs.interpreter {
            self.take(interpreter)?;
        }
        let origin = path
            .iter()
            .rposition(|byte| *byte == b'/')
            .map_or(&path[..0], |at| &path[..at]);
        let origin = String::from_utf8_lossy(origin).into_owned();
        let own: Vec<String> = needs
            .directories
            .iter()
            .map(|one| one.replace("${ORIGIN}", "$ORIGIN").replace("$ORIGIN", &origin))
            .collect();
        let new: Vec<String> = own
            .iter()
            .filter(|one| !self.named.contains(one))
            .cloned()
            .collect();
        self.named.extend(new);
        for name in &needs.libraries {
            if !self.take_from(name, &own)? {
                return Err(missing_library(path, name).into());
            }
        }
        for opened in &needs.opened {
            let mut found = false;
            for name in &opened.names {
                found = found || self.take_from(name, &own)?;
            }
            if !found && opened.required {
                return Err(missing_library(path, &opened.names.join(" or ")).into());
            }
        }
        Ok(())
    }

    /// Takes a library by its name.
    pub(crate) fn take_library(&mut self, name: &str) -> Outcome<()> {
        if self.take_from(name, &[])? {
            Ok(())
        } else {
            Err(missing_library(b"the initrd", name).into())
        }
    }

    fn take_from(&mut self, name: &str, own: &[String]) -> Outcome<bool> {
        if name.starts_with('/') {
            return if self.has(name) {
                self.take(name).map(|()| true)
            } else {
                Ok(false)
            };
        }
        if own.is_empty() && self.libraries.contains(name) {
            return Ok(true);
        }
        let places = own.iter().chain(&self.search).chain(&self.named);
        let candidates = places.map(|directory| format!("{directory}/{name}"));
        let Some(path) = candidates.into_iter().find(|path| self.has(path)) else {
            return Ok(false);
        };
        self.libraries.insert(name.to_owned());
        self.take(&path).map(|()| true)
    }
}

/// The target of a link, as an absolute path.
fn beside(link: &[u8], target: &[u8]) -> Vec<u8> {
    if target.starts_with(b"/") {
        return target.to_vec();
    }
    let parent = link.iter().rposition(|byte| *byte == b'/').unwrap_or(0);
    let mut parts: Vec<&[u8]> = link[..parent]
        .split(|byte| *byte == b'/')
        .filter(|part| !part.is_empty())
        .collect();
    for part in target
        .split(|byte| *byte == b'/')
        .filter(|part| !part.is_empty() && *part != b".")
    {
        if part == b".." {
            parts.pop();
        } else {
            parts.push(part);
        }
    }
    parts
        .iter()
        .flat_map(|part| [b"/", *part])
        .flatten()
        .copied()
        .collect()
}

/// Where the loader looks: the directories of `/etc/ld.so.conf.d` and its own (ld.so(8)); never `/usr/local`, which is a
/// partition of its own at run time.
fn library_directories(root: &Path) -> Outcome<Vec<String>> {
    let configuration = root.join("etc/ld.so.conf.d");
    let mut directories = Vec::new();
    for name in fs::names(&configuration)
        .iter()
        .filter(|name| name.as_bytes().ends_with(b".conf"))
    {
        let text = fs::read_text(&configuration.join(name))?;
        directories.extend(
            text.lines()
                .map(str::trim)
                .filter(|line| line.starts_with('/'))
                .map(str::to_owned),
        );
    }
    directories.retain(|directory| !directory.starts_with("/usr/local"));
    directories.extend(["/usr/lib64", "/usr/lib"].map(str::to_owned));
    Ok(directories)
}

fn missing(path: &[u8]) -> Problem {
    let message = format!(
        "the initrd needs `{}`, which the image does not have",
        String::from_utf8_lossy(path)
    );
    Problem::new("kcompose::step::initrd", message)
}

fn missing_library(path: &[u8], name: &str) -> Problem {
    let message = format!(
        "`{}` needs the library `{name}`, which the image does not have",
        String::from_utf8_lossy(path)
    );
    Problem::new("kcompose::step::initrd", message)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_come_with_what_they_point_to() {
        let root = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(root.path().join("usr/bin")).unwrap();
        std::fs::create_dir_all(root.path().join("etc/alternatives")).unwrap();
        std::fs::write(root.path().join("usr/bin/mawk"), "m").unwrap();
        let link =
            |target: &str, path: &str| std::os::unix::fs::symlink(target, root.path().join(path)).unwrap();
        link("usr/bin", "bin");
        link("/etc/alternatives/awk", "usr/bin/awk");
        link("/bin/mawk", "etc/alternatives/awk");
        let mut collection = Collection::new(root.path()).unwrap();
        collection.take("/bin/awk").unwrap();
        let nodes = collection.into_nodes();
        let paths: Vec<_> = nodes
            .keys()
            .map(|path| String::from_utf8_lossy(path).into_owned())
            .collect();
        assert_eq!(
            paths,
            [
                "/etc",
                "/etc/alternatives",
                "/etc/alternatives/awk",
                "/usr",
                "/usr/bin",
                "/usr/bin/awk",
                "/usr/bin/mawk"
            ]
        );
        let mut collection = Collection::new(root.path()).unwrap();
        assert!(collection.take("/bin/gawk").is_err());
        assert!(collection.take_library("libx.so").is_err());
    }

    #[test]
    fn targets_are_relative_to_their_link() {
        assert_eq!(beside(b"/usr/sbin/modprobe", b"../bin/kmod"), b"/usr/bin/kmod");
        assert_eq!(beside(b"/init", b"usr/lib/x"), b"/usr/lib/x");
    }
}
