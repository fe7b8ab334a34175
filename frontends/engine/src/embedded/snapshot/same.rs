//! Whether two trees with the same listing hold the same.

use std::collections::BTreeMap;
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use fs_err as fs;

use super::listing::walk;
use crate::embedded::attributes::attribute;
use crate::layer::all_attribute_names;

/// Compares what a listing does not say: contents, attributes, and which names are one file.
pub(in crate::embedded) fn same_contents(one: &Path, other: &Path) -> io::Result<bool> {
    let mut same = true;
    let mut files = Pairs::default();
    walk(one, one, &mut |path, metadata| {
        if !same {
            return Ok(());
        }
        let twin = other.join(path.strip_prefix(one).unwrap_or(path));
        same = attributes(path) == attributes(&twin);
        if same && metadata.is_file() {
            let second = fs::symlink_metadata(&twin)?;
            let known = files.meet(metadata, &second);
            same =
                second.is_file() && known != Met::Apart && (known == Met::Before || same_bytes(path, &twin)?);
        }
        Ok(())
    })?;
    Ok(same)
}

/// Which file of one tree is which of the other.
#[derive(Default)]
struct Pairs {
    there: BTreeMap<(u64, u64), (u64, u64)>,
    back: BTreeMap<(u64, u64), (u64, u64)>,
}

#[derive(PartialEq, Eq)]
enum Met {
    First,
    /// Both were compared under another name.
    Before,
    /// One has a name that the other one has not.
    Apart,
}

impl Pairs {
    fn meet(&mut self, one: &std::fs::Metadata, other: &std::fs::Metadata) -> Met {
        let (one, other) = ((one.dev(), one.ino()), (other.dev(), other.ino()));
        match (self.there.insert(one, other), self.back.insert(other, one)) {
            (None, None) => Met::First,
            (Some(known), Some(_)) if known == other => Met::Before,
            _ => Met::Apart,
        }
    }
}

fn attributes(path: &Path) -> Vec<(Vec<u8>, Option<Vec<u8>>)> {
    let names = all_attribute_names(path).into_iter();
    names
        .map(|name| {
            let value = attribute(path, &name);
            (name, value)
        })
        .collect()
}

fn same_bytes(one: &Path, other: &Path) -> io::Result<bool> {
    let (mut one, mut other) = (fs::File::open(one)?, fs::File::open(other)?);
    let (mut left, mut right) = (vec![0; 1 << 18], vec![0; 1 << 18]);
    loop {
        let length = one.read(&mut left)?;
        if length == 0 {
            return Ok(other.read(&mut right[..1])? == 0);
        }
        match other.read_exact(&mut right[..length]) {
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(false),
            read => read?,
        }
        if left[..length] != right[..length] {
            return Ok(false);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tree(fill: impl FnOnce(&Path)) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("d")).unwrap();
        fs::write(folder.path().join("d/a"), "text").unwrap();
        fill(folder.path());
        folder
    }

    #[test]
    fn contents_and_names_of_one_file_count() {
        let linked = |at: &Path| fs::hard_link(at.join("d/a"), at.join("b")).unwrap();
        let copied = |at: &Path| fs::write(at.join("b"), "text").unwrap();
        let other = |at: &Path| fs::write(at.join("b"), "next").unwrap();
        let same = |one: &tempfile::TempDir, other: &tempfile::TempDir| {
            same_contents(one.path(), other.path()).unwrap()
        };
        assert!(same(&tree(linked), &tree(linked)));
        assert!(same(&tree(copied), &tree(copied)));
        assert!(!same(&tree(linked), &tree(copied)));
        assert!(!same(&tree(copied), &tree(linked)));
        assert!(!same(&tree(copied), &tree(other)));
    }
}
