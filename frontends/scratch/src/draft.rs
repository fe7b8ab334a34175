//! Files that appear whole, or not at all.

use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::fd::AsRawFd;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use fs_err as fs;
use rustix::fs::{AtFlags, CWD, Mode, OFlags, linkat};
use tempfile::TempPath;

/// A file on its way to a place in its folder's file system.
///
/// It has no name until it is placed (open(2), `O_TMPFILE`), where the file system can do that: then it goes with the process,
/// whatever ends it.
#[derive(Debug)]
pub struct Draft {
    file: fs::File,
    /// The name that it has where it needs one.
    name: Option<TempPath>,
    folder: PathBuf,
    mode: u32,
}

impl Draft {
    /// Creates a file in a folder, with a mode from which the umask is taken.
    ///
    /// # Errors
    ///
    /// When it cannot be created.
    pub fn new(folder: &Path, mode: u32) -> io::Result<Draft> {
        Draft::nameless(folder, mode).or_else(|_| {
            let (file, name) = named(mode).tempfile_in(folder)?.into_parts();
            Ok(Draft::of(file, Some(name), folder, mode))
        })
    }

    /// Creates a file without a name.
    ///
    /// # Errors
    ///
    /// When it cannot be created, or the file system has no files without a name.
    pub fn nameless(folder: &Path, mode: u32) -> io::Result<Draft> {
        let flags = OFlags::TMPFILE | OFlags::RDWR | OFlags::CLOEXEC;
        let file = rustix::fs::open(folder, flags, Mode::from_raw_mode(mode))?;
        Ok(Draft::of(file.into(), None, folder, mode))
    }

    fn of(file: std::fs::File, name: Option<TempPath>, folder: &Path, mode: u32) -> Draft {
        Draft {
            file: fs::File::from_parts(file, folder),
            name,
            folder: folder.to_owned(),
            mode,
        }
    }

    /// The same draft, with a path that errors name.
    #[must_use]
    pub fn shown_as(self, path: &Path) -> Draft {
        Draft {
            file: fs::File::from_parts(self.file.into_file(), path),
            ..self
        }
    }

    /// The file.
    pub fn file(&mut self) -> &mut fs::File {
        &mut self.file
    }

    /// Returns all that was written.
    ///
    /// # Errors
    ///
    /// When the file cannot be read.
    pub fn contents(&mut self) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        self.file.rewind()?;
        self.file.read_to_end(&mut bytes)?;
        Ok(bytes)
    }

    /// Gives the file a name in its folder, which goes when it is dropped.
    ///
    /// # Errors
    ///
    /// When the name cannot be made.
    pub fn into_named(mut self) -> io::Result<TempPath> {
        self.file.flush()?;
        if let Some(name) = self.name.take() {
            return Ok(name);
        }
        let link = |path: &Path| self.link(path);
        if let Ok(named) = named(self.mode).make_in(&self.folder, link) {
            return Ok(named.into_temp_path());
        }
        // Without /proc, the file cannot be linked.
        let mut copy = named(self.mode).tempfile_in(&self.folder)?;
        self.file.rewind()?;
        io::copy(&mut self.file, &mut copy)?;
        Ok(copy.into_temp_path())
    }

    /// Makes the file the one at a path; what is there is replaced at once.
    ///
    /// # Errors
    ///
    /// When the file cannot be placed.
    pub fn place(self, path: &Path) -> io::Result<()> {
        if self.name.is_none() && self.link(path).is_ok() {
            return Ok(());
        }
        self.into_named()?.persist(path).map_err(|error| error.error)
    }

    /// Links the file, unless the path exists.
    fn link(&self, path: &Path) -> io::Result<()> {
        let open = format!("/proc/self/fd/{}", self.file.as_raw_fd());
        Ok(linkat(CWD, open, CWD, path, AtFlags::SYMLINK_FOLLOW)?)
    }
}

/// Names that other users cannot guess.
fn named(mode: u32) -> tempfile::Builder<'static, 'static> {
    let mut builder = tempfile::Builder::new();
    builder
        .prefix(".kcompose-")
        .permissions(std::fs::Permissions::from_mode(mode));
    builder
}

impl Write for Draft {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.file.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

impl Seek for Draft {
    fn seek(&mut self, place: SeekFrom) -> io::Result<u64> {
        self.file.seek(place)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Folder;

    fn names(folder: &Path) -> usize {
        fs::read_dir(folder).unwrap().count()
    }

    #[test]
    fn a_draft_has_no_name_until_it_is_placed() {
        let folder = Folder::new().unwrap();
        let path = folder.path().join("file");
        for (number, text) in ["first", "second"].into_iter().enumerate() {
            let mut draft = Draft::nameless(folder.path(), 0o600).unwrap();
            draft.write_all(text.as_bytes()).unwrap();
            assert_eq!(names(folder.path()), number);
            draft.place(&path).unwrap();
            assert_eq!(fs::read_to_string(&path).unwrap(), text);
            assert_eq!(names(folder.path()), 1);
        }
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o7777, 0o600);
        drop(Draft::nameless(folder.path(), 0o600).unwrap());
        assert_eq!(names(folder.path()), 1);
    }

    #[test]
    fn a_file_system_without_nameless_files_takes_drafts_too() {
        let folder = Folder::new().unwrap();
        let path = folder.path().join("file");
        let (file, name) = named(0o600).tempfile_in(folder.path()).unwrap().into_parts();
        let mut draft = Draft::of(file, Some(name), folder.path(), 0o600);
        draft.write_all(b"text").unwrap();
        assert_eq!(names(folder.path()), 1);
        draft.place(&path).unwrap();
        assert_eq!(
            (names(folder.path()), fs::read(&path).unwrap().as_slice()),
            (1, &b"text"[..])
        );
    }
}
