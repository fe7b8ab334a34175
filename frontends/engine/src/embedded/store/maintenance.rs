//! Looking at the trees, and taking some out.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use fs_err as fs;
use tokio_util::sync::CancellationToken;

use super::build::Build;
use super::lock::{Gate, LockFile};
use super::sweep::{entries, gone};
use super::{FOLDERS, Record, TreeFacts, TreeId, Trees};
use crate::embedded::snapshot;
use crate::store::Links;

/// The size of a store.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// Results of operations.
    pub records: usize,
    /// Trees that they consist of.
    pub trees: usize,
    /// Bytes of the trees.
    pub size: u64,
}

/// What was taken out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pruned {
    /// Results of operations.
    pub records: usize,
    /// Bytes of trees.
    pub size: u64,
}

/// Everything that is kept.
struct Inventory {
    /// Records with the time of their last use, the oldest first.
    records: Vec<(SystemTime, PathBuf, Record)>,
    /// The bytes of each tree.
    trees: BTreeMap<TreeId, u64>,
}

impl Inventory {
    fn size(&self) -> u64 {
        self.trees.values().sum()
    }
}

impl Trees {
    /// Counts records and trees, also behind links.
    pub fn summary(&self) -> io::Result<Summary> {
        let inventory = self.inventory(Links::Follow)?;
        Ok(Summary {
            records: inventory.records.len(),
            trees: inventory.trees.len(),
            size: inventory.size(),
        })
    }

    /// Takes out what was not used for longest until no more than this many bytes are left, but nothing that a running
    /// build uses.
    pub fn prune(&self, limit: u64) -> io::Result<Pruned> {
        if self.root.is_symlink() {
            let reason = format!("`{}` is a link, and no link is followed", self.root.display());
            return Err(io::Error::other(reason));
        }
        if !self.root.join("trees").is_dir() {
            return Ok(Pruned::default());
        }
        self.open()?;
        let build = Build::begin(self)?;
        let trash = build.draft()?;
        let gate = Gate::new(&self.root.join("gate"))?;
        // Renaming is quick; what takes long is done when others may go on.
        gate.alone(|| self.take_out(limit, trash.path()))?
    }

    /// Trees whose files are not what was kept. They are deleted, with every result that rests on them, unless a folder is
    /// a link.
    pub fn verify(&self) -> io::Result<Vec<String>> {
        if !self.root.join("trees").is_dir() {
            return Ok(Vec::new());
        }
        let is_linked = FOLDERS.iter().any(|folder| self.root.join(folder).is_symlink());
        let damaged = if is_linked || self.root.is_symlink() {
            self.damaged()?
        } else {
            self.open()?;
            let build = Build::begin(self)?;
            let damaged = self.damaged()?;
            self.drop_trees(&build, &damaged)?;
            damaged
        };
        Ok(damaged.into_iter().map(|id| id.0).collect())
    }

    fn damaged(&self) -> io::Result<BTreeSet<TreeId>> {
        let trees = self.inventory(Links::Follow)?.trees.into_keys();
        Ok(trees.filter(|id| !self.is_whole(id, true)).collect())
    }

    /// Evicts those of the trees whose listings are not what was kept, and says whether there was one. Looks at no more of
    /// them once the token is cancelled.
    pub(in crate::embedded) fn heal(
        &self,
        build: &Build,
        trees: &BTreeSet<TreeId>,
        stop: &CancellationToken,
    ) -> io::Result<bool> {
        let damaged: BTreeSet<TreeId> = trees
            .iter()
            .take_while(|_| !stop.is_cancelled())
            .filter(|id| !self.is_whole(id, false))
            .cloned()
            .collect();
        self.drop_trees(build, &damaged)?;
        Ok(!damaged.is_empty())
    }

    fn drop_trees(&self, build: &Build, damaged: &BTreeSet<TreeId>) -> io::Result<()> {
        let records = self.inventory(Links::Refuse)?.records;
        let rests_on_one = |record: &Record| record.outputs.values().flatten().any(|id| damaged.contains(id));
        for (_, path, record) in records {
            if rests_on_one(&record) {
                gone(fs::remove_file(path))?;
            }
        }
        let trash = build.draft()?;
        for id in damaged {
            gone(fs::rename(self.tree(id), trash.path().join(&id.0)))?;
        }
        Ok(())
    }

