//! The files of one package, into the root.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{self, Read, Write};
use std::path::Path;

use kcompose_core::archive::{Allowance, Archive, Forward};
use kcompose_core::limits;
use kcompose_core::packages::deb::archive::DebArchive;
use md5::{Digest, Md5};
use rustix::fs::{CWD, FileType, Mode};
use tar::{Entry, EntryType};

use crate::fs::{self, Meta};
use crate::problem::{Doing, Outcome, Problem};

use super::claims::{self, Claims, Turn};
use super::package::{self, Package, broken};

/// What a package brought.
#[derive(Debug, Default)]
pub(crate) struct Extracted {
    /// Its paths as dpkg lists them, in the order of the archive: `/.`, `/usr`, ….
    pub(crate) list: Vec<Vec<u8>>,
    /// Paths of the list that another package has.
    pub(crate) lost: BTreeSet<Vec<u8>>,
    /// MD5 sums by listed path: of conffiles, and of all files if the package brings no `md5sums`.
    pub(crate) sums: BTreeMap<Vec<u8>, String>,
}

/// Extracts all files of a package that it may write.
pub(crate) fn extract(index: usize, package: &Package, claims: &Claims) -> Outcome<Extracted> {
    let bytes = std::fs::read(&package.archive).doing("read", Path::new(&package.archive))?;
    let deb = DebArchive::parse(&bytes).map_err(|error| broken(&package.archive, &error))?;
    let unreadable = |error: io::Error| package::unreadable(&package.archive, &error);
    let allowance = Allowance::default();
    let data_tar = Forward::new(deb.data_tar(), limits::PACKAGE_SIZE);
    let mut writer = Writer::new(index, package, claims);
    for entry in Archive::new(data_tar, &allowance).members().map_err(unreadable)? {
        writer.entry(entry.map_err(unreadable)?)?;
    }
    Ok(writer.extracted)
}

/// Writes one path of a package once more, in place of another package's file.
pub(crate) fn extract_one(package: &Package, listed: &[u8], at: &Path, epoch: i64) -> Outcome<()> {
    let bytes = std::fs::read(&package.archive).doing("read", Path::new(&package.archive))?;
    let deb = DebArchive::parse(&bytes).map_err(|error| broken(&package.archive, &error))?;
    let unreadable = |error: io::Error| package::unreadable(&package.archive, &error);
    let allowance = Allowance::default();
    let data_tar = Forward::new(deb.data_tar(), limits::PACKAGE_SIZE);
    for entry in Archive::new(data_tar, &allowance).members().map_err(unreadable)? {
        let mut entry = entry.map_err(unreadable)?;
        if listed_path(&entry.path_bytes()) == listed {
            if entry.header().entry_type().is_hard_link() {
                return Err(linked_loser(package, listed).into());
            }
            let meta = meta(&entry, epoch).map_err(unreadable)?;
            return write(&mut entry, at, meta, None, &mut vec![0; BUFFER]);
        }
    }
    Err(broken(&package.archive, &"a file in it is gone").into())
}

const BUFFER: usize = 128 * 1024;

struct Writer<'a> {
    index: usize,
    package: &'a Package,
    claims: &'a Claims,
    conffiles: BTreeSet<Vec<u8>>,
    sum_all: bool,
    extracted: Extracted,
    buffer: Vec<u8>,
}

impl<'a> Writer<'a> {
    fn new(index: usize, package: &'a Package, claims: &'a Claims) -> Self {
        let conffiles = package
            .conffiles()
            .into_iter()
            .map(|(path, _)| path.into_bytes())
            .collect();
        let sum_all = !package.members.contains_key("md5sums");
        let (extracted, buffer) = (Extracted::default(), vec![0; BUFFER]);
        Writer {
            index,
            package,
            claims,
            conffiles,
            sum_all,
            extracted,
            buffer,
        }
    }

    fn entry(&mut self, mut entry: Entry<'_, impl Read>) -> Outcome<()> {
        let path = entry.path_bytes().into_owned();
        let listed = listed_path(&path);
        self.extracted.list.push(listed.clone());
        let Some(placed) = super::placed(&path)? else {
            return Ok(());
        };
        let meta = meta(&entry, self.claims.epoch).map_err(|error| broken(&self.package.archive, &error))?;
        if entry.header().entry_type().is_dir() {
            let meta = Meta {
                mtime: self.claims.epoch,
                ..meta
            };
            return self
                .claims
                .directory(&placed, self.index, meta, &self.package.name);
        }
        let is_link = entry.header().entry_type().is_symlink();
        let target = is_link.then(|| entry.link_name_bytes().unwrap_or_default().into_owned());
        let claimed = claims::Entry {
            path: &placed,
            listed: &listed,
            target: target.as_deref(),
        };
        match self.claims.other(claimed, self.index, self.package)? {
            Turn::Write(at) if is_link => {
                let claims = self.claims;
                claims.write_link(&at, self.index, || self.write(&mut entry, &at, listed, meta))
            }
            Turn::Write(at) => self.write(&mut entry, &at, listed, meta),
            Turn::Skip => Ok(()),
            Turn::Lost => {
                self.extracted.lost.insert(listed);
                Ok(())
            }
        }
    }

