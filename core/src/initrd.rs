//! What an initrd holds: cpio archives behind each other, the last one compressed or not.
//!
//! Formats: the kernel's `Documentation/driver-api/early-userspace/buffer-format.rst`; cpio "newc" of cpio(5).

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read};

use crate::limits;
use crate::packages::decompress::{Compression, Decoder};

/// More than this is no initrd that a machine could unpack.
const LIMIT: u64 = 2 << 30;

/// The files of an initrd; of several with one name the last.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Contents {
    /// By path without a leading `/`; of small regular files the content too.
    entries: BTreeMap<String, Entry>,
    /// The bytes of all names and contents.
    size: usize,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Entry {
    mode: u32,
    text: Option<Vec<u8>>,
}

impl Contents {
    /// Reads an initrd; `None` if it is none.
    pub fn read(initrd: &[u8]) -> Option<Self> {
        let mut contents = Contents::default();
        let mut rest = initrd;
        loop {
            skip_zeros(&mut rest)?;
            if rest.is_empty() {
                return (!contents.entries.is_empty()).then_some(contents);
            }
            if rest.starts_with(b"070701") || rest.starts_with(b"070702") {
                contents.archive(&mut rest)?;
                continue;
            }
            let plain = Decoder::new(compression(rest)?, rest).take(LIMIT);
            // Piece by piece: unpacked it is a multiple of what the image holds.
            let mut plain = BufReader::with_capacity(PIECE, plain);
            while !skip_zeros(&mut plain)?.is_empty() {
                contents.archive(&mut plain)?;
            }
            return Some(contents);
        }
    }

    /// Adds one archive, to its end; zeros may follow.
    fn archive(&mut self, bytes: &mut impl BufRead) -> Option<()> {
        const SMALL: usize = 64 << 10;
        loop {
            let mut header = [0; 110];
            bytes.read_exact(&mut header).ok()?;
            let field = |index: usize| {
                let text = std::str::from_utf8(&header[6 + index * 8..14 + index * 8]).ok()?;
                u32::from_str_radix(text, 16).ok()
            };
            let (mode, size, name_size) = (
                field(1)?,
                usize::try_from(field(6)?).ok()?,
                usize::try_from(field(11)?).ok()?,
            );
            if limits::ARCHIVE_PATH.is_exceeded_by(name_size) {
                return None;
            }
            let mut name = taken(bytes, name_size)?;
            name.pop()?;
            let name = String::from_utf8_lossy(&name).into_owned();
            skip(bytes, padding(110 + name_size))?;
            let is_text = mode & 0o170_000 == 0o100_000 && size <= SMALL;
            let text = if is_text {
                Some(taken(bytes, size)?)
            } else {
                skip(bytes, size)?;
                None
            };
            if name == "TRAILER!!!" {
                return Some(());
            }
            skip(bytes, padding(size))?;
            self.size += ENTRY + name_size + text.as_ref().map_or(0, Vec::len);
            if limits::INITRD_TEXTS.is_exceeded_by(self.size) {
                return None;
            }
            self.entries
                .insert(name.trim_start_matches("./").to_owned(), Entry { mode, text });
        }
    }

    /// Whether there is anything at a path, which has no leading `/`.
    pub fn has(&self, path: &str) -> bool {
        self.entries.contains_key(path)
    }

    /// Whether there is a program at a path.
    pub fn has_program(&self, path: &str) -> bool {
        let is_program = |entry: &Entry| entry.mode & 0o170_000 == 0o120_000 || entry.mode & 0o111 != 0;
        self.entries.get(path).is_some_and(is_program)
    }

    /// The text of a small file.
    pub fn text(&self, path: &str) -> Option<String> {
        let text = self.entries.get(path)?.text.as_ref()?;
        Some(String::from_utf8_lossy(text).into_owned())
    }

    /// All paths, sorted.
    pub fn paths(&self) -> impl Iterator<Item = &str> {
        self.entries.keys().map(String::as_str)
    }

    /// The modules of dracut that it was made of, sorted; empty if it is not dracut's.
    pub fn dracut_modules(&self) -> Vec<String> {
        let places = ["usr/lib/dracut/modules.txt", "lib/dracut/modules.txt"];
        let text = places.iter().find_map(|path| self.text(path)).unwrap_or_default();
        let mut names: Vec<String> = text.split_whitespace().map(str::to_owned).collect();
        names.sort();
        names
    }
}

/// The memory that an entry takes beside its texts.
const ENTRY: usize = 64;

/// Bytes that are unpacked at a time.
const PIECE: usize = 128 << 10;

