//! Outputs: an image as files, and as what registries and engines take.
//!
//! Every file is written beside its destination and renamed when it is whole, so an error leaves nothing behind.

mod archive;
mod image;
mod oci;
mod output;
mod place;

pub use image::{Image, Platform};
pub use output::{Output, OutputKind};

use std::path::Path;

use tokio_util::sync::CancellationToken;

use crate::error::EngineError;
use crate::layers::LayerStore;

/// Writes one file or folder output of an image.
pub(crate) fn write(
    image: &Image,
    layers: &LayerStore,
    kind: OutputKind,
    destination: &Path,
    names: &[String],
    cancel: &CancellationToken,
) -> Result<(), EngineError> {
    let job = Export {
        image,
        layers,
        names,
        cancel,
    };
    match kind {
        OutputKind::Oci => place::file(destination, |file| oci::write(&job, file)),
        OutputKind::Docker | OutputKind::Tar | OutputKind::Local => Ok(()),
        OutputKind::Registry | OutputKind::Image => Ok(()),
    }
}

/// What every writer needs.
#[derive(Clone, Copy)]
struct Export<'a> {
    image: &'a Image,
    layers: &'a LayerStore,
    names: &'a [String],
    cancel: &'a CancellationToken,
}

impl Export<'_> {
    /// An error if the person has pressed Ctrl-C.
    fn check_cancel(&self) -> std::io::Result<()> {
        if self.cancel.is_cancelled() {
            return Err(std::io::ErrorKind::Interrupted.into());
        }
        Ok(())
    }
}
