//! Paths inside a tree.

use std::collections::VecDeque;
use std::ffi::{OsStr, OsString};
use std::fs::Metadata;
use std::io;
use std::path::{Component, Path, PathBuf};

use super::FileOpError;

/// A directory that is somebody's `/`.
#[derive(Clone, Debug)]
pub(super) struct Root(PathBuf);

/// What happens to a symbolic link at the end of a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Last {
    /// It is followed.
    Follow,
    /// It is itself what is meant.
    Keep,
}

/// As many links as the copier of BuildKit follows.
const LINKS: usize = 255;

impl Root {
    pub(super) fn new(path: &Path) -> Self {
        // Without a slash at its end, so that parents of what is inside end here.
        Root(path.components().collect())
    }

    pub(super) fn path(&self) -> &Path {
        &self.0
    }

    /// Where a path leads, as a path of this machine none of whose parts in the tree is a link.
    ///
    /// Links are followed as if the tree were `/`, and `..` ends there. What is missing stands for itself.
    pub(super) fn resolve(&self, path: &Path, last: Last) -> Result<PathBuf, FileOpError> {
        let mut todo: VecDeque<OsString> = parts(path).collect();
        let mut place = self.0.clone();
        let mut links = 0;
        while let Some(part) = todo.pop_front() {
            if part == ".." {
                if place != self.0 {
                    place.pop();
                }
                continue;
            }
            place.push(&part);
            let is_link = self.metadata(&place)?.is_some_and(|found| found.is_symlink());
            if !is_link || (todo.is_empty() && last == Last::Keep) {
                continue;
            }
            links += 1;
            if links > LINKS {
                return Err(FileOpError::Links {
                    path: path.display().to_string(),
                });
            }
            let target = place.read_link().map_err(self.io("read", &place))?;
            place.pop();
            if target.is_absolute() {
                place.clone_from(&self.0);
            }
            for part in parts(&target).rev() {
                todo.push_front(part);
            }
        }
        Ok(place)
    }

    /// The same for a path whose `..` are taken as they are written, before any link is looked at.
    pub(super) fn resolve_clean(&self, path: &str, last: Last) -> Result<PathBuf, FileOpError> {
        self.resolve(&clean(path), last)
    }

    /// What is at a place; `None` if nothing is, or not even a directory for it.
    pub(super) fn metadata(&self, place: &Path) -> Result<Option<Metadata>, FileOpError> {
        match place.symlink_metadata() {
            Ok(metadata) => Ok(Some(metadata)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) if error.kind() == io::ErrorKind::NotADirectory => {
                Err(self.not_a_directory(place.parent().unwrap_or(place)))
            }
            Err(error) => Err(self.io("read", place)(error)),
        }
    }

    /// The names in a directory, sorted by bytes.
    pub(super) fn names(&self, place: &Path) -> Result<Vec<OsString>, FileOpError> {
        let names: io::Result<Vec<OsString>> = std::fs::read_dir(place)
            .and_then(|entries| entries.map(|entry| Ok(entry?.file_name())).collect());
        let mut names = names.map_err(self.io("read", place))?;
        names.sort_unstable();
        Ok(names)
    }

    /// A place as a path from the root of the tree.
    pub(super) fn shown(&self, place: &Path) -> String {
        let inside = place.strip_prefix(&self.0).unwrap_or(place);
        Path::new("/").join(inside).display().to_string()
    }

    pub(super) fn missing(&self, place: &Path) -> FileOpError {
        FileOpError::Missing {
            path: self.shown(place),
        }
    }

    pub(super) fn not_a_directory(&self, place: &Path) -> FileOpError {
        FileOpError::NotADirectory {
            path: self.shown(place),
        }
    }

    pub(super) fn is_a_directory(&self, place: &Path) -> FileOpError {
        FileOpError::IsADirectory {
            path: self.shown(place),
        }
    }

    pub(super) fn io(&self, action: &'static str, place: &Path) -> impl FnOnce(io::Error) -> FileOpError {
        let path = self.shown(place);
        move |reason| match reason.kind() {
            io::ErrorKind::NotFound => FileOpError::Missing { path },
            _ => FileOpError::Io { action, path, reason },
        }
    }
}

/// An absolute path without `.` and `..`, as it is written.
pub(super) fn clean(path: &str) -> PathBuf {
    let mut clean = PathBuf::from("/");
    for part in parts(Path::new(path)) {
        if part == ".." {
            clean.pop();
        } else {
            clean.push(part);
        }
    }
    clean
}

fn parts(path: &Path) -> impl DoubleEndedIterator<Item = OsString> + '_ {
    path.components().filter_map(|component| match component {
        Component::Normal(part) => Some(part.to_owned()),
        Component::ParentDir => Some(OsStr::new("..").to_owned()),
        Component::CurDir | Component::RootDir | Component::Prefix(_) => None,
    })
}
