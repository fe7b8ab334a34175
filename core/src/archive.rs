//! Tar archives written by others, read within [`limits`](crate::limits).
//!
//! The `tar` crate reads long names, pax records and maps of sparse files into memory, as large as the archive says they
//! are. [`Archive`] bounds what it may read between two members, counts members, and bounds names. What an archive costs
//! in all is counted by an [`Allowance`], which several archives can share.

use std::cell::Cell;
use std::fmt;
use std::io::{self, Read, Seek, SeekFrom};
use std::rc::Rc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::limits::{self, Limit};

/// A tar archive of untrusted origin.
pub struct Archive<'l, R: Read> {
    tar: tar::Archive<Metered<R>>,
    left: Rc<Cell<u64>>,
    allowance: &'l Allowance,
}

/// The members of an [`Archive`], in order.
pub struct Members<'a, R: Read> {
    entries: tar::Entries<'a, Metered<R>>,
    left: Rc<Cell<u64>>,
    allowance: &'a Allowance,
}

/// The costs of the archives that make up one package or image.
#[derive(Debug, Default)]
pub struct Allowance {
    members: AtomicU64,
    names: AtomicU64,
    bytes: AtomicU64,
    is_unlimited: bool,
}

/// A reader that fails when the headers of one member are larger than [`limits::ARCHIVE_HEADER`].
#[derive(Debug)]
pub struct Metered<R> {
    inner: R,
    left: Rc<Cell<u64>>,
}

/// A reader that skips by reading, for archives that are decompressed on the way; it fails at a limit on all bytes.
#[derive(Debug)]
pub struct Forward<R> {
    inner: R,
    at: u64,
    limit: Limit,
}

const UNMETERED: u64 = u64::MAX;

impl<'l, R: Read + Seek> Archive<'l, R> {
    /// An archive whose members count against an allowance.
    pub fn new(reader: R, allowance: &'l Allowance) -> Self {
        let left = Rc::new(Cell::new(UNMETERED));
        let metered = Metered {
            inner: reader,
            left: Rc::clone(&left),
        };
        Archive {
            tar: tar::Archive::new(metered),
            left,
            allowance,
        }
    }

    /// The members; a [`limits::Exceeded`] is inside of the error for what is over a limit.
    pub fn members(&mut self) -> io::Result<Members<'_, R>> {
        Ok(Members {
            entries: self.tar.entries_with_seek()?,
            left: Rc::clone(&self.left),
            allowance: self.allowance,
        })
    }
}

impl<R: Read> fmt::Debug for Archive<'_, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Archive").finish_non_exhaustive()
    }
}

impl<R: Read> fmt::Debug for Members<'_, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Members").finish_non_exhaustive()
    }
}

impl<'a, R: Read> Iterator for Members<'a, R> {
    type Item = io::Result<tar::Entry<'a, Metered<R>>>;

    fn next(&mut self) -> Option<Self::Item> {
        self.left.set(limits::ARCHIVE_HEADER.value);
        let entry = self.entries.next();
        self.left.set(UNMETERED);
        Some(entry?.and_then(|entry| {
            self.allowance.member()?;
            let link = entry.link_name_bytes();
            for name in [Some(entry.path_bytes()), link].into_iter().flatten() {
                if limits::ARCHIVE_PATH.is_exceeded_by(name.len()) {
                    let start = String::from_utf8_lossy(&name[..64]).into_owned();
                    let what = format!("a path of {} bytes, `{start}…`,", name.len());
                    return Err(limits::ARCHIVE_PATH.exceeded(what).into());
                }
                self.allowance.name(name.len())?;
            }
            Ok(entry)
        }))
    }
}

impl Allowance {
    /// An allowance for archives that this program made, which may be as large as the user wants.
    pub fn unlimited() -> Self {
        Allowance {
            is_unlimited: true,
            ..Self::default()
        }
    }

    /// Counts a member.
    pub fn member(&self) -> io::Result<()> {
        self.count(
            &self.members,
            1,
            limits::ARCHIVE_MEMBERS,
            "the number of its members",
        )
    }

