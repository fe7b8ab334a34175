//! Where the layers of an image are: OCI's index, manifest and config, and Docker's `manifest.json`.

use std::io;
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use kcompose_core::limits::{self, Exceeded};
use serde::Deserialize;
use serde_json::Value;

use super::archive::Files;
use super::budget::Budget;
use super::index::Index;
use super::layer::{self, Layer};
use super::{Image, ImageError, Source};
use crate::background::processors;
use crate::digest;

/// Opens a file: an archive of an image, or of a root tree.
pub(super) fn open_archive(path: &Path, architecture: &str, mut budget: Budget) -> Result<Image, ImageError> {
    let unknown = |error: io::Error| match Trouble::from(error) {
        Trouble::Broken(reason) => Trouble::Unknown(reason).at(path),
        trouble => trouble.at(path),
    };
    let files = Files::archive(path, &budget).map_err(unknown)?;
    let opened = if files.has("oci-layout") && files.has("index.json") {
        open_oci(&files, architecture, &mut budget)
    } else if files.has("manifest.json") {
        open_docker(&files, &mut budget)
    } else {
        open_tree(&files, &mut budget)
    };
    opened.map_err(|problem| problem.at(path))
}

/// Opens a folder with an OCI layout.
pub(super) fn open_folder(path: &Path, architecture: &str, mut budget: Budget) -> Result<Image, ImageError> {
    let files = Files::Folder(path.to_owned());
    open_oci(&files, architecture, &mut budget).map_err(|problem| problem.at(path))
}

/// Opens an image that this program made, by its config and its layers, which are blobs in a folder.
pub(crate) fn open_blobs<'a>(
    folder: &Path,
    config: &[u8],
    layers: impl Iterator<Item = &'a str>,
) -> Result<Image, ImageError> {
    let names: Result<Vec<String>, String> = layers.map(blob).collect();
    let (files, mut budget) = (Files::Folder(folder.to_owned()), Budget::unlimited());
    let opened = names
        .map_err(Trouble::from)
        .and_then(|names| open_layers(&files, config, &names, &mut budget));
    opened.map_err(|problem| problem.at(folder))
}

/// What is wrong, before it is known with what.
enum Trouble {
    Unknown(String),
    Broken(String),
    Limit(Exceeded),
}

impl Trouble {
    fn at(self, path: &Path) -> ImageError {
        let path = path.to_owned();
        match self {
            Trouble::Unknown(reason) => ImageError::Unknown { path, reason },
            Trouble::Broken(reason) => ImageError::Broken { path, reason },
            Trouble::Limit(exceeded) => ImageError::TooLarge { path, exceeded },
        }
    }
}

impl From<io::Error> for Trouble {
    fn from(error: io::Error) -> Self {
        match Exceeded::of(&error) {
            Some(exceeded) => Trouble::Limit(exceeded.clone()),
            None => Trouble::Broken(error.to_string()),
        }
    }
}

impl From<String> for Trouble {
    fn from(reason: String) -> Self {
        Trouble::Broken(reason)
    }
}

#[derive(Deserialize)]
struct Descriptor {
    digest: String,
    #[serde(default, rename = "mediaType")]
    media_type: String,
    #[serde(default)]
    platform: Option<Platform>,
}

#[derive(Deserialize)]
struct Platform {
    #[serde(default)]
    architecture: String,
    #[serde(default)]
    os: String,
}

/// An index or a manifest; which one, the fields tell.
#[derive(Deserialize)]
struct Manifest {
    #[serde(default)]
    manifests: Vec<Descriptor>,
    config: Option<Descriptor>,
    #[serde(default)]
    layers: Vec<Descriptor>,
}

