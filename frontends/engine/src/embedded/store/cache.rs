//! Folders that steps keep between builds: cache mounts.

use std::io;
use std::path::{Path, PathBuf};

use fs_err as fs;
use kcompose_core::llb::proto::pb::CacheSharingOpt;

use super::build::Build;
use super::lock::LockFile;
use crate::digest::{hex, sha256};

/// A folder that a step uses.
#[derive(Debug)]
pub(in crate::embedded) struct CacheFolder {
    path: PathBuf,
    _lock: Option<LockFile>,
}

impl CacheFolder {
    pub(in crate::embedded) fn path(&self) -> &Path {
        &self.path
    }
}

impl Build {
    /// The folder under a name, as those who use it at the same time share it.
    pub(in crate::embedded) async fn cache_folder(
        &self,
        id: &str,
        sharing: CacheSharingOpt,
    ) -> io::Result<CacheFolder> {
        let digest = sha256(id.as_bytes());
        let folder = self.trees().root().join("caches");
        let base = folder.join(hex(&digest).unwrap_or_default());
        fs::create_dir_all(&base)?;
        let lock = |path: &Path| path.with_extension("lock");
        let (path, lock) = match sharing {
            CacheSharingOpt::Shared => (base, None),
            CacheSharingOpt::Locked => {
                let held = LockFile::wait(lock(&base)).await?;
                (base, Some(held))
            }
            CacheSharingOpt::Private => free(&base)?,
        };
        fs::create_dir_all(&path)?;
        Ok(CacheFolder { path, _lock: lock })
    }
}

/// The first folder that nobody uses.
fn free(base: &Path) -> io::Result<(PathBuf, Option<LockFile>)> {
    let mut number = 0;
    loop {
        let path = if number == 0 {
            base.to_owned()
        } else {
            base.with_extension(number.to_string())
        };
        let mut lock = path.clone().into_os_string();
        lock.push(".lock");
        if let Some(held) = LockFile::take(Path::new(&lock))? {
            return Ok((path, Some(held)));
        }
        number += 1;
    }
}
