//! The index of a suite's packages, in a form that is ready to be looked at.
//!
//! [`compact`] turns the text of a `Packages` file into bytes that hold only what resolving needs, sorted by name;
//! [`PackageIndex`] reads such bytes in place. Opening one costs nothing, and looking a name up touches a few lines of
//! it: that is what makes `check` fast. The bytes are a cache, made again whenever [`FORMAT`] changes.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use thiserror::Error;

/// The version of the compact form; part of the key that it is cached by.
pub const FORMAT: u32 = 1;

const MAGIC: [u8; 8] = *b"kcpkgs1\n";
const HEADER: usize = 32;
const ENTRY: usize = 16;
const DETAIL: usize = 48;
const PROVIDE: usize = 8;

const ESSENTIAL: u8 = 1;
const ALLOWED: u8 = 2;

/// Why a `Packages` file or a compact index cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum IndexError {
    /// A stanza lacks a field that every package has.
    #[error("the stanza of `{package}` (line {line}) has no usable field `{field}`")]
    Field {
        /// The package, or `?`.
        package: String,
        /// The line on which the stanza begins, from one.
        line: usize,
        /// The field.
        field: &'static str,
    },
    /// A stanza has other checksums only.
    #[error("the stanza of `{package}` (line {line}) has no SHA256, only SHA512")]
    OnlySha512 {
        /// The package.
        package: String,
        /// The line on which the stanza begins, from one.
        line: usize,
    },
    /// The index is too big for its offsets.
    #[error("the index is larger than 4 GiB")]
    TooLarge,
    /// Bytes that are no compact index of this version.
    #[error("the cached index is damaged or of another version")]
    Damaged,
}

/// One package version of an index, borrowed from it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Package<'a> {
    /// Its name.
    pub name: &'a str,
    /// Its version.
    pub version: &'a str,
    /// `all`, or the architecture of the index.
    pub architecture: &'a str,
    /// The path below the URL of the source.
    pub path: &'a str,
    /// The field `Pre-Depends`.
    pub pre_depends: &'a str,
    /// The field `Depends`.
    pub depends: &'a str,
    /// The field `Recommends`.
    pub recommends: &'a str,
    /// The field `Conflicts`.
    pub conflicts: &'a str,
    /// The field `Breaks`.
    pub breaks: &'a str,
    /// The field `Provides`.
    pub provides: &'a str,
    /// The sha256 of the archive.
    pub sha256: [u8; 32],
    /// The size of the archive in bytes.
    pub size: u64,
    /// The unpacked size in KiB.
    pub installed_size: u32,
    /// Whether it is `Essential: yes`.
    pub essential: bool,
    /// Whether it is `Multi-Arch: allowed`.
    pub multi_arch_allowed: bool,
    /// How important it is: 0 is required, 4 is extra.
    pub priority: u8,
}

impl fmt::Debug for Package<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} {}", self.name, self.version, self.architecture)
    }
}

/// Bytes that an index is read from: a buffer, or a file that is mapped.
pub type IndexBytes = Arc<dyn AsRef<[u8]> + Send + Sync>;

/// A compact index.
#[derive(Clone)]
pub struct PackageIndex {
    bytes: IndexBytes,
    packages: usize,
    provides: usize,
    essentials: usize,
    names: Range<usize>,
    text: Range<usize>,
}

impl PackageIndex {
    /// An index over bytes that [`compact`] made.
    pub fn open(bytes: IndexBytes) -> Result<Self, IndexError> {
        let all = (*bytes).as_ref();
        if !all.starts_with(&MAGIC) || all.len() < HEADER {
            return Err(IndexError::Damaged);
        }
        let count = |at: usize| number(all, MAGIC.len() + 4 * at) as usize;
        let (packages, provides, essentials) = (count(0), count(1), count(2));
        let names = HEADER + packages * (ENTRY + DETAIL) + provides * PROVIDE + essentials * 4;
        let text = names + count(3);
        let end = text + count(4);
        if all.len() != end {
            return Err(IndexError::Damaged);
        }
        Ok(PackageIndex {
            packages,
            provides,
            essentials,
            names: names..text,
            text: text..end,
            bytes,
        })
    }

