//! What killed builds and lost power leave.

use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use fs_err as fs;

use super::lock::LockFile;
use super::{Record, Trees};
use crate::boot::boot;
use crate::store::Links;

impl Trees {
    /// Throws away the work of builds that run no more, and records that a loss of power may have damaged.
    pub(super) fn sweep(&self) -> io::Result<()> {
        for path in entries(&self.root, "tmp")? {
            if path.extension().is_none_or(|extension| extension != "lock") {
                continue;
            }
            // Somebody else may be sweeping too, so what is gone already is fine.
            if let Some(lock) = LockFile::take(&path)? {
                if !abandoned_is_gone(&path.with_extension(""))? {
                    continue;
                }
                gone(fs::remove_file(path.with_extension("uses")))?;
                gone(lock.remove())?;
            }
        }
        self.forget_lost()
    }

    /// Drops the records of builds of an earlier boot that nobody told the disk to keep.
    fn forget_lost(&self) -> io::Result<()> {
        let boot = boot();
        let pending = entries(&self.root, "pending")?;
        let lost: Vec<&PathBuf> = pending
            .iter()
            .filter(|path| parts(path).is_some_and(|(other, _)| other != boot))
            .collect();
        if lost.is_empty() {
            return Ok(());
        }
        let builds: BTreeSet<&str> = lost
            .iter()
            .filter_map(|path| parts(path))
            .map(|parts| parts.1)
            .collect();
        for path in entries(&self.root, "records")? {
            let record = fs::read(&path)
                .ok()
                .and_then(|bytes| serde_json::from_slice::<Record>(&bytes).ok());
            if record.is_none_or(|record| builds.contains(record.build.as_str())) {
                gone(fs::remove_file(&path))?;
            }
        }
        lost.into_iter().try_for_each(|path| gone(fs::remove_file(path)))
    }

    /// Tells the disk to keep everything, then no longer counts as pending what this build, and builds of this boot that
    /// run no more, have made.
    pub(super) fn settle(&self, own: &str) -> io::Result<()> {
        let boot = boot();
        let pending = entries(&self.root, "pending")?;
        let is_over = |build: &str| !self.root.join("tmp").join(format!("{build}.lock")).exists();
        let settled = pending.into_iter().filter(|path| {
            parts(path).is_some_and(|(other, build)| other == boot && (build == own || is_over(build)))
        });
        let settled: Vec<PathBuf> = settled.collect();
        let root = fs::File::open(&self.root)?;
        rustix::fs::syncfs(root.file())?;
        settled.iter().try_for_each(|path| gone(fs::remove_file(path)))
    }
}

/// Deletes a folder that nobody works in any more; whether it is gone.
///
/// The steps of a build that was killed are ended by the kernel, which takes a moment, and until then they may write what
/// was not there when their folder was read. One that goes on for longer is left to the next sweep.
fn abandoned_is_gone(folder: &Path) -> io::Result<bool> {
    const TRIES: u32 = 100;
    const PAUSE: Duration = Duration::from_millis(10);
    for _ in 0..TRIES {
        match fs::remove_dir_all(folder) {
            Err(error) if error.kind() == io::ErrorKind::DirectoryNotEmpty => thread::sleep(PAUSE),
            other => return gone(other).map(|()| true),
        }
    }
    Ok(false)
}

/// Boot and build in the name of a file in `pending`.
fn parts(path: &Path) -> Option<(&str, &str)> {
    path.file_name()?.to_str()?.split_once('.')
}

/// What is in a folder of the trees; the folder must not be a link.
pub(super) fn entries(root: &Path, folder: &str) -> io::Result<Vec<PathBuf>> {
    crate::store::entries(root, Path::new(folder), Links::Refuse)
}

/// Deleting what is not there has happened.
pub(super) fn gone(result: io::Result<()>) -> io::Result<()> {
    match result {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};

    use super::*;

    /// Somebody puts links where the trees have folders, which lead to what the owner would not delete.
    #[test]
    fn prune_follows_no_link() {
        for name in super::super::FOLDERS {
            let folder = tempfile::tempdir().unwrap();
            let trees = Trees::new(folder.path().join("engine"));
            trees.open().unwrap();
            let victim = folder.path().join("victim");
            fs::create_dir(&victim).unwrap();
            let files = ["file", "file.lock", "a.b"].map(|name| victim.join(name));
            files.iter().for_each(|file| fs::write(file, "precious").unwrap());
            fs::remove_dir(trees.root().join(name)).unwrap();
            std::os::unix::fs::symlink(&victim, trees.root().join(name)).unwrap();
            let error = trees.prune(0).unwrap_err().to_string();
            assert!(error.contains("is a link"), "{name}: {error}");
            assert!(files.iter().all(|file| file.exists()), "{name}");
        }
        let folder = tempfile::tempdir().unwrap();
        let trees = Trees::new(folder.path().join("engine"));
        trees.open().unwrap();
        let link = folder.path().join("link");
        std::os::unix::fs::symlink(trees.root(), &link).unwrap();
        assert!(Trees::new(link).prune(0).is_err());
    }

    #[test]
    fn what_is_written_while_it_is_deleted_goes_too() {
        let folder = tempfile::tempdir().unwrap();
        let work = folder.path().join("work");
        let is_over = AtomicBool::new(false);
        thread::scope(|scope| {
            let writer = scope.spawn(|| {
                let mut count = 0;
                while !is_over.load(Ordering::Relaxed) && count < 20_000 {
                    let _ = fs::create_dir_all(work.join("deep"));
                    let _ = fs::write(work.join("deep").join(count.to_string()), "");
                    count += 1;
                }
            });
            thread::sleep(Duration::from_millis(20));
            abandoned_is_gone(&work).unwrap();
            is_over.store(true, Ordering::Relaxed);
            writer.join().unwrap();
        });
        assert!(abandoned_is_gone(&work).unwrap());
        assert!(!work.exists());
    }
}
