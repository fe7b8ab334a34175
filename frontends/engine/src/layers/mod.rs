//! Layers by what they hold: the digest of the unpacked archive leads to the one compressed blob that we made of it.
//!
//! A daemon's compressor is its own, and its bytes change with its version; so layers come uncompressed and are
//! compressed here, once, by pinned code. The directory:
//!
//! ```text
//! blobs/sha256/HEX          compressed layers
//! layers/COMPRESSION/HEX    by the digest of the unpacked archive: which blob, the sizes, and when it was written
//! ```
//!
//! Nobody waits until the disk has a layer. What was there before the machine started anew, or lost its power, is compared
//! with its digest before it is used.

mod compression;
mod feed;
mod writer;

use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use fs_err as fs;
use kcompose_scratch::Draft;
use serde::{Deserialize, Serialize};
use tokio_util::sync::CancellationToken;

pub use compression::Compression;
pub use feed::LayerFeed;
pub(crate) use writer::LayerWriter;

use crate::background::{self, Background};
use crate::boot::{self, boot};
use crate::digest;

/// A directory of compressed layers.
#[derive(Clone, Debug)]
pub struct LayerStore {
    root: PathBuf,
    compression: Compression,
}

/// A compressed layer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Layer {
    /// The digest of the compressed blob.
    pub digest: String,
    /// Its size.
    pub size: u64,
    /// The digest of the unpacked archive.
    pub diff_id: String,
    /// The size of the unpacked archive.
    pub unpacked_size: u64,
}

/// What leads to a layer.
#[derive(Debug, Serialize, Deserialize)]
struct Record {
    #[serde(flatten)]
    layer: Layer,
    /// The start of the machine in which its bytes were written or last compared.
    #[serde(default)]
    boot: String,
}

impl LayerStore {
    /// The store in a directory, which is made when the first layer comes, for one compression.
    pub fn new(root: impl Into<PathBuf>, compression: Compression) -> Self {
        LayerStore {
            root: root.into(),
            compression,
        }
    }

    /// Where it is.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// How its layers are compressed.
    pub fn compression(&self) -> Compression {
        self.compression
    }

    /// The layer with this unpacked digest, if the store has it whole.
    pub fn layer(&self, diff_id: &str) -> Option<Layer> {
        let record = fs::read(self.record(diff_id)?).ok()?;
        let Record { layer, boot: written } = serde_json::from_slice(&record).ok()?;
        let found = fs::metadata(self.blob(&layer.digest)?).ok()?;
        let is_whole = layer.diff_id == diff_id && found.len() == layer.size;
        let is_known = written == boot() && written != boot::UNKNOWN;
        (is_whole && (is_known || self.holds(&layer))).then_some(layer)
    }

    /// Whether a blob is what its name says; notes it for the next time.
    fn holds(&self, layer: &Layer) -> bool {
        let holds = self
            .open(layer)
            .and_then(digest::sha256_of)
            .is_ok_and(|found| found == layer.digest);
        if holds {
            // Who may only read compares again.
            let _ = self.note(layer);
        }
        holds
    }

    /// The file with a layer's compressed bytes.
    pub fn path(&self, layer: &Layer) -> io::Result<PathBuf> {
        let path = self.blob(&layer.digest).ok_or_else(no_digest)?;
        std::path::absolute(path)
    }

    /// A reader of a layer's compressed bytes.
    pub fn open(&self, layer: &Layer) -> io::Result<fs::File> {
        fs::File::open(self.path(layer)?)
    }

    /// A reader of a layer's unpacked archive.
    pub fn unpacked(&self, layer: &Layer) -> io::Result<Box<dyn Read + Send>> {
        self.compression.decoder(self.open(layer)?)
    }

    /// Returns the same layer in this store, which compresses it if it is not there yet; fails once the token is cancelled.
    pub(crate) fn adopt(
        &self,
        other: &LayerStore,
        layer: &Layer,
        stop: &CancellationToken,
    ) -> io::Result<Layer> {
        if let Some(layer) = self.layer(&layer.diff_id) {
            return Ok(layer);
        }
        self.add(&mut other.unpacked(layer)?, stop)
    }

    /// Makes a layer of a whole archive; fails once the token is cancelled.
    pub(crate) fn add(&self, archive: &mut dyn Read, stop: &CancellationToken) -> io::Result<Layer> {
        self.put(stop, |writer| io::copy(archive, writer).map(drop))
    }

    /// Returns a writer for a layer that arrives in pieces; it belongs to a build's background work.
    pub(crate) fn writer(&self, background: &Background) -> io::Result<LayerWriter> {
        LayerWriter::new(self.clone(), background)
    }

    /// Makes a layer of the archive that a function writes; fails once the token is cancelled.
    pub(crate) fn put<E: From<io::Error>>(
        &self,
        stop: &CancellationToken,
        produce: impl FnOnce(&mut dyn Write) -> Result<(), E>,
    ) -> Result<Layer, E> {
        let compressor = writer::Compressor::new(self.compression, self.draft()?)?;
        let (file, layer) = background::written(compressor, stop, produce)?.finish()?;
        self.commit(file, &layer)?;
        Ok(layer)
    }

    fn blob(&self, digest: &str) -> Option<PathBuf> {
        Some(self.root.join("blobs/sha256").join(digest::hex(digest)?))
    }

    fn record(&self, diff_id: &str) -> Option<PathBuf> {
        Some(
            self.root
                .join("layers")
                .join(self.compression.name())
                .join(digest::hex(diff_id)?),
        )
    }

    fn draft(&self) -> io::Result<Draft> {
        let directory = self.root.join("tmp");
        fs::create_dir_all(&directory)?;
        Draft::new(&directory, 0o600)
    }

    /// Moves a whole blob into place, then the record that leads to it.
    fn commit(&self, blob: Draft, layer: &Layer) -> io::Result<()> {
        let path = self.blob(&layer.digest).ok_or_else(no_digest)?;
        place(blob, &path)?;
        self.note(layer)
    }

    fn note(&self, layer: &Layer) -> io::Result<()> {
        let path = self.record(&layer.diff_id).ok_or_else(no_digest)?;
        let record = Record {
            layer: layer.clone(),
            boot: boot().to_owned(),
        };
        let mut file = self.draft()?;
        file.write_all(&serde_json::to_vec(&record)?)?;
        place(file, &path)
    }
}

fn no_digest() -> io::Error {
    io::Error::other("a digest is not sha256")
}

fn place(file: Draft, path: &Path) -> io::Result<()> {
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent)?;
    }
    file.place(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_an_earlier_start_of_the_machine_left_is_compared() {
        let folder = tempfile::tempdir().unwrap();
        let store = LayerStore::new(folder.path(), Compression::Zstd);
        let layer = store
            .add(&mut &b"an archive"[..], &CancellationToken::new())
            .unwrap();
        let record = store.record(&layer.diff_id).unwrap();
        let now = fs::read_to_string(&record).unwrap();
        for (earlier, is_damaged) in [("", false), ("0123", false), ("0123", true)] {
            fs::write(&record, now.replace(boot(), earlier)).unwrap();
            if is_damaged {
                fs::write(
                    store.path(&layer).unwrap(),
                    vec![0; layer.size.try_into().unwrap()],
                )
                .unwrap();
            }
            let found = store.layer(&layer.diff_id);
            assert_eq!(found, (!is_damaged).then(|| layer.clone()), "{earlier}");
            let is_noted = fs::read_to_string(&record).unwrap() == now;
            assert_eq!(is_noted, !is_damaged, "{earlier}");
        }
    }
}