    /// An index of the text of a `Packages` file.
    pub fn from_text(text: &[u8]) -> Result<Self, IndexError> {
        Self::open(Arc::new(compact(text)?))
    }

    /// How many package versions it has.
    pub fn len(&self) -> usize {
        self.packages
    }

    /// Whether it has none.
    pub fn is_empty(&self) -> bool {
        self.packages == 0
    }

    /// The name at a position; positions are sorted by name.
    pub fn name(&self, position: usize) -> &str {
        let entry = HEADER + position * ENTRY;
        let start = self.number(entry) as usize;
        let length = usize::from(self.short(entry + 12));
        self.slice(self.names.start + start, length)
    }

    /// The package version at a position.
    pub fn package(&self, position: usize) -> Package<'_> {
        let entry = HEADER + position * ENTRY;
        let text = self.slice(
            self.text.start + self.number(entry + 4) as usize,
            self.number(entry + 8) as usize,
        );
        let mut fields = text.split('\t');
        let mut field = || fields.next().unwrap_or_default();
        let detail = HEADER + self.packages * ENTRY + position * DETAIL;
        let flags = self.byte(entry + 14);
        let mut sha256 = [0; 32];
        sha256.copy_from_slice(self.all().get(detail..detail + 32).unwrap_or(&[0; 32]));
        Package {
            name: self.name(position),
            version: field(),
            architecture: field(),
            path: field(),
            pre_depends: field(),
            depends: field(),
            recommends: field(),
            conflicts: field(),
            breaks: field(),
            provides: field(),
            sha256,
            size: u64::from(self.number(detail + 32)) | u64::from(self.number(detail + 36)) << 32,
            installed_size: self.number(detail + 40),
            essential: flags & ESSENTIAL != 0,
            multi_arch_allowed: flags & ALLOWED != 0,
            priority: self.byte(entry + 15),
        }
    }

    /// The positions of all versions of a package.
    pub fn positions(&self, name: &str) -> Range<usize> {
        let start = partition(0..self.packages, |at| self.name(at) < name);
        let end = (start..self.packages)
            .find(|at| self.name(*at) != name)
            .unwrap_or(self.packages);
        start..end
    }

    /// The positions of packages that may provide a name, sorted; whether they do, their `Provides` says.
    pub fn may_provide(&self, name: &str) -> impl Iterator<Item = usize> + '_ {
        let hash = hash(name);
        let base = HEADER + self.packages * (ENTRY + DETAIL);
        let start = partition(0..self.provides, |at| self.number(base + at * PROVIDE) < hash);
        (start..self.provides)
            .map(move |at| base + at * PROVIDE)
            .take_while(move |at| self.number(*at) == hash)
            .map(|at| self.number(at + 4) as usize)
            .filter(|position| *position < self.packages)
    }

    /// The positions of packages that are `Essential: yes`.
    pub fn essential(&self) -> impl Iterator<Item = usize> + '_ {
        let base = HEADER + self.packages * (ENTRY + DETAIL) + self.provides * PROVIDE;
        (0..self.essentials)
            .map(move |at| self.number(base + at * 4) as usize)
            .filter(|at| *at < self.packages)
    }

    /// All names, sorted; one that has several versions comes several times.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        (0..self.packages).map(|position| self.name(position))
    }

    fn all(&self) -> &[u8] {
        (*self.bytes).as_ref()
    }

    fn number(&self, at: usize) -> u32 {
        number(self.all(), at)
    }

    fn short(&self, at: usize) -> u16 {
        self.all()
            .get(at..at + 2)
            .map_or(0, |bytes| u16::from_le_bytes([bytes[0], bytes[1]]))
    }

    fn byte(&self, at: usize) -> u8 {
        self.all().get(at).copied().unwrap_or_default()
    }

    fn slice(&self, start: usize, length: usize) -> &str {
        // What was written was UTF-8; bytes that a disk damaged read as nothing.
        self.all()
            .get(start..start + length)
            .and_then(|bytes| std::str::from_utf8(bytes).ok())
            .unwrap_or_default()
    }
}

