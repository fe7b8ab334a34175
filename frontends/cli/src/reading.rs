//! Texts of the user's folders: bounded, regular files only, and never outside of the folder they belong to.
//!
//! A flavor may come from a stranger. What it names is opened below its folder by openat2(2), so that no symbolic link
//! leads out, and without waiting, so that a FIFO cannot hold the command.

use std::ffi::OsStr;
use std::io::Read;
use std::path::{Component, Path, PathBuf};

use kcompose_core::limits;
use kcompose_dsl::LoadError;
use rustix::fd::OwnedFd;
use rustix::fs::{CWD, FileType, Mode, OFlags, ResolveFlags, fstat, openat, openat2};
use rustix::io::Errno;

use crate::failure::{Failure, FileFailed};

/// The text at a path that documents name, for a flavor in `folder`; both as the loader of the language gives them.
///
/// Below the folder, links may lead to files of the folder. Outside of it, where only `use "../…"` leads, no link is
/// followed.
pub(crate) fn document(folder: &Path, path: &Path) -> Result<String, LoadError> {
    let folder = plain(folder);
    let path = plain(path);
    if let Ok(inside) = path.strip_prefix(&folder)
        && !inside.starts_with("..")
    {
        return below(&folder, inside);
    }
    let (anchor, rest) = apart(&folder, &path);
    let file = opened(&anchor, &rest, ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS)?;
    text(file)
}

/// The text of a file below a folder.
pub(crate) fn below(folder: &Path, path: &Path) -> Result<String, LoadError> {
    text(opened(
        folder,
        path,
        ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS,
    )?)
}

/// The text of a file that the user names, wherever links lead.
pub(crate) fn named(path: &Path) -> Result<String, LoadError> {
    text(openat(CWD, path, FLAGS, Mode::empty()).map_err(refused)?)
}

/// The text of a file that kcompose looks for in a folder; `None` if there is none.
pub(crate) fn found(file: &Path) -> Result<Option<String>, Failure> {
    let folder = file.parent().unwrap_or(Path::new(""));
    let name = file.file_name().map_or(file, Path::new);
    match below(folder, name) {
        Ok(text) => Ok(Some(text)),
        Err(LoadError::Missing) => Ok(None),
        Err(error) => Err(failed(file, error)),
    }
}

/// The failure of a command that cannot go on without a text.
pub(crate) fn failed(file: &Path, error: LoadError) -> Failure {
    use std::io::{Error, ErrorKind};
    let reason = match error {
        LoadError::Missing => Error::from(ErrorKind::NotFound),
        LoadError::Outside => Error::other("a symbolic link leads out of its folder"),
        LoadError::Special(kind) => Error::other(format!("it is {kind}, not a file")),
        LoadError::TooLarge => Error::other(format!("it is larger than {}", limits::TEXT)),
        LoadError::Unreadable(reason) => Error::other(reason),
        LoadError::NotText(_) => Error::other(kcompose_dsl::NOT_TEXT),
    };
    Failure::world(FileFailed::new(
        format!("cannot read `{}`", file.display()),
        reason,
    ))
}

/// A path without `.`, and with `..` taken back where possible.
fn plain(path: &Path) -> PathBuf {
    let mut plain = PathBuf::new();
    for part in path.components() {
        match part {
            Component::CurDir => {}
            Component::ParentDir if matches!(plain.components().next_back(), Some(Component::Normal(_))) => {
                plain.pop();
            }
            part => plain.push(part),
        }
    }
    plain
}

/// The nearest folder above two paths, and the second path below it.
fn apart(folder: &Path, path: &Path) -> (PathBuf, PathBuf) {
    let common = folder
        .components()
        .zip(path.components())
        .take_while(|(folder, path)| folder == path)
        .count();
    let up = |part: &Component<'_>| *part == Component::ParentDir;
    let rest: Vec<Component<'_>> = path.components().skip(common).collect();
    let ups = rest.iter().take_while(|part| up(part)).count();
    let anchor = path.components().take(common + ups).collect();
    (anchor, rest[ups..].iter().collect())
}

const FLAGS: OFlags = OFlags::RDONLY
    .union(OFlags::NONBLOCK)
    .union(OFlags::NOCTTY)
    .union(OFlags::CLOEXEC);

fn opened(folder: &Path, path: &Path, resolve: ResolveFlags) -> Result<OwnedFd, LoadError> {
    let here = if folder.as_os_str().is_empty() {
        Path::new(".")
    } else {
        folder
    };
    let top = openat(
        CWD,
        here,
        OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC,
        Mode::empty(),
    )
    .map_err(refused)?;
    match openat2(&top, path, FLAGS, Mode::empty(), resolve) {
        // Linux before 5.6, or a sandbox that does not know the call.
        Err(Errno::NOSYS | Errno::PERM) => step_by_step(top, path),
        opened => opened.map_err(refused),
    }
}

/// Opens a path one part after the other, and follows no link at all.
fn step_by_step(mut at: OwnedFd, path: &Path) -> Result<OwnedFd, LoadError> {
    let parts: Vec<&OsStr> = path
        .components()
        .map(|part| match part {
            Component::Normal(name) => Ok(name),
            _ => Err(LoadError::Outside),
        })
        .collect::<Result<_, _>>()?;
    let Some((name, folders)) = parts.split_last() else {
        return Err(LoadError::Special("a folder"));
    };
    let enter = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    for folder in folders {
        at = openat(&at, *folder, enter, Mode::empty()).map_err(refused)?;
    }
    openat(&at, *name, FLAGS | OFlags::NOFOLLOW, Mode::empty()).map_err(refused)
}

fn refused(error: Errno) -> LoadError {
    match error {
        Errno::XDEV | Errno::LOOP => LoadError::Outside,
        // What open(2) says of a socket.
        Errno::NXIO => LoadError::Special("a socket"),
        error => LoadError::from(std::io::Error::from(error)),
    }
}

