//! Trees that are made again: what an operation gives that another one gave before is the same tree.
//!
//! So an operation that has changed without changing its result leaves everything that rests on it as it is, and a build that
//! makes all anew needs no more room.

use std::io;
use std::path::{Path, PathBuf};

use fs_err as fs;

use super::build::Build;
use super::{TreeFacts, TreeId, Trees, write};
use crate::digest;
use crate::embedded::snapshot;

impl Build {
    /// Puts a folder in its place as a tree, or gives the tree that has the same in it and was made on the same trees.
    pub(in crate::embedded) fn keep_once(&self, folder: &Path, facts: &TreeFacts) -> io::Result<TreeId> {
        let index = self.trees().listing_path(facts);
        if let Some(twin) = self.twin(&index, folder, facts)? {
            return Ok(twin);
        }
        let id = self.keep(folder, facts)?;
        write(&index, id.0.as_bytes())?;
        Ok(id)
    }

    fn twin(&self, index: &Path, folder: &Path, facts: &TreeFacts) -> io::Result<Option<TreeId>> {
        let Ok(name) = fs::read_to_string(index) else {
            return Ok(None);
        };
        let id = TreeId(name);
        let is_there = self.used(std::slice::from_ref(&id), || self.trees().facts(&id).is_some())?;
        if !is_there {
            return Ok(None);
        }
        let files = self.trees().files(&id);
        // What was kept may have been damaged since.
        let same = snapshot::listing(&files).is_ok_and(|listing| listing.digest == facts.listing)
            && snapshot::same_contents(&files, &folder.join("fs")).unwrap_or(false);
        Ok(same.then_some(id))
    }
}

impl Trees {
    fn listing_path(&self, facts: &TreeFacts) -> PathBuf {
        let mut text = facts.listing.clone();
        for id in &facts.below {
            text.push(' ');
            text.push_str(&id.0);
        }
        let digest = digest::sha256(text.as_bytes());
        let name = digest::hex(&digest).unwrap_or_default();
        self.root.join("listings").join(name)
    }

    /// The digest of the archive of another tree with the same listing, which is probably this one's.
    pub(in crate::embedded) fn likely_layer(&self, id: &TreeId) -> Option<String> {
        let other = fs::read_to_string(self.any_listing_path(id)?).ok()?;
        self.layer(&TreeId(other))
    }

    /// From now on trees with the same listing are compared with this one.
    pub(super) fn add_to_listings(&self, id: &TreeId) -> io::Result<()> {
        let path = self.any_listing_path(id);
        path.map_or(Ok(()), |path| write(&path, id.0.as_bytes()))
    }

    fn any_listing_path(&self, id: &TreeId) -> Option<PathBuf> {
        let facts = self.facts(id)?;
        Some(self.root.join("listings").join(digest::hex(&facts.listing)?))
    }

    /// Whether the tree that an index's file leads to is gone.
    pub(super) fn is_idle_listing(&self, path: &Path) -> bool {
        let name = fs::read_to_string(path).unwrap_or_default();
        name.is_empty() || !self.tree(&TreeId(name)).exists()
    }
}