impl fmt::Debug for PackageIndex {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PackageIndex({} packages)", self.packages)
    }
}

fn number(bytes: &[u8], at: usize) -> u32 {
    bytes
        .get(at..at + 4)
        .map_or(0, |four| u32::from_le_bytes([four[0], four[1], four[2], four[3]]))
}

fn partition(mut range: Range<usize>, is_before: impl Fn(usize) -> bool) -> usize {
    while !range.is_empty() {
        let middle = range.start + range.len() / 2;
        if is_before(middle) {
            range.start = middle + 1;
        } else {
            range.end = middle;
        }
    }
    range.start
}

/// FNV-1a in 32 bits: provided names are found by it and then compared as text.
fn hash(name: &str) -> u32 {
    name.bytes().fold(0x811c_9dc5, |hash, byte| {
        (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193)
    })
}

/// The compact form of the text of a `Packages` file.
pub fn compact(text: &[u8]) -> Result<Vec<u8>, IndexError> {
    let mut stanzas = Vec::new();
    let mut line = 1;
    let mut rest = text;
    while !rest.is_empty() {
        let (stanza, lines, next) = Stanza::scan(rest);
        if !stanza.is_blank() {
            stanzas.push(stanza.checked(line)?);
        }
        line += lines;
        rest = next;
    }
    // Stable: versions of one name stay in the order of the file.
    stanzas.sort_by_key(|stanza| stanza.name);
    Writer::default().write(&stanzas)
}

/// The fields of one stanza that are kept.
#[derive(Default)]
struct Stanza<'a> {
    name: &'a [u8],
    sha256: &'a [u8],
    size: &'a [u8],
    installed_size: &'a [u8],
    essential: bool,
    allowed: bool,
    has_sha512: bool,
    priority: u8,
    text: [&'a [u8]; 9],
}

impl<'a> Stanza<'a> {
    /// The next stanza, the number of its lines with the empty one behind it, and what follows.
    fn scan(mut rest: &'a [u8]) -> (Self, usize, &'a [u8]) {
        let mut stanza = Stanza {
            priority: 3,
            ..Stanza::default()
        };
        let mut lines = 0;
        while !rest.is_empty() {
            let end = memchr::memchr(b'\n', rest).unwrap_or(rest.len());
            let line = &rest[..end];
            rest = rest.get(end + 1..).unwrap_or_default();
            lines += 1;
            if line.is_empty() {
                break;
            }
            stanza.take(line);
        }
        (stanza, lines, rest)
    }

    fn take(&mut self, line: &'a [u8]) {
        let Some(colon) = memchr::memchr(b':', line) else {
            return;
        };
        let value = line[colon + 1..].trim_ascii();
        match &line[..colon] {
            b"Package" => self.name = value,
            b"Version" => self.text[0] = value,
            b"Architecture" => self.text[1] = value,
            b"Filename" => self.text[2] = value.strip_prefix(b"./").unwrap_or(value),
            b"Pre-Depends" => self.text[3] = value,
            b"Depends" => self.text[4] = value,
            b"Recommends" => self.text[5] = value,
            b"Conflicts" => self.text[6] = value,
            b"Breaks" => self.text[7] = value,
            b"Provides" => self.text[8] = value,
            b"SHA256" => self.sha256 = value,
            b"SHA512" => self.has_sha512 = true,
            b"Size" => self.size = value,
            b"Installed-Size" => self.installed_size = value,
            b"Essential" => self.essential = value == b"yes",
            b"Multi-Arch" => self.allowed = value == b"allowed",
            b"Priority" => self.priority = priority(value),
            _ => {}
        }
    }

    fn is_blank(&self) -> bool {
        self.name.is_empty() && self.text.iter().all(|field| field.is_empty())
    }

