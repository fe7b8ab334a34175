//! An image: config and manifest over layers.

use kcompose_core::image::{ImageConfig, go_json, rfc3339};
use serde::Serialize;

use crate::digest::sha256;
use crate::layers::{Compression, Layer};

const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
pub(super) const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";

/// An image with everything but the bytes of its layers, which are in the layer store.
#[derive(Clone, Debug, PartialEq)]
pub struct Image {
    /// The layers from the lowest.
    pub layers: Vec<Layer>,
    /// How they are compressed.
    pub compression: Compression,
    /// The bytes of the config.
    pub config: Vec<u8>,
    /// The digest of the config.
    pub config_digest: String,
    /// The bytes of the manifest.
    pub manifest: Vec<u8>,
    /// The digest of the manifest, which is the image's.
    pub digest: String,
    /// Where it runs.
    pub platform: Platform,
    /// Seconds since 1970.
    pub created: i64,
}

/// Where an image runs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Platform {
    /// The architecture, in Go's words.
    pub architecture: String,
    /// The operating system, in Go's words.
    pub os: &'static str,
    /// The architecture's variant; empty for none.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub variant: String,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Manifest<'a> {
    schema_version: u8,
    media_type: &'a str,
    config: Descriptor<'a>,
    layers: Vec<Descriptor<'a>>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Descriptor<'a> {
    media_type: &'a str,
    digest: &'a str,
    size: u64,
}

impl Image {
    /// The image of a config over layers.
    pub fn new(config: &ImageConfig, layers: Vec<Layer>, compression: Compression) -> Self {
        let diff_ids: Vec<String> = layers.iter().map(|layer| layer.diff_id.clone()).collect();
        let platform = Platform {
            architecture: config.architecture.clone(),
            os: "linux",
            variant: config.variant.clone(),
        };
        let created = config.created;
        let config = config.complete(&diff_ids);
        let config_digest = sha256(&config);
        let manifest = manifest(&config, &config_digest, &layers, compression);
        let digest = sha256(&manifest);
        Image {
            layers,
            compression,
            config,
            config_digest,
            manifest,
            digest,
            platform,
            created,
        }
    }

    /// The descriptor of the manifest, as `--metadata-file` and an index give it.
    pub fn descriptor(&self) -> serde_json::Value {
        serde_json::json!({
            "mediaType": MANIFEST,
            "digest": self.digest,
            "size": self.manifest.len(),
            "annotations": { "org.opencontainers.image.created": rfc3339(self.created) },
            "platform": self.platform,
        })
    }
}

/// The manifest in the bytes of BuildKit's exporter, which indents by two spaces.
fn manifest(config: &[u8], config_digest: &str, layers: &[Layer], compression: Compression) -> Vec<u8> {
    let media_type = compression.media_type();
    let manifest = Manifest {
        schema_version: 2,
        media_type: MANIFEST,
        config: Descriptor {
            media_type: CONFIG,
            digest: config_digest,
            size: config.len() as u64,
        },
        layers: layers.iter().map(|layer| descriptor(media_type, layer)).collect(),
    };
    serde_json::to_vec_pretty(&manifest).expect("a manifest is always JSON")
}

fn descriptor<'a>(media_type: &'a str, layer: &'a Layer) -> Descriptor<'a> {
    Descriptor {
        media_type,
        digest: &layer.digest,
        size: layer.size,
    }
}

/// JSON on one line.
pub(super) fn compact(value: &impl Serialize) -> Vec<u8> {
    go_json(value)
}
