//! Paths inside a root: no symbolic link and no `..` leads out of it.

use std::ffi::OsStr;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Component, Path, PathBuf};

use rustix::fs::{self, FileType, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;

/// As many links as the kernel follows.
const MOST_LINKS: usize = 255;

/// Opens what a path inside a root names, following links inside of it.
pub fn open(root: BorrowedFd<'_>, path: &Path, flags: OFlags) -> rustix::io::Result<OwnedFd> {
    let relative = path.strip_prefix("/").unwrap_or(path);
    let name = if relative.as_os_str().is_empty() {
        Path::new(".")
    } else {
        relative
    };
    // Renames elsewhere make the kernel give up with EAGAIN now and then.
    for _ in 0..64 {
        let opened = fs::openat2(
            root,
            name,
            flags | OFlags::CLOEXEC,
            Mode::empty(),
            ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS,
        );
        if opened.as_ref().err() != Some(&Errno::AGAIN) {
            return opened;
        }
    }
    Err(Errno::AGAIN)
}

/// Where a path leads: absolute, without links and dots; parts that do not exist stand for themselves.
pub fn real_path(root: BorrowedFd<'_>, path: &Path) -> io::Result<PathBuf> {
    let mut real = PathBuf::from("/");
    let mut rest: Vec<Part> = parts(path);
    let mut links = 0;
    while let Some(part) = rest.pop() {
        let name = match part {
            Part::Up => {
                real.pop();
                continue;
            }
            Part::Root => {
                real = "/".into();
                continue;
            }
            Part::Name(name) => name,
        };
        let next = real.join(OsStr::from_bytes(&name));
        match link(root, &next) {
            Some(target) => {
                links += 1;
                if links > MOST_LINKS {
                    return Err(Errno::LOOP.into());
                }
                rest.extend(parts(&target));
            }
            None => real = next,
        }
    }
    Ok(real)
}

/// Makes a folder at a real path, and those above it.
pub fn make_folder(root: BorrowedFd<'_>, real: &Path) -> io::Result<OwnedFd> {
    if let Some(folder) = existing(root, real, OFlags::PATH | OFlags::DIRECTORY)? {
        return Ok(folder);
    }
    let (parent, name) = parent_and_name(root, real)?;
    match fs::mkdirat(&parent, name, Mode::from_raw_mode(0o755)) {
        Ok(()) | Err(Errno::EXIST) => {}
        Err(error) => return Err(error.into()),
    }
    Ok(open(root, real, OFlags::PATH | OFlags::DIRECTORY)?)
}

/// Makes an empty file at a real path, and the folders above it.
pub fn make_file(root: BorrowedFd<'_>, real: &Path) -> io::Result<OwnedFd> {
    if let Some(file) = existing(root, real, OFlags::PATH)? {
        return Ok(file);
    }
    let (parent, name) = parent_and_name(root, real)?;
    let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    fs::openat(&parent, name, flags, Mode::from_raw_mode(0o755))?;
    Ok(open(root, real, OFlags::PATH)?)
}

/// The folder that holds a real path, made if need be, and the last part of the path.
pub fn parent_and_name<'a>(root: BorrowedFd<'_>, real: &'a Path) -> io::Result<(OwnedFd, &'a OsStr)> {
    let (Some(parent), Some(name)) = (real.parent(), real.file_name()) else {
        return Err(Errno::BUSY.into());
    };
    Ok((make_folder(root, parent)?, name))
}

/// Whether the folder that a descriptor names is one.
pub fn is_folder(file: impl AsFd) -> io::Result<bool> {
    Ok(FileType::from_raw_mode(fs::fstat(file)?.st_mode) == FileType::Directory)
}

fn existing(root: BorrowedFd<'_>, path: &Path, flags: OFlags) -> io::Result<Option<OwnedFd>> {
    match open(root, path, flags) {
        Ok(file) => Ok(Some(file)),
        Err(Errno::NOENT) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

enum Part {
    Root,
    Up,
    Name(Vec<u8>),
}

/// The parts of a path, the first one last.
fn parts(path: &Path) -> Vec<Part> {
    let part = |component| match component {
        Component::RootDir => Some(Part::Root),
        Component::ParentDir => Some(Part::Up),
        Component::Normal(name) => Some(Part::Name(name.as_bytes().to_vec())),
        Component::CurDir | Component::Prefix(_) => None,
    };
    path.components().rev().filter_map(part).collect()
}

fn link(root: BorrowedFd<'_>, path: &Path) -> Option<PathBuf> {
    let entry = open(root, path, OFlags::PATH | OFlags::NOFOLLOW).ok()?;
    let target = fs::readlinkat(&entry, "", Vec::new()).ok()?;
    Some(std::ffi::OsString::from_vec(target.into_bytes()).into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    fn root() -> (PathBuf, OwnedFd) {
        static NUMBER: std::sync::atomic::AtomicUsize = std::sync::atomic::AtomicUsize::new(0);
        let number = NUMBER.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("kcompose-inside-{}-{number}", std::process::id()));
        std::fs::create_dir(&path).expect("a folder can be made");
        let root = fs::open(&path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty()).expect("it opens");
        (path, root)
    }

    #[test]
    fn links_lead_nowhere_else() {
        let (path, root) = root();
        symlink("/etc", path.join("absolute")).expect("a link can be made");
        symlink("../../../../etc/x", path.join("up")).expect("a link can be made");
        symlink("up", path.join("twice")).expect("a link can be made");
        symlink("loop", path.join("loop")).expect("a link can be made");
        let real =
            |text: &str| real_path(root.as_fd(), Path::new(text)).map_err(|error| error.raw_os_error());
        assert_eq!(real("absolute/passwd"), Ok("/etc/passwd".into()));
        assert_eq!(real("/up"), Ok("/etc/x".into()));
        assert_eq!(real("/twice/y"), Ok("/etc/x/y".into()));
        assert_eq!(real("/../a/./b/../c"), Ok("/a/c".into()));
        assert_eq!(real("loop"), Err(Some(libc::ELOOP)));
        make_file(root.as_fd(), Path::new("/etc/deep/file")).expect("it can be made");
        assert!(path.join("etc/deep/file").is_file());
        std::fs::remove_dir_all(path).expect("it goes");
    }
}
