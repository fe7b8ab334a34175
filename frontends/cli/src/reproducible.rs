//! Two builds of one flavor, path by path.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::Path;

use kcompose_core::tree::{Entry, Kind, Tree};
use kcompose_engine::rootfs;
use miette::Diagnostic;
use thiserror::Error;

use crate::failure::Failure;
use crate::terminal::Terminal;

/// The second build made something else.
#[derive(Debug, Error, Diagnostic)]
#[error("a second build of the same lock differs: {what}")]
#[diagnostic(
    code("kcompose::build::not-reproducible"),
    help("make what differs on the machine, at its first boot, or delete it with a `run` step")
)]
struct NotReproducible {
    what: String,
}

/// What a build made: the digest of the image, the digests of its unpacked layers, and its archive.
pub(crate) struct Made<'a> {
    pub(crate) digest: &'a str,
    pub(crate) layers: Vec<&'a str>,
    pub(crate) archive: &'a Path,
}

/// Compares two builds, and prints each path that differs; it is an error if one does.
pub(crate) fn compare(first: &Made<'_>, second: &Made<'_>, terminal: &Terminal) -> Result<(), Failure> {
    if first.digest == second.digest {
        terminal.say(&format!("the same bytes twice: {}", first.digest));
        return Ok(());
    }
    let open = |made: &Made<'_>| rootfs::open(made.archive).map_err(Failure::world);
    let (one, other) = (open(first)?, open(second)?);
    let found = differences(&one, &other);
    terminal.data(
        &found
            .iter()
            .map(|difference| format!("{difference}\n"))
            .collect::<String>(),
    );
    let what = match found.len() {
        0 => layers(&first.layers, &second.layers),
        1 => "1 path".to_owned(),
        count => format!("{count} paths"),
    };
    Err(Failure::wrong(NotReproducible { what }))
}

/// Which layers differ, where the trees are equal: a later layer replaces what differs.
fn layers(first: &[&str], second: &[&str]) -> String {
    let count = first.len().max(second.len());
    let differing = (0..count).filter(|index| first.get(*index) != second.get(*index));
    let numbers: Vec<String> = differing.map(|index| (index + 1).to_string()).collect();
    let numbers = numbers.join(", ");
    format!("the trees are equal, and of {count} layers these are not: {numbers}")
}

/// A path that is not the same in two trees.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Difference {
    path: String,
    what: Vec<&'static str>,
    /// The package that ships it, or the directory that it is in.
    package: Option<String>,
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let package = self.package.as_deref().unwrap_or("no package");
        write!(f, "{}\t{}\t{package}", self.path, self.what.join(", "))
    }
}

/// All paths that differ, sorted.
fn differences(one: &dyn Tree, other: &dyn Tree) -> Vec<Difference> {
    let owners = Owners::read(one);
    let mut found = Vec::new();
    let mut ahead = vec![b"/".to_vec()];
    while let Some(directory) = ahead.pop() {
        let names: BTreeSet<Vec<u8>> = one
            .names(&directory)
            .into_iter()
            .chain(other.names(&directory))
            .collect();
        for name in names {
            let path = [directory.strip_suffix(b"/").unwrap_or(&directory), b"/", &name].concat();
            let (here, there) = (one.entry(&path), other.entry(&path));
            let what = match (&here, &there) {
                (Some(here), Some(there)) => differing(&path, here, there, one, other),
                (Some(_), None) => vec!["only in the first build"],
                (None, _) => vec!["only in the second build"],
            };
            if !what.is_empty() {
                found.push(Difference {
                    path: String::from_utf8_lossy(&path).into_owned(),
                    what,
                    package: owners.of(&path),
                });
            }
            let is_directory =
                |entry: &Option<Entry>| entry.as_ref().is_some_and(|entry| entry.kind == Kind::Directory);
            if is_directory(&here) && is_directory(&there) {
                ahead.push(path);
            }
        }
    }
    found.sort_by(|a, b| a.path.cmp(&b.path));
    found
}

fn differing(
    path: &[u8],
    here: &Entry,
    there: &Entry,
    one: &dyn Tree,
    other: &dyn Tree,
) -> Vec<&'static str> {
    let content = match (&here.kind, &there.kind) {
        (Kind::File(size), Kind::File(other_size)) if size == other_size => {
            (!same_content(path, *size, one, other)).then_some("content")
        }
        (Kind::File(_), Kind::File(_)) => Some("content"),
        (Kind::Link(target), Kind::Link(other_target)) => (target != other_target).then_some("target"),
        (a, b) => (a != b).then_some("type"),
    };
    let mut what: Vec<&'static str> = content.into_iter().collect();
    what.extend((here.mode != there.mode).then_some("mode"));
    what.extend(((here.uid, here.gid) != (there.uid, there.gid)).then_some("owner"));
    what.extend((here.mtime != there.mtime).then_some("time"));
    what
}

