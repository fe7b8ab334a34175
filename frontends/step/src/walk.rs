//! All paths of a root, without what is mounted in it.

use std::fs::Metadata;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};
use std::sync::{Condvar, Mutex, PoisonError};

use crate::problem::{Doing, Outcome};

/// Visits every path below the root and the root itself, a directory after what is in it.
///
/// Mounts are left out: the files that the builder binds (`/etc/hosts`, `/etc/resolv.conf`) are not the image's. They
/// are told by `/proc/self/mountinfo` and not by the device number, which overlayfs may choose for each file.
pub(crate) fn walk(root: &Path, visit: &mut dyn FnMut(&Path, &Metadata) -> Outcome<()>) -> Outcome<()> {
    let mounts = mounts_below(root)?;
    let found = root.symlink_metadata().doing("look at", root)?;
    descend(root, &found, &mounts, visit)
}

fn descend(
    path: &Path,
    found: &Metadata,
    mounts: &[PathBuf],
    visit: &mut dyn FnMut(&Path, &Metadata) -> Outcome<()>,
) -> Outcome<()> {
    if found.is_dir() {
        for entry in std::fs::read_dir(path).doing("list", path)? {
            let entry = entry.doing("list", path)?;
            let below = entry.path();
            if mounts.contains(&below) {
                continue;
            }
            descend(&below, &entry.metadata().doing("look at", &below)?, mounts, visit)?;
        }
    }
    visit(path, found)
}

/// Visits the same paths in any order, on a few threads: looking at each path is what such a visit costs. Returns what the
/// visits make of them.
pub(crate) fn everywhere<T: Send>(
    root: &Path,
    visit: &(dyn Fn(&Path, &Metadata) -> Outcome<Option<T>> + Sync),
) -> Outcome<Vec<T>> {
    let mounts = mounts_below(root)?;
    let found = root.symlink_metadata().doing("look at", root)?;
    let mut made: Vec<T> = visit(root, &found)?.into_iter().collect();
    let queue = Queue::new(found.is_dir().then(|| root.to_owned()));
    let work = || -> Outcome<Vec<T>> {
        let mut made = Vec::new();
        while let Some(directory) = queue.take() {
            let (below, failed) = match visit_below(&directory, &mounts, visit, &mut made) {
                Ok(below) => (below, Ok(())),
                Err(problems) => (Vec::new(), Err(problems)),
            };
            // The others wait for what this directory has, even if that could not be read.
            queue.done(below);
            failed?;
        }
        Ok(made)
    };
    let outcomes: Vec<Outcome<Vec<T>>> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..WALKERS).map(|_| scope.spawn(work)).collect();
        threads
            .into_iter()
            .map(|thread| thread.join().expect("a walking thread does not panic"))
            .collect()
    });
    for outcome in outcomes {
        made.extend(outcome?);
    }
    Ok(made)
}

/// Threads that walk a root.
const WALKERS: usize = 4;

/// Visits what is in a directory; returns the directories among it.
fn visit_below<T>(
    directory: &Path,
    mounts: &[PathBuf],
    visit: &(dyn Fn(&Path, &Metadata) -> Outcome<Option<T>> + Sync),
    made: &mut Vec<T>,
) -> Outcome<Vec<PathBuf>> {
    let mut directories = Vec::new();
    for entry in std::fs::read_dir(directory).doing("list", directory)? {
        let entry = entry.doing("list", directory)?;
        let path = entry.path();
        if mounts.contains(&path) {
            continue;
        }
        let found = entry.metadata().doing("look at", &path)?;
        made.extend(visit(&path, &found)?);
        if found.is_dir() {
            directories.push(path);
        }
    }
    Ok(directories)
}

/// Directories that are still to be listed, and how many threads may bring more.
#[derive(Debug)]
struct Queue {
    state: Mutex<(Vec<PathBuf>, usize)>,
    changed: Condvar,
}

impl Queue {
    fn new(first: Option<PathBuf>) -> Self {
        Queue {
            state: Mutex::new((first.into_iter().collect(), 0)),
            changed: Condvar::new(),
        }
    }

