//! `--load`: the image into Docker.

use std::path::PathBuf;

use kcompose_engine::{Output, OutputKind};
use kcompose_scratch::Folder;

use crate::commands::build::engine_failed;
use crate::failure::{Failure, FileFailed};

/// How the image comes into Docker.
#[derive(Debug)]
pub(crate) enum Loading {
    /// Docker's own engine builds it, and keeps it.
    Kept,
    /// As an archive, which Docker loads.
    Archive {
        /// Where the archive is made.
        file: PathBuf,
        /// Removes it.
        _folder: Folder,
    },
}

impl Loading {
    /// Adds the output that brings the image into Docker.
    pub(crate) fn into(outputs: &mut Vec<Output>, is_docker: bool) -> Result<Loading, Failure> {
        let output = |kind, destination| Output {
            kind,
            destination,
            name: None,
            compression: Default::default(),
        };
        if is_docker {
            outputs.push(output(OutputKind::Image, None));
            return Ok(Loading::Kept);
        }
        let folder = Folder::new()
            .map_err(|error| Failure::world(FileFailed::new("cannot make a temporary folder", error)))?;
        let file = folder.path().join("image.tar");
        outputs.push(output(OutputKind::Docker, Some(file.clone())));
        Ok(Loading::Archive {
            file,
            _folder: folder,
        })
    }

    /// Has Docker load the archive, and takes the output out of what is told.
    pub(crate) async fn finish(self, outputs: &mut Vec<Output>) -> Result<(), Failure> {
        outputs.pop();
        match self {
            Loading::Kept => Ok(()),
            Loading::Archive { file, .. } => {
                let loaded = kcompose_engine::buildkit::load(&file, |name| std::env::var(name).ok()).await;
                loaded.map_err(engine_failed)
            }
        }
    }
}