    fn checked(self, line: usize) -> Result<Checked<'a>, IndexError> {
        let package = String::from_utf8_lossy(self.name).into_owned();
        let wrong = |field: &'static str| IndexError::Field {
            package: if package.is_empty() {
                "?".to_owned()
            } else {
                package.clone()
            },
            line,
            field,
        };
        let name = std::str::from_utf8(self.name)
            .ok()
            .filter(|name| !name.is_empty() && name.len() < 1 << 15);
        let mut text = [""; 9];
        for (to, from) in text.iter_mut().zip(self.text) {
            *to = std::str::from_utf8(from).map_err(|_| wrong("Depends"))?;
        }
        for (field, required) in [(0, "Version"), (1, "Architecture"), (2, "Filename")] {
            if text[field].is_empty() {
                return Err(wrong(required));
            }
        }
        if text[2].starts_with('/') || text[2].split('/').any(|part| part == "..") {
            return Err(wrong("Filename"));
        }
        if self.sha256.is_empty() && self.has_sha512 {
            return Err(IndexError::OnlySha512 { package, line });
        }
        let digits = |field: &[u8]| std::str::from_utf8(field).ok().and_then(|text| text.parse().ok());
        Ok(Checked {
            name: name.ok_or_else(|| wrong("Package"))?,
            text,
            sha256: crate::packages::hex::decode(self.sha256).ok_or_else(|| wrong("SHA256"))?,
            size: digits(self.size).ok_or_else(|| wrong("Size"))?,
            installed_size: digits(self.installed_size)
                .and_then(|size| u32::try_from(size).ok())
                .unwrap_or(0),
            flags: u8::from(self.essential) * ESSENTIAL + u8::from(self.allowed) * ALLOWED,
            priority: self.priority,
        })
    }
}

fn priority(value: &[u8]) -> u8 {
    match value {
        b"required" => 0,
        b"important" => 1,
        b"standard" => 2,
        b"extra" => 4,
        _ => 3,
    }
}

struct Checked<'a> {
    name: &'a str,
    text: [&'a str; 9],
    sha256: [u8; 32],
    size: u64,
    installed_size: u32,
    flags: u8,
    priority: u8,
}

#[derive(Default)]
struct Writer {
    entries: Vec<u8>,
    details: Vec<u8>,
    provides: Vec<(u32, u32)>,
    essentials: Vec<u32>,
    names: Vec<u8>,
    text: Vec<u8>,
}

