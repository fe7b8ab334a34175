//! The root file system of an image of any tool, to look at and to unpack.
//!
//! [`open`] takes an OCI archive, an OCI layout folder, an archive of `docker save` (its old and its new form), a root
//! tree, or a tar of one. What the layers hold together is an index in memory, a [`Tree`]; content is read when somebody
//! asks for it. [`Image::extract`] writes it to a folder.

mod archive;
mod budget;
mod extract;
mod folder;
mod index;
mod layer;
mod layout;
mod pack;
mod problem;

use std::borrow::Cow;
use std::path::{Path, PathBuf};

use kcompose_core::tree::{Entry, Tree};
use tokio_util::sync::CancellationToken;

use budget::Budget;
use folder::Folder;
use index::Index;
pub(crate) use layout::{manifest_for, open_blobs, this_machine};
pub use problem::ImageError;

/// The root file system of an image.
#[derive(Debug)]
pub struct Image {
    /// What tells this content from others: the digest of the config, or of what there is instead.
    pub id: String,
    /// The architecture in the image's config, in OCI's words; `None` where there is no config.
    pub architecture: Option<String>,
    /// The operating system in the image's config.
    pub os: Option<String>,
    /// The image's config as it is; `None` for root trees.
    pub config: Option<serde_json::Value>,
    source: Source,
}

#[derive(Debug)]
enum Source {
    Layers(Index),
    Folder(Folder),
}

/// Opens an image by its path; of several in one layout that of this machine.
pub fn open(path: &Path) -> Result<Image, ImageError> {
    open_for(path, this_machine())
}

/// Opens an image by its path, which may be unpacked to so many bytes; `None` keeps to the
/// [limits](kcompose_core::limits).
pub fn open_up_to(path: &Path, size: Option<u64>) -> Result<Image, ImageError> {
    open_within(path, this_machine(), Budget::new(size))
}

/// Opens an image by its path; of several in one layout that of an architecture, in OCI's words.
pub fn open_for(path: &Path, architecture: &str) -> Result<Image, ImageError> {
    open_within(path, architecture, Budget::new(None))
}

fn open_within(path: &Path, architecture: &str, budget: Budget) -> Result<Image, ImageError> {
    let metadata = path.metadata().map_err(|error| match error.kind() {
        std::io::ErrorKind::NotFound => ImageError::Missing {
            path: path.to_owned(),
        },
        _ => ImageError::Io {
            action: "read",
            path: path.to_owned(),
            reason: error,
        },
    })?;
    if !metadata.is_dir() {
        return layout::open_archive(path, architecture, budget);
    }
    if path.join("oci-layout").is_file() && path.join("index.json").is_file() {
        return layout::open_folder(path, architecture, budget);
    }
    if !["usr", "etc", "bin"].iter().any(|name| path.join(name).is_dir()) {
        let reason = "the folder has neither `oci-layout` nor `usr` and `etc`".to_owned();
        return Err(ImageError::Unknown {
            path: path.to_owned(),
            reason,
        });
    }
    let folder = Folder::new(path)?;
    Ok(Image {
        id: folder.id()?,
        architecture: None,
        os: None,
        config: None,
        source: Source::Folder(folder),
    })
}

impl Image {
    /// The folder that is the tree already, if the image is one.
    pub fn folder(&self) -> Option<&Path> {
        match &self.source {
            Source::Folder(folder) => Some(folder.path()),
            Source::Layers(_) => None,
        }
    }

    /// Writes the tree to a folder, which is made and must not exist: as root with owners, devices and attributes.
    pub fn extract(&self, into: &Path) -> Result<(), ImageError> {
        self.extract_until(into, &CancellationToken::new())
    }

    /// The same; fails once the token is cancelled.
    pub fn extract_until(&self, into: &Path, stop: &CancellationToken) -> Result<(), ImageError> {
        match &self.source {
            Source::Layers(index) => extract::extract(index, into, stop),
            Source::Folder(folder) => extract::extract(&folder.index()?, into, stop),
        }
    }

    /// Writes the tree as one archive, in the form of a layer.
    pub fn pack(&self, writer: impl std::io::Write) -> std::io::Result<()> {
        match &self.source {
            Source::Layers(index) => pack::pack(index, writer),
            Source::Folder(folder) => {
                let index = folder.index().map_err(std::io::Error::other)?;
                pack::pack(&index, writer)
            }
        }
    }

    /// A folder with the tree: the image's own, or one that is made by [`Image::extract_until`].
    pub fn tree_until(&self, scratch: &Path, stop: &CancellationToken) -> Result<PathBuf, ImageError> {
        if let Some(folder) = self.folder() {
            return Ok(folder.to_owned());
        }
        self.extract_until(scratch, stop)?;
        Ok(scratch.to_owned())
    }
}

impl Tree for Image {
    fn entry(&self, path: &[u8]) -> Option<Entry> {
        match &self.source {
            Source::Layers(index) => index.entry(path),
            Source::Folder(folder) => folder.entry(path),
        }
    }

    fn piece(&self, path: &[u8], from: u64, length: usize) -> Option<Cow<'_, [u8]>> {
        match &self.source {
            Source::Layers(index) => index.piece(path, from, length),
            Source::Folder(folder) => folder.piece(path, from, length),
        }
    }

    fn names(&self, path: &[u8]) -> Vec<Vec<u8>> {
        match &self.source {
            Source::Layers(index) => index.names(path),
            Source::Folder(folder) => folder.names(path),
        }
    }

    fn attribute(&self, path: &[u8], name: &str) -> Option<Vec<u8>> {
        match &self.source {
            Source::Layers(index) => index.attribute(path, name),
            Source::Folder(folder) => folder.attribute(path, name),
        }
    }
}

#[cfg(test)]
mod tests;