    fn is_whole(&self, id: &TreeId, with_contents: bool) -> bool {
        let Some(facts) = self.facts(id) else { return false };
        let files = self.files(id);
        let listing = snapshot::listing(&files).is_ok_and(|listing| listing.digest == facts.listing);
        let contents = || match &facts.contents {
            Some(known) if with_contents => {
                snapshot::contents(&files, &CancellationToken::new()).is_ok_and(|found| found == *known)
            }
            _ => true,
        };
        listing && contents()
    }

    /// Notes the digest of the contents of a tree.
    pub(in crate::embedded) fn note_contents(&self, id: &TreeId, stop: &CancellationToken) -> io::Result<()> {
        let Some(facts) = self.facts(id).filter(|facts| facts.contents.is_none()) else {
            return Ok(());
        };
        let facts = TreeFacts {
            contents: Some(snapshot::contents(&self.files(id), stop)?),
            ..facts
        };
        super::write(&self.tree(id).join("tree.json"), &serde_json::to_vec(&facts)?)
    }

    fn take_out(&self, limit: u64, trash: &Path) -> io::Result<Pruned> {
        let inventory = self.inventory(Links::Refuse)?;
        let in_use = self.in_use()?;
        let mut uses: BTreeMap<&TreeId, usize> = BTreeMap::new();
        for id in inventory
            .records
            .iter()
            .flat_map(|(_, _, record)| record.outputs.values().flatten())
        {
            *uses.entry(id).or_default() += 1;
        }
        let mut pruned = Pruned::default();
        let mut left = inventory.size();
        let take = |id: &TreeId, left: &mut u64, pruned: &mut Pruned| {
            let size = inventory.trees.get(id).copied().unwrap_or(0);
            gone(fs::rename(self.tree(id), trash.join(&id.0)))?;
            *left = left.saturating_sub(size);
            pruned.size += size;
            Ok::<(), io::Error>(())
        };
        // A build that was killed between a tree and its record leaves the tree.
        for id in inventory
            .trees
            .keys()
            .filter(|id| !uses.contains_key(id) && !in_use.contains(*id))
        {
            take(id, &mut left, &mut pruned)?;
        }
        for (_, path, record) in &inventory.records {
            let trees: Vec<&TreeId> = record.outputs.values().flatten().collect();
            if left <= limit {
                break;
            }
            if trees.iter().all(|id| in_use.contains(*id)) {
                continue;
            }
            gone(fs::remove_file(path))?;
            pruned.records += 1;
            for id in trees {
                let count = uses.entry(id).or_default();
                *count = count.saturating_sub(1);
                if *count == 0 && !in_use.contains(id) && self.tree(id).exists() {
                    take(id, &mut left, &mut pruned)?;
                }
            }
        }
        for path in entries(&self.root, "kinds")? {
            if self.is_idle_kind(&path) {
                gone(fs::remove_file(path))?;
            }
        }
        for path in entries(&self.root, "listings")? {
            if self.is_idle_listing(&path) {
                gone(fs::remove_file(path))?;
            }
        }
        for lock in entries(&self.root, "locks")? {
            if let Some(lock) = LockFile::take(&lock)? {
                gone(lock.remove())?;
            }
        }
        Ok(pruned)
    }

    /// The trees that running builds use.
    fn in_use(&self) -> io::Result<BTreeSet<TreeId>> {
        let mut in_use = BTreeSet::new();
        for path in entries(&self.root, "tmp")? {
            if path.extension().is_some_and(|extension| extension == "uses") {
                let text = fs::read_to_string(&path).unwrap_or_default();
                in_use.extend(text.lines().map(|line| TreeId(line.to_owned())));
            }
        }
        Ok(in_use)
    }

    fn inventory(&self, links: Links) -> io::Result<Inventory> {
        let entries = |folder: &str| crate::store::entries(&self.root, Path::new(folder), links);
        let mut records = Vec::new();
        for path in entries("records")? {
            let used = fs::symlink_metadata(&path).and_then(|metadata| metadata.modified());
            let bytes = fs::read(&path).unwrap_or_default();
            match (used, serde_json::from_slice::<Record>(&bytes)) {
                (Ok(used), Ok(record)) => records.push((used, path, record)),
                // It is half, or just being deleted.
                (Err(_), _) | (_, Err(_)) => {}
            }
        }
        records.sort_by(|one, other| (one.0, &one.1).cmp(&(other.0, &other.1)));
        let mut trees = BTreeMap::new();
        for path in entries("trees")? {
            let name = path
                .file_name()
                .unwrap_or_default()
                .to_string_lossy()
                .into_owned();
            let id = TreeId(name);
            let size = self.facts(&id).map_or(0, |facts| facts.size);
            trees.insert(id, size);
        }
        Ok(Inventory { records, trees })
    }
}