impl Writer {
    fn write(mut self, stanzas: &[Checked<'_>]) -> Result<Vec<u8>, IndexError> {
        for (position, stanza) in stanzas.iter().enumerate() {
            let position = u32::try_from(position).map_err(|_| IndexError::TooLarge)?;
            self.add(position, stanza)?;
        }
        self.provides.sort_unstable();
        self.provides.dedup();
        self.finish(stanzas.len())
    }

    fn add(&mut self, position: u32, stanza: &Checked<'_>) -> Result<(), IndexError> {
        let offset = |bytes: &Vec<u8>| u32::try_from(bytes.len()).map_err(|_| IndexError::TooLarge);
        let (name_start, text_start) = (offset(&self.names)?, offset(&self.text)?);
        self.names.extend(stanza.name.bytes());
        for (at, field) in stanza.text.iter().enumerate() {
            if at > 0 {
                self.text.push(b'\t');
            }
            self.text
                .extend(field.bytes().map(|byte| if byte == b'\t' { b' ' } else { byte }));
        }
        let text_length = offset(&self.text)? - text_start;
        for value in [name_start, text_start, text_length] {
            self.entries.extend(value.to_le_bytes());
        }
        let name_length = u16::try_from(stanza.name.len()).map_err(|_| IndexError::TooLarge)?;
        self.entries.extend(name_length.to_le_bytes());
        self.entries.extend([stanza.flags, stanza.priority]);
        self.details.extend(stanza.sha256);
        self.details.extend(stanza.size.to_le_bytes());
        self.details.extend(stanza.installed_size.to_le_bytes());
        self.details.extend([0; 4]);
        let provided = super::relation::atoms(stanza.text[8]);
        self.provides
            .extend(provided.map(|atom| (hash(atom.name), position)));
        if stanza.flags & ESSENTIAL != 0 {
            self.essentials.push(position);
        }
        Ok(())
    }

    fn finish(self, packages: usize) -> Result<Vec<u8>, IndexError> {
        let mut out = MAGIC.to_vec();
        let lengths = [
            packages,
            self.provides.len(),
            self.essentials.len(),
            self.names.len(),
            self.text.len(),
        ];
        for length in lengths {
            out.extend(
                u32::try_from(length)
                    .map_err(|_| IndexError::TooLarge)?
                    .to_le_bytes(),
            );
        }
        out.resize(HEADER, 0);
        out.extend(self.entries);
        out.extend(self.details);
        for (hash, position) in self.provides {
            out.extend(hash.to_le_bytes());
            out.extend(position.to_le_bytes());
        }
        out.extend(self.essentials.iter().flat_map(|position| position.to_le_bytes()));
        out.extend(self.names);
        out.extend(self.text);
        Ok(out)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHA: &str = "3ce3aa6a5afd2b5f4d5b0d3d8f7cfa2b3ce3aa6a5afd2b5f4d5b0d3d8f7cfa2b";

    fn stanza(name: &str, more: &str) -> String {
        format!(
            "Package: {name}\nVersion: 1\nArchitecture: all\nFilename: pool/{name}.deb\nSize: 10\nSHA256: {SHA}\n{more}\n"
        )
    }

    #[test]
    fn packages_are_found_by_name_and_by_what_they_provide() {
        let text = [
            stanza(
                "zoo",
                "Provides: animals (= 2), cage\nDescription: x\n continued: line\n",
            ),
            stanza(
                "ant",
                "Essential: yes\nPriority: required\nDepends: zoo (>= 1)\nInstalled-Size: 7\n",
            ),
        ];
        let index = PackageIndex::from_text(text.concat().as_bytes()).unwrap();
        assert_eq!(index.names().collect::<Vec<_>>(), ["ant", "zoo"]);
        let ant = index.package(index.positions("ant").start);
        assert_eq!(
            (ant.depends, ant.essential, ant.priority, ant.installed_size),
            ("zoo (>= 1)", true, 0, 7)
        );
        assert_eq!((ant.path, ant.size, ant.sha256[0]), ("pool/ant.deb", 10, 0x3c));
        assert_eq!(index.may_provide("cage").collect::<Vec<_>>(), [1]);
        assert_eq!(index.may_provide("zoo").count(), 0);
        assert_eq!(index.essential().collect::<Vec<_>>(), [0]);
        assert!(index.positions("bee").is_empty());
    }

    #[track_caller]
    fn check_refused(text: &str, why: &str) {
        assert_eq!(compact(text.as_bytes()).unwrap_err().to_string(), why);
    }

    #[test]
    fn a_stanza_without_what_every_package_has_is_refused() {
        let good = stanza("good", "");
        let broken = stanza("bad", "").replace("Size: 10", "Size: ten");
        check_refused(
            &format!("{good}{broken}"),
            "the stanza of `bad` (line 8) has no usable field `Size`",
        );
        check_refused(
            "Version: 1\n",
            "the stanza of `?` (line 1) has no usable field `Architecture`",
        );
        let outside = stanza("bad", "").replace("pool/bad.deb", "../../etc/passwd");
        check_refused(
            &outside,
            "the stanza of `bad` (line 1) has no usable field `Filename`",
        );
    }

    #[test]
    fn damaged_bytes_are_no_index_and_never_panic() {
        let bytes = compact(stanza("one", "").as_bytes()).unwrap();
        assert!(PackageIndex::open(Arc::new(bytes[..bytes.len() - 1].to_vec())).is_err());
        for at in MAGIC.len()..bytes.len() {
            let mut broken = bytes.clone();
            broken[at] ^= 0xff;
            if let Ok(index) = PackageIndex::open(Arc::new(broken)) {
                let _ = (0..index.len().min(4))
                    .map(|at| index.package(at).size)
                    .sum::<u64>();
            }
        }
    }
}
