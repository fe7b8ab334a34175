//! Images of registries, by digest: one tree of all their layers, beside the layers as they are.

use std::io::{self, BufReader, Read};
use std::path::Path;
use std::sync::Arc;

use fs_err as fs;
use serde::Deserialize;

use super::{kept, new_tree};
use crate::digest;
use crate::embedded::Reach;
use crate::embedded::problem::Problem;
use crate::embedded::run::{Work, blocking};
use crate::embedded::store::{Claim, TreeId};
use crate::layers::Layer;
use crate::{export, rootfs};

/// The folder with the image as an OCI layout, beside the tree's files.
const LAYOUT: &str = "layout";

pub(super) async fn fetch(work: &Arc<Work>, reference: &str) -> Result<Claim, Problem> {
    if work.reach == Reach::Offline {
        return Err(Problem::Source {
            reason: format!("{reference} is not here, and nothing is fetched with `--offline`"),
            help: "build it once without `--offline`".to_owned(),
        });
    }
    let draft = work
        .build
        .draft()
        .map_err(Problem::io("write", work.build.trees().root()))?;
    let folder = new_tree(&draft)?;
    let layout = folder.join(LAYOUT);
    fs::create_dir(&layout).map_err(Problem::io("write", &layout))?;
    let pulled = tokio::select! {
        pulled = export::pull(reference, &work.job.credentials, &layout) => pulled,
        () = work.cancel.cancelled() => return Err(Problem::Cancelled),
    };
    pulled.map_err(|error| source_failed(&error))?;
    let work = Arc::clone(work);
    blocking(move || {
        let opened = rootfs::open(&layout).map_err(|error| source_failed(&error))?;
        opened
            .extract(&folder.join("fs"))
            .map_err(|error| source_failed(&error))?;
        let claim = kept(&work, &folder)?;
        drop(draft);
        Ok(claim)
    })
    .await
}

fn source_failed(error: &impl miette::Diagnostic) -> Problem {
    Problem::Source {
        reason: error.to_string(),
        help: error.help().map(|help| help.to_string()).unwrap_or_default(),
    }
}

#[derive(Deserialize)]
struct Manifest {
    #[serde(default)]
    manifests: Vec<Descriptor>,
    #[serde(default)]
    layers: Vec<Descriptor>,
}

#[derive(Deserialize)]
struct Descriptor {
    digest: String,
}

/// The layers of an image that came from elsewhere: they stay as they are. `None` for other trees.
pub(in crate::embedded) fn own_layers(work: &Work, id: &TreeId) -> Result<Option<Vec<Layer>>, Problem> {
    let layout = work.build.trees().files(id).with_file_name(LAYOUT);
    if !layout.is_dir() {
        return Ok(None);
    }
    let read = |path: &Path| -> Result<Manifest, Problem> {
        let bytes = fs::read(path).map_err(Problem::io("read", path))?;
        serde_json::from_slice(&bytes)
            .map_err(|error| Problem::Failed(format!("`{}`: {error}", path.display())))
    };
    let blob = |digest: &str| {
        layout
            .join("blobs/sha256")
            .join(digest::hex(digest).unwrap_or("__"))
    };
    let index = read(&layout.join("index.json"))?;
    let mut layers = Vec::new();
    for manifest in &index.manifests {
        for layer in read(&blob(&manifest.digest))?.layers {
            layers.push(kept_layer(work, &blob(&layer.digest))?);
        }
    }
    Ok(Some(layers))
}

fn kept_layer(work: &Work, blob: &Path) -> Result<Layer, Problem> {
    let failed = |error| Problem::io("read", blob)(error);
    let mut archive = unpacked(blob).map_err(failed)?;
    work.job.layers.add(&mut archive, &work.cancel).map_err(failed)
}

fn unpacked(blob: &Path) -> io::Result<Box<dyn Read>> {
    let mut file = fs::File::open(blob)?;
    let mut magic = Vec::new();
    file.by_ref().take(4).read_to_end(&mut magic)?;
    let file = BufReader::with_capacity(1 << 18, fs::File::open(blob)?);
    Ok(match magic.as_slice() {
        [0x1f, 0x8b, ..] => Box::new(flate2::bufread::MultiGzDecoder::new(file)),
        [0x28, 0xb5, 0x2f, 0xfd] => Box::new(zstd::stream::read::Decoder::with_buffer(file)?),
        _ => Box::new(file),
    })
}