    /// Counts a name, or an attribute.
    pub fn name(&self, length: usize) -> io::Result<()> {
        self.count(
            &self.names,
            length as u64,
            limits::ARCHIVE_NAMES,
            "the sum of its names",
        )
    }

    /// Counts bytes against a limit; an allowance counts them for one limit.
    pub fn bytes(&self, more: u64, limit: Limit, what: &str) -> io::Result<()> {
        self.count(&self.bytes, more, limit, what)
    }

    fn count(&self, counter: &AtomicU64, more: u64, limit: Limit, what: &str) -> io::Result<()> {
        let before = counter.fetch_add(more, Ordering::Relaxed);
        if !self.is_unlimited && before.saturating_add(more) > limit.value {
            return Err(limit.exceeded(what).into());
        }
        Ok(())
    }
}

/// Reads a text of a package into memory, within [`limits::PACKAGE_MEMBER`] and [`limits::PACKAGE_MEMBERS`].
pub fn package_text(name: &str, content: impl Read, allowance: &Allowance) -> io::Result<Vec<u8>> {
    let mut text = Vec::new();
    content
        .take(limits::PACKAGE_MEMBER.value + 1)
        .read_to_end(&mut text)?;
    if limits::PACKAGE_MEMBER.is_exceeded_by(text.len()) {
        let exceeded = limits::PACKAGE_MEMBER.exceeded(format!("its file `{name}`"));
        return Err(exceeded.into());
    }
    allowance.bytes(text.len() as u64, limits::PACKAGE_MEMBERS, "the sum of its texts")?;
    Ok(text)
}

impl<R: Read> Read for Metered<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let left = self.left.get();
        if left == UNMETERED {
            return self.inner.read(buffer);
        }
        if left == 0 && !buffer.is_empty() {
            return Err(limits::ARCHIVE_HEADER.exceeded("a header in it").into());
        }
        let wanted = usize::try_from(left).map_or(buffer.len(), |left| left.min(buffer.len()));
        let count = self.inner.read(&mut buffer[..wanted])?;
        self.left.set(left - count as u64);
        Ok(count)
    }
}

impl<R: Seek> Seek for Metered<R> {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        self.inner.seek(to)
    }
}

impl<R: Read> Forward<R> {
    /// A reader of at most so many bytes.
    pub fn new(inner: R, limit: Limit) -> Self {
        Forward { inner, at: 0, limit }
    }
}

impl<R: Read> Read for Forward<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(buffer)?;
        self.at += count as u64;
        if self.at > self.limit.value {
            return Err(self.limit.exceeded("its unpacked size").into());
        }
        Ok(count)
    }
}

