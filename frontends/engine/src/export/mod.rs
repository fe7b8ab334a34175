//! Outputs: an image as files, and as what registries and engines take.
//!
//! Every file is written beside its destination, where the file system can without a name, and takes its place when it is whole,
//! so an error leaves nothing behind.

mod ahead;
mod archive;
mod docker;
mod fresh;
mod image;
mod oci;
mod output;
pub(crate) mod place;
mod pull;
mod reference;
mod registry;
#[cfg(test)]
mod testing;
mod tree;

pub(crate) use ahead::Ahead;
use ahead::Begun;
use fresh::Fresh;
pub use image::{Image, Platform};
pub use output::{Output, OutputKind};
pub use pull::{is_reference, pull, pull_for};
pub(crate) use registry::push;

use std::io;
use std::path::{Path, PathBuf};

use tokio_util::sync::CancellationToken;

use crate::error::EngineError;
use crate::layers::LayerStore;

/// Writes one file or folder of an image, unless the file is there already; an OCI archive may have been begun.
pub(crate) fn write(
    export: &Export<'_>,
    kind: OutputKind,
    destination: &Path,
    begun: Option<Begun>,
) -> Result<(), EngineError> {
    // A folder has no time that says what happened below it.
    let fresh = match kind {
        OutputKind::Local => None,
        _ => Fresh::new(export, kind, destination).ok(),
    };
    if fresh.as_ref().is_some_and(Fresh::is_there) {
        return Ok(());
    }
    write_anew(export, kind, destination, begun)?;
    if let Some(fresh) = fresh {
        // What cannot be remembered is written again.
        let _ = fresh.remember();
    }
    Ok(())
}

fn write_anew(
    export: &Export<'_>,
    kind: OutputKind,
    destination: &Path,
    begun: Option<Begun>,
) -> Result<(), EngineError> {
    match kind {
        OutputKind::Oci => match begun.filter(|begun| oci::begins_with(export, &begun.layers)) {
            Some(Begun { draft, layers }) => place::whole(draft, |file| oci::write(export, file, &layers)),
            None => place::file(destination, |file| oci::write(export, file, &[])),
        },
        OutputKind::Docker => place::file(destination, |file| docker::write(export, file)),
        OutputKind::Tar => place::file(destination, |file| tree::archive(export, file)),
        OutputKind::Local => place::directory(destination, |folder| tree::folder(export, folder)),
        OutputKind::Registry | OutputKind::Image => unreachable!("only files and folders have a destination"),
    }
}

/// What every writer needs.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Export<'a> {
    /// The image.
    pub(crate) image: &'a Image,
    /// Where its layers are.
    pub(crate) layers: &'a LayerStore,
    /// Its names, for archives that hold some.
    pub(crate) names: &'a [String],
    /// Whether to stop.
    pub(crate) cancel: &'a CancellationToken,
}

impl Export<'_> {
    /// An error if the person has pressed Ctrl-C.
    fn check_cancel(&self) -> io::Result<()> {
        if self.cancel.is_cancelled() {
            return Err(io::ErrorKind::Interrupted.into());
        }
        Ok(())
    }
}

/// What an error of a writer means.
fn explain(export: &Export<'_>, path: PathBuf, error: io::Error) -> EngineError {
    if export.cancel.is_cancelled() {
        return EngineError::Cancelled;
    }
    EngineError::io("write", path, error)
}
