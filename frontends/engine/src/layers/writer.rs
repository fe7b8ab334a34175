//! Compresses a layer while it arrives, on a thread of its own.

use std::io::{self, BufWriter, Write};

use kcompose_scratch::Draft;
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use super::compression::Encoder;
use super::{Compression, Layer, LayerStore};
use crate::background::{Background, Stoppable};
use crate::digest::HashWriter;

/// A layer on its way into the store. Dropping it leaves nothing behind.
#[derive(Debug)]
pub(crate) struct LayerWriter {
    chunks: mpsc::Sender<Vec<u8>>,
    finished: oneshot::Receiver<io::Result<(Draft, Layer)>>,
    store: LayerStore,
}

impl LayerWriter {
    pub(super) fn new(store: LayerStore, background: &Background) -> io::Result<Self> {
        let file = store.draft()?;
        // A few chunks of a megabyte keep both sides busy.
        let (chunks, incoming) = mpsc::channel(4);
        let compression = store.compression();
        let stop = background.token().clone();
        let finished = background.thread(move || compress(compression, file, incoming, &stop))?;
        Ok(LayerWriter {
            chunks,
            finished,
            store,
        })
    }

    /// Takes bytes of the unpacked archive; false if the compressor failed, which [`finish`](Self::finish) explains.
    pub(crate) async fn write(&self, bytes: Vec<u8>) -> bool {
        self.chunks.send(bytes).await.is_ok()
    }

    /// Puts the layer into the store if it is the expected one.
    pub(crate) async fn finish(self, diff_id: &str) -> io::Result<Layer> {
        drop(self.chunks);
        let (file, layer) = self.finished.await.map_err(io::Error::other)??;
        if layer.diff_id != diff_id {
            return Err(io::Error::other(format!(
                "the engine sent {} for {diff_id}",
                layer.diff_id
            )));
        }
        self.store.commit(file, &layer)?;
        Ok(layer)
    }
}

fn compress(
    compression: Compression,
    file: Draft,
    mut chunks: mpsc::Receiver<Vec<u8>>,
    stop: &CancellationToken,
) -> io::Result<(Draft, Layer)> {
    let mut stoppable = Stoppable::new(Compressor::new(compression, file)?, stop);
    while let Some(chunk) = chunks.blocking_recv() {
        stoppable.write_all(&chunk)?;
    }
    stoppable.into_inner().finish()
}

/// Compresses an archive into a file, with the digests of both.
pub(super) struct Compressor(HashWriter<Blocks<Encoder<HashWriter<BufWriter<Draft>>>>>);

impl Compressor {
    pub(super) fn new(compression: Compression, file: Draft) -> io::Result<Self> {
        let compressed = HashWriter::new(BufWriter::with_capacity(1 << 18, file));
        Ok(Compressor(HashWriter::new(Blocks::new(
            compression.encoder(compressed)?,
        ))))
    }

    pub(super) fn finish(self) -> io::Result<(Draft, Layer)> {
        let (blocks, diff_id, unpacked_size) = self.0.finish();
        let (buffered, digest, size) = blocks.finish()?.finish()?.finish();
        let file = buffered.into_inner().map_err(io::IntoInnerError::into_error)?;
        Ok((
            file,
            Layer {
                digest,
                size,
                diff_id,
                unpacked_size,
            },
        ))
    }
}

/// Hands on blocks of one size.
///
/// What a compressor of zstd makes of the same bytes depends on the pieces in which it gets them, and those are other ones
/// for each engine.
struct Blocks<W> {
    writer: W,
    block: Vec<u8>,
}

/// As large as the largest block of zstd.
const BLOCK: usize = 128 << 10;

impl<W: Write> Blocks<W> {
    fn new(writer: W) -> Self {
        Blocks {
            writer,
            block: Vec::with_capacity(BLOCK),
        }
    }

    fn finish(mut self) -> io::Result<W> {
        self.writer.write_all(&self.block)?;
        Ok(self.writer)
    }
}

impl<W: Write> Write for Blocks<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.block.len() == BLOCK {
            self.writer.write_all(&self.block)?;
            self.block.clear();
        }
        let taken = bytes.len().min(BLOCK - self.block.len());
        self.block.extend_from_slice(&bytes[..taken]);
        Ok(taken)
    }

    /// A block that is not full stays: flushing must change no byte.
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Write for Compressor {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn compressed(pieces: impl Iterator<Item = Vec<u8>>) -> Layer {
        let mut compressor = Compressor::new(
            Compression::Zstd,
            Draft::new(&std::env::temp_dir(), 0o600).unwrap(),
        )
        .unwrap();
        for piece in pieces {
            compressor.write_all(&piece).unwrap();
            compressor.flush().unwrap();
        }
        compressor.finish().unwrap().1
    }

    #[test]
    fn the_pieces_in_which_a_layer_comes_do_not_matter() {
        let text: Vec<u8> = (0..400_000_u32)
            .flat_map(|number| (number / 3).to_string().into_bytes())
            .collect();
        let whole = compressed([text.clone()].into_iter());
        for size in [1000, 4096, 100_000, 128 << 10, 1 << 20] {
            assert_eq!(compressed(text.chunks(size).map(<[u8]>::to_vec)), whole, "{size}");
        }
    }
}
