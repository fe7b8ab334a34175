//! The store: what was fetched, by its sha256, and what was found out about it.
//!
//! Everything in it can be made again, so it may be deleted at any time. Files appear whole: they are written beside
//! their place and renamed, so that several kcompose may share a store and an interrupted one leaves nothing half.

use std::collections::BTreeSet;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use fs_err as fs;
use kcompose_core::packages::hex;
use miette::Diagnostic;
use sha2::{Digest, Sha256};
use tempfile::NamedTempFile;
use thiserror::Error;

/// Why the store cannot be used.
#[derive(Debug, Error, Diagnostic)]
#[error("the store at `{}` cannot be used: {error}", .root.display())]
#[diagnostic(
    code(kcompose::store::unusable),
    help("give it a folder with free space that can be written to, with `--cache-dir` or XDG_CACHE_HOME")
)]
pub struct StoreError {
    /// Where the store is.
    pub root: PathBuf,
    /// What the system said.
    pub error: io::Error,
}

/// What is kept beside the blobs, each in a folder of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Shelf {
    /// Indexes in their compact form, by the sha256 of the file that they were made from.
    Indexes,
    /// Release files that were verified, by what they are of and which keys were trusted.
    Releases,
    /// What package archives hold, by the sha256 of the archive.
    Facts,
}

impl Shelf {
    /// All of them.
    pub const ALL: [Shelf; 3] = [Shelf::Indexes, Shelf::Releases, Shelf::Facts];

    /// The folder's name; it has a number that moves with the form of what lies in it.
    pub fn folder(self) -> &'static str {
        match self {
            Shelf::Indexes => "indexes-1",
            Shelf::Releases => "releases-1",
            Shelf::Facts => "facts-6",
        }
    }
}

/// A folder that keeps what was fetched.
#[derive(Clone, Debug)]
pub struct Store {
    root: PathBuf,
}

/// A blob of the store.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Blob {
    /// Its sha256, in hex.
    pub sha256: String,
    /// Its size in bytes.
    pub size: u64,
}

impl Store {
    /// A store in a folder; the folder is made when something is put in.
    pub fn new(root: impl Into<PathBuf>) -> Self {
        Store { root: root.into() }
    }

    /// Where it is.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The file of a blob, whether it is there or not.
    pub fn blob_path(&self, sha256: &str) -> PathBuf {
        let folder = sha256.get(..2).unwrap_or("__");
        self.root.join("blobs").join("sha256").join(folder).join(sha256)
    }

    /// Whether a blob is there.
    pub fn has_blob(&self, sha256: &str) -> bool {
        self.blob_path(sha256).is_file()
    }

    /// The bytes of a blob, checked again; `None` if it is not there or damaged, in which case it is taken out.
    pub fn blob(&self, sha256: &str) -> Result<Option<Vec<u8>>, StoreError> {
        let path = self.blob_path(sha256);
        let Some(bytes) = self.read(&path)? else {
            return Ok(None);
        };
        if hex::encode(&Sha256::digest(&bytes)) == sha256 {
            return Ok(Some(bytes));
        }
        fs::remove_file(&path).map_err(|error| self.failure(error))?;
        Ok(None)
    }

    /// A new file of the store, not yet in its place.
    pub fn draft(&self) -> Result<NamedTempFile, StoreError> {
        let folder = self.root.join("tmp");
        let draft = fs::create_dir_all(&folder).and_then(|()| NamedTempFile::new_in(&folder));
        draft.map_err(|error| self.failure(error))
    }

    /// Puts a whole, checked file in its place as a blob.
    pub fn keep_blob(&self, sha256: &str, draft: NamedTempFile) -> Result<(), StoreError> {
        self.persist(draft, &self.blob_path(sha256))
    }

    /// What lies on a shelf under a key.
    pub fn item(&self, shelf: Shelf, key: &str) -> Result<Option<Vec<u8>>, StoreError> {
        self.read(&self.item_path(shelf, key))
    }

    /// Puts something on a shelf.
    pub fn keep_item(&self, shelf: Shelf, key: &str, bytes: &[u8]) -> Result<(), StoreError> {
        let mut draft = self.draft()?;
        draft.write_all(bytes).map_err(|error| self.failure(error))?;
        self.persist(draft, &self.item_path(shelf, key))
    }

    /// Every blob, sorted.
    pub fn blobs(&self) -> Result<Vec<Blob>, StoreError> {
        let mut found = Vec::new();
        for folder in self.entries(&self.root.join("blobs").join("sha256"))? {
            for path in self.entries(&folder)? {
                let size = fs::metadata(&path).map_err(|error| self.failure(error))?.len();
                let sha256 = path
                    .file_name()
                    .unwrap_or_default()
                    .to_string_lossy()
                    .into_owned();
                found.push(Blob { sha256, size });
            }
        }
        found.sort();
        Ok(found)
    }

