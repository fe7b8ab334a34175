//! Locks that end with whoever holds them, whatever ends it.

use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use fs_err as fs;
use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;

/// A file that is locked until this is dropped.
#[derive(Debug)]
pub(super) struct LockFile {
    file: fs::File,
}

impl LockFile {
    /// Locks a file alone, unless somebody else has it.
    pub(super) fn take(path: &Path) -> io::Result<Option<LockFile>> {
        loop {
            let file = open(path)?;
            match flock(&file, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => {}
                Err(Errno::WOULDBLOCK) => return Ok(None),
                Err(Errno::INTR) => continue,
                Err(error) => return Err(error.into()),
            }
            // Whoever had it may have deleted it meanwhile; then the name is another file's, or nobody's.
            if is_at(&file, path) {
                return Ok(Some(LockFile { file }));
            }
        }
    }

    /// Locks a file alone, as soon as nobody else has it.
    pub(super) async fn wait(path: PathBuf) -> io::Result<LockFile> {
        // Another build that makes the same result takes as long as it takes.
        let mut pause = Duration::from_millis(5);
        loop {
            if let Some(lock) = LockFile::take(&path)? {
                return Ok(lock);
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(Duration::from_millis(200));
        }
    }

    /// Deletes the file, then lets go.
    pub(super) fn remove(self) -> io::Result<()> {
        fs::remove_file(self.file.path())
    }
}

/// A file that is locked shared or alone for a moment.
#[derive(Debug)]
pub(super) struct Gate(fs::File);

impl Gate {
    pub(super) fn new(path: &Path) -> io::Result<Gate> {
        open(path).map(Gate)
    }

    /// Does something while nobody is alone in here.
    pub(super) fn shared<T>(&self, work: impl FnOnce() -> T) -> io::Result<T> {
        self.with(FlockOperation::LockShared, work)
    }

    /// Does something alone.
    pub(super) fn alone<T>(&self, work: impl FnOnce() -> T) -> io::Result<T> {
        self.with(FlockOperation::LockExclusive, work)
    }

    fn with<T>(&self, operation: FlockOperation, work: impl FnOnce() -> T) -> io::Result<T> {
        loop {
            match flock(&self.0, operation) {
                Err(Errno::INTR) => {}
                other => break other?,
            }
        }
        let result = work();
        flock(&self.0, FlockOperation::Unlock)?;
        Ok(result)
    }
}

fn open(path: &Path) -> io::Result<fs::File> {
    let mut options = fs::OpenOptions::new();
    options
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .open(path)
}

fn is_at(file: &fs::File, path: &Path) -> bool {
    let (Ok(open), Ok(named)) = (file.metadata(), fs::symlink_metadata(path)) else {
        return false;
    };
    (open.dev(), open.ino()) == (named.dev(), named.ino())
}
