//! Making files, directories and links with exact owners, modes and time stamps.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, Gid, Mode, Timespec, Timestamps, Uid};

use kcompose_core::tree;

use crate::problem::{Doing, Outcome, Problem};
use crate::root_tree::RootTree;

/// Owner, permission bits and time stamp of a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Meta {
    pub(crate) mode: u32,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    pub(crate) mtime: i64,
}

impl Meta {
    /// What belongs to root.
    pub(crate) fn root(mode: u32, mtime: i64) -> Self {
        Meta {
            mode,
            uid: 0,
            gid: 0,
            mtime,
        }
    }
}

/// Time stamps with this second as both access and modification time.
pub(crate) fn times(seconds: i64) -> Timestamps {
    let time = Timespec {
        tv_sec: seconds,
        tv_nsec: 0,
    };
    Timestamps {
        last_access: time,
        last_modification: time,
    }
}

/// Sets the time stamp of a path, of a link itself and not of its target.
pub(crate) fn set_mtime(path: &Path, seconds: i64) -> io::Result<()> {
    Ok(rustix::fs::utimensat(
        CWD,
        path,
        &times(seconds),
        AtFlags::SYMLINK_NOFOLLOW,
    )?)
}

/// Changes the owner of a path, of a link itself and not of its target. Clears setuid and capabilities.
pub(crate) fn set_owner(path: &Path, uid: u32, gid: u32) -> io::Result<()> {
    let (uid, gid) = (Uid::from_raw(uid), Gid::from_raw(gid));
    Ok(rustix::fs::chownat(
        CWD,
        path,
        Some(uid),
        Some(gid),
        AtFlags::SYMLINK_NOFOLLOW,
    )?)
}

/// Sets the permission bits of a file or directory.
pub(crate) fn set_mode(path: &Path, mode: u32) -> io::Result<()> {
    Ok(rustix::fs::chmod(path, Mode::from_raw_mode(mode))?)
}

/// Gives an existing file or directory its owner, mode and time stamp, in the order in which none undoes another.
pub(crate) fn set_meta(path: &Path, meta: Meta) -> io::Result<()> {
    set_owner(path, meta.uid, meta.gid)?;
    set_mode(path, meta.mode)?;
    set_mtime(path, meta.mtime)
}

/// A new regular file; whatever is there and no directory is taken out first, so that no link is written through.
///
/// It has its mode at once if that is a plain one; [`set_file_meta`] gives it the rest.
pub(crate) fn create_file(path: &Path, mode: u32) -> io::Result<File> {
    let mode = if mode & !0o777 == 0 { mode } else { 0o600 };
    let create = || {
        OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(mode)
            .open(path)
    };
    match create() {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            std::fs::remove_file(path)?;
            create()
        }
        other => other,
    }
}

/// Gives an open file its owner, mode and time stamp.
pub(crate) fn set_file_meta(file: &File, meta: Meta) -> io::Result<()> {
    // A change is written to the journal even where it changes nothing.
    let found = file.metadata()?;
    let is_owned = (found.uid(), found.gid()) == (meta.uid, meta.gid);
    if !is_owned {
        rustix::fs::fchown(file, Some(Uid::from_raw(meta.uid)), Some(Gid::from_raw(meta.gid)))?;
    }
    // A new owner takes setuid and setgid away.
    if !is_owned || found.mode() & 0o7777 != meta.mode {
        rustix::fs::fchmod(file, Mode::from_raw_mode(meta.mode))?;
    }
    Ok(rustix::fs::futimens(file, &times(meta.mtime))?)
}

/// Writes a whole regular file in place of what is there.
pub(crate) fn write_file(path: &Path, content: &[u8], meta: Meta) -> Outcome<()> {
    let write = || {
        let mut file = create_file(path, meta.mode)?;
        file.write_all(content)?;
        set_file_meta(&file, meta)
    };
    write().doing("write", path)
}

/// Makes a symbolic link in place of what is there and no directory.
pub(crate) fn write_link(path: &Path, target: &[u8], meta: Meta) -> io::Result<()> {
    let link = || rustix::fs::symlink(target, path);
    match link() {
        Err(rustix::io::Errno::EXIST) => {
            std::fs::remove_file(path)?;
            link()?;
        }
        other => other?,
    }
    set_owner(path, meta.uid, meta.gid)?;
    set_mtime(path, meta.mtime)
}

/// Makes a directory and those above it that are missing, as root's with mode 0755; returns the ones that were made.
pub(crate) fn make_directories(path: &Path) -> io::Result<Vec<PathBuf>> {
    match std::fs::create_dir(path) {
        Ok(()) => {
            // A directory under a setgid one inherits its group.
            set_owner(path, 0, 0)?;
            set_mode(path, 0o755)?;
            Ok(vec![path.to_owned()])
        }
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists && path.is_dir() => Ok(Vec::new()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let parent = path.parent().ok_or(error)?;
            let mut made = make_directories(parent)?;
            made.extend(make_directories(path)?);
            Ok(made)
        }
        Err(error) => Err(error),
    }
}