/// What fills up to the next multiple of four, where headers and contents begin.
fn padding(size: usize) -> usize {
    size.next_multiple_of(4) - size
}

/// The next bytes; `None` if there are not so many.
fn taken(bytes: &mut impl BufRead, count: usize) -> Option<Vec<u8>> {
    let mut taken = Vec::new();
    let wanted = u64::try_from(count).ok()?;
    (bytes.take(wanted).read_to_end(&mut taken).ok()? == count).then_some(taken)
}

/// Passes over bytes; `None` if there are not so many.
fn skip(bytes: &mut impl BufRead, mut count: usize) -> Option<()> {
    while count > 0 {
        let there = bytes.fill_buf().ok()?.len().min(count);
        if there == 0 {
            return None;
        }
        bytes.consume(there);
        count -= there;
    }
    Some(())
}

/// Passes over zeros between archives; what is there of the rest, nothing at the end.
fn skip_zeros(bytes: &mut impl BufRead) -> Option<&[u8]> {
    loop {
        let there = bytes.fill_buf().ok()?;
        let zeros = there.iter().take_while(|byte| **byte == 0).count();
        if zeros == 0 {
            break;
        }
        bytes.consume(zeros);
    }
    bytes.fill_buf().ok()
}

fn compression(bytes: &[u8]) -> Option<Compression> {
    let magics: [(&[u8], Compression); 3] = [
        (b"\x1f\x8b", Compression::Gzip),
        (b"\xfd7zXZ\0", Compression::Xz),
        (b"\x28\xb5\x2f\xfd", Compression::Zstd),
    ];
    magics
        .iter()
        .find(|(magic, _)| bytes.starts_with(magic))
        .map(|(_, compression)| *compression)
}

/// A cpio archive of files with these modes and texts: for tests.
#[cfg(test)]
pub(crate) fn archive(files: &[(&str, usize, &str)]) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut put = |name: &str, mode: usize, text: &str| {
        let fields = [0, mode, 0, 0, 1, 0, text.len(), 0, 0, 0, 0, name.len() + 1, 0]
            .map(|field: usize| format!("{field:08X}"));
        bytes.extend(format!("070701{}{name}\0", fields.concat()).bytes());
        bytes.resize(bytes.len().next_multiple_of(4), 0);
        bytes.extend(text.bytes());
        bytes.resize(bytes.len().next_multiple_of(4), 0);
    };
    for (name, mode, text) in files {
        put(name, *mode, text);
    }
    put("TRAILER!!!", 0, "");
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn archives_behind_each_other_are_read() {
        let early = archive(&[("kernel/x86/microcode", 0o100_644, "m")]);
        let main = archive(&[
            ("usr/bin/immucore", 0o120_777, "kairos"),
            ("usr/lib/dracut/modules.txt", 0o100_644, "lvm\nbash\n"),
            ("usr/lib/plain", 0o100_644, ""),
        ]);
        let mut compressed = early.clone();
        compressed.resize(compressed.len() + 512, 0);
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        std::io::Write::write_all(&mut encoder, &main).unwrap();
        compressed.extend(encoder.finish().unwrap());
        for initrd in [[early, main].concat(), compressed] {
            let contents = Contents::read(&initrd).unwrap();
            assert!(contents.has("kernel/x86/microcode") && contents.has_program("usr/bin/immucore"));
            assert!(!contents.has_program("usr/lib/plain"));
            assert_eq!(contents.dracut_modules(), ["bash", "lvm"]);
        }
        assert_eq!(Contents::read(b"no initrd"), None);
        assert_eq!(Contents::read(b"070701short"), None);
    }

    #[test]
    fn an_initrd_of_gigabytes_of_small_files_is_none() {
        let compressed = |files: &[(&str, usize, &str)]| {
            let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
            std::io::Write::write_all(&mut encoder, &archive(files)).unwrap();
            encoder.finish().unwrap()
        };
        let text = "x".repeat(64 << 10);
        let files: Vec<(String, usize)> = (0..1100)
            .map(|number| (format!("f{number}"), 0o100_644))
            .collect();
        let files: Vec<_> = files
            .iter()
            .map(|(name, mode)| (name.as_str(), *mode, text.as_str()))
            .collect();
        assert!(Contents::read(&compressed(&files[..1000])).is_some());
        assert_eq!(Contents::read(&compressed(&files)), None);
        let long = "x".repeat(5000);
        assert_eq!(Contents::read(&archive(&[(&long, 0o100_644, "")])), None);
    }
}
