//! An OCI layout in a tar archive.

use std::collections::BTreeMap;
use std::io;

use fs_err as fs;
use serde_json::json;

use super::archive::Archive;
use super::image::compact;
use super::{Export, explain};
use crate::digest;
use crate::error::EngineError;

/// The file that says what the folder is.
pub(super) const LAYOUT: &[u8] = br#"{"imageLayoutVersion":"1.0.0"}"#;

const INDEX: &str = "application/vnd.oci.image.index.v1+json";

pub(super) fn write(export: &Export<'_>, file: &mut fs::File) -> Result<(), EngineError> {
    let path = file.path().to_owned();
    write_archive(export, file).map_err(|error| explain(export, path, error))
}

fn write_archive(export: &Export<'_>, file: &mut fs::File) -> io::Result<()> {
    let image = export.image;
    let mut archive = Archive::new(file.file_mut(), image.created);
    archive.directory("blobs/")?;
    archive.directory("blobs/sha256/")?;
    // Sorted by digest, and each once: images may hold the same layer twice.
    let small = [
        (&image.config_digest, &image.config),
        (&image.digest, &image.manifest),
    ];
    let small: BTreeMap<_, _> = small.into_iter().collect();
    let layers: BTreeMap<_, _> = image.layers.iter().map(|layer| (&layer.digest, layer)).collect();
    for (digest, bytes) in small {
        archive.bytes(&blob(digest)?, bytes)?;
    }
    for (digest, layer) in layers {
        export.check_cancel()?;
        archive.file(&blob(digest)?, layer.size, export.layers.open(layer)?.into_file())?;
    }
    archive.bytes("index.json", &index(export))?;
    archive.bytes("oci-layout", LAYOUT)?;
    archive.finish().map(drop)
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
