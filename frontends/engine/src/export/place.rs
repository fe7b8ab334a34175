//! Whole files and folders, or nothing.

use std::io;
use std::path::{Path, PathBuf};

use fs_err as fs;
use kcompose_scratch::Folder;
use rustix::fs::{CWD, RenameFlags, renameat_with};

use crate::error::EngineError;

/// A file on its way to its destination.
#[derive(Debug)]
pub(super) struct Draft {
    file: kcompose_scratch::Draft,
    destination: PathBuf,
    replaces_file: bool,
}

/// The mode of a new file, before the umask.
const MODE: u32 = 0o666;

impl Draft {
    /// A new file that becomes the destination.
    pub(super) fn new(destination: &Path) -> io::Result<Self> {
        let file = kcompose_scratch::Draft::new(&folder(destination), MODE)?;
        Ok(Draft::of(file, destination))
    }

    /// The same without a name, which not every file system can.
    pub(super) fn nameless(destination: &Path) -> io::Result<Self> {
        let file = kcompose_scratch::Draft::nameless(&folder(destination), MODE)?;
        Ok(Draft::of(file, destination))
    }

    fn of(file: kcompose_scratch::Draft, destination: &Path) -> Self {
        let replaces_file = fs::symlink_metadata(destination).is_ok_and(|found| found.is_file());
        if replaces_file {
            forget_pages(destination);
        }
        Draft {
            file: file.shown_as(destination),
            destination: destination.to_owned(),
            replaces_file,
        }
    }

    /// The file, to be written to.
    pub(super) fn file(&mut self) -> &mut fs::File {
        self.file.file()
    }

    /// Makes it the destination, at once.
    pub(super) fn place(self) -> io::Result<()> {
        if !self.replaces_file {
            return self.file.place(&self.destination);
        }
        let path = self.file.into_named()?;
        if exchange(&path, &self.destination).is_ok() {
            return Ok(());
        }
        path.persist(&self.destination).map_err(|error| error.error)
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
    let temporary = beside(destination).map_err(failed)?;
    fill(temporary.path())?;
    replace(temporary.path(), destination).map_err(failed)
}

fn replace(new: &Path, destination: &Path) -> io::Result<()> {
    match fs::symlink_metadata(destination) {
        Ok(found) if found.is_dir() => {
            if exchange(new, destination).is_ok() {
                return Ok(());
            }
            let old = beside(destination)?;
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

/// A folder beside a destination for what becomes it.
fn beside(destination: &Path) -> io::Result<Folder> {
    Folder::within(&folder(destination), ".kcompose-")
}

/// The folder that a destination lies in.
pub(crate) fn folder(destination: &Path) -> PathBuf {
    let parent = destination
        .parent()
        .filter(|parent| !parent.as_os_str().is_empty());
    parent.unwrap_or(Path::new(".")).to_owned()
}

#[cfg(test)]
mod tests {
    use std::io::Write;

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
