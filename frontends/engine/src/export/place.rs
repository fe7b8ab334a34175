//! Whole files and folders, or nothing.

use std::io::{self, Seek, Write};
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};

use fs_err as fs;
use rustix::fs::{AtFlags, CWD, Mode, OFlags, RenameFlags, linkat, renameat_with};
use tempfile::TempPath;

use crate::error::EngineError;

/// A file on its way to its destination.
#[derive(Debug)]
pub(super) struct Draft {
    file: fs::File,
    /// Where it lies until it is whole, if it has a name: one without goes with whoever writes it, whatever ends them.
    path: Option<TempPath>,
    destination: PathBuf,
    replaces_file: bool,
}

impl Draft {
    /// A new file that becomes the destination.
    pub(super) fn new(destination: &Path) -> io::Result<Self> {
        Draft::nameless(destination).or_else(|_| {
            let (file, path) = beside()
                .permissions(permissions(0o666))
                .tempfile_in(folder(destination))?
                .into_parts();
            Ok(Draft::of(file, Some(path), destination))
        })
    }

    /// The same without a name, which not every file system can.
    pub(super) fn nameless(destination: &Path) -> io::Result<Self> {
        let flags = OFlags::TMPFILE | OFlags::RDWR | OFlags::CLOEXEC;
        let file = rustix::fs::open(folder(destination), flags, Mode::from_raw_mode(0o666))?;
        Ok(Draft::of(file.into(), None, destination))
    }

    fn of(file: std::fs::File, path: Option<TempPath>, destination: &Path) -> Self {
        let replaces_file = fs::symlink_metadata(destination).is_ok_and(|found| found.is_file());
        if replaces_file {
            forget_pages(destination);
        }
        Draft {
            file: fs::File::from_parts(file, destination),
            path,
            destination: destination.to_owned(),
            replaces_file,
        }
    }

    /// The file, to be written to.
    pub(super) fn file(&mut self) -> &mut fs::File {
        &mut self.file
    }

    /// Makes it the destination, at once.
    pub(super) fn place(mut self) -> io::Result<()> {
        self.file.flush()?;
        let path = self.path.take().map_or_else(|| self.name(), Ok)?;
        if self.replaces_file && exchange(&path, &self.destination).is_ok() {
            return Ok(());
        }
        path.persist(&self.destination).map_err(|error| error.error)
    }

    /// Gives it a name beside the destination (open(2), `O_TMPFILE`).
    fn name(&mut self) -> io::Result<TempPath> {
        let open = format!("/proc/self/fd/{}", self.file.as_raw_fd());
        let link = |path: &Path| Ok(linkat(CWD, &open, CWD, path, AtFlags::SYMLINK_FOLLOW)?);
        let folder = folder(&self.destination);
        if let Ok(named) = beside().make_in(&folder, link) {
            return Ok(named.into_temp_path());
        }
        // Nobody has mounted /proc.
        let mut copy = beside().permissions(permissions(0o666)).tempfile_in(&folder)?;
        self.file.rewind()?;
        io::copy(&mut self.file, &mut copy)?;
        Ok(copy.into_temp_path())
    }
}

/// Writes a file that becomes its destination when it is whole.
pub(super) fn file(
    destination: &Path,
    write: impl FnOnce(&mut fs::File) -> Result<(), EngineError>,
) -> Result<(), EngineError> {
    let draft = Draft::new(destination).map_err(|error| EngineError::io("write", destination, error))?;
    whole(draft, write)
}

/// Writes what is missing of a file, which then becomes its destination.
pub(super) fn whole(
    mut draft: Draft,
    write: impl FnOnce(&mut fs::File) -> Result<(), EngineError>,
) -> Result<(), EngineError> {
    write(draft.file())?;
    let destination = draft.destination.clone();
    draft
        .place()
        .map_err(|error| EngineError::io("write", destination, error))
}

/// Fills a folder beside its destination and renames it when it is whole. What was there before is replaced.
pub(crate) fn directory(
    destination: &Path,
    fill: impl FnOnce(&Path) -> Result<(), EngineError>,
) -> Result<(), EngineError> {
    let failed = |error| EngineError::io("write", destination, error);
    let temporary = beside().tempdir_in(folder(destination)).map_err(failed)?;
    fill(temporary.path())?;
    replace(temporary.path(), destination).map_err(failed)
}

fn replace(new: &Path, destination: &Path) -> io::Result<()> {
    match fs::symlink_metadata(destination) {
        Ok(found) if found.is_dir() => {
            if exchange(new, destination).is_ok() {
                return Ok(());
            }
            let old = beside().tempdir_in(folder(destination))?;
            fs::rename(destination, old.path())?;
            fs::rename(new, destination)
        }
        Ok(_) => Err(io::Error::new(
            io::ErrorKind::AlreadyExists,
            "a file with this name exists",
        )),
        Err(_) => fs::rename(new, destination),
    }
}