fn open_oci(files: &Files, architecture: &str, budget: &mut Budget) -> Result<Image, Trouble> {
    let mut manifest: Manifest = json(&files.bytes("index.json")?, "index.json")?;
    for _ in 0..4 {
        let Some(config) = &manifest.config else {
            let next = for_architecture(&manifest.manifests, architecture)?;
            let bytes = files.bytes(&blob(&next.digest)?)?;
            verify(&bytes, &next.digest)?;
            manifest = json(&bytes, &next.digest)?;
            continue;
        };
        let bytes = files.bytes(&blob(&config.digest)?)?;
        verify(&bytes, &config.digest)?;
        let names: Result<Vec<String>, String> =
            manifest.layers.iter().map(|layer| blob(&layer.digest)).collect();
        return open_layers(files, &bytes, &names?, budget);
    }
    Err(Trouble::Broken("its indexes are nested without end".to_owned()))
}

/// The digest of the manifest to take, if these bytes are an index of several; `None` if they are the manifest itself.
pub(crate) fn manifest_for(bytes: &[u8], architecture: &str) -> Result<Option<String>, String> {
    let manifest: Manifest =
        serde_json::from_slice(bytes).map_err(|error| format!("its manifest: {error}"))?;
    if manifest.config.is_some() {
        return Ok(None);
    }
    match for_architecture(&manifest.manifests, architecture) {
        Ok(descriptor) => Ok(Some(descriptor.digest.clone())),
        Err(Trouble::Unknown(reason) | Trouble::Broken(reason)) => Err(reason),
        Err(Trouble::Limit(exceeded)) => Err(exceeded.to_string()),
    }
}

/// This machine's architecture, in OCI's words.
pub(crate) fn this_machine() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

/// The manifest to take of several: for an architecture, else the first that is an image.
fn for_architecture<'a>(manifests: &'a [Descriptor], own: &str) -> Result<&'a Descriptor, Trouble> {
    let of_image = |descriptor: &&Descriptor| {
        descriptor
            .platform
            .as_ref()
            .is_none_or(|platform| platform.os != "unknown")
            && !descriptor.media_type.ends_with("attestation+json")
    };
    let fits = |descriptor: &&Descriptor| {
        descriptor
            .platform
            .as_ref()
            .is_some_and(|platform| platform.architecture == own && platform.os == "linux")
    };
    let mut images = manifests.iter().filter(of_image);
    let chosen = manifests.iter().find(fits).or_else(|| images.next());
    chosen.ok_or_else(|| Trouble::Broken("it lists no image".to_owned()))
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Saved {
    config: String,
    layers: Vec<String>,
}

fn open_docker(files: &Files, budget: &mut Budget) -> Result<Image, Trouble> {
    let saved: Vec<Saved> = json(&files.bytes("manifest.json")?, "manifest.json")?;
    let [saved] = saved.as_slice() else {
        return Err(Trouble::Unknown(format!(
            "it holds {} images, and only one can be looked at",
            saved.len()
        )));
    };
    open_layers(files, &files.bytes(&saved.config)?, &saved.layers, budget)
}

#[derive(Deserialize)]
struct Config {
    #[serde(default)]
    architecture: String,
    #[serde(default)]
    os: String,
    rootfs: RootFs,
}

#[derive(Deserialize)]
struct RootFs {
    #[serde(default)]
    diff_ids: Vec<String>,
}

fn open_layers(
    files: &Files,
    config_bytes: &[u8],
    names: &[String],
    budget: &mut Budget,
) -> Result<Image, Trouble> {
    if limits::IMAGE_LAYERS.is_exceeded_by(names.len()) {
        let what = format!("their number, {},", names.len());
        return Err(Trouble::Limit(limits::IMAGE_LAYERS.exceeded(what)));
    }
    let config: Config = json(config_bytes, "the config")?;
    if config.rootfs.diff_ids.len() != names.len() {
        let (layers, ids) = (names.len(), config.rootfs.diff_ids.len());
        return Err(Trouble::Broken(format!(
            "it has {layers} layers, and its config names {ids}"
        )));
    }
    let mut index = Index::new();
    for ((layer, name), wanted) in read_all(files, names, budget)?
        .into_iter()
        .zip(names)
        .zip(&config.rootfs.diff_ids)
    {
        if layer.diff_id != *wanted {
            return Err(Trouble::Broken(format!(
                "the layer `{name}` is not the one that its config names"
            )));
        }
        index.apply(layer, budget)?;
    }
    Ok(Image {
        id: digest::sha256(config_bytes),
        architecture: Some(config.architecture).filter(|text| !text.is_empty()),
        os: Some(config.os).filter(|text| !text.is_empty()),
        config: Some(json::<Value>(config_bytes, "the config")?),
        source: Source::Layers(index),
    })
}

