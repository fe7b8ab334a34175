//! How layers are compressed.

use std::io::{self, Read, Write};
use std::str::FromStr;

/// A compressor and its level. Bytes depend on both, and on the pinned versions of the crates.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Compression {
    /// zstd, level 3.
    #[default]
    Zstd,
    /// gzip, level 6: for tools that know no zstd.
    Gzip,
    /// None.
    Uncompressed,
}

impl Compression {
    /// The directory of its layers; it names what their bytes depend on: the level, and the blocks in which they are
    /// compressed.
    pub(super) fn name(self) -> &'static str {
        match self {
            Compression::Zstd => "zstd-3-128k",
            Compression::Gzip => "gzip-6-128k",
            Compression::Uncompressed => "none",
        }
    }

    /// The OCI media type of its layers.
    pub fn media_type(self) -> &'static str {
        match self {
            Compression::Zstd => "application/vnd.oci.image.layer.v1.tar+zstd",
            Compression::Gzip => "application/vnd.oci.image.layer.v1.tar+gzip",
            Compression::Uncompressed => "application/vnd.oci.image.layer.v1.tar",
        }
    }

    pub(super) fn encoder<W: Write>(self, writer: W) -> io::Result<Encoder<W>> {
        Ok(match self {
            Compression::Zstd => Encoder::Zstd(zstd::stream::write::Encoder::new(writer, 3)?),
            Compression::Gzip => {
                Encoder::Gzip(flate2::write::GzEncoder::new(writer, flate2::Compression::new(6)))
            }
            Compression::Uncompressed => Encoder::Plain(writer),
        })
    }

    pub(super) fn decoder(self, reader: impl Read + Send + 'static) -> io::Result<Box<dyn Read + Send>> {
        Ok(match self {
            Compression::Zstd => Box::new(zstd::stream::read::Decoder::new(reader)?),
            Compression::Gzip => Box::new(flate2::read::GzDecoder::new(io::BufReader::new(reader))),
            Compression::Uncompressed => Box::new(reader),
        })
    }
}

impl FromStr for Compression {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "zstd" => Ok(Compression::Zstd),
            "gzip" => Ok(Compression::Gzip),
            "uncompressed" | "none" => Ok(Compression::Uncompressed),
            other => Err(format!(
                "unknown compression `{other}`: it is `zstd`, `gzip` or `uncompressed`"
            )),
        }
    }
}

/// A compressor at work.
pub(super) enum Encoder<W: Write> {
    Zstd(zstd::stream::write::Encoder<'static, W>),
    Gzip(flate2::write::GzEncoder<W>),
    Plain(W),
}

impl<W: Write> Encoder<W> {
    /// Ends the stream and gives the writer back.
    pub(super) fn finish(self) -> io::Result<W> {
        match self {
            Encoder::Zstd(encoder) => encoder.finish(),
            Encoder::Gzip(encoder) => encoder.finish(),
            Encoder::Plain(writer) => Ok(writer),
        }
    }
}

impl<W: Write> Write for Encoder<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Encoder::Zstd(encoder) => encoder.write(bytes),
            Encoder::Gzip(encoder) => encoder.write(bytes),
            Encoder::Plain(writer) => writer.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Encoder::Zstd(encoder) => encoder.flush(),
            Encoder::Gzip(encoder) => encoder.flush(),
            Encoder::Plain(writer) => writer.flush(),
        }
    }
}
