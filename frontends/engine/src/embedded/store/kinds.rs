//! Operations that were run on different inputs.

use std::io;
use std::path::PathBuf;

use fs_err as fs;

use super::{Record, Trees, write};
use crate::embedded::cachekey::Key;

/// As many results of one operation are looked at when its inputs are new.
const MOST: usize = 8;

impl Trees {
    /// Results of an operation on other inputs, the newest first.
    pub(in crate::embedded) fn of_kind(&self, kind: &Key) -> Vec<(Key, Record)> {
        let keys = self.keys_of_kind(kind).into_iter();
        keys.filter_map(|key| self.record(&key).map(|record| (key, record)))
            .collect()
    }

    /// Adds a record to those of its kind. One that another build adds at the same moment may be lost, which costs no more
    /// than making it again.
    pub(super) fn add_to_kind(&self, kind: &Key, key: &Key) -> io::Result<()> {
        let mut keys = self.keys_of_kind(kind);
        keys.retain(|known| known != key);
        keys.insert(0, key.clone());
        keys.truncate(MOST);
        write(&self.kind_path(kind), &serde_json::to_vec(&keys)?)
    }

    /// The keys of a kind; none if it is damaged.
    fn keys_of_kind(&self, kind: &Key) -> Vec<Key> {
        let bytes = fs::read(self.kind_path(kind)).unwrap_or_default();
        serde_json::from_slice(&bytes).unwrap_or_default()
    }

    fn kind_path(&self, kind: &Key) -> PathBuf {
        self.root.join("kinds").join(kind.as_str())
    }

    /// Whether there is nothing left that an index's file leads to.
    pub(super) fn is_idle_kind(&self, path: &std::path::Path) -> bool {
        let keys: Vec<Key> = fs::read(path)
            .ok()
            .and_then(|bytes| serde_json::from_slice(&bytes).ok())
            .unwrap_or_default();
        !keys.iter().any(|key| self.record_path(key).exists())
    }
}
