//! Builds on engines that hand out no layers: Docker's, as long as it keeps images in a graph driver.
//!
//! Such an engine keeps the image itself, or writes the tree as one archive. Its oldest versions make one output a build,
//! so every output is a build of its own; the steps are cached after the first.

use std::path::{Path, PathBuf};

use tokio_util::sync::CancellationToken;

use crate::background::Background;
use crate::bridge::{Bridge, Job, Solved};
use crate::build::{BuildRequest, BuildResult, job, names};
use crate::error::EngineError;
use crate::event::Events;
use crate::export::{Image, Output, OutputKind, place};
use crate::layers::{Compression, LayerStore};
use crate::rootfs;

/// Solves the definition once for every output.
pub(crate) async fn build(
    bridge: &dyn Bridge,
    request: &BuildRequest,
    background: &Background,
    events: &Events,
    cancel: &CancellationToken,
) -> Result<BuildResult, EngineError> {
    for output in &request.outputs {
        check(bridge, output)?;
    }
    let mut image = Image::new(&request.config, Vec::new(), Compression::default());
    // A tree has no digest; only the engine knows that of an image which it keeps.
    image.config_digest.clear();
    image.digest.clear();
    for output in &request.outputs {
        let solved = match (&output.destination, output.kind) {
            (Some(destination), kind) => {
                let job = plain(request, background);
                tree(bridge, job, kind, destination, events, cancel).await?
            }
            (None, _) => {
                let job = Job {
                    engine_images: names(output, request),
                    ..plain(request, background)
                };
                bridge.solve(&job, events, cancel).await?
            }
        };
        if let Some(digest) = solved.exported.get("containerimage.config.digest") {
            image.config_digest.clone_from(digest);
        }
        if let Some(digest) = solved.exported.get("containerimage.digest") {
            image.digest.clone_from(digest);
        }
    }
    Ok(BuildResult { image })
}

fn plain(request: &BuildRequest, background: &Background) -> Job {
    Job {
        wants_layers: false,
        engine_images: Vec::new(),
        ..job(
            request,
            LayerStore::new(&request.layer_directory, Compression::default()),
            background,
        )
    }
}

/// Refuses what such an engine cannot write.
fn check(bridge: &dyn Bridge, output: &Output) -> Result<(), EngineError> {
    match output.kind {
        OutputKind::Image | OutputKind::Tar | OutputKind::Local => Ok(()),
        OutputKind::Oci | OutputKind::Docker | OutputKind::Registry => Err(EngineError::Output {
            output: output.kind.word().to_owned(),
            reason: format!("the engine at {} keeps images in a graph driver and hands out no layers", bridge.place()),
            help: "take `-o type=moby` or `--load` and then `docker save` or `docker push`, or `-o type=tar` or \
                   `type=local` for the files; or turn on the containerd image store of Docker; or build with another \
                   engine, such as `--builder` with a builder of `docker buildx create`"
                .to_owned(),
        }),
    }
}

/// The tree as an archive beside its destination, and from there into place.
async fn tree(
    bridge: &dyn Bridge,
    job: Job,
    kind: OutputKind,
    destination: &Path,
    events: &Events,
    cancel: &CancellationToken,
) -> Result<Solved, EngineError> {
    let failed = |error| EngineError::io("write", destination, error);
    let folder = place::folder(destination);
    let draft = kcompose_scratch::Folder::within(&folder, ".kcompose-").map_err(failed)?;
    let archive = draft.path().join("tree.tar");
    let job = Job {
        tree: Some(archive.clone()),
        ..job
    };
    let solved = bridge.solve(&job, events, cancel).await?;
    let destination = destination.to_owned();
    let stop = job.background.token().clone();
    let placed = crate::build::blocking(&job.background, move || {
        let placed = put(&archive, kind, &destination, &stop);
        drop(draft);
        placed
    });
    placed.await??;
    Ok(solved)
}

fn put(
    archive: &PathBuf,
    kind: OutputKind,
    destination: &Path,
    stop: &CancellationToken,
) -> Result<(), EngineError> {
    if kind == OutputKind::Tar {
        return fs_err::rename(archive, destination)
            .map_err(|error| EngineError::io("write", destination, error));
    }
    place::directory(destination, |folder| {
        let tree = rootfs::open(archive).and_then(|image| image.extract_until(folder, stop));
        tree.map_err(|error| EngineError::io("write", folder, std::io::Error::other(error.to_string())))
    })
}
