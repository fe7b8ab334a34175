//! The root file system itself, as an archive or in a folder.

use std::io;
use std::path::Path;

use fs_err as fs;

use super::{Export, explain};
use crate::background::Stoppable;
use crate::error::EngineError;
use crate::rootfs::{self, ImageError};

/// One archive of all layers together.
pub(super) fn archive(export: &Export<'_>, file: &mut fs::File) -> Result<(), EngineError> {
    let path = file.path().to_owned();
    let image = merged(export, &path)?;
    image
        .pack(Stoppable::new(file, export.stop))
        .map_err(|error| explain(export, path, error))
}

/// A folder with all layers together: with owners and devices as root, without them as anybody else.
pub(super) fn folder(export: &Export<'_>, folder: &Path) -> Result<(), EngineError> {
    let image = merged(export, folder)?;
    let extracted = image.extract_until(folder, export.stop);
    extracted.map_err(|error| match export.stop.is_cancelled() {
        true => EngineError::Cancelled,
        false => image_error(folder, error),
    })
}

fn merged(export: &Export<'_>, destination: &Path) -> Result<rootfs::Image, EngineError> {
    let layers = export.image.layers.iter().map(|layer| layer.digest.as_str());
    rootfs::open_blobs(export.layers.root(), &export.image.config, layers)
        .map_err(|error| image_error(destination, error))
}

fn image_error(path: &Path, error: ImageError) -> EngineError {
    match error {
        ImageError::Io { action, path, reason } => EngineError::io(action, path, reason),
        other @ (ImageError::Missing { .. }
        | ImageError::Unknown { .. }
        | ImageError::Broken { .. }
        | ImageError::TooLarge { .. }) => {
            EngineError::io("unpack", path, io::Error::other(other.to_string()))
        }
    }
}