/// The text of an open file, if it is a regular one of a bearable size.
fn text(file: OwnedFd) -> Result<String, LoadError> {
    let kind = fstat(&file).map_err(refused)?.st_mode;
    match FileType::from_raw_mode(kind) {
        FileType::RegularFile => {}
        FileType::Directory => return Err(LoadError::Special("a folder")),
        FileType::Fifo => return Err(LoadError::Special("a FIFO")),
        FileType::Socket => return Err(LoadError::Special("a socket")),
        FileType::CharacterDevice | FileType::BlockDevice | FileType::Symlink | FileType::Unknown => {
            return Err(LoadError::Special("a device"));
        }
    }
    let mut bytes = Vec::new();
    let limit = limits::TEXT.value;
    std::fs::File::from(file)
        .take(limit + 1)
        .read_to_end(&mut bytes)?;
    if limits::TEXT.is_exceeded_by(bytes.len()) {
        return Err(LoadError::TooLarge);
    }
    LoadError::text(bytes)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::*;

    /// A folder with a secret, and the folder of a flavor in it.
    fn folders() -> (tempfile::TempDir, PathBuf) {
        let top = tempfile::tempdir().unwrap();
        let folder = top.path().join("flavor");
        fs::create_dir_all(folder.join("sub")).unwrap();
        fs::write(top.path().join("secret"), "SECRET").unwrap();
        fs::write(top.path().join("shared.kdl"), "shared").unwrap();
        fs::write(folder.join("sub/site.kdl"), "site").unwrap();
        (top, folder)
    }

    #[track_caller]
    fn check(folder: &Path, path: &str, expected: Result<&str, LoadError>) {
        let found = document(folder, &folder.join(path));
        assert_eq!(found, expected.map(str::to_owned), "{path}");
    }

    #[test]
    fn links_inside_are_followed_and_none_leads_out() {
        let (top, folder) = folders();
        symlink("sub/site.kdl", folder.join("inside.kdl")).unwrap();
        symlink("../secret", folder.join("out.kdl")).unwrap();
        symlink("..", folder.join("up")).unwrap();
        symlink(top.path().join("secret"), folder.join("absolute.kdl")).unwrap();
        symlink("/proc/self/cwd", folder.join("magic")).unwrap();
        symlink("round.kdl", folder.join("round.kdl")).unwrap();
        check(&folder, "sub/site.kdl", Ok("site"));
        check(&folder, "inside.kdl", Ok("site"));
        for path in [
            "out.kdl",
            "up/secret",
            "absolute.kdl",
            "magic/secret",
            "round.kdl",
        ] {
            check(&folder, path, Err(LoadError::Outside));
        }
        check(&folder, "none.kdl", Err(LoadError::Missing));
    }

    #[test]
    fn outside_of_the_folder_no_link_is_followed() {
        let (top, folder) = folders();
        symlink("secret", top.path().join("link.kdl")).unwrap();
        symlink("flavor", top.path().join("other")).unwrap();
        check(&folder, "../shared.kdl", Ok("shared"));
        check(&folder, "../link.kdl", Err(LoadError::Outside));
        check(&folder, "../other/sub/site.kdl", Err(LoadError::Outside));
    }

    #[test]
    fn only_regular_files_are_read() {
        let (_top, folder) = folders();
        let mode = Mode::from_raw_mode(0o600);
        rustix::fs::mknodat(CWD, folder.join("fifo"), FileType::Fifo, mode, 0).unwrap();
        let _socket = std::os::unix::net::UnixListener::bind(folder.join("socket")).unwrap();
        check(&folder, "fifo", Err(LoadError::Special("a FIFO")));
        check(&folder, "socket", Err(LoadError::Special("a socket")));
        check(&folder, "sub", Err(LoadError::Special("a folder")));
        assert_eq!(named(Path::new("/dev/null")), Err(LoadError::Special("a device")));
    }

    #[test]
    fn a_text_has_a_limit() {
        let (_top, folder) = folders();
        let file = fs::File::create(folder.join("large")).unwrap();
        file.set_len(limits::TEXT.value).unwrap();
        assert!(document(&folder, &folder.join("large")).is_ok());
        file.set_len(limits::TEXT.value + 1).unwrap();
        check(&folder, "large", Err(LoadError::TooLarge));
    }

    #[test]
    fn without_openat2_no_link_is_followed() {
        let (_top, folder) = folders();
        symlink("sub/site.kdl", folder.join("inside.kdl")).unwrap();
        let top = || openat(CWD, &folder, OFlags::PATH | OFlags::DIRECTORY, Mode::empty()).unwrap();
        let read = |path: &str| step_by_step(top(), Path::new(path)).and_then(text);
        assert_eq!(read("sub/site.kdl").as_deref(), Ok("site"));
        assert_eq!(read("inside.kdl"), Err(LoadError::Outside));
        assert_eq!(read("../secret"), Err(LoadError::Outside));
    }

    #[test]
    fn a_path_outside_is_split_at_the_nearest_folder() {
        let check = |folder: &str, path: &str, anchor: &str, rest: &str| {
            let found = apart(Path::new(folder), Path::new(path));
            assert_eq!(found, (PathBuf::from(anchor), PathBuf::from(rest)), "{path}");
        };
        check("", "../x.kdl", "..", "x.kdl");
        check("a/b", "a/x.kdl", "a", "x.kdl");
        check("../a", "../../b/x.kdl", "../..", "b/x.kdl");
        check("/a/b", "/a/c/x.kdl", "/a", "c/x.kdl");
        assert_eq!(plain(Path::new("./a/../b/./c")), Path::new("b/c"));
    }
}
