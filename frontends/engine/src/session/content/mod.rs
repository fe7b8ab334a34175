//! A content store that the daemon writes images into: containerd's content service, served on the session.
//!
//! The daemon offers every blob of the image by digest and sends only those that we do not say to have. So a build in
//! which nothing changed sends a manifest and a config, and a changed leaf sends its layer.

mod messages;
mod service;

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};

use tonic::Status;

pub(crate) use service::ContentServer;

use super::cause::Cause;
use crate::background::Background;
use crate::layers::{LayerStore, LayerWriter};
use crate::turns::Turns;

/// The name under which the OCI exporter asks for its store, in the header `buildkit-attachable-store-id`.
pub(crate) const EXPORT: &str = "export";

/// Receives one image: layers go into the layer store, everything else into memory.
#[derive(Clone, Debug)]
pub(crate) struct ImageReceiver {
    layers: LayerStore,
    small: Arc<Mutex<BTreeMap<String, Vec<u8>>>>,
    failure: Cause,
    /// Uploads of one layer come one after the other, so that the second finds what the first brought.
    turns: Turns,
    /// The owner of the threads that compress.
    background: Background,
}

/// An upload in progress.
enum Upload {
    Layer(LayerWriter),
    Small(Vec<u8>),
}

impl ImageReceiver {
    pub(crate) fn new(layers: LayerStore, background: Background) -> Self {
        ImageReceiver {
            layers,
            small: Arc::default(),
            failure: Cause::default(),
            turns: Turns::new(1),
            background,
        }
    }

    /// A receiver of another image with some of the same layers, at the same time.
    pub(crate) fn beside(&self) -> Self {
        ImageReceiver {
            turns: self.turns.clone(),
            ..ImageReceiver::new(self.layers.clone(), self.background.clone())
        }
    }

    /// A manifest or config that was received.
    pub(crate) fn small(&self, digest: &str) -> Option<Vec<u8>> {
        self.small
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .get(digest)
            .cloned()
    }

    /// Why a layer could not be kept. The daemon only repeats what we told it, so this is the cause.
    pub(crate) fn take_failure(&self) -> Option<io::Error> {
        self.failure.take()
    }

    /// The size of a blob that need not be sent.
    fn size(&self, digest: &str) -> Option<u64> {
        if let Some(bytes) = self.small(digest) {
            return Some(bytes.len() as u64);
        }
        self.layers.layer(digest).map(|layer| layer.unpacked_size)
    }

    /// Starts an upload. containerd's reference says what it is: `layer-sha256:…`, `config-sha256:…`, …
    fn start(&self, reference: &str) -> Result<Upload, Status> {
        if !reference.contains("layer-") {
            return Ok(Upload::Small(Vec::new()));
        }
        self.layers
            .writer(&self.background)
            .map(Upload::Layer)
            .map_err(|error| self.failure.keep(error))
    }

    async fn finish(&self, upload: Upload, expected: &str) -> Result<(), Status> {
        match upload {
            Upload::Layer(writer) => writer
                .finish(expected)
                .await
                .map(drop)
                .map_err(|error| self.failure.keep(error)),
            Upload::Small(bytes) => {
                let digest = crate::digest::sha256(&bytes);
                if digest != expected {
                    return Err(Status::data_loss(format!("got {digest} for {expected}")));
                }
                self.small
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .insert(digest, bytes);
                Ok(())
            }
        }
    }
}

impl Upload {
    /// Takes bytes; false if whoever should take them has failed, which the end of the upload then explains.
    async fn write(&mut self, data: Vec<u8>) -> bool {
        match self {
            Upload::Layer(writer) => writer.write(data).await,
            Upload::Small(bytes) => {
                bytes.extend(data);
                true
            }
        }
    }
}
