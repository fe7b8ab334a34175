//! Layer archives, byte for byte as BuildKit writes them with Go's `archive/tar`.
//!
//! A header is plain ustar if everything fits; otherwise an extended header comes before it with all that is due. What
//! Go does where a field overflows is kept to the byte: a layer's digest is in every image that has it.

use std::collections::BTreeMap;
use std::io::{self, Read, Write};

/// An entry of a layer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Header {
    /// The path without a leading slash; of a directory with one at the end.
    pub name: Vec<u8>,
    /// What it is.
    pub kind: Kind,
    /// Permission bits with setuid, setgid and sticky.
    pub mode: u32,
    /// The numeric owner.
    pub uid: u32,
    /// The numeric group.
    pub gid: u32,
    /// Seconds since 1970.
    pub mtime: i64,
    /// The value of `security.capability`, the one attribute that layers carry.
    pub capability: Option<Vec<u8>>,
    /// The numbers of the device that a hard link is another name of; zeros for all else.
    pub linked_device: (u32, u32),
}

impl Header {
    /// Turns it into another name of an entry before it. The numbers of a device stay, as Go writes them.
    pub fn link_to(&mut self, first: &[u8]) {
        self.linked_device = self.device();
        self.kind = Kind::HardLink(first.to_vec());
    }

    fn device(&self) -> (u32, u32) {
        match self.kind {
            Kind::Character(major, minor) | Kind::Block(major, minor) => (major, minor),
            Kind::HardLink(_) => self.linked_device,
            Kind::File(_) | Kind::SymbolicLink(_) | Kind::Directory | Kind::Pipe => (0, 0),
        }
    }
}

/// What an entry is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Kind {
    /// A regular file and its size.
    File(u64),
    /// Another name of an entry before it.
    HardLink(Vec<u8>),
    /// A symbolic link and what it says.
    SymbolicLink(Vec<u8>),
    /// A character device.
    Character(u32, u32),
    /// A block device.
    Block(u32, u32),
    /// A directory.
    #[default]
    Directory,
    /// A pipe.
    Pipe,
}

impl Kind {
    fn flag(&self) -> u8 {
        match self {
            Kind::File(_) => b'0',
            Kind::HardLink(_) => b'1',
            Kind::SymbolicLink(_) => b'2',
            Kind::Character(..) => b'3',
            Kind::Block(..) => b'4',
            Kind::Directory => b'5',
            Kind::Pipe => b'6',
        }
    }

    fn size(&self) -> u64 {
        if let Kind::File(size) = self { *size } else { 0 }
    }

    fn link(&self) -> &[u8] {
        match self {
            Kind::HardLink(target) | Kind::SymbolicLink(target) => target,
            Kind::File(_) | Kind::Character(..) | Kind::Block(..) | Kind::Directory | Kind::Pipe => b"",
        }
    }
}

const BLOCK: usize = 512;
const NAME: usize = 100;
const PREFIX: usize = 155;

/// Writes a layer.
#[derive(Debug)]
pub struct LayerArchive<W: Write> {
    writer: W,
}

impl<W: Write> LayerArchive<W> {
    /// A layer that begins here.
    pub fn new(writer: W) -> Self {
        LayerArchive { writer }
    }

    /// Adds an entry; the content of a file must be as long as the header says.
    pub fn add(&mut self, header: &Header, mut content: impl Read) -> io::Result<()> {
        let extensions = extensions(header);
        // A capability has no place in ustar, so with one the extended form is used whatever fits.
        let fits = fits_ustar(header) && header.capability.is_none();
        let block = if fits {
            ustar(header)
        } else {
            self.extended(header, &extensions)?
        };
        self.writer.write_all(&block)?;
        let size = header.kind.size();
        let copied = io::copy(&mut content.by_ref().take(size), &mut self.writer)?;
        if copied != size {
            let name = String::from_utf8_lossy(&header.name);
            return Err(io::Error::other(format!("`{name}` changed while it was read")));
        }
        self.pad(size)
    }

    /// Two empty blocks end an archive.
    pub fn finish(mut self) -> io::Result<W> {
        self.writer.write_all(&[0; 2 * BLOCK])?;
        self.writer.flush()?;
        Ok(self.writer)
    }

    fn extended(&mut self, header: &Header, extensions: &BTreeMap<&str, Vec<u8>>) -> io::Result<[u8; BLOCK]> {
        let records: Vec<u8> = extensions
            .iter()
            .flat_map(|(key, value)| record(key, value))
            .collect();
        let mut name = ascii(&extended_name(&header.name));
        name.truncate(NAME);
        while name.last() == Some(&b'/') {
            name.pop();
        }
        let mut block = [0; BLOCK];
        block[156] = b'x';
        text(&mut block[..NAME], &name);
        for (range, value) in [
            (100..108, 0),
            (108..116, 0),
            (116..124, 0),
            (124..136, records.len() as u64),
            (136..148, 0),
        ] {
            octal(&mut block[range], value);
        }
        seal(&mut block);
        self.writer.write_all(&block)?;
        self.writer.write_all(&records)?;
        self.pad(records.len() as u64)?;
        Ok(main(header, &ascii(&header.name), &ascii(header.kind.link())))
    }

