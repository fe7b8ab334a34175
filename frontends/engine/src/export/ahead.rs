//! An OCI archive that is begun while the image is still being made.
//!
//! Hundreds of megabytes of layers are the same as in the build before, and while steps run, a processor has time to copy
//! them. If the image's lower layers turn out to be others, the archive is written anew.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::Receiver;

use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

use super::archive::Archive;
use super::oci;
use super::place::Draft;
use crate::background::{Background, Stoppable};
use crate::layers::{Layer, LayerFeed, LayerStore};

/// An archive with the first of its layers, one at least.
#[derive(Debug)]
pub(crate) struct Begun {
    /// The file, to be written on.
    pub(super) draft: Draft,
    /// The digests of the layers in it.
    pub(super) layers: Vec<String>,
}

/// The thread that writes it.
#[derive(Debug)]
pub(crate) struct Ahead {
    feed: LayerFeed,
    is_over: Arc<AtomicBool>,
    begun: oneshot::Receiver<Option<Begun>>,
}

impl Ahead {
    /// Waits for the first layer; `None` if no thread can be had. The time is that of the image, in seconds since 1970.
    pub(crate) fn begin(
        destination: &Path,
        layers: &LayerStore,
        time: i64,
        background: &Background,
    ) -> Option<Self> {
        let (feed, receiver) = LayerFeed::new();
        let is_over = Arc::new(AtomicBool::new(false));
        let (destination, layers) = (destination.to_owned(), layers.clone());
        let (stop, over) = (background.token().clone(), Arc::clone(&is_over));
        let begun = background.thread(move || {
            // The writer of the whole archive meets the same error, and reports it.
            write(&receiver, &destination, &layers, time, &stop, &over)
                .ok()
                .flatten()
        });
        Some(Ahead {
            feed,
            is_over,
            begun: begun.ok()?,
        })
    }

    /// Where the layers come from.
    pub(crate) fn feed(&self) -> LayerFeed {
        self.feed.clone()
    }

    /// What has been written, when somebody waits; nothing if there was nothing, or not the means.
    pub(crate) async fn end(mut self) -> Option<Begun> {
        self.stop();
        (&mut self.begun).await.ok().flatten()
    }

    /// The layer that is being written is the last one.
    fn stop(&self) {
        self.is_over.store(true, Ordering::Relaxed);
        self.feed.close();
    }
}

impl Drop for Ahead {
    /// What is written has no name, so nothing of it stays.
    fn drop(&mut self) {
        self.stop();
    }
}

fn write(
    layers: &Receiver<Layer>,
    destination: &Path,
    store: &LayerStore,
    time: i64,
    stop: &CancellationToken,
    is_over: &AtomicBool,
) -> io::Result<Option<Begun>> {
    let Ok(first) = layers.recv() else {
        return Ok(None);
    };
    let mut draft = Draft::nameless(destination)?;
    let mut archive = Archive::new(Stoppable::new(draft.file(), stop), time);
    oci::head(&mut archive)?;
    let mut written: Vec<String> = Vec::new();
    for layer in std::iter::once(first).chain(layers) {
        if is_over.load(Ordering::Relaxed) {
            break;
        }
        if !written.contains(&layer.digest) {
            oci::layer(&mut archive, &layer, store)?;
            written.push(layer.digest);
        }
    }
    Ok((!written.is_empty()).then_some(Begun {
        draft,
        layers: written,
    }))
}

#[cfg(test)]
mod tests {
    use fs_err as fs;
    use kcompose_core::image::ImageConfig;
    use tokio_util::sync::CancellationToken;

    use super::*;
    use crate::export::{self, Export, Image, OutputKind};
    use crate::layers::Compression;

    #[test]
    fn an_archive_is_the_same_whatever_it_was_begun_with() {
        let folder = tempfile::tempdir().unwrap();
        let store = LayerStore::new(folder.path().join("layers"), Compression::Zstd);
        let layers: Vec<Layer> = ["one", "two", "three"]
            .iter()
            .map(|text| {
                store
                    .add(&mut text.as_bytes(), &CancellationToken::new())
                    .unwrap()
            })
            .collect();
        // A layer that is there twice is written once.
        let order = [0, 1, 0, 2].map(|at: usize| layers[at].clone());
        let image = Image::new(&ImageConfig::default(), order.to_vec(), Compression::Zstd);
        let cancel = CancellationToken::new();
        let export = Export {
            image: &image,
            layers: &store,
            names: &[],
            stop: &cancel,
        };
        let (out, beside) = (folder.path().join("out"), folder.path().join("beside.tar"));
        fs::create_dir(&out).unwrap();
        export::write(&export, OutputKind::Oci, &beside, None).unwrap();
        let path = out.join("image.tar");
        // What it is begun with, and how many of those are written.
        let cases: [(&[usize], usize); 6] = [
            (&[], 0),
            (&[0], 1),
            (&[0, 1, 0, 2], 3),
            (&[0, 1, 0, 1], 2),
            (&[1, 0], 2),
            (&[0, 2, 1, 0], 3),
        ];
        for (fed, written) in cases {
            let (feed, receiver) = LayerFeed::new();
            fed.iter().for_each(|at| feed.put(layers[*at].clone()));
            feed.close();
            let is_over = AtomicBool::new(false);
            let begun = write(&receiver, &path, &store, image.created, &cancel, &is_over);
            let begun = begun.unwrap();
            let count = begun.as_ref().map_or(0, |begun| begun.layers.len());
            assert_eq!(count, written, "{fed:?}");
            assert_eq!(fs::read_dir(&out).unwrap().count(), 0, "it has no name yet");
            export::write(&export, OutputKind::Oci, &path, begun).unwrap();
            assert!(fs::read(&path).unwrap() == fs::read(&beside).unwrap(), "{fed:?}");
            fs::remove_file(&path).unwrap();
        }
    }

    #[tokio::test]
    async fn what_is_begun_may_end_at_any_time() {
        let background = Background::default();
        let folder = tempfile::tempdir().unwrap();
        let store = LayerStore::new(folder.path().join("layers"), Compression::Zstd);
        let layer = store.add(&mut &b"one"[..], &CancellationToken::new()).unwrap();
        let out = folder.path().join("out");
        fs::create_dir(&out).unwrap();
        let ahead = Ahead::begin(&out.join("image.tar"), &store, 0, &background).unwrap();
        let feed = ahead.feed();
        feed.put(layer.clone());
        drop(ahead);
        assert!(!feed.is_open());
        feed.put(layer.clone());
        let ahead = Ahead::begin(&out.join("image.tar"), &store, 0, &background).unwrap();
        ahead.feed().put(layer);
        drop(ahead.end().await);
        assert_eq!(fs::read_dir(&out).unwrap().count(), 0);
        // Where it cannot be begun, there is no error.
        let ahead = Ahead::begin(Path::new("/nonexistent/image.tar"), &store, 0, &background).unwrap();
        assert!(ahead.end().await.is_none());
    }
}
