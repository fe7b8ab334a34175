//! sha256 digests as OCI writes them.

use std::io::{self, Read, Write};

use sha2::{Digest, Sha256};

/// The digest of bytes, as `sha256:` and hex.
pub fn sha256(bytes: &[u8]) -> String {
    text(Sha256::new_with_prefix(bytes))
}

/// The digest of all that can still be read.
pub fn sha256_of(mut reader: impl Read) -> io::Result<String> {
    let mut sink = HashWriter::new(io::sink());
    io::copy(&mut reader, &mut sink)?;
    Ok(sink.finish().1)
}

/// The hex part of a well-formed sha256 digest: 64 lower-case digits.
pub fn hex(digest: &str) -> Option<&str> {
    let hex = digest.strip_prefix("sha256:")?;
    let digits = hex
        .bytes()
        .all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte));
    (hex.len() == 64 && digits).then_some(hex)
}

fn text(hash: Sha256) -> String {
    hash.finalize()
        .iter()
        .fold(String::from("sha256:"), |text, byte| {
            text + &format!("{byte:02x}")
        })
}

/// Hashes and counts what it passes on.
#[derive(Debug)]
pub(crate) struct HashWriter<W> {
    inner: W,
    hash: Sha256,
    size: u64,
}

impl<W: Write> HashWriter<W> {
    pub(crate) fn new(inner: W) -> Self {
        HashWriter {
            inner,
            hash: Sha256::new(),
            size: 0,
        }
    }

    /// What it wrote to, the digest, and how many bytes there were.
    pub(crate) fn finish(self) -> (W, String, u64) {
        (self.inner, text(self.hash), self.size)
    }
}

impl<W: Write> Write for HashWriter<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.inner.write(bytes)?;
        self.hash.update(&bytes[..written]);
        self.size += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}