/// Reads all layers, as many at a time as there are processors.
fn read_all(files: &Files, names: &[String], budget: &Budget) -> Result<Vec<Layer>, Trouble> {
    let next = AtomicUsize::new(0);
    let read: Mutex<Vec<Option<Result<Layer, Trouble>>>> = Mutex::new(names.iter().map(|_| None).collect());
    let work = || {
        while let Some((index, name)) =
            Some(next.fetch_add(1, Ordering::Relaxed)).and_then(|at| Some((at, names.get(at)?)))
        {
            let layer = read_layer(files, name, budget);
            read.lock().expect("no reader panics while it holds the lock")[index] = Some(layer);
        }
    };
    std::thread::scope(|scope| {
        for _ in 0..processors().min(names.len()) {
            scope.spawn(work);
        }
    });
    let read = read
        .into_inner()
        .expect("no reader panics while it holds the lock");
    read.into_iter()
        .map(|layer| layer.expect("every layer was taken by a reader"))
        .collect()
}

fn read_layer(files: &Files, name: &str, budget: &Budget) -> Result<Layer, Trouble> {
    let place = files.place(name)?;
    layer::read(place.file, place.offset, place.size, budget).map_err(|error| match Trouble::from(error) {
        Trouble::Broken(reason) => Trouble::Broken(format!("the layer `{name}`: {reason}")),
        trouble => trouble,
    })
}

/// A tar of a root tree is one layer without a config.
fn open_tree(files: &Files, budget: &mut Budget) -> Result<Image, Trouble> {
    let Files::Archive { file, .. } = files else {
        return Err(Trouble::Unknown("it is not an archive".to_owned()));
    };
    let size = file.metadata()?.len();
    let layer = layer::read(file.try_clone()?, 0, size, budget)?;
    let id = layer.diff_id.clone();
    let mut index = Index::new();
    index.apply(layer, budget)?;
    let is_root = ["/usr", "/etc", "/bin"]
        .iter()
        .any(|path| kcompose_core::tree::Tree::entry(&index, path.as_bytes()).is_some());
    if !is_root {
        let reason =
            "the archive has neither `oci-layout` nor `manifest.json` nor a root file system".to_owned();
        return Err(Trouble::Unknown(reason));
    }
    Ok(Image {
        id,
        architecture: None,
        os: None,
        config: None,
        source: Source::Layers(index),
    })
}

/// The name of a blob in an OCI layout. Only hex digits come from the image, so it stays in its folder.
fn blob(digest: &str) -> Result<String, String> {
    let hex = digest::hex(digest).ok_or_else(|| format!("`{digest}` is not a digest of sha256"))?;
    Ok(format!("blobs/sha256/{hex}"))
}

fn verify(bytes: &[u8], wanted: &str) -> Result<(), Trouble> {
    if digest::sha256(bytes) == wanted {
        return Ok(());
    }
    Err(Trouble::Broken(format!(
        "the blob `{wanted}` has another content"
    )))
}

fn json<T: for<'de> Deserialize<'de>>(bytes: &[u8], name: &str) -> Result<T, Trouble> {
    serde_json::from_slice(bytes).map_err(|error| Trouble::Broken(format!("`{name}`: {error}")))
}
