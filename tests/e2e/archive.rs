//! Reading of OCI archives, by nothing but tar, JSON and sha256.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read as _;
use std::path::Path;

use serde_json::Value;
use sha2::{Digest as _, Sha256};

/// An image in an archive.
#[derive(Debug)]
pub(crate) struct Image {
    /// The digest of its manifest.
    pub(crate) digest: String,
    /// Its manifest.
    pub(crate) manifest: Value,
    /// Its config.
    pub(crate) config: Value,
    /// Digest and size of its layers, in order.
    pub(crate) layers: Vec<(String, u64)>,
}

/// The image of an OCI archive whose every blob is what its name says.
#[track_caller]
pub(crate) fn read(archive: &Path) -> Image {
    let mut small = BTreeMap::new();
    let mut tar = tar::Archive::new(File::open(archive).unwrap());
    for mut entry in tar.entries().unwrap().map(Result::unwrap) {
        let name = entry
            .path()
            .unwrap()
            .to_string_lossy()
            .trim_start_matches("./")
            .to_owned();
        let mut bytes = Vec::new();
        entry.read_to_end(&mut bytes).unwrap();
        if let Some(digest) = name
            .strip_prefix("blobs/sha256/")
            .filter(|digest| !digest.is_empty())
        {
            assert_eq!(sha256(&bytes), digest, "a blob of {}", archive.display());
        }
        small.insert(name, bytes);
    }
    assert!(
        small.contains_key("oci-layout"),
        "{} is no OCI layout",
        archive.display()
    );
    let json = |name: &str| -> Value { serde_json::from_slice(&small[name]).unwrap() };
    let blob = |digest: &Value| {
        json(&format!(
            "blobs/sha256/{}",
            digest.as_str().unwrap().trim_start_matches("sha256:")
        ))
    };

    let mut descriptor = json("index.json")["manifests"][0].clone();
    let mut manifest = blob(&descriptor["digest"]);
    if manifest.get("manifests").is_some() {
        descriptor = manifest["manifests"][0].clone();
        manifest = blob(&descriptor["digest"]);
    }
    let layers = manifest["layers"].as_array().unwrap().iter();
    Image {
        digest: descriptor["digest"].as_str().unwrap().to_owned(),
        config: blob(&manifest["config"]["digest"]),
        layers: layers
            .map(|layer| {
                (
                    layer["digest"].as_str().unwrap().to_owned(),
                    layer["size"].as_u64().unwrap(),
                )
            })
            .collect(),
        manifest,
    }
}

/// A sha256 in hex.
pub(crate) fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes)
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

/// A string of a JSON file.
#[track_caller]
pub(crate) fn field(file: &Path, key: &str) -> String {
    let json: Value = serde_json::from_reader(File::open(file).unwrap()).unwrap();
    json[key]
        .as_str()
        .unwrap_or_else(|| panic!("{} has no {key}: {json}", file.display()))
        .to_owned()
}
