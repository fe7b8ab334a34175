//! What `docker load` takes: the layers unpacked, the config, and a list that names them.

use std::collections::BTreeMap;
use std::io;

use fs_err as fs;
use serde_json::json;

use super::archive::Archive;
use super::image::compact;
use super::{Export, explain};
use crate::background::Stoppable;
use crate::digest;
use crate::error::EngineError;

pub(super) fn write(export: &Export<'_>, file: &mut fs::File) -> Result<(), EngineError> {
    let path = file.path().to_owned();
    write_archive(export, file).map_err(|error| explain(export, path, error))
}

fn write_archive(export: &Export<'_>, file: &mut fs::File) -> io::Result<()> {
    let image = export.image;
    let file = Stoppable::new(file, export.stop);
    let mut archive = Archive::new(io::BufWriter::with_capacity(1 << 18, file), image.created);
    let config = format!("{}.json", hex(&image.config_digest)?);
    let layers: BTreeMap<_, _> = image.layers.iter().map(|layer| (&layer.diff_id, layer)).collect();
    for (diff_id, layer) in layers {
        archive.directory(&format!("{}/", hex(diff_id)?))?;
        archive.file(
            &name(diff_id)?,
            layer.unpacked_size,
            export.layers.unpacked(layer)?,
        )?;
    }
    archive.bytes(&config, &image.config)?;
    let names = image
        .layers
        .iter()
        .map(|layer| name(&layer.diff_id))
        .collect::<io::Result<Vec<_>>>()?;
    let list = json!([{ "Config": config, "RepoTags": tags(export.names), "Layers": names }]);
    archive.bytes("manifest.json", &compact(&list))?;
    archive.finish().map(drop)
}

/// Docker wants a tag on every name, and null for none.
fn tags(names: &[String]) -> Option<Vec<String>> {
    let tagged = |name: &String| {
        let last = name.rsplit('/').next().unwrap_or(name);
        if last.contains(':') {
            name.clone()
        } else {
            format!("{name}:latest")
        }
    };
    (!names.is_empty()).then(|| names.iter().map(tagged).collect())
}

fn name(diff_id: &str) -> io::Result<String> {
    Ok(format!("{}/layer.tar", hex(diff_id)?))
}

fn hex(digest: &str) -> io::Result<&str> {
    digest::hex(digest).ok_or_else(|| io::Error::other(format!("`{digest}` is not sha256")))
}
