//! Tar archives whose bytes depend on nothing but their contents.

use std::io::{self, Read, Write};

const PIECE: usize = 1 << 20;

/// Writes members in the order given: owner 0, mode 0644 or 0755, one time for all.
pub(super) struct Archive<W: Write> {
    writer: W,
    time: u64,
}

impl<W: Write> Archive<W> {
    pub(super) fn new(writer: W, time: i64) -> Self {
        Archive {
            writer,
            time: u64::try_from(time).unwrap_or(0),
        }
    }

    pub(super) fn directory(&mut self, path: &str) -> io::Result<()> {
        self.header(path, 0, tar::EntryType::Directory, 0o755)
    }

    pub(super) fn bytes(&mut self, path: &str, bytes: &[u8]) -> io::Result<()> {
        self.file(path, bytes.len() as u64, bytes)
    }

    /// A file of a known size.
    pub(super) fn file(&mut self, path: &str, size: u64, content: impl Read) -> io::Result<()> {
        self.header(path, size, tar::EntryType::Regular, 0o644)?;
        let copied = self.copy(content)?;
        if copied != size {
            return Err(io::Error::other(format!(
                "{path}: {copied} bytes instead of {size}"
            )));
        }
        let padding = usize::try_from(size.next_multiple_of(512) - size).unwrap_or(0);
        self.writer.write_all(&[0; 512][..padding])
    }

    /// In pieces of a megabyte: what the kernel copies by itself, `io::copy` between two files, it copies a page at a time,
    /// and twice where the members of an archive lie across its pages, which takes half as long again.
    fn copy(&mut self, mut content: impl Read) -> io::Result<u64> {
        let mut piece = vec![0; PIECE];
        let mut copied = 0;
        loop {
            match content.read(&mut piece) {
                Ok(0) => return Ok(copied),
                Ok(count) => {
                    self.writer.write_all(&piece[..count])?;
                    copied += count as u64;
                }
                // A signal.
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// Two empty blocks end an archive.
    pub(super) fn finish(mut self) -> io::Result<W> {
        self.writer.write_all(&[0; 1024])?;
        self.writer.flush()?;
        Ok(self.writer)
    }

    fn header(&mut self, path: &str, size: u64, kind: tar::EntryType, mode: u32) -> io::Result<()> {
        let mut header = tar::Header::new_ustar();
        header.set_path(path)?;
        header.set_size(size);
        header.set_entry_type(kind);
        header.set_mode(mode);
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(self.time);
        header.set_cksum();
        self.writer.write_all(header.as_bytes())
    }
}