/// Puts what is new where the old is, and the old where the new was, at once. Not every filesystem can.
///
/// Nobody finds the destination missing, and ext4 does not write the whole new file out as it does for a rename over an old
/// one (`auto_da_alloc`, ext4(5)): an archive that a power cut takes is made again, and the next build notices.
fn exchange(new: &Path, destination: &Path) -> io::Result<()> {
    renameat_with(CWD, new, CWD, destination, RenameFlags::EXCHANGE).map_err(io::Error::from)
}

/// Gives the memory that holds a file which is about to be replaced back to the kernel, which fills it with the new one.
///
/// Memory that nobody used for a while costs more than writing to it: in a virtual machine the host has to find it first.
fn forget_pages(path: &Path) {
    if let Ok(file) = fs::File::open(path) {
        // A hint.
        let _ = rustix::fs::fadvise(file.file(), 0, None, rustix::fs::Advice::DontNeed);
    }
}

/// What makes names for what lies beside a destination until it is whole.
fn beside() -> tempfile::Builder<'static, 'static> {
    let mut builder = tempfile::Builder::new();
    builder.prefix(".kcompose-");
    builder
}

/// The folder that a destination lies in.
pub(crate) fn folder(destination: &Path) -> PathBuf {
    let parent = destination
        .parent()
        .filter(|parent| !parent.as_os_str().is_empty());
    parent.unwrap_or(Path::new(".")).to_owned()
}

/// Of a new file: what the umask leaves of it.
fn permissions(mode: u32) -> std::fs::Permissions {
    std::os::unix::fs::PermissionsExt::from_mode(mode)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_leaves_what_was_there() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("image.tar");
        fs::write(&path, "old").unwrap();
        let full = |path: &Path| EngineError::io("write", path, io::ErrorKind::StorageFull.into());
        let result = file(&path, |file| {
            file.write_all(b"half").unwrap();
            Err(full(file.path()))
        });
        assert!(matches!(result, Err(EngineError::Full { .. })), "{result:?}");
        assert!(result.unwrap_err().to_string().contains("no space left"));
        let folder = root.path().join("tree");
        assert!(directory(&folder, |at| Err(full(at))).is_err());
        assert_eq!(fs::read_to_string(&path).unwrap(), "old");
        assert_eq!(fs::read_dir(root.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_file_replaces_a_file_and_no_folder() {
        let root = tempfile::tempdir().unwrap();
        let (path, tree) = (root.path().join("image.tar"), root.path().join("tree"));
        let write = |text: &'static str| {
            move |file: &mut fs::File| {
                file.write_all(text.as_bytes())
                    .map_err(|error| EngineError::io("write", file.path(), error))
            }
        };
        for text in ["old", "new"] {
            super::file(&path, write(text)).unwrap();
            assert_eq!(fs::read_to_string(&path).unwrap(), text);
        }
        fs::create_dir(&tree).unwrap();
        assert!(super::file(&tree, write("new")).is_err());
        assert!(tree.is_dir());
        assert_eq!(fs::read_dir(root.path()).unwrap().count(), 2);
    }

    #[test]
    fn a_file_has_no_name_until_it_is_whole() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("image.tar");
        let count = || fs::read_dir(root.path()).unwrap().count();
        for (number, text) in ["first", "second"].into_iter().enumerate() {
            let mut draft = Draft::nameless(&path).unwrap();
            draft.file().write_all(text.as_bytes()).unwrap();
            assert_eq!(count(), number);
            draft.place().unwrap();
            assert_eq!(
                (fs::read_to_string(&path).unwrap(), count()),
                (text.to_owned(), 1)
            );
        }
        drop(Draft::nameless(&path).unwrap());
        assert_eq!(count(), 1);
    }

    #[test]
    fn a_missing_folder_is_named() {
        let error = file(Path::new("/nonexistent/image.tar"), |_| Ok(())).unwrap_err();
        assert!(
            error
                .to_string()
                .starts_with("cannot write `/nonexistent/image.tar`"),
            "{error}"
        );
    }

    #[test]
    fn a_folder_replaces_a_folder_and_no_file() {
        let root = tempfile::tempdir().unwrap();
        let (tree, file) = (root.path().join("tree"), root.path().join("file"));
        fs::create_dir(&tree).unwrap();
        fs::write(tree.join("old"), "").unwrap();
        fs::write(&file, "").unwrap();
        let fill =
            |at: &Path| fs::write(at.join("new"), "").map_err(|error| EngineError::io("write", at, error));
        directory(&tree, fill).unwrap();
        assert!(tree.join("new").exists() && !tree.join("old").exists());
        assert!(directory(&file, fill).is_err());
        assert!(file.is_file());
    }
}