    /// The next directory; none when all are done.
    fn take(&self) -> Option<PathBuf> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            if let Some(next) = state.0.pop() {
                state.1 += 1;
                return Some(next);
            }
            if state.1 == 0 {
                return None;
            }
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn done(&self, more: Vec<PathBuf>) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.0.extend(more);
        state.1 -= 1;
        self.changed.notify_all();
    }
}

/// Whether something is mounted exactly here.
pub(crate) fn is_mount(path: &Path) -> Outcome<bool> {
    Ok(mounts()?.iter().any(|mount| mount == path))
}

/// Where something is mounted below a root.
pub(crate) fn mounts_below(root: &Path) -> Outcome<Vec<PathBuf>> {
    let mut mounts = mounts()?;
    mounts.retain(|mount| mount != root && mount.starts_with(root));
    Ok(mounts)
}

fn mounts() -> Outcome<Vec<PathBuf>> {
    let path = Path::new("/proc/self/mountinfo");
    let text = std::fs::read(path).doing("read", path)?;
    Ok(text
        .split(|byte| *byte == b'\n')
        .filter_map(mount_point)
        .collect())
}

/// The fifth field of a line of mountinfo, where white space and backslashes are octal (proc_pid_mountinfo(5)).
fn mount_point(line: &[u8]) -> Option<PathBuf> {
    let field = line.split(|byte| *byte == b' ').nth(4)?;
    let mut path = Vec::with_capacity(field.len());
    let mut rest = field;
    while let Some((first, after)) = rest.split_first() {
        let octal = after.get(..3).filter(|_| *first == b'\\');
        match octal.and_then(|digits| u8::from_str_radix(std::str::from_utf8(digits).ok()?, 8).ok()) {
            Some(byte) => {
                path.push(byte);
                rest = &after[3..];
            }
            None => {
                path.push(*first);
                rest = after;
            }
        }
    }
    Some(PathBuf::from(std::ffi::OsString::from_vec(path)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::problem::Problem;

    #[test]
    fn mount_points_are_unescaped() {
        let line = br"36 35 98:0 /mnt1 /mnt\040two\134 rw,noatime master:1 - ext3 /dev/root rw";
        assert_eq!(mount_point(line).unwrap(), Path::new("/mnt two\\"));
    }

    #[test]
    fn directories_come_after_what_is_in_them() {
        let root = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(root.path().join("a/b")).unwrap();
        let mut seen = Vec::new();
        walk(root.path(), &mut |path, _| {
            seen.push(path.strip_prefix(root.path()).unwrap().to_owned());
            Ok(())
        })
        .unwrap();
        assert_eq!(seen, [Path::new("a/b"), Path::new("a"), Path::new("")]);
        assert!(is_mount(Path::new("/proc")).unwrap() && !is_mount(root.path()).unwrap());
    }

    #[test]
    fn every_path_is_visited_once_by_many() {
        let root = tempfile::tempdir().unwrap();
        for number in 0..300 {
            let directory = root.path().join(format!("{}/{}", number % 7, number % 31));
            std::fs::create_dir_all(&directory).unwrap();
            std::fs::write(directory.join(number.to_string()), "").unwrap();
        }
        let mut one_by_one = Vec::new();
        walk(root.path(), &mut |path, _| {
            one_by_one.push(path.to_owned());
            Ok(())
        })
        .unwrap();
        let mut seen = everywhere(root.path(), &|path, _| Ok(Some(path.to_owned()))).unwrap();
        seen.sort();
        one_by_one.sort();
        assert_eq!(seen, one_by_one);
    }

    #[test]
    fn a_visit_that_fails_ends_the_walk_with_its_problem() {
        let root = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(root.path().join("a/b/c")).unwrap();
        let refuse = |path: &Path, _: &Metadata| match path.ends_with("b") {
            true => Err(Problem::new("kcompose::step::refused", "no").into()),
            false => Ok(None::<()>),
        };
        let problems = everywhere(root.path(), &refuse).unwrap_err();
        assert_eq!(problems.0.len(), 1);
    }
}
