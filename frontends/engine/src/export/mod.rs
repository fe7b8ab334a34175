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
    /// Cancelled when the build fails, or is cancelled itself.
    pub(crate) stop: &'a CancellationToken,
}

/// What an error of a writer means.
fn explain(export: &Export<'_>, path: PathBuf, error: io::Error) -> EngineError {
    if export.stop.is_cancelled() {
        return EngineError::Cancelled;
    }
    EngineError::io("write", path, error)
}

#[cfg(test)]
mod tests {
    use kcompose_core::image::ImageConfig;

    use super::*;
    use crate::layers::Compression;

    #[test]
    fn an_output_that_is_stopped_leaves_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let layers = LayerStore::new(folder.path().join("layers"), Compression::Zstd);
        let mut archive = tar::Builder::new(Vec::new());
        let mut header = tar::Header::new_gnu();
        header.set_size(1);
        header.set_mode(0o644);
        archive.append_data(&mut header, "usr/a", &b"x"[..]).unwrap();
        let archive = archive.into_inner().unwrap();
        let go_on = CancellationToken::new();
        let layer = layers.add(&mut archive.as_slice(), &go_on).unwrap();
        let image = Image::new(&ImageConfig::default(), vec![layer], Compression::Zstd);
        let stop = CancellationToken::new();
        stop.cancel();
        let out = folder.path().join("out");
        fs_err::create_dir(&out).unwrap();
        let kinds = [
            OutputKind::Oci,
            OutputKind::Docker,
            OutputKind::Tar,
            OutputKind::Local,
        ];
        for kind in kinds {
            let export = |stop| Export {
                image: &image,
                layers: &layers,
                names: &[],
                stop,
            };
            let path = out.join(kind.word());
            let stopped = write(&export(&stop), kind, &path, None);
            assert!(
                matches!(stopped, Err(EngineError::Cancelled)),
                "{kind:?}: {stopped:?}"
            );
            assert_eq!(fs_err::read_dir(&out).unwrap().count(), 0, "{kind:?}");
        }
        for kind in kinds {
            let export = Export {
                image: &image,
                layers: &layers,
                names: &[],
                stop: &go_on,
            };
            write(&export, kind, &out.join(kind.word()), None).unwrap();
        }
        assert_eq!(fs_err::read_dir(&out).unwrap().count(), kinds.len());
        assert_eq!(fs_err::read(out.join("local/usr/a")).unwrap(), b"x");
        let mode = |name: &str| {
            let metadata = fs_err::metadata(out.join(name)).unwrap();
            std::os::unix::fs::PermissionsExt::mode(&metadata.permissions()) & 0o777
        };
        // What becomes the output has the mode that the image says, and not that of a draft.
        assert_eq!((mode("local"), mode("oci") & 0o600), (0o755, 0o600));
    }
}
