//! An OCI layout in a tar archive.

use std::collections::BTreeSet;
use std::io::{self, Write};

use fs_err as fs;
use serde_json::json;

use super::archive::Archive;
use super::image::compact;
use super::{Export, explain};
use crate::background::Stoppable;
use crate::digest;
use crate::error::EngineError;
use crate::layers::{Layer, LayerStore};

/// The file that says what the folder is.
pub(super) const LAYOUT: &[u8] = br#"{"imageLayoutVersion":"1.0.0"}"#;

const INDEX: &str = "application/vnd.oci.image.index.v1+json";

/// Writes the archive: the layers from the lowest, and what makes an image of them behind. The file may have the first ones.
pub(super) fn write(export: &Export<'_>, file: &mut fs::File, there: &[String]) -> Result<(), EngineError> {
    let path = file.path().to_owned();
    write_archive(export, file, there).map_err(|error| explain(export, path, error))
}

/// Whether the image's layers begin with these.
pub(super) fn begins_with(export: &Export<'_>, layers: &[String]) -> bool {
    let mut own = distinct(export).into_iter();
    layers
        .iter()
        .all(|digest| own.next().is_some_and(|layer| layer.digest == *digest))
}

/// The folders that blobs are in.
pub(super) fn head(archive: &mut Archive<impl Write>) -> io::Result<()> {
    archive.directory("blobs/")?;
    archive.directory("blobs/sha256/")
}

/// One layer.
pub(super) fn layer(archive: &mut Archive<impl Write>, layer: &Layer, store: &LayerStore) -> io::Result<()> {
    archive.file(&blob(&layer.digest)?, layer.size, store.open(layer)?.into_file())
}

fn write_archive(export: &Export<'_>, file: &mut fs::File, there: &[String]) -> io::Result<()> {
    let image = export.image;
    let mut archive = Archive::new(Stoppable::new(file.file_mut(), export.stop), image.created);
    if there.is_empty() {
        head(&mut archive)?;
    }
    for found in distinct(export).into_iter().skip(there.len()) {
        layer(&mut archive, found, export.layers)?;
    }
    archive.bytes(&blob(&image.config_digest)?, &image.config)?;
    archive.bytes(&blob(&image.digest)?, &image.manifest)?;
    archive.bytes("index.json", &index(export))?;
    archive.bytes("oci-layout", LAYOUT)?;
    archive.finish().map(drop)
}

/// The image's layers, each once: images may hold the same layer twice.
fn distinct<'a>(export: &Export<'a>) -> Vec<&'a Layer> {
    let mut seen = BTreeSet::new();
    let layers = export.image.layers.iter();
    layers.filter(|layer| seen.insert(&layer.digest)).collect()
}

pub(super) fn index(export: &Export<'_>) -> Vec<u8> {
    let mut manifests = Vec::new();
    for name in export.names {
        let mut descriptor = export.image.descriptor();
        descriptor["annotations"]["io.containerd.image.name"] = json!(name);
        descriptor["annotations"]["org.opencontainers.image.ref.name"] = json!(tag(name));
        manifests.push(descriptor);
    }
    if manifests.is_empty() {
        manifests.push(export.image.descriptor());
    }
    compact(&json!({ "schemaVersion": 2, "mediaType": INDEX, "manifests": manifests }))
}

/// The tag in a name; `latest` without one.
fn tag(name: &str) -> &str {
    let last = name.rsplit('/').next().unwrap_or(name);
    last.rsplit_once(':').map_or("latest", |(_, tag)| tag)
}

/// Where a blob lies in a layout.
pub(super) fn blob(digest: &str) -> io::Result<String> {
    let hex = digest::hex(digest).ok_or_else(|| io::Error::other(format!("`{digest}` is not sha256")))?;
    Ok(format!("blobs/sha256/{hex}"))
}