    /// The number of things on a shelf, and their bytes.
    pub fn shelf_size(&self, shelf: Shelf) -> Result<(usize, u64), StoreError> {
        let items = self.entries(&self.root.join(shelf.folder()))?;
        let sizes = items.iter().map(|path| Ok(fs::metadata(path)?.len()));
        let size = sizes
            .sum::<io::Result<u64>>()
            .map_err(|error| self.failure(error))?;
        Ok((items.len(), size))
    }

    /// Blobs whose bytes are not what their name says; they are taken out.
    pub fn verify(&self) -> Result<Vec<Blob>, StoreError> {
        let mut damaged = Vec::new();
        for blob in self.blobs()? {
            let path = self.blob_path(&blob.sha256);
            if self.sha256_of(&path)? != blob.sha256 {
                fs::remove_file(&path).map_err(|error| self.failure(error))?;
                damaged.push(blob);
            }
        }
        Ok(damaged)
    }

    /// Takes out every blob but these, and everything that an interrupted kcompose left; returns what was taken out.
    pub fn prune(&self, keep: &BTreeSet<String>) -> Result<Vec<Blob>, StoreError> {
        let mut pruned = self.blobs()?;
        pruned.retain(|blob| !keep.contains(&blob.sha256));
        for blob in &pruned {
            fs::remove_file(self.blob_path(&blob.sha256)).map_err(|error| self.failure(error))?;
        }
        for draft in self.entries(&self.root.join("tmp"))? {
            fs::remove_file(draft).map_err(|error| self.failure(error))?;
        }
        Ok(pruned)
    }

    /// Takes everything off a shelf.
    pub fn clear(&self, shelf: Shelf) -> Result<(), StoreError> {
        match fs::remove_dir_all(self.root.join(shelf.folder())) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(self.failure(error)),
            _ => Ok(()),
        }
    }

    pub(crate) fn failure(&self, error: io::Error) -> StoreError {
        StoreError {
            root: self.root.clone(),
            error,
        }
    }

    fn item_path(&self, shelf: Shelf, key: &str) -> PathBuf {
        self.root.join(shelf.folder()).join(key)
    }

    fn read(&self, path: &Path) -> Result<Option<Vec<u8>>, StoreError> {
        match fs::read(path) {
            Ok(bytes) => Ok(Some(bytes)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(self.failure(error)),
        }
    }

    fn persist(&self, draft: NamedTempFile, path: &Path) -> Result<(), StoreError> {
        let folder = path
            .parent()
            .expect("everything in the store lies in a folder of it");
        fs::create_dir_all(folder).map_err(|error| self.failure(error))?;
        draft.persist(path).map_err(|error| self.failure(error.error))?;
        Ok(())
    }

    fn entries(&self, folder: &Path) -> Result<Vec<PathBuf>, StoreError> {
        let entries = match fs::read_dir(folder) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(self.failure(error)),
        };
        let paths: io::Result<Vec<PathBuf>> = entries.map(|entry| Ok(entry?.path())).collect();
        let mut paths = paths.map_err(|error| self.failure(error))?;
        paths.sort();
        Ok(paths)
    }

    fn sha256_of(&self, path: &Path) -> Result<String, StoreError> {
        let mut file = fs::File::open(path).map_err(|error| self.failure(error))?;
        let mut hash = Sha256::new();
        let mut buffer = vec![0; 1 << 16];
        loop {
            match file.read(&mut buffer).map_err(|error| self.failure(error))? {
                0 => return Ok(hex::encode(&hash.finalize())),
                count => hash.update(&buffer[..count]),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kept(store: &Store, bytes: &[u8]) -> String {
        let sha256 = hex::encode(&Sha256::digest(bytes));
        let mut draft = store.draft().unwrap();
        draft.write_all(bytes).unwrap();
        store.keep_blob(&sha256, draft).unwrap();
        sha256
    }

    #[test]
    fn blobs_come_back_and_damaged_ones_do_not() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::new(folder.path().join("new"));
        let (good, bad) = (kept(&store, b"good"), kept(&store, b"bad"));
        assert_eq!(store.blob(&good).unwrap().unwrap(), b"good");
        fs::write(store.blob_path(&bad), "bat").unwrap();
        assert_eq!(store.blob(&bad).unwrap(), None);
        assert!(!store.has_blob(&bad));
    }

    #[test]
    fn verify_names_what_is_damaged_and_prune_keeps_what_it_is_told_to() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::new(folder.path());
        let (one, two, bad) = (kept(&store, b"one"), kept(&store, b"two"), kept(&store, b"bad"));
        fs::write(store.blob_path(&bad), "bat").unwrap();
        assert_eq!(
            store
                .verify()
                .unwrap()
                .iter()
                .map(|blob| &blob.sha256)
                .collect::<Vec<_>>(),
            [&bad]
        );
        let pruned = store.prune(&[one.clone()].into()).unwrap();
        assert_eq!(pruned, [Blob { sha256: two, size: 3 }]);
        assert_eq!(store.blobs().unwrap(), [Blob { sha256: one, size: 3 }]);
    }
}
