//! Decompression of what archives and indexes come in: gzip, xz, zstd, or nothing.

use std::fmt;
use std::io::{self, Read};

use flate2::bufread::MultiGzDecoder;
use liblzma::bufread::XzDecoder;
use liblzma::stream::Stream;

/// How bytes are compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Compression {
    /// Not at all.
    None,
    /// gzip, `.gz`.
    Gzip,
    /// xz, `.xz`.
    Xz,
    /// Zstandard, `.zst`.
    Zstd,
}

impl Compression {
    /// All of them.
    pub const ALL: [Compression; 4] = [
        Compression::None,
        Compression::Gzip,
        Compression::Xz,
        Compression::Zstd,
    ];

    /// What a file name ends in: `""`, `".gz"`, `".xz"`, `".zst"`.
    pub fn suffix(self) -> &'static str {
        match self {
            Compression::None => "",
            Compression::Gzip => ".gz",
            Compression::Xz => ".xz",
            Compression::Zstd => ".zst",
        }
    }
}

/// The memory that a stream of xz may ask for; `xz -9` needs 65 MiB (xz(1)).
const XZ_MEMORY: u64 = 256 << 20;

/// A reader of the plain bytes; every member or frame of the input is read.
pub struct Decoder<'a>(Inner<'a>);

enum Inner<'a> {
    Plain(&'a [u8]),
    Gzip(Box<MultiGzDecoder<&'a [u8]>>),
    Xz(Box<XzDecoder<&'a [u8]>>),
    Zstd(Box<zstd::stream::read::Decoder<'static, &'a [u8]>>),
    OutOfMemory,
}

impl<'a> Decoder<'a> {
    /// A reader over compressed bytes.
    pub fn new(compression: Compression, bytes: &'a [u8]) -> Self {
        Decoder(match compression {
            Compression::None => Inner::Plain(bytes),
            Compression::Gzip => Inner::Gzip(Box::new(MultiGzDecoder::new(bytes))),
            Compression::Xz => match Stream::new_stream_decoder(XZ_MEMORY, liblzma::stream::CONCATENATED) {
                Ok(stream) => Inner::Xz(Box::new(XzDecoder::new_stream(bytes, stream))),
                Err(_) => Inner::OutOfMemory,
            },
            // All that making one takes is memory.
            Compression::Zstd => zstd::stream::read::Decoder::with_buffer(bytes)
                .map_or(Inner::OutOfMemory, |decoder| Inner::Zstd(Box::new(decoder))),
        })
    }
}

impl Read for Decoder<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match &mut self.0 {
            Inner::Plain(bytes) => bytes.read(buffer),
            Inner::Gzip(reader) => reader.read(buffer),
            Inner::Xz(reader) => reader.read(buffer),
            Inner::Zstd(reader) => reader.read(buffer),
            Inner::OutOfMemory => Err(io::ErrorKind::OutOfMemory.into()),
        }
    }
}

impl fmt::Debug for Decoder<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.0 {
            Inner::Plain(_) => "Decoder(None)",
            Inner::Gzip(_) => "Decoder(Gzip)",
            Inner::Xz(_) => "Decoder(Xz)",
            Inner::Zstd(_) | Inner::OutOfMemory => "Decoder(Zstd)",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(compression: Compression, bytes: &[u8], plain: &str) {
        let mut text = String::new();
        Decoder::new(compression, bytes)
            .read_to_string(&mut text)
            .unwrap();
        assert_eq!(text, plain);
    }

    #[test]
    fn two_zstd_frames_and_a_skippable_one_are_all_read() {
        // Single-segment frames of one raw block each, written by hand (RFC 8878, 3.1.1).
        let frame = |text: &[u8; 3]| [&[0x28, 0xb5, 0x2f, 0xfd, 0x20, 3, 0x19, 0, 0][..], text].concat();
        let skip = [0x50, 0x2a, 0x4d, 0x18, 2, 0, 0, 0, 9, 9];
        check(
            Compression::Zstd,
            &[&frame(b"one")[..], &skip, &frame(b"two")].concat(),
            "onetwo",
        );
    }

    #[test]
    fn two_gzip_members_are_both_read() {
        let member = |text: &str| {
            let mut out = Vec::new();
            flate2::read::GzEncoder::new(text.as_bytes(), flate2::Compression::fast())
                .read_to_end(&mut out)
                .unwrap();
            out
        };
        check(
            Compression::Gzip,
            &[member("one"), member("two")].concat(),
            "onetwo",
        );
    }

    fn xz(text: &str) -> Vec<u8> {
        let mut out = Vec::new();
        let mut encoder = liblzma::bufread::XzEncoder::new(text.as_bytes(), 1);
        encoder.read_to_end(&mut out).unwrap();
        out
    }

    #[test]
    fn two_xz_streams_are_both_read() {
        check(Compression::Xz, &[xz("one"), xz("two")].concat(), "onetwo");
    }

    #[test]
    fn what_was_cut_off_or_changed_is_an_error() {
        let whole = xz(&"a line of some length\n".repeat(1000));
        let read = |bytes: &[u8]| Decoder::new(Compression::Xz, bytes).read_to_end(&mut Vec::new());
        for length in 0..whole.len() {
            assert!(read(&whole[..length]).is_err(), "{length}");
        }
        for at in 0..whole.len() {
            let mut changed = whole.clone();
            changed[at] ^= 0x10;
            assert!(read(&changed).is_err(), "{at}");
        }
    }

    #[test]
    fn plain_bytes_stay_and_rubbish_is_refused() {
        check(Compression::None, b"text", "text");
        for compression in [Compression::Gzip, Compression::Xz, Compression::Zstd] {
            assert!(
                Decoder::new(compression, b"rubbish")
                    .read_to_end(&mut Vec::new())
                    .is_err()
            );
        }
    }
}