    fn pad(&mut self, size: u64) -> io::Result<()> {
        let padding = usize::try_from(size.next_multiple_of(BLOCK as u64) - size).unwrap_or(0);
        self.writer.write_all(&[0; BLOCK][..padding])
    }
}

/// What is due in an extended header, if there is one.
fn extensions(header: &Header) -> BTreeMap<&'static str, Vec<u8>> {
    let mut due = BTreeMap::new();
    let decimal = |value: i128| value.to_string().into_bytes();
    let link = header.kind.link();
    if !header.name.is_ascii() || header.name.len() > NAME {
        due.insert("path", header.name.clone());
    }
    if !link.is_ascii() || link.len() > NAME {
        due.insert("linkpath", link.to_vec());
    }
    for (key, value, length) in [
        ("size", i128::from(header.kind.size()), 12),
        ("uid", i128::from(header.uid), 8),
        ("gid", i128::from(header.gid), 8),
        ("mtime", i128::from(header.mtime), 12),
    ] {
        if !fits_octal(value, length) {
            due.insert(key, decimal(value));
        }
    }
    if let Some(capability) = &header.capability {
        due.insert("SCHILY.xattr.security.capability", capability.clone());
    }
    due
}

fn fits_ustar(header: &Header) -> bool {
    let link = header.kind.link();
    let name_fits = header.name.is_ascii() && (header.name.len() <= NAME || split(&header.name).is_some());
    let numbers_fit = fits_octal(header.kind.size().into(), 12)
        && fits_octal(header.uid.into(), 8)
        && fits_octal(header.gid.into(), 8)
        && fits_octal(header.mtime.into(), 12);
    name_fits && link.is_ascii() && link.len() <= NAME && numbers_fit
}

/// Whether a number fits a field of octal digits that ends in NUL.
fn fits_octal(value: i128, length: u32) -> bool {
    (0..1 << (3 * (length - 1))).contains(&value)
}

fn ustar(header: &Header) -> [u8; BLOCK] {
    let Some((prefix, name)) = split(&header.name) else {
        return main(header, &header.name, header.kind.link());
    };
    let mut block = main(header, name, header.kind.link());
    text(&mut block[345..345 + PREFIX], prefix);
    seal(&mut block);
    block
}

/// Cuts a long name in two at a slash, for ustar's two fields.
fn split(name: &[u8]) -> Option<(&[u8], &[u8])> {
    if name.len() <= NAME || !name.is_ascii() {
        return None;
    }
    let length = if name.len() > PREFIX + 1 {
        PREFIX + 1
    } else if name.ends_with(b"/") {
        name.len() - 1
    } else {
        name.len()
    };
    let cut = name[..length]
        .iter()
        .rposition(|byte| *byte == b'/')
        .filter(|cut| *cut > 0)?;
    let rest = name.len() - cut - 1;
    (cut <= PREFIX && (1..=NAME).contains(&rest)).then(|| (&name[..cut], &name[cut + 1..]))
}

fn main(header: &Header, name: &[u8], link: &[u8]) -> [u8; BLOCK] {
    let mut block = [0; BLOCK];
    let (major, minor) = header.device();
    block[156] = header.kind.flag();
    text(&mut block[..NAME], name);
    text(&mut block[157..257], link);
    let numbers = [
        (100..108, i128::from(header.mode & 0o7777)),
        (108..116, i128::from(header.uid)),
        (116..124, i128::from(header.gid)),
        (124..136, i128::from(header.kind.size())),
        (136..148, i128::from(header.mtime)),
        (329..337, i128::from(major)),
        (337..345, i128::from(minor)),
    ];
    for (range, value) in numbers {
        let length = u32::try_from(range.len()).expect("a field is short");
        // What does not fit stands in the extended header, and here is zero.
        let value = if fits_octal(value, length) { value } else { 0 };
        octal(&mut block[range], u64::try_from(value).unwrap_or(0));
    }
    seal(&mut block);
    block
}

fn text(field: &mut [u8], value: &[u8]) {
    let length = value.len().min(field.len());
    field[..length].copy_from_slice(&value[..length]);
    if let Some(next) = field.get_mut(length) {
        *next = 0;
    }
    // A name that is cut at a slash must not look like a directory.
    if value.len() > field.len() && field.ends_with(b"/") {
        let end = field
            .iter()
            .rposition(|byte| *byte != b'/')
            .map_or(0, |last| last + 1);
        field[end] = 0;
    }
}

fn octal(field: &mut [u8], value: u64) {
    let width = field.len() - 1;
    text(field, format!("{value:0width$o}").as_bytes());
}

