//! The image that tests share: built once, by whichever test comes first.

use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use crate::run::{copy_folder, data, kcompose};

/// A flavor with a lock, and what was built from it.
#[derive(Debug)]
pub(crate) struct Built {
    /// The folder that holds all of it.
    folder: PathBuf,
}

/// The shared image. Its folder is read only by convention: tests copy what they change.
#[track_caller]
pub(crate) fn shared() -> &'static Built {
    static SHARED: OnceLock<Built> = OnceLock::new();
    SHARED.get_or_init(|| {
        // Statics are never dropped; below target/ it is in nobody's way, and the next run begins with removing it.
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("shared-image");
        let _ = std::fs::remove_dir_all(&folder);
        copy_folder(&data("flavor"), &folder.join("flavor"));
        kcompose(&folder, "build flavor --progress plain -o type=oci,dest=image.tar --metadata-file image.json --iidfile image.id").ok();
        Built { folder }
    })
}

impl Built {
    /// The OCI archive.
    pub(crate) fn archive(&self) -> PathBuf {
        self.folder.join("image.tar")
    }

    /// The file of `--metadata-file`.
    pub(crate) fn metadata(&self) -> PathBuf {
        self.folder.join("image.json")
    }

    /// The file of `--iidfile`.
    pub(crate) fn iidfile(&self) -> PathBuf {
        self.folder.join("image.id")
    }

    /// A copy of the flavor with its lock, as `NAME` in a folder.
    pub(crate) fn copy_flavor(&self, folder: &Path, name: &str) -> PathBuf {
        copy_folder(&self.folder.join("flavor"), &folder.join(name));
        folder.join(name)
    }
}