impl<R: Read> Seek for Forward<R> {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let distance = match to {
            SeekFrom::Current(distance) => u64::try_from(distance).ok(),
            SeekFrom::Start(_) | SeekFrom::End(_) => None,
        };
        let distance = distance.ok_or_else(|| io::Error::from(io::ErrorKind::Unsupported))?;
        let skipped = io::copy(&mut self.by_ref().take(distance), &mut io::sink())?;
        if skipped < distance {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        Ok(self.at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::Exceeded;

    /// A header of a member, of this type and size.
    fn header(kind: tar::EntryType, name: &str, size: u64) -> Vec<u8> {
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(kind);
        header.set_path(name).unwrap();
        header.set_size(size);
        header.set_mode(0o644);
        header.set_cksum();
        header.as_bytes().to_vec()
    }

    fn names(archive: impl Read) -> io::Result<Vec<String>> {
        let (allowance, forward) = (Allowance::default(), Forward::new(archive, limits::IMAGE_SIZE));
        let mut archive = Archive::new(forward, &allowance);
        archive
            .members()?
            .map(|entry| Ok(String::from_utf8_lossy(&entry?.path_bytes()).into_owned()))
            .collect()
    }

    #[track_caller]
    fn check_refused(archive: impl Read, limit: &str) {
        let error = names(archive).unwrap_err();
        let exceeded = Exceeded::of(&error).unwrap_or_else(|| panic!("{error}"));
        assert_eq!(exceeded.limit.name, limit, "{error}");
    }

    #[test]
    fn contents_are_skipped_and_never_metered() {
        let large = 3 * limits::ARCHIVE_HEADER.value + 1;
        let padded = large.next_multiple_of(512);
        let first =
            io::Cursor::new(header(tar::EntryType::Regular, "a", large)).chain(io::repeat(7).take(padded));
        let archive = first.chain(io::Cursor::new(header(tar::EntryType::Regular, "b", 0)));
        assert_eq!(names(archive).unwrap(), ["a", "b"]);
    }

    #[test]
    fn an_archive_that_is_cut_off_is_an_error() {
        let archive =
            io::Cursor::new(header(tar::EntryType::Regular, "a", 4096)).chain(io::repeat(7).take(512));
        assert_eq!(names(archive).unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
    }

    #[test]
    fn headers_of_gigabytes_are_refused_before_they_are_read() {
        let size = 2 << 30;
        for (kind, name) in [
            (tar::EntryType::GNULongName, "././@LongLink"),
            (tar::EntryType::GNULongLink, "././@LongLink"),
            (tar::EntryType::XHeader, "pax"),
        ] {
            let archive = io::Cursor::new(header(kind, name, size)).chain(io::repeat(0));
            check_refused(archive, "archive-header");
        }
    }

    #[test]
    fn a_map_of_a_sparse_file_is_a_header_too() {
        let mut sparse = header(tar::EntryType::GNUSparse, "a", 0);
        sparse[482] = 1;
        let mut checked = tar::Header::new_gnu();
        checked.as_mut_bytes().copy_from_slice(&sparse);
        checked.set_cksum();
        // Blocks of the map that all say that another one follows.
        let mut block = [0; 512];
        block[504] = 1;
        let endless = std::iter::repeat_n(block, 4096).flatten().collect::<Vec<u8>>();
        let archive = io::Cursor::new(checked.as_bytes().to_vec()).chain(io::Cursor::new(endless));
        check_refused(archive, "archive-header");
    }

    #[test]
    fn paths_and_targets_end_at_path_max() {
        let long = |length: usize, is_link: bool| {
            let mut builder = tar::Builder::new(Vec::new());
            let mut header = tar::Header::new_gnu();
            header.set_size(0);
            let path = "d/".repeat(length / 2);
            if is_link {
                header.set_entry_type(tar::EntryType::Symlink);
                builder.append_link(&mut header, "a", path).unwrap();
            } else {
                builder.append_data(&mut header, path, io::empty()).unwrap();
            }
            io::Cursor::new(builder.into_inner().unwrap())
        };
        assert_eq!(names(long(4096, false)).unwrap().len(), 1);
        check_refused(long(4098, false), "archive-path");
        check_refused(long(100_000, false), "archive-path");
        check_refused(long(4098, true), "archive-path");
    }

    #[test]
    fn members_and_names_are_counted_over_all_archives() {
        let allowance = Allowance::default();
        for _ in 0..limits::ARCHIVE_MEMBERS.value {
            allowance.member().unwrap();
        }
        let error = allowance.member().unwrap_err();
        assert_eq!(
            error.to_string(),
            "the number of its members exceeds the limit `archive-members` of 600000 members"
        );
        let (half, allowance) = ((limits::ARCHIVE_NAMES.value / 2) as usize, Allowance::default());
        allowance.name(half).unwrap();
        allowance.name(half).unwrap();
        assert!(Exceeded::of(&allowance.name(1).unwrap_err()).is_some());
    }

    #[test]
    fn the_unpacked_size_is_bounded() {
        let small = Limit {
            value: 1024,
            ..limits::PACKAGE_SIZE
        };
        let mut forward = Forward::new(io::repeat(0), small);
        let error = forward.seek(SeekFrom::Current(1 << 40)).unwrap_err();
        assert_eq!(
            error.to_string(),
            "its unpacked size exceeds the limit `package-size` of 1 KiB"
        );
    }
}