/// Writes magic and checksum.
fn seal(block: &mut [u8; BLOCK]) {
    block[257..265].copy_from_slice(b"ustar\x0000");
    block[148..156].copy_from_slice(b"        ");
    let sum: u64 = block.iter().map(|byte| u64::from(*byte)).sum();
    octal(&mut block[148..155], sum);
    block[155] = b' ';
}

/// `DIRECTORY/PaxHeaders.0/FILE`, where the file of a directory is empty.
fn extended_name(name: &[u8]) -> Vec<u8> {
    let cut = name
        .iter()
        .rposition(|byte| *byte == b'/')
        .map_or(0, |slash| slash + 1);
    let (directory, file) = name.split_at(cut);
    let mut parts: Vec<&[u8]> = directory
        .split(|byte| *byte == b'/')
        .filter(|part| !part.is_empty())
        .collect();
    parts.push(b"PaxHeaders.0");
    if !file.is_empty() {
        parts.push(file);
    }
    parts.join(&b'/')
}

fn ascii(text: &[u8]) -> Vec<u8> {
    text.iter()
        .copied()
        .filter(|byte| byte.is_ascii() && *byte != 0)
        .collect()
}

/// `LENGTH KEY=VALUE\n`, where the length counts its own digits.
fn record(key: &str, value: &[u8]) -> Vec<u8> {
    let rest = key.len() + value.len() + 3;
    let mut length = rest + digits(rest);
    if rest + digits(length) != length {
        length = rest + digits(length);
    }
    [format!("{length} {key}=").as_bytes(), value, b"\n"].concat()
}

fn digits(number: usize) -> usize {
    number.to_string().len()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(header: &Header) -> Vec<u8> {
        let mut archive = LayerArchive::new(Vec::new());
        archive.add(header, io::repeat(b'x')).unwrap();
        archive.finish().unwrap()
    }

    fn file(name: &str) -> Header {
        Header {
            name: name.into(),
            kind: Kind::File(3),
            mode: 0o644,
            ..Header::default()
        }
    }

    #[test]
    fn an_archive_reads_back() {
        let long = format!("{}/{}", "d".repeat(140), "f".repeat(90));
        let very_long = format!("{}/{}", "d".repeat(200), "f".repeat(190));
        let headers = [
            file("a"),
            file(&long),
            file(&very_long),
            file("dir/ü"),
            Header {
                uid: 3_000_000,
                gid: 5,
                mtime: -5,
                ..file("ids")
            },
            Header {
                capability: Some(vec![1, 0, 0, 2]),
                ..file("cap")
            },
            Header {
                kind: Kind::SymbolicLink(very_long.clone().into_bytes()),
                ..file("link")
            },
            Header {
                kind: Kind::Character(1, 3),
                mode: 0o4666,
                ..file("null")
            },
        ];
        let mut archive = LayerArchive::new(Vec::new());
        for header in &headers {
            archive.add(header, &b"abc"[..]).unwrap();
        }
        let bytes = archive.finish().unwrap();
        let mut read = tar::Archive::new(bytes.as_slice());
        for (entry, header) in read.entries().unwrap().zip(&headers) {
            let mut entry = entry.unwrap();
            assert_eq!(entry.path_bytes().as_ref(), header.name);
            assert_eq!(entry.link_name_bytes().unwrap_or_default(), header.kind.link());
            assert_eq!(entry.header().mode().unwrap(), header.mode);
            if header.kind.size() > 0 {
                assert_eq!(io::read_to_string(&mut entry).unwrap(), "abc");
            }
        }
    }

    #[test]
    fn plain_entries_are_one_block_and_content() {
        let bytes = bytes(&file("etc/hello"));
        assert_eq!(bytes.len(), 4 * BLOCK);
        assert_eq!(&bytes[257..265], b"ustar\x0000");
        assert_eq!(&bytes[329..337], b"0000000\0");
        assert_eq!(&bytes[154..156], b"\0 ");
        assert_eq!(&bytes[BLOCK..BLOCK + 4], b"xxx\0");
    }

    #[test]
    fn the_extended_header_of_a_directory_has_an_empty_file_part() {
        assert_eq!(extended_name(b"a/b/"), b"a/b/PaxHeaders.0");
        assert_eq!(extended_name(b"a/b"), b"a/PaxHeaders.0/b");
        assert_eq!(extended_name(b"b"), b"PaxHeaders.0/b");
    }

    #[test]
    fn a_record_counts_its_own_length() {
        assert_eq!(record("path", b"x"), b"9 path=x\n");
        assert_eq!(record("path", &[b'x'; 90]).len(), 99);
        let text = record("path", &[b'x'; 91]);
        assert_eq!((text.len(), &text[..3]), (101, b"101".as_slice()));
    }

    #[test]
    fn a_short_file_is_an_error() {
        let error = LayerArchive::new(Vec::new())
            .add(&file("a"), &b"ab"[..])
            .unwrap_err();
        assert!(error.to_string().contains("`a` changed"));
    }
}