/// The path of `inside` (absolute in the root) on this machine; links on the way to its parent stay inside the root.
pub(crate) fn inside(root: &Path, inside: &str) -> Outcome<PathBuf> {
    let bad = || {
        Problem::new(
            "kcompose::step::path",
            format!("`{inside}` is no absolute path of an image"),
        )
    };
    if inside == "/" {
        return Ok(root.to_owned());
    }
    let clean = inside.trim_end_matches('/');
    let (parent, name) = clean.rsplit_once('/').ok_or_else(bad)?;
    if !inside.starts_with('/') || clean.split('/').any(|part| part == ".." || part == ".") {
        return Err(bad().into());
    }
    Ok(root
        .join(relative(&resolve_existing(root, parent.as_bytes())))
        .join(name))
}

/// The path without its leading slash.
pub(crate) fn relative(path: &[u8]) -> &Path {
    let start = path.iter().position(|byte| *byte != b'/').unwrap_or(path.len());
    Path::new(std::ffi::OsStr::from_bytes(&path[start..]))
}

/// Resolves the part of a path that exists, and appends what does not.
fn resolve_existing(root: &Path, path: &[u8]) -> Vec<u8> {
    let tree = RootTree::new(root);
    let mut cut = path.len();
    loop {
        let head = if cut == 0 { &b"/"[..] } else { &path[..cut] };
        if let Some(mut found) = tree::resolve(&tree, head) {
            if found == b"/" && cut < path.len() {
                found.clear();
            }
            found.extend_from_slice(&path[cut..]);
            return found;
        }
        cut = path[..cut].iter().rposition(|byte| *byte == b'/').unwrap_or(0);
    }
}

/// Makes the parent of a path inside the root, with mode 0755 and the epoch as time stamp.
pub(crate) fn make_parent(path: &Path, epoch: i64) -> Outcome<()> {
    let Some(parent) = path.parent() else {
        return Ok(());
    };
    let made = make_directories(parent).doing("make directory", parent)?;
    // What the first one was made in has changed, too.
    let above = made.first().and_then(|first| first.parent());
    let mut changed = above.into_iter().chain(made.iter().map(PathBuf::as_path));
    changed.try_for_each(|path| set_mtime(path, epoch).doing("set the time of", path))
}

/// What a path is, links not followed; `None` if nothing is there.
pub(crate) fn look(path: &Path) -> Outcome<Option<std::fs::Metadata>> {
    match path.symlink_metadata() {
        Ok(found) => Ok(Some(found)),
        Err(error)
            if matches!(
                error.kind(),
                io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
            ) =>
        {
            Ok(None)
        }
        Err(error) => Err(error).doing("look at", path),
    }
}

/// Owner, mode and time stamp as they are.
pub(crate) fn meta_of(found: &std::fs::Metadata) -> Meta {
    Meta {
        mode: found.mode() & 0o7777,
        uid: found.uid(),
        gid: found.gid(),
        mtime: found.mtime(),
    }
}

/// The content of a file, or nothing if there is no file.
pub(crate) fn read_optional(path: &Path) -> Outcome<Option<Vec<u8>>> {
    match std::fs::read(path) {
        Ok(content) => Ok(Some(content)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error).doing("read", path),
    }
}

/// The text of a file, or nothing if there is no file.
pub(crate) fn read_text(path: &Path) -> Outcome<String> {
    Ok(String::from_utf8_lossy(&read_optional(path)?.unwrap_or_default()).into_owned())
}

/// Deletes a path, a directory with all that is in it; nothing there is fine.
pub(crate) fn remove(path: &Path) -> Outcome<()> {
    let Some(found) = look(path)? else { return Ok(()) };
    let removed = if found.is_dir() {
        std::fs::remove_dir_all(path)
    } else {
        std::fs::remove_file(path)
    };
    removed.doing("delete", path)
}

/// The names in a directory, sorted by bytes; none if it is no directory.
pub(crate) fn names(path: &Path) -> Vec<std::ffi::OsString> {
    let Ok(entries) = std::fs::read_dir(path) else {
        return Vec::new();
    };
    let mut names: Vec<_> = entries.flatten().map(|entry| entry.file_name()).collect();
    names.sort_by(|a, b| a.as_bytes().cmp(b.as_bytes()));
    names
}

/// Writes a file of a test's root, and the directories above it.
#[cfg(test)]
#[track_caller]
pub(crate) fn put(root: &Path, path: &str, text: &str) {
    let path = root.join(path);
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, text).unwrap();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn directories_are_made_from_the_top() {
        let root = tempfile::tempdir().unwrap();
        let made = make_directories(&root.path().join("a/b/c")).unwrap();
        assert_eq!(made.len(), 3);
        assert!(root.path().join("a/b/c").is_dir());
        assert!(make_directories(&root.path().join("a/b")).unwrap().is_empty());
        std::fs::write(root.path().join("f"), "").unwrap();
        assert!(make_directories(&root.path().join("f")).is_err());
        assert!(make_directories(&root.path().join("f/x")).is_err());
    }

    #[test]
    fn links_above_a_path_stay_inside_the_root() {
        let root = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(root.path().join("usr/bin")).unwrap();
        std::os::unix::fs::symlink("/usr/bin", root.path().join("bin")).unwrap();
        let at = |path| {
            inside(root.path(), path)
                .unwrap()
                .strip_prefix(root.path())
                .unwrap()
                .to_owned()
        };
        assert_eq!(at("/bin/x"), Path::new("usr/bin/x"));
        assert_eq!(at("/bin"), Path::new("bin"));
        assert_eq!(at("/new/deep/x"), Path::new("new/deep/x"));
        assert!(inside(root.path(), "/a/../b").is_err());
        assert!(inside(root.path(), "relative").is_err());
    }
}
