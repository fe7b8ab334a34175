//! A `.deb`: an `ar` with a version, a tar of control files and a tar of data (deb(5)).
//!
//! The tars are read through [`DebArchive::control_tar`] and [`DebArchive::data_tar`], decompressed on the way, and taken
//! apart by the `tar` crate: `tar::Archive::new(archive.data_tar())`.

use thiserror::Error;

use crate::packages::decompress::{Compression, Decoder};

/// Why bytes are no `.deb`.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum ArchiveError {
    /// It does not begin as an `ar` does.
    #[error("it is not an `ar` archive")]
    NotAnArchive,
    /// It ends in the middle of a member.
    #[error("it is cut off in member `{0}`")]
    Truncated(String),
    /// A member's header is broken.
    #[error("the header of a member at byte {0} is broken")]
    BrokenHeader(usize),
    /// The format's version is not 2.x.
    #[error("it is of format `{0}`, and only 2.x is known")]
    Format(String),
    /// A member that every `.deb` has is not there.
    #[error("it has no member `{0}`")]
    Missing(&'static str),
    /// A member that is compressed in a way that is not known.
    #[error("its member `{0}` is compressed in a way that is not known; known are none, gz, xz and zst")]
    Compression(String),
}

/// The parts of a `.deb`, borrowed from its bytes.
#[derive(Clone, Copy, Debug)]
pub struct DebArchive<'a> {
    control: Part<'a>,
    data: Part<'a>,
}

#[derive(Clone, Copy, Debug)]
struct Part<'a> {
    compression: Compression,
    bytes: &'a [u8],
}

impl<'a> DebArchive<'a> {
    /// Finds the parts of a `.deb`; nothing is decompressed yet.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, ArchiveError> {
        let mut members = Members::new(bytes)?;
        let version = members
            .next()
            .transpose()?
            .filter(|member| member.name == "debian-binary");
        let version = version.ok_or(ArchiveError::Missing("debian-binary"))?;
        if !version.bytes.starts_with(b"2.") {
            let text = String::from_utf8_lossy(version.bytes).trim().to_owned();
            return Err(ArchiveError::Format(text));
        }
        let (mut control, mut data) = (None, None);
        for member in members {
            let member = member?;
            if let Some(suffix) = member.name.strip_prefix("control.tar") {
                control = Some(part(&member, suffix)?);
            } else if let Some(suffix) = member.name.strip_prefix("data.tar") {
                data = Some(part(&member, suffix)?);
            }
        }
        Ok(DebArchive {
            control: control.ok_or(ArchiveError::Missing("control.tar"))?,
            data: data.ok_or(ArchiveError::Missing("data.tar"))?,
        })
    }

    /// The tar with `control`, maintainer scripts and the like, decompressed while it is read.
    pub fn control_tar(&self) -> Decoder<'a> {
        Decoder::new(self.control.compression, self.control.bytes)
    }

    /// The tar with the package's files, decompressed while it is read.
    pub fn data_tar(&self) -> Decoder<'a> {
        Decoder::new(self.data.compression, self.data.bytes)
    }
}

fn part<'a>(member: &Member<'a>, suffix: &str) -> Result<Part<'a>, ArchiveError> {
    let known = Compression::ALL
        .into_iter()
        .find(|known| known.suffix() == suffix);
    let compression = known.ok_or_else(|| ArchiveError::Compression(member.name.to_owned()))?;
    Ok(Part {
        compression,
        bytes: member.bytes,
    })
}

struct Member<'a> {
    name: &'a str,
    bytes: &'a [u8],
}

/// The members of an `ar`, in order (ar(5): 60 bytes of header, content, padded to an even length).
struct Members<'a> {
    bytes: &'a [u8],
    at: usize,
}

const MAGIC: &[u8] = b"!<arch>\n";
const HEADER: usize = 60;

