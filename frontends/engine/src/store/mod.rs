//! The store: what was fetched, by its sha256, and what was found out about it.
//!
//! Everything in it can be made again, so it may be deleted at any time. Files appear whole, so that several kcompose may
//! share a store and an interrupted one leaves nothing half.
//!
//! The embedded engine keeps trees of images below it, with setuid programs and device nodes, so only its owner may enter it.

mod folder;

use std::collections::BTreeSet;
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use fs_err as fs;
use kcompose_core::packages::hex;
use kcompose_scratch::Draft;
use miette::Diagnostic;
use sha2::{Digest, Sha256};
use thiserror::Error;

use folder::Folder;
pub use folder::{Links, entries};

/// Why the store cannot be used.
#[derive(Debug, Error, Diagnostic)]
pub enum StoreError {
    /// The system refuses something.
    #[error("the store at `{}` cannot be used: {error}", .root.display())]
    #[diagnostic(
        code(kcompose::store::unusable),
        help(
            "give it a folder with free space that can be written to, with `--cache-dir` or XDG_CACHE_HOME"
        )
    )]
    Unusable {
        /// The path of the store.
        root: PathBuf,
        /// The system's reason.
        error: io::Error,
    },

    /// Another user could put into it what kcompose believes, and delete by it what that user may not.
    #[error("the store at `{}` belongs to another user", .root.display())]
    #[diagnostic(
        code("kcompose::store::another-owner"),
        help("name a folder of your own with `--cache-dir`, or run kcompose as the owner of this one")
    )]
    AnotherOwner {
        /// The path of the store.
        root: PathBuf,
    },
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
    /// Opens the store in a folder. A folder that does not exist is created; other users lose their rights to one that does.
    ///
    /// # Errors
    ///
    /// When the folder belongs to another user, or is none.
    pub fn open(root: impl Into<PathBuf>) -> Result<Self, StoreError> {
        let store = Store::new(root);
        let root = store.root();
        let found = match fs::metadata(root) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                // Who only reads misses nothing; who writes meets the same error.
                let _ = create(root);
                return Ok(store);
            }
            found => found.map_err(|error| store.failure(error))?,
        };
        if !found.is_dir() {
            return Err(store.failure(io::ErrorKind::NotADirectory.into()));
        }
        if found.uid() != rustix::process::geteuid().as_raw() {
            return Err(StoreError::AnotherOwner {
                root: root.to_owned(),
            });
        }
        if found.mode() & 0o077 != 0 {
            let changed = fs::set_permissions(root, std::fs::Permissions::from_mode(PRIVATE));
            match changed {
                // Nothing is put in that others could misuse.
                Err(error) if error.kind() == io::ErrorKind::ReadOnlyFilesystem => {}
                changed => changed.map_err(|error| store.failure(error))?,
            }
        }
        Ok(store)
    }

    /// The store in a folder, as it is; the folder is created when something is put in.
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
        self.root.join(BLOBS).join(folder).join(sha256)
    }

    /// Whether a blob is there.
    pub fn has_blob(&self, sha256: &str) -> bool {
        self.blob_path(sha256).is_file()
    }

    /// The bytes of a blob, checked again; `None` if it is not there or damaged. A damaged one is deleted, unless a folder of
    /// the store is a link.
    pub fn blob(&self, sha256: &str) -> Result<Option<Vec<u8>>, StoreError> {
        let path = self.blob_path(sha256);
        let Some(bytes) = self.read(&path)? else {
            return Ok(None);
        };
        if hex::encode(&Sha256::digest(&bytes)) == sha256 {
            return Ok(Some(bytes));
        }
        self.evict(sha256)?;
        Ok(None)
    }

    /// A new file of the store, not yet in its place.
    pub fn draft(&self) -> Result<Draft, StoreError> {
        let folder = self.root.join("tmp");
        let draft = fs::create_dir_all(&folder).and_then(|()| Draft::new(&folder, 0o600));
        draft.map_err(|error| self.failure(error))
    }

    /// Puts a whole, checked file in its place as a blob.
    pub fn keep_blob(&self, sha256: &str, draft: Draft) -> Result<(), StoreError> {
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

    /// Every blob, sorted, also behind links.
    pub fn blobs(&self) -> Result<Vec<Blob>, StoreError> {
        self.blobs_behind(Links::Follow)
    }

    fn blobs_behind(&self, links: Links) -> Result<Vec<Blob>, StoreError> {
        let mut found = Vec::new();
        for folder in self.entries(Path::new(BLOBS), links)? {
            let folder = folder.strip_prefix(&self.root).unwrap_or(&folder);
            for path in self.entries(folder, links)? {
                let size = fs::symlink_metadata(&path)
                    .map_err(|error| self.failure(error))?
                    .len();
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
        let items = self.entries(Path::new(shelf.folder()), Links::Follow)?;
        let sizes = items.iter().map(|path| Ok(fs::symlink_metadata(path)?.len()));
        let size = sizes
            .sum::<io::Result<u64>>()
            .map_err(|error| self.failure(error))?;
        Ok((items.len(), size))
    }

    /// Blobs whose bytes are not what their name says. They are deleted, unless a folder of the store is a link.
    pub fn verify(&self) -> Result<Vec<Blob>, StoreError> {
        let mut damaged = Vec::new();
        for blob in self.blobs()? {
            if self.sha256_of(&self.blob_path(&blob.sha256))? != blob.sha256 {
                self.evict(&blob.sha256)?;
                damaged.push(blob);
            }
        }
        Ok(damaged)
    }

    /// Deletes every blob but these, and everything that an interrupted kcompose left; returns the blobs.
    ///
    /// # Errors
    ///
    /// A folder that is a link is one: nothing is deleted through it.
    pub fn prune(&self, keep: &BTreeSet<String>) -> Result<Vec<Blob>, StoreError> {
        let mut pruned = self.blobs_behind(Links::Refuse)?;
        pruned.retain(|blob| !keep.contains(&blob.sha256));
        for blob in &pruned {
            let path = self.blob_path(&blob.sha256);
            let path = path.strip_prefix(&self.root).unwrap_or(&path);
            folder::remove(&self.root, path).map_err(|error| self.failure(error))?;
        }
        self.remove_drafts().map_err(|error| self.failure(error))?;
        Ok(pruned)
    }

    fn remove_drafts(&self) -> io::Result<()> {
        let Some(drafts) = Folder::open(&self.root, Path::new("tmp"), Links::Refuse)? else {
            return Ok(());
        };
        drafts.names()?.iter().try_for_each(|name| drafts.remove(name))
    }

    /// Deletes a damaged blob; one behind a link stays.
    fn evict(&self, sha256: &str) -> Result<(), StoreError> {
        let path = self.blob_path(sha256);
        let below = path.strip_prefix(&self.root).unwrap_or(&path);
        let mut parents = below
            .ancestors()
            .skip(1)
            .filter(|parent| *parent != Path::new(""));
        if parents.any(|parent| self.root.join(parent).is_symlink()) {
            return Ok(());
        }
        folder::remove(&self.root, below).map_err(|error| self.failure(error))
    }

    /// Takes everything off a shelf.
    pub fn clear(&self, shelf: Shelf) -> Result<(), StoreError> {
        match fs::remove_dir_all(self.root.join(shelf.folder())) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(self.failure(error)),
            _ => Ok(()),
        }
    }

    pub(crate) fn failure(&self, error: io::Error) -> StoreError {
        StoreError::Unusable {
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

    fn persist(&self, draft: Draft, path: &Path) -> Result<(), StoreError> {
        let folder = path
            .parent()
            .expect("everything in the store lies in a folder of it");
        fs::create_dir_all(folder).map_err(|error| self.failure(error))?;
        draft.place(path).map_err(|error| self.failure(error))
    }

    fn entries(&self, folder: &Path, links: Links) -> Result<Vec<PathBuf>, StoreError> {
        entries(&self.root, folder, links).map_err(|error| self.failure(error))
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

/// The folder of the blobs, in folders by the first two digits.
const BLOBS: &str = "blobs/sha256";

/// The mode of a store: only its owner enters.
const PRIVATE: u32 = 0o700;

fn create(root: &Path) -> io::Result<()> {
    if let Some(parent) = root.parent() {
        fs::create_dir_all(parent)?;
    }
    std::fs::DirBuilder::new().mode(PRIVATE).create(root)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().mode() & 0o7777
    }

    #[test]
    fn only_its_owner_enters_a_store() {
        let folder = tempfile::tempdir().unwrap();
        let new = folder.path().join("some/new");
        Store::open(&new).unwrap();
        assert_eq!(mode(&new), 0o700);
        let old = folder.path().join("old");
        for open in [0o755, 0o777, 0o710] {
            fs::create_dir_all(&old).unwrap();
            fs::set_permissions(&old, std::fs::Permissions::from_mode(open)).unwrap();
            Store::open(&old).unwrap();
            assert_eq!(mode(&old), 0o700, "{open:o}");
        }
        fs::write(folder.path().join("file"), "").unwrap();
        assert!(Store::open(folder.path().join("file")).is_err());
    }

    #[test]
    fn a_store_of_another_user_is_refused() {
        kcompose_testing::needs!(Root);
        let folder = tempfile::tempdir().unwrap();
        std::os::unix::fs::chown(folder.path(), Some(65534), None).unwrap();
        let error = Store::open(folder.path()).unwrap_err();
        assert!(matches!(error, StoreError::AnotherOwner { .. }), "{error}");
        assert!(error.to_string().ends_with("belongs to another user"), "{error}");
        let code = miette::Diagnostic::code(&error).unwrap().to_string();
        assert_eq!(code, "kcompose::store::another-owner");
    }

    /// Somebody puts links where the store has folders, which lead to what the owner would not delete.
    #[test]
    fn prune_follows_no_link() {
        for name in ["tmp", "blobs", "blobs/sha256", "blobs/sha256/aa"] {
            let folder = tempfile::tempdir().unwrap();
            let store = Store::open(folder.path().join("store")).unwrap();
            let victim = folder.path().join("victim");
            fs::create_dir_all(victim.join("sha256/aa")).unwrap();
            fs::create_dir_all(victim.join("aa")).unwrap();
            let files = ["file", "aa/file", "sha256/aa/file"].map(|file| victim.join(file));
            files.iter().for_each(|file| fs::write(file, "precious").unwrap());
            let link = store.root().join(name);
            fs::create_dir_all(link.parent().unwrap()).unwrap();
            std::os::unix::fs::symlink(&victim, &link).unwrap();
            let error = store.prune(&BTreeSet::new()).unwrap_err().to_string();
            assert!(error.contains("is a link"), "{name}: {error}");
            assert!(files.iter().all(|file| file.exists()), "{name}");
        }
        // A link in a folder goes, and not what it leads to.
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path().join("store")).unwrap();
        let victim = folder.path().join("victim");
        fs::write(&victim, "precious").unwrap();
        fs::create_dir(store.root().join("tmp")).unwrap();
        std::os::unix::fs::symlink(&victim, store.root().join("tmp/link")).unwrap();
        std::os::unix::fs::symlink(folder.path(), store.root().join(Shelf::Facts.folder())).unwrap();
        store.prune(&BTreeSet::new()).unwrap();
        store.clear(Shelf::Facts).unwrap();
        assert!(victim.exists() && !store.root().join("tmp/link").is_symlink());
    }

    #[test]
    fn linked_folders_are_listed_and_verified_and_nothing_behind_them_is_deleted() {
        for name in ["blobs", "blobs/sha256", Shelf::Facts.folder()] {
            let folder = tempfile::tempdir().unwrap();
            let store = Store::open(folder.path().join("store")).unwrap();
            let (good, bad) = (kept(&store, b"good"), kept(&store, b"bad"));
            store.keep_item(Shelf::Facts, "key", b"fact").unwrap();
            fs::write(store.blob_path(&bad), "bat").unwrap();
            let elsewhere = folder.path().join("elsewhere");
            fs::rename(store.root().join(name), &elsewhere).unwrap();
            std::os::unix::fs::symlink(&elsewhere, store.root().join(name)).unwrap();
            assert_eq!(store.blobs().unwrap().len(), 2, "{name}");
            assert_eq!(store.shelf_size(Shelf::Facts).unwrap(), (1, 4), "{name}");
            let damaged: Vec<String> = store
                .verify()
                .unwrap()
                .into_iter()
                .map(|blob| blob.sha256)
                .collect();
            assert_eq!(damaged, [bad.as_str()], "{name}");
            assert_eq!(store.blob(&bad).unwrap(), None, "{name}");
            assert_eq!(store.has_blob(&bad), name.starts_with("blobs"), "{name}");
            assert!(store.has_blob(&good), "{name}");
        }
    }

    #[test]
    fn a_draft_that_is_killed_leaves_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::new(folder.path());
        let mut draft = store.draft().unwrap();
        draft.write_all(b"half").unwrap();
        // As when the process ends.
        std::mem::forget(draft);
        assert_eq!(fs::read_dir(folder.path().join("tmp")).unwrap().count(), 0);
    }

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
