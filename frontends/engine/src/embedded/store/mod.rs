//! Trees and records: what the embedded engine has made, kept between builds.
//!
//! ```text
//! trees/ID/fs           one layer: the files that a vertex made or changed, in overlayfs' form
//! trees/ID/tree.json    its size and the digest of its listing
//! trees/ID/layer.json   the digest of its archive, once somebody asked for it
//! records/KEY           a vertex's results: for each output the trees it consists of, the lowest first
//! kinds/KEY             the keys of records of one operation on different inputs, the newest first
//! listings/DIGEST       the name of the tree that has this listing and was made on the same trees, or of the last one that
//!                       has it, whatever it was made on
//! locks/KEY             held by whoever makes that result
//! tmp/BUILD             what a running build works on, gone with it
//! tmp/BUILD.lock        held while the build runs; tmp/BUILD.uses names the trees that it uses
//! pending/BOOT.BUILD    what this build made may not be on the disk yet
//! gate                  shared by who starts to use a tree, alone by who takes trees out
//! ```
//!
//! A tree is made below `tmp` and renamed; its record is written last, so what is recorded is whole, whenever a build is
//! killed. After a loss of power that is not enough: what a build made counts in another boot only if the disk was told
//! to keep it (`syncfs`) after the build. A build that took a moment leaves that to the next longer one of the same boot.

mod build;
mod cache;
mod kinds;
mod lock;
mod maintenance;
mod sweep;
mod twins;

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use fs_err as fs;
use serde::{Deserialize, Serialize};

use super::cachekey::Key;
pub(super) use build::{Build, Claim, Draft, Made};
pub(super) use cache::CacheFolder;
pub use maintenance::{Pruned, Summary};

/// The name of a tree.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct TreeId(String);

impl fmt::Display for TreeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What is known of a tree.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct TreeFacts {
    /// The digest of its listing: paths, kinds, modes, owners, sizes, times.
    pub(super) listing: String,
    /// Bytes on the disk.
    pub(super) size: u64,
    /// The trees that it was made on, the lowest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) below: Vec<TreeId>,
    /// The digest of all contents, where no layer's digest says it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) contents: Option<String>,
}

/// The results of a vertex.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Record {
    /// The vertex's name, for people.
    pub(super) name: String,
    /// The build that made it.
    pub(super) build: String,
    /// The trees of each output, the lowest first.
    pub(super) outputs: BTreeMap<usize, Vec<TreeId>>,
    /// The trees of each input, as it was made from them; they may be gone.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) inputs: Vec<Vec<TreeId>>,
}

/// The folder of trees and records.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trees {
    root: PathBuf,
}

const FOLDERS: [&str; 7] = ["trees", "records", "kinds", "listings", "locks", "tmp", "pending"];

impl Trees {
    /// The trees in a folder, which is made when something is put in.
    pub fn new(root: impl Into<PathBuf>) -> Self {
        Trees { root: root.into() }
    }

    /// The trees beside a store.
    pub fn beside(store: &crate::store::Store) -> Self {
        Trees::new(store.root().join("engine"))
    }

    /// Where they are.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Makes the folders, and throws away what killed builds and lost power left.
    pub(super) fn open(&self) -> io::Result<()> {
        for folder in FOLDERS {
            fs::create_dir_all(self.root.join(folder))?;
        }
        self.sweep()
    }

    /// The files of a tree.
    pub(super) fn files(&self, id: &TreeId) -> PathBuf {
        self.tree(id).join("fs")
    }

    /// The files of trees, the top one first, as overlays and differs take them.
    pub(super) fn lowers(&self, trees: &[TreeId]) -> Vec<PathBuf> {
        trees.iter().rev().map(|id| self.files(id)).collect()
    }

    /// The digest of a tree's archive, if somebody made it before.
    pub(super) fn layer(&self, id: &TreeId) -> Option<String> {
        let bytes = fs::read(self.tree(id).join("layer.json")).ok()?;
        serde_json::from_slice(&bytes).ok()
    }

    /// Notes the digest of a tree's archive.
    pub(super) fn note_layer(&self, id: &TreeId, diff_id: &str) -> io::Result<()> {
        write(&self.tree(id).join("layer.json"), &serde_json::to_vec(diff_id)?)?;
        self.add_to_listings(id)
    }

    /// The trees that a tree was made on, the lowest first.
    pub(super) fn below(&self, id: &TreeId) -> io::Result<Vec<TreeId>> {
        let facts = self.facts(id).map(|facts| facts.below);
        facts.ok_or_else(|| io::Error::other(format!("the tree {id} is damaged")))
    }

    fn facts(&self, id: &TreeId) -> Option<TreeFacts> {
        let bytes = fs::read(self.tree(id).join("tree.json")).ok()?;
        serde_json::from_slice(&bytes).ok()
    }

    fn tree(&self, id: &TreeId) -> PathBuf {
        self.root.join("trees").join(&id.0)
    }

    fn record_path(&self, key: &Key) -> PathBuf {
        self.root.join("records").join(key.as_str())
    }

    /// A record whose trees are all there.
    fn record(&self, key: &Key) -> Option<Record> {
        let bytes = fs::read(self.record_path(key)).ok()?;
        let record: Record = serde_json::from_slice(&bytes).ok()?;
        let is_there = |id: &TreeId| self.tree(id).join("tree.json").is_file();
        record.outputs.values().flatten().all(is_there).then_some(record)
    }
}

/// Writes a small file whole: beside its place, then renamed.
fn write(path: &Path, bytes: &[u8]) -> io::Result<()> {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let number = COUNT.fetch_add(1, Ordering::Relaxed);
    let beside = path.with_extension(format!("new-{}-{number}", std::process::id()));
    let written = fs::write(&beside, bytes).and_then(|()| fs::rename(&beside, path));
    if written.is_err() {
        // What could not be written whole is nothing; that it cannot be deleted either adds nothing.
        let _ = fs::remove_file(&beside);
    }
    written
}
