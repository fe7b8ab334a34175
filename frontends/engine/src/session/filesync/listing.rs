//! The entries of a build context, as an engine would get them.

use std::io;
use std::path::Path;

use super::walk::{Filter, walk};

/// An entry of a folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    /// Its path below the folder.
    pub path: String,
    /// Its kind.
    pub kind: ListedKind,
}

/// The kind of an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ListedKind {
    /// A directory.
    Directory,
    /// A symbolic link.
    Link,
    /// A file of any other kind.
    File,
}

/// Lists a path of a folder with everything below it, without what patterns of a `.dockerignore` leave out. Stops when
/// `take` returns false.
pub fn list(
    folder: &Path,
    path: &str,
    ignored: &[String],
    take: &mut dyn FnMut(Listed) -> bool,
) -> io::Result<()> {
    let filter = Filter {
        include: Some(path.to_owned())
            .filter(|path| !path.is_empty())
            .into_iter()
            .collect(),
        exclude: ignored.to_vec(),
        follow: Vec::new(),
    };
    walk(folder, &filter, &mut |entry| {
        let kind = kind(&entry.path);
        take(Listed {
            path: entry.stat.path,
            kind,
        })
    })
}

fn kind(path: &Path) -> ListedKind {
    match path.symlink_metadata() {
        Ok(metadata) if metadata.is_dir() => ListedKind::Directory,
        Ok(metadata) if metadata.is_symlink() => ListedKind::Link,
        _ => ListedKind::File,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_listed_with_all_below_it() {
        let folder = tempfile::tempdir().unwrap();
        let inside = folder.path().join("overlay/etc");
        std::fs::create_dir_all(&inside).unwrap();
        std::fs::write(inside.join("a"), "").unwrap();
        std::fs::write(inside.join("a.log"), "").unwrap();
        std::fs::write(folder.path().join("other"), "").unwrap();
        std::os::unix::fs::symlink("a", inside.join("b")).unwrap();
        let mut found = Vec::new();
        let ignored = ["**/*.log".to_owned()];
        list(folder.path(), "overlay", &ignored, &mut |listed| {
            found.push((listed.path, listed.kind));
            true
        })
        .unwrap();
        let expected = [
            ("overlay", ListedKind::Directory),
            ("overlay/etc", ListedKind::Directory),
            ("overlay/etc/a", ListedKind::File),
            ("overlay/etc/b", ListedKind::Link),
        ];
        assert_eq!(found, expected.map(|(path, kind)| (path.to_owned(), kind)));
    }
}
