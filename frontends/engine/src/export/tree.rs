//! The root file system itself, as an archive or in a folder.

use std::io;
use std::os::unix::fs::symlink;
use std::path::Path;

use fs_err as fs;

use super::{Export, explain, oci};
use crate::error::EngineError;
use crate::rootfs::{self, ImageError};

/// One archive of all layers together.
pub(super) fn archive(export: &Export<'_>, file: &mut fs::File) -> Result<(), EngineError> {
    let path = file.path().to_owned();
    let image = merged(export, &path)?;
    export
        .check_cancel()
        .and_then(|()| image.pack(file))
        .map_err(|error| explain(export, path, error))
}

/// A folder with all layers together: with owners and devices as root, without them as anybody else.
pub(super) fn folder(export: &Export<'_>, folder: &Path) -> Result<(), EngineError> {
    let image = merged(export, folder)?;
    export
        .check_cancel()
        .map_err(|error| explain(export, folder.to_owned(), error))?;
    image.extract(folder).map_err(|error| image_error(folder, error))
}

fn merged(export: &Export<'_>, destination: &Path) -> Result<rootfs::Image, EngineError> {
    let layout =
        tempfile::tempdir().map_err(|error| EngineError::io("write", std::env::temp_dir(), error))?;
    link_layout(export, layout.path()).map_err(|error| explain(export, layout.path().to_owned(), error))?;
    rootfs::open(layout.path()).map_err(|error| image_error(destination, error))
}

/// An OCI layout whose layers are links to those of the store.
fn link_layout(export: &Export<'_>, folder: &Path) -> io::Result<()> {
    fs::create_dir_all(folder.join("blobs/sha256"))?;
    for (digest, bytes) in [
        (&export.image.config_digest, &export.image.config),
        (&export.image.digest, &export.image.manifest),
    ] {
        fs::write(folder.join(oci::blob(digest)?), bytes)?;
    }
    for layer in &export.image.layers {
        let link = folder.join(oci::blob(&layer.digest)?);
        if fs::symlink_metadata(&link).is_err() {
            symlink(export.layers.path(layer)?, link)?;
        }
    }
    fs::write(folder.join("index.json"), oci::index(export))?;
    fs::write(folder.join("oci-layout"), oci::LAYOUT)
}

fn image_error(path: &Path, error: ImageError) -> EngineError {
    match error {
        ImageError::Io { action, path, reason } => EngineError::io(action, path, reason),
        other @ (ImageError::Missing { .. } | ImageError::Unknown { .. } | ImageError::Broken { .. }) => {
            EngineError::io("unpack", path, io::Error::other(other.to_string()))
        }
    }
}