    fn write(
        &mut self,
        entry: &mut Entry<'_, impl Read>,
        at: &Path,
        listed: Vec<u8>,
        meta: Meta,
    ) -> Outcome<()> {
        if entry.header().entry_type().is_hard_link() {
            return self.hard_link(entry, at);
        }
        let conffile = self.conffiles.contains(&listed);
        let wants_sum = entry.header().entry_type().is_file() && (conffile || self.sum_all);
        let mut sum = wants_sum.then(Md5::new);
        // A file that is there and belongs to nobody was put there on purpose: dpkg would keep it, too.
        if conffile && fs::look(at)?.is_some() {
            drain(entry, sum.as_mut(), &mut self.buffer)
                .map_err(|error| broken(&self.package.archive, &error))?;
        } else {
            write(entry, at, meta, sum.as_mut(), &mut self.buffer)?;
        }
        if let Some(sum) = sum {
            self.extracted.sums.insert(listed, hex(&sum.finalize()));
        }
        Ok(())
    }

    fn hard_link(&self, entry: &Entry<'_, impl Read>, at: &Path) -> Outcome<()> {
        let target = entry.link_name_bytes().unwrap_or_default().into_owned();
        let listed = listed_path(&target);
        if self.extracted.lost.contains(&listed) {
            return Err(linked_loser(self.package, &listed).into());
        }
        let Some(placed) = super::placed(&target)? else {
            return Err(broken(&self.package.archive, &"a hard link in it has no target").into());
        };
        let claimed = claims::Entry {
            path: &placed,
            listed: &listed,
            target: None,
        };
        let Turn::Write(target) = self.claims.other(claimed, self.index, self.package)? else {
            if self.claims.is_late(self.index) {
                return Ok(());
            }
            return Err(linked_loser(self.package, &listed).into());
        };
        fs::remove(at)?;
        std::fs::hard_link(&target, at).doing("make hard link", at)
    }
}

fn linked_loser(package: &Package, listed: &[u8]) -> Problem {
    let listed = String::from_utf8_lossy(listed);
    let message = format!(
        "`{listed}` of `{}` is hard linked, and also in another package",
        package.name
    );
    Problem::new("kcompose::step::file_conflict", message)
}

/// The path as dpkg lists it: `./usr/bin/` is `/usr/bin`, the root `/.`.
fn listed_path(path: &[u8]) -> Vec<u8> {
    let path = path.strip_prefix(b"./").unwrap_or(path);
    let path = path.strip_prefix(b"/").unwrap_or(path);
    let path = path.strip_suffix(b"/").unwrap_or(path);
    if path.is_empty() || path == b"." {
        b"/.".to_vec()
    } else {
        [b"/", path].concat()
    }
}

fn meta(entry: &Entry<'_, impl Read>, epoch: i64) -> io::Result<Meta> {
    let header = entry.header();
    let number = |id: u64| u32::try_from(id).map_err(io::Error::other);
    let mtime = i64::try_from(header.mtime()?)
        .map_err(io::Error::other)?
        .min(epoch);
    Ok(Meta {
        mode: header.mode()? & 0o7777,
        uid: number(header.uid()?)?,
        gid: number(header.gid()?)?,
        mtime,
    })
}

fn write(
    entry: &mut Entry<'_, impl Read>,
    at: &Path,
    meta: Meta,
    sum: Option<&mut Md5>,
    buffer: &mut [u8],
) -> Outcome<()> {
    match entry.header().entry_type() {
        EntryType::Regular | EntryType::Continuous | EntryType::GNUSparse => {
            let file = fs::create_file(at, meta.mode).doing("write", at)?;
            copy(entry, Some(&file), sum, buffer).doing("write", at)?;
            fs::set_file_meta(&file, meta).doing("set owner and mode of", at)
        }
        EntryType::Symlink => {
            let target = entry.link_name_bytes().unwrap_or_default();
            fs::write_link(at, &target, meta).doing("make link", at)
        }
        EntryType::Char => make_node(entry, at, meta, FileType::CharacterDevice),
        EntryType::Block => make_node(entry, at, meta, FileType::BlockDevice),
        EntryType::Fifo => make_node(entry, at, meta, FileType::Fifo),
        other => {
            let message = format!(
                "`{}` has a type in its archive that no package may have: {other:?}",
                at.display()
            );
            Err(Problem::new("kcompose::step::archive", message).into())
        }
    }
}

fn make_node(entry: &Entry<'_, impl Read>, at: &Path, meta: Meta, kind: FileType) -> Outcome<()> {
    let number = |part: io::Result<Option<u32>>| part.ok().flatten().unwrap_or_default();
    let device = rustix::fs::makedev(
        number(entry.header().device_major()),
        number(entry.header().device_minor()),
    );
    fs::remove(at)?;
    rustix::fs::mknodat(CWD, at, kind, Mode::from_raw_mode(0o600), device).doing("make device", at)?;
    fs::set_meta(at, meta).doing("set owner and mode of", at)
}

fn drain(entry: &mut Entry<'_, impl Read>, sum: Option<&mut Md5>, buffer: &mut [u8]) -> io::Result<()> {
    copy(entry, None, sum, buffer)
}

fn copy(
    from: &mut impl Read,
    mut to: Option<&File>,
    mut sum: Option<&mut Md5>,
    buffer: &mut [u8],
) -> io::Result<()> {
    loop {
        let count = from.read(buffer)?;
        if count == 0 {
            return Ok(());
        }
        if let Some(sum) = sum.as_deref_mut() {
            sum.update(&buffer[..count]);
        }
        if let Some(file) = &mut to {
            file.write_all(&buffer[..count])?;
        }
    }
}

/// Bytes as lower-case hexadecimal digits.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_listed_as_dpkg_does() {
        let listed = |path: &str| String::from_utf8(listed_path(path.as_bytes())).unwrap();
        assert_eq!(listed("./"), "/.");
        assert_eq!(listed("./usr/bin/"), "/usr/bin");
        assert_eq!(listed("usr/x"), "/usr/x");
    }
}