/// How much of a file is compared at a time.
const PIECE: usize = 1 << 20;

fn same_content(path: &[u8], size: u64, one: &dyn Tree, other: &dyn Tree) -> bool {
    let mut from = 0;
    while from < size {
        if one.piece(path, from, PIECE) != other.piece(path, from, PIECE) {
            return false;
        }
        from += PIECE as u64;
    }
    true
}

/// The packages by their paths, as dpkg's lists have them; `None` for a path of several.
#[derive(Debug, Default)]
struct Owners(BTreeMap<Vec<u8>, Option<String>>);

impl Owners {
    fn read(tree: &dyn Tree) -> Self {
        const INFO: &[u8] = b"/var/lib/dpkg/info";
        let mut owners = Owners::default();
        for name in tree.names(INFO) {
            let Some(package) = name.strip_suffix(b".list") else {
                continue;
            };
            let package = String::from_utf8_lossy(package);
            let package = package.split(':').next().unwrap_or_default().to_owned();
            let list = tree.content(&[INFO, b"/", &name].concat()).unwrap_or_default();
            for line in list.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
                let owner = owners.0.entry(line.to_vec());
                owner
                    .and_modify(|owner| *owner = None)
                    .or_insert_with(|| Some(package.clone()));
            }
        }
        owners
    }

    /// The package of a path, or of the nearest directory above it that one package has.
    fn of(&self, path: &[u8]) -> Option<String> {
        let mut at = path;
        loop {
            if let Some(Some(package)) = self.0.get(at) {
                return Some(package.clone());
            }
            let end = at.iter().rposition(|byte| *byte == b'/').filter(|end| *end > 0)?;
            at = &at[..end];
        }
    }
}

#[cfg(test)]
mod tests {
    use kcompose_core::tree::MemoryTree;

    use super::*;

    fn tree() -> MemoryTree {
        let mut tree = MemoryTree::new();
        tree.file(
            "/var/lib/dpkg/info/zfs:amd64.list",
            0o644,
            "/.\n/etc\n/etc/zfs\n/etc/zfs/conf\n",
        )
        .file("/var/lib/dpkg/info/base.list", 0o644, "/.\n/etc\n")
        .file("/etc/zfs/conf", 0o644, "1")
        .file("/etc/zfs/made", 0o644, "1")
        .file("/etc/hostid", 0o644, "1")
        .link("/etc/link", "a");
        tree
    }

    #[track_caller]
    fn check(change: impl FnOnce(&mut MemoryTree), expected: &[&str]) {
        let mut other = tree();
        change(&mut other);
        let found = differences(&tree(), &other);
        let shown: Vec<String> = found
            .iter()
            .map(|found| found.to_string().replace('\t', " | "))
            .collect();
        assert_eq!(shown, expected);
    }

    #[test]
    fn each_path_is_told_with_what_differs_and_its_package() {
        check(|_| (), &[]);
        check(
            |tree| {
                tree.file("/etc/zfs/conf", 0o600, "2")
                    .file("/etc/hostid", 0o644, "22")
                    .link("/etc/link", "b");
                tree.entry_mut("/etc/zfs/made").unwrap().mtime += 1;
            },
            &[
                "/etc/hostid | content | no package",
                "/etc/link | target | no package",
                "/etc/zfs/conf | content, mode | zfs",
                "/etc/zfs/made | time | zfs",
            ],
        );
        check(
            |tree| {
                tree.remove("/etc/hostid").directory("/etc/zfs/new", 0o755);
                tree.entry_mut("/etc/link").unwrap().uid = 5;
            },
            &[
                "/etc/hostid | only in the first build | no package",
                "/etc/link | owner | no package",
                "/etc/zfs/new | only in the second build | zfs",
            ],
        );
    }

    #[test]
    fn layers_that_differ_are_numbered() {
        let what = layers(&["a", "b", "c"], &["a", "x", "c", "d"]);
        assert_eq!(what, "the trees are equal, and of 4 layers these are not: 2, 4");
    }
}
