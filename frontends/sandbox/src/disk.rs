//! What a step has written to the disk, looked at while it runs.
//!
//! Quotas take rights that an ordinary user has not, and file systems that not everybody has. The use of a whole file system,
//! though, is known at once; only when that has grown by more than the step may write, its own files are counted.

use std::collections::BTreeSet;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use fs_err as fs;
use kcompose_launcher::{Overlay, Source, Spec};
use tokio::time::{Instant, sleep_until};

/// Between two looks.
const PAUSE: Duration = Duration::from_millis(100);

/// The folders that a step writes to.
#[derive(Debug)]
pub(crate) struct Disk {
    folders: Vec<PathBuf>,
    limit: u64,
    /// The least that was in use of each folder's file system.
    least: Vec<u64>,
    next: Instant,
}

impl Disk {
    pub(crate) fn new(spec: &Spec, limit: u64) -> Self {
        let upper = |overlay: &Overlay| overlay.upper.clone();
        let mounted = spec.mounts.iter().filter(|mount| !mount.read_only);
        let mounted = mounted.filter_map(|mount| match &mount.source {
            Source::Bind(path) => Some(path.clone()),
            Source::Overlay(overlay) | Source::Within(overlay, _) => upper(overlay),
            Source::Tmpfs { .. } => None,
        });
        let folders: Vec<PathBuf> = upper(&spec.root).into_iter().chain(mounted).collect();
        Disk {
            least: folders.iter().map(|folder| in_use(folder)).collect(),
            folders,
            limit,
            next: Instant::now() + PAUSE,
        }
    }

    /// Ends when the step has written more than it may. It may be dropped and called again.
    pub(crate) async fn full(&mut self) {
        loop {
            sleep_until(self.next).await;
            self.next = Instant::now() + PAUSE;
            if !self.may_be_full() {
                continue;
            }
            let start = Instant::now();
            if self.written() > self.limit {
                return;
            }
            // Somebody else fills the disk: counting must not take all the time there is.
            self.next = Instant::now() + PAUSE + 20 * start.elapsed();
        }
    }

    fn may_be_full(&mut self) -> bool {
        let mut grown = 0;
        for (folder, least) in self.folders.iter().zip(&mut self.least) {
            let now = in_use(folder);
            *least = now.min(*least);
            grown = grown.max(now - *least);
        }
        grown > self.limit
    }

    /// Bytes of all folders; a file with several names counts once.
    fn written(&self) -> u64 {
        let mut seen = BTreeSet::new();
        self.folders.iter().map(|folder| size(folder, &mut seen)).sum()
    }
}

/// Bytes in use of the file system of a folder; none if it does not say.
fn in_use(folder: &Path) -> u64 {
    rustix::fs::statvfs(folder).map_or(0, |disk| (disk.f_blocks - disk.f_bfree) * disk.f_frsize)
}

/// What the step deletes meanwhile counts as nothing.
fn size(path: &Path, seen: &mut BTreeSet<(u64, u64)>) -> u64 {
    let Ok(metadata) = fs::symlink_metadata(path) else {
        return 0;
    };
    if metadata.nlink() > 1 && !metadata.is_dir() && !seen.insert((metadata.dev(), metadata.ino())) {
        return 0;
    }
    let mut bytes = metadata.blocks() * 512;
    if metadata.is_dir() {
        let entries = fs::read_dir(path).into_iter().flatten().flatten();
        bytes += entries.map(|entry| size(&entry.path(), seen)).sum::<u64>();
    }
    bytes
}