impl<'a> Members<'a> {
    fn new(bytes: &'a [u8]) -> Result<Self, ArchiveError> {
        if !bytes.starts_with(MAGIC) {
            return Err(ArchiveError::NotAnArchive);
        }
        Ok(Members {
            bytes,
            at: MAGIC.len(),
        })
    }

    fn member(&mut self) -> Result<Member<'a>, ArchiveError> {
        let broken = || ArchiveError::BrokenHeader(self.at);
        let header = self.bytes.get(self.at..self.at + HEADER).ok_or_else(broken)?;
        if &header[58..] != b"`\n" {
            return Err(broken());
        }
        let text =
            |range: std::ops::Range<usize>| std::str::from_utf8(&header[range]).ok().map(str::trim_end);
        let name = text(0..16)
            .map(|name| name.trim_end_matches('/'))
            .ok_or_else(broken)?;
        let size: usize = text(48..58)
            .and_then(|size| size.parse().ok())
            .ok_or_else(broken)?;
        let start = self.at + HEADER;
        let end = start.checked_add(size).ok_or_else(broken)?;
        let bytes = self
            .bytes
            .get(start..end)
            .ok_or_else(|| ArchiveError::Truncated(name.to_owned()))?;
        self.at = end + size % 2;
        Ok(Member { name, bytes })
    }
}

impl<'a> Iterator for Members<'a> {
    type Item = Result<Member<'a>, ArchiveError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.at >= self.bytes.len() {
            return None;
        }
        let member = self.member();
        if member.is_err() {
            self.at = self.bytes.len();
        }
        Some(member)
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use std::io::Read;

    use super::*;

    /// An `ar` of these members.
    pub(crate) fn ar(members: &[(&str, &[u8])]) -> Vec<u8> {
        let mut out = MAGIC.to_vec();
        for (name, bytes) in members {
            out.extend(
                format!(
                    "{name:<16}{:<12}{:<6}{:<6}{:<8}{:<10}`\n",
                    0,
                    0,
                    0,
                    "100644",
                    bytes.len()
                )
                .bytes(),
            );
            out.extend(*bytes);
            out.extend(vec![b'\n'; bytes.len() % 2]);
        }
        out
    }

    #[test]
    fn the_tars_are_found_among_members_of_odd_length() {
        let bytes = ar(&[
            ("debian-binary", b"2.0\n"),
            ("_note/", b"odd"),
            ("control.tar", b"c"),
            ("data.tar/", b"data"),
        ]);
        let archive = DebArchive::parse(&bytes).unwrap();
        let read = |mut tar: Decoder<'_>| {
            let mut text = String::new();
            tar.read_to_string(&mut text).unwrap();
            text
        };
        assert_eq!(
            (read(archive.control_tar()), read(archive.data_tar())),
            ("c".to_owned(), "data".to_owned())
        );
    }

    #[track_caller]
    fn check_refused(bytes: &[u8], why: &str) {
        assert_eq!(DebArchive::parse(bytes).unwrap_err().to_string(), why);
    }

    #[test]
    fn what_is_no_deb_is_refused() {
        check_refused(b"PK", "it is not an `ar` archive");
        check_refused(&ar(&[("control.tar", b"c")]), "it has no member `debian-binary`");
        check_refused(
            &ar(&[("debian-binary", b"3.0\n")]),
            "it is of format `3.0`, and only 2.x is known",
        );
        check_refused(
            &ar(&[("debian-binary", b"2.0\n"), ("control.tar", b"")]),
            "it has no member `data.tar`",
        );
        let odd = "its member `data.tar.lzma` is compressed in a way that is not known; known are none, gz, xz and zst";
        check_refused(&ar(&[("debian-binary", b"2.0\n"), ("data.tar.lzma", b"")]), odd);
        let whole = ar(&[("debian-binary", b"2.0\n"), ("control.tar", b"control")]);
        check_refused(&whole[..whole.len() - 3], "it is cut off in member `control.tar`");
        check_refused(&whole[..80], "the header of a member at byte 72 is broken");
    }
}
