//! One build's use of the trees.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::SystemTime;

use fs_err as fs;

use super::lock::{Gate, LockFile};
use super::{Record, TreeFacts, TreeId, Trees, write};
use crate::boot::boot;
use crate::embedded::cachekey::Key;

/// The results of a vertex that are kept, by output: the trees, the lowest first.
pub(in crate::embedded) type Claim = BTreeMap<usize, Vec<TreeId>>;

/// Results, and what is remembered of how they came to be.
#[derive(Debug)]
pub(in crate::embedded) struct Made<'a> {
    /// What people know them by.
    pub(in crate::embedded) name: &'a str,
    pub(in crate::embedded) outputs: Claim,
    /// The trees of each input.
    pub(in crate::embedded) inputs: Vec<Vec<TreeId>>,
    /// The key of the operation whatever its inputs are, if others may take the results for theirs.
    pub(in crate::embedded) kind: Option<&'a Key>,
}

/// A build that runs: nobody takes out what it uses, and what it leaves below `tmp` goes with it.
#[derive(Debug)]
pub(in crate::embedded) struct Build {
    trees: Trees,
    name: String,
    lock: Mutex<Option<LockFile>>,
    uses: Mutex<(fs::File, Gate)>,
    count: AtomicU64,
    is_pending: AtomicBool,
}

/// A folder for work, gone when this is dropped.
#[derive(Debug)]
pub(in crate::embedded) struct Draft {
    path: PathBuf,
}

impl Draft {
    pub(in crate::embedded) fn path(&self) -> &Path {
        &self.path
    }

    /// Makes a folder in it.
    pub(in crate::embedded) fn folder(&self, name: &str) -> io::Result<PathBuf> {
        let path = self.path.join(name);
        fs::create_dir(&path)?;
        Ok(path)
    }
}

impl Drop for Draft {
    fn drop(&mut self) {
        // The next build sweeps what cannot be deleted now.
        let _ = fs::remove_dir_all(&self.path);
    }
}

/// The right to make a result.
#[derive(Debug)]
pub(in crate::embedded) struct Turn {
    _lock: LockFile,
}

impl Build {
    /// Begins a build in trees that are open.
    pub(in crate::embedded) fn begin(trees: &Trees) -> io::Result<Build> {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        let tmp = trees.root.join("tmp");
        loop {
            let time = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
            let nanoseconds = time.map_or(0, |time| time.as_nanos());
            let (process, count) = (std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
            let name = format!("{process}-{count}-{nanoseconds:x}");
            // The lock comes first, so that whoever sweeps never takes a folder for an abandoned one.
            let Some(lock) = LockFile::take(&tmp.join(format!("{name}.lock")))? else {
                continue;
            };
            fs::create_dir(tmp.join(&name))?;
            let uses = fs::File::create(tmp.join(format!("{name}.uses")))?;
            let gate = Gate::new(&trees.root.join("gate"))?;
            return Ok(Build {
                trees: trees.clone(),
                name,
                lock: Mutex::new(Some(lock)),
                uses: Mutex::new((uses, gate)),
                count: AtomicU64::new(0),
                is_pending: AtomicBool::new(false),
            });
        }
    }

    pub(in crate::embedded) fn trees(&self) -> &Trees {
        &self.trees
    }

    /// The results under a key, which stay as long as this build runs.
    pub(in crate::embedded) fn claim(&self, key: &Key) -> io::Result<Option<Claim>> {
        if !self.trees.record_path(key).exists() {
            return Ok(None);
        }
        let uses = self.uses.lock().unwrap_or_else(PoisonError::into_inner);
        let (mut file, gate) = (uses.0.file(), &uses.1);
        gate.shared(|| {
            let Some(record) = self.trees.record(key) else {
                return Ok(None);
            };
            let lines: String = record
                .outputs
                .values()
                .flatten()
                .map(|id| format!("{id}\n"))
                .collect();
            file.write_all(lines.as_bytes())?;
            // Whoever needs room takes out what was not used for longest.
            if let Ok(file) = fs::File::options().append(true).open(self.trees.record_path(key)) {
                let _ = file.file().set_modified(SystemTime::now());
            }
            Ok(Some(record.outputs))
        })?
    }

    /// Waits for the right to make the result under a key.
    pub(in crate::embedded) async fn turn(&self, key: &Key) -> io::Result<Turn> {
        let path = self.trees.root.join("locks").join(key.as_str());
        LockFile::wait(path).await.map(|lock| Turn { _lock: lock })
    }

    /// A new folder to work in.
    pub(in crate::embedded) fn draft(&self) -> io::Result<Draft> {
        let number = self.count.fetch_add(1, Ordering::Relaxed);
        let path = self
            .trees
            .root
            .join("tmp")
            .join(&self.name)
            .join(number.to_string());
        fs::create_dir(&path)?;
        Ok(Draft { path })
    }

    /// Puts a folder with `fs` in it in its place as a tree. It has no record yet.
    pub(in crate::embedded) fn keep(&self, folder: &Path, facts: &TreeFacts) -> io::Result<TreeId> {
        self.announce()?;
        let number = self.count.fetch_add(1, Ordering::Relaxed);
        let id = TreeId(format!("{}-{number}", self.name));
        write(&folder.join("tree.json"), &serde_json::to_vec(facts)?)?;
        self.used(std::slice::from_ref(&id), || {
            fs::rename(folder, self.trees.tree(&id))
        })??;
        Ok(id)
    }

    /// Says that this build uses trees, and does something before anybody could take one out.
    pub(super) fn used<T>(&self, trees: &[TreeId], work: impl FnOnce() -> T) -> io::Result<T> {
        let uses = self.uses.lock().unwrap_or_else(PoisonError::into_inner);
        let (mut file, gate) = (uses.0.file(), &uses.1);
        gate.shared(|| {
            let lines: String = trees.iter().map(|id| format!("{id}\n")).collect();
            file.write_all(lines.as_bytes())?;
            Ok(work())
        })?
    }

    /// Records results under a key.
    pub(in crate::embedded) fn record(&self, key: &Key, made: Made<'_>) -> io::Result<()> {
        self.announce()?;
        let record = Record {
            name: made.name.to_owned(),
            build: self.name.clone(),
            outputs: made.outputs,
            inputs: made.inputs,
        };
        write(&self.trees.record_path(key), &serde_json::to_vec(&record)?)?;
        made.kind.map_or(Ok(()), |kind| self.trees.add_to_kind(kind, key))
    }

    /// Says, before the first result, that this build's results may not be on the disk yet.
    fn announce(&self) -> io::Result<()> {
        if self.is_pending.swap(true, Ordering::SeqCst) {
            return Ok(());
        }
        let folder = self.trees.root.join("pending");
        let file = fs::File::create(folder.join(format!("{}.{}", boot(), self.name)))?;
        file.sync_all()?;
        fs::File::open(&folder)?.sync_all()
    }

    /// Tells the disk to keep what was made; until that is done it counts in this boot only.
    pub(in crate::embedded) fn settle(&self) -> io::Result<()> {
        if self.is_pending.load(Ordering::SeqCst) {
            self.trees.settle(&self.name)?;
        }
        Ok(())
    }
}

impl Drop for Build {
    fn drop(&mut self) {
        let tmp = self.trees.root.join("tmp");
        // The next build sweeps what cannot be deleted now.
        let _ = fs::remove_dir_all(tmp.join(&self.name));
        let _ = fs::remove_file(tmp.join(format!("{}.uses", self.name)));
        let lock = self.lock.lock().unwrap_or_else(PoisonError::into_inner).take();
        let _ = lock.map(LockFile::remove);
    }
}
