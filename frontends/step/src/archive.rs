//! A tar archive that a flavor downloads, unpacked into the root.
//!
//! Owners and times of the archive never count. Nothing is written outside of where it goes: not by `..`, and not through
//! a link that the archive itself made.

use std::collections::BTreeSet;
use std::io::{self, Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use kcompose_core::archive::{Allowance, Archive, Forward};
use kcompose_core::limits::{self, Exceeded};
use kcompose_core::packages::decompress::{Compression, Decoder};
use tar::{Entry, EntryType};

use crate::fs::{self, Meta};
use crate::problem::{Doing, Outcome, Problem};

/// Where an archive goes, and how.
#[derive(Clone, Copy)]
pub(crate) struct Target<'a> {
    /// The root.
    pub(crate) root: &'a Path,
    /// The directory in it, as an absolute path.
    pub(crate) directory: &'a str,
    /// How many leading parts of each path are taken off.
    pub(crate) strip: usize,
    /// The owner of everything; the mode is each entry's own.
    pub(crate) owner: Meta,
    /// Set if the flavor names the owner: the directory gets it then, even one that the image has already.
    pub(crate) is_owned: bool,
}

/// Unpacks an archive.
pub(crate) fn unpack(archive: &Path, target: Target<'_>) -> Outcome<()> {
    let bytes = std::fs::read(archive).doing("read", archive)?;
    let mut unpacker = Unpacker {
        target,
        links: BTreeSet::new(),
        left: limits::PACKAGE_SIZE.value,
        count: 0,
    };
    let top = fs::inside(target.root, target.directory)?;
    if top.is_dir() {
        give(&top, target)?;
    } else {
        let meta = Meta {
            mode: 0o755,
            ..target.owner
        };
        directory(&top, meta)?;
    }
    let (allowance, decoder) = (Allowance::default(), Decoder::new(compression(&bytes)?, &bytes));
    let mut archive = Archive::new(Forward::new(decoder, limits::PACKAGE_SIZE), &allowance);
    for entry in archive.members().map_err(|error| unreadable(&error))? {
        unpacker.entry(entry.map_err(|error| unreadable(&error))?)?;
    }
    if unpacker.count == 0 {
        let message = format!(
            "nothing of the archive is left when {} parts of each path are taken off",
            target.strip
        );
        return Err(Problem::new("kcompose::step::archive", message).into());
    }
    Ok(())
}

/// Gives a directory that the image has to the owner that the flavor names; `/` is never what is meant.
fn give(top: &Path, target: Target<'_>) -> Outcome<()> {
    if !target.is_owned || target.directory.trim_end_matches('/').is_empty() {
        return Ok(());
    }
    let found = top.metadata().doing("look at", top)?;
    let meta = Meta {
        mtime: target.owner.mtime,
        uid: target.owner.uid,
        gid: target.owner.gid,
        ..fs::meta_of(&found)
    };
    let real = std::fs::canonicalize(top).doing("look at", top)?;
    fs::set_meta(&real, meta).doing("set owner and mode of", &real)
}

fn unreadable(error: &io::Error) -> crate::problem::Problems {
    if let Some(exceeded) = Exceeded::of(error) {
        let message = format!("the archive is too large to unpack: {exceeded}");
        let problem = Problem::new("kcompose::step::archive-limit", message);
        return problem.help(exceeded.help()).into();
    }
    Problem::new(
        "kcompose::step::archive",
        format!("it is no tar archive: {error}"),
    )
    .help("unpack it by other means, or leave `unpack` out")
    .into()
}

/// How the archive is compressed, by its first bytes.
fn compression(bytes: &[u8]) -> Outcome<Compression> {
    let known: [(&[u8], Compression); 3] = [
        (b"\x1f\x8b", Compression::Gzip),
        (b"\xfd7zXZ\0", Compression::Xz),
        (b"\x28\xb5\x2f\xfd", Compression::Zstd),
    ];
    let other: [(&[u8], &str); 3] = [
        (b"PK", "a zip"),
        (b"BZh", "compressed with bzip2"),
        (b"7z\xbc\xaf", "a 7z"),
    ];
    if let Some((_, word)) = other.iter().find(|(magic, _)| bytes.starts_with(magic)) {
        let message = format!("the archive is {word}, which cannot be unpacked here");
        return Err(Problem::new("kcompose::step::archive", message)
            .help("name a tar archive: .tar, .tar.gz, .tar.xz or .tar.zst")
            .into());
    }
    let found = known.iter().find(|(magic, _)| bytes.starts_with(magic));
    Ok(found.map_or(Compression::None, |(_, compression)| *compression))
}

struct Unpacker<'a> {
    target: Target<'a>,
    /// Links that the archive made: nothing goes through them.
    links: BTreeSet<PathBuf>,
    left: u64,
    count: usize,
}

impl Unpacker<'_> {
    fn entry(&mut self, mut entry: Entry<'_, impl Read>) -> Outcome<()> {
        let name = entry.path_bytes().into_owned();
        let Some(at) = self.place(&name)? else {
            return Ok(());
        };
        self.count += 1;
        let header = entry.header();
        let mode = header.mode().map_err(|error| unreadable(&error))? & 0o777;
        let meta = Meta {
            mode,
            ..self.target.owner
        };
        match header.entry_type() {
            EntryType::Directory => return directory(&at, meta),
            EntryType::Regular | EntryType::Continuous | EntryType::GNUSparse => {
                self.left = self
                    .left
                    .checked_sub(entry.size())
                    .ok_or_else(|| refused(&name, "the archive unpacks to more than 16 GiB"))?;
                make_place(&at, meta.mtime)?;
                write(&mut entry, &at, meta)?;
            }
            EntryType::Symlink => {
                let to = entry.link_name_bytes().unwrap_or_default().into_owned();
                make_place(&at, meta.mtime)?;
                fs::write_link(&at, &to, Meta { mode: 0o777, ..meta }).doing("make link", &at)?;
                self.links.insert(at.clone());
            }
            EntryType::Link => {
                let to = entry.link_name_bytes().unwrap_or_default().into_owned();
                let from = self.place(&to)?;
                let from = from.filter(|from| from.symlink_metadata().is_ok_and(|found| found.is_file()));
                let from = from.ok_or_else(|| refused(&name, "it is a hard link to what is not there"))?;
                make_place(&at, meta.mtime)?;
                std::fs::hard_link(&from, &at).doing("make hard link", &at)?;
            }
            _ => return Err(refused(&name, "it is no file, directory or link")),
        }
        settle(&at, meta.mtime)
    }

    /// Where an entry goes; `None` if nothing of its name is left.
    fn place(&self, name: &[u8]) -> Outcome<Option<PathBuf>> {
        let name_is = |reason: &str| refused(name, reason);
        let text = std::str::from_utf8(name).map_err(|_| name_is("its name is no UTF-8"))?;
        let parts: Vec<&str> = text
            .split('/')
            .filter(|part| !part.is_empty() && *part != ".")
            .collect();
        if parts.contains(&"..") {
            return Err(name_is("it leads out of the archive"));
        }
        let mut path = self.target.directory.trim_end_matches('/').to_owned();
        let mut at = None;
        for part in parts.iter().skip(self.target.strip) {
            if at.as_ref().is_some_and(|above| self.links.contains(above)) {
                return Err(name_is("it leads through a link of the archive"));
            }
            path.push('/');
            path.push_str(part);
            at = Some(fs::inside(self.target.root, &path)?);
        }
        Ok(at)
    }
}

fn refused(name: &[u8], reason: &str) -> crate::problem::Problems {
    let message = format!(
        "`{}` of the archive is refused: {reason}",
        String::from_utf8_lossy(name)
    );
    Problem::new("kcompose::step::archive", message).into()
}

/// A directory that the image has keeps its owner and mode, as with `copy`.
fn directory(at: &Path, meta: Meta) -> Outcome<()> {
    if at.is_dir() {
        return Ok(());
    }
    make_place(at, meta.mtime)?;
    std::fs::create_dir(at).doing("make directory", at)?;
    fs::set_meta(at, meta).doing("set owner and mode of", at)?;
    settle(at, meta.mtime)
}

/// Makes the directories above, and takes away a file or link that is in the way.
fn make_place(at: &Path, epoch: i64) -> Outcome<()> {
    fs::make_parent(at, epoch)?;
    match fs::look(at)? {
        Some(found) if found.is_dir() => {
            let message = format!(
                "`{}` is a directory, and a file or link is to take its place",
                at.display()
            );
            Err(Problem::new("kcompose::step::type_conflict", message).into())
        }
        Some(_) => fs::remove(at),
        None => Ok(()),
    }
}

fn write(entry: &mut Entry<'_, impl Read>, at: &Path, meta: Meta) -> Outcome<()> {
    let mut file = fs::create_file(at, meta.mode).doing("write", at)?;
    io::copy(entry, &mut file).doing("write", at)?;
    file.flush().doing("write", at)?;
    fs::set_file_meta(&file, meta).doing("set owner and mode of", at)
}

/// What is made in a directory moves its time.
fn settle(at: &Path, epoch: i64) -> Outcome<()> {
    match at
        .parent()
        .filter(|parent| !parent.as_os_str().as_bytes().is_empty())
    {
        Some(parent) => fs::set_mtime(parent, epoch).doing("set the time of", parent),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{MetadataExt, PermissionsExt};

    use super::*;

    /// Entries: a name that ends in `/` is a directory, `a -> b` a link, `a => b` a hard link, all else a file of its name.
    fn archive(entries: &[&str]) -> Vec<u8> {
        let mut builder = tar::Builder::new(Vec::new());
        for entry in entries {
            let mut header = tar::Header::new_gnu();
            header.set_uid(1234);
            header.set_mtime(99);
            let mut set = |name: &str, kind: EntryType, mode: u32, to: Option<&str>| {
                // Unchecked: the tests are about names that the crate would refuse to write.
                header.as_mut_bytes()[..name.len()].copy_from_slice(name.as_bytes());
                header.set_entry_type(kind);
                header.set_mode(mode);
                header.set_size(if kind == EntryType::Regular {
                    name.len() as u64
                } else {
                    0
                });
                if let Some(to) = to {
                    header.set_link_name(to).unwrap();
                }
                header.set_cksum();
            };
            let mut content = "";
            if let Some((name, to)) = entry.split_once(" -> ") {
                set(name, EntryType::Symlink, 0o777, Some(to));
            } else if let Some((name, to)) = entry.split_once(" => ") {
                set(name, EntryType::Link, 0o644, Some(to));
            } else if let Some(name) = entry.strip_suffix('/') {
                set(name, EntryType::Directory, 0o750, None);
            } else {
                set(entry, EntryType::Regular, 0o4755, None);
                content = entry;
            }
            builder.append(&header, content.as_bytes()).unwrap();
        }
        builder.into_inner().unwrap()
    }

    fn unpacked(root: &Path, bytes: &[u8], strip: usize) -> Outcome<()> {
        let file = root.join("archive");
        std::fs::write(&file, bytes).unwrap();
        let owner = fs::meta_of(&root.metadata().unwrap());
        let target = Target {
            root,
            directory: "/opt/it",
            strip,
            owner: Meta { mtime: 7, ..owner },
            is_owned: false,
        };
        let outcome = unpack(&file, target);
        std::fs::remove_file(file).unwrap();
        outcome
    }

    #[test]
    fn files_links_and_directories_come_without_owners_times_and_setuid_bits() {
        let root = tempfile::tempdir().unwrap();
        let bytes = archive(&[
            "./top/",
            "top/bin/tool",
            "top/link -> bin/tool",
            "top/hard => top/bin/tool",
            "top/empty/",
        ]);
        unpacked(root.path(), &bytes, 1).unwrap();
        let at = |path: &str| root.path().join("opt/it").join(path);
        let tool = at("bin/tool").metadata().unwrap();
        assert_eq!((tool.permissions().mode() & 0o7777, tool.mtime()), (0o755, 7));
        assert_ne!(tool.uid(), 1234);
        assert_eq!(std::fs::read_to_string(at("link")).unwrap(), "top/bin/tool");
        assert_eq!(at("hard").metadata().unwrap().ino(), tool.ino());
        assert_eq!(
            at("empty").metadata().unwrap().permissions().mode() & 0o777,
            0o750
        );
        assert_eq!(at("bin").metadata().unwrap().mtime(), 7);
        // A second time it takes the place of the first.
        unpacked(root.path(), &bytes, 1).unwrap();
    }

    #[test]
    fn the_directory_gets_the_owner_that_the_flavor_names() {
        kcompose_testing::needs!(Root);
        let root = tempfile::tempdir().unwrap();
        let file = root.path().join("archive");
        std::fs::write(&file, archive(&["x"])).unwrap();
        std::fs::create_dir_all(root.path().join("srv/old")).unwrap();
        let owner = |path: &str| root.path().join(path).metadata().unwrap().uid();
        for (directory, is_owned, expected) in [
            ("/srv/old", false, 0),
            ("/srv/old", true, 33),
            ("/srv/new", true, 33),
            ("/", true, 0),
        ] {
            let target = Target {
                root: root.path(),
                directory,
                strip: 0,
                owner: Meta {
                    uid: 33,
                    gid: 33,
                    mode: 0,
                    mtime: 7,
                },
                is_owned,
            };
            unpack(&file, target).unwrap();
            let path = directory.trim_start_matches('/');
            assert_eq!(owner(path), expected, "{directory} {is_owned}");
            assert_eq!(owner(format!("{path}/x").trim_start_matches('/')), 33);
        }
        let mode = root
            .path()
            .join("srv/old")
            .metadata()
            .unwrap()
            .permissions()
            .mode();
        assert_eq!(mode & 0o777, 0o755);
    }

    #[test]
    fn nothing_leaves_its_directory() {
        for (entries, reason) in [
            (&["../x"][..], "leads out of the archive"),
            (&["a/../../x"], "leads out of the archive"),
            (&["a -> /etc", "a/passwd"], "leads through a link"),
            (&["a -> ..", "b/x", "a/it/b/x"], "leads through a link"),
            (&["a => ../../etc/passwd"], "leads out of the archive"),
            (&["a => etc/passwd"], "hard link to what is not there"),
        ] {
            let root = tempfile::tempdir().unwrap();
            std::fs::create_dir(root.path().join("etc")).unwrap();
            std::fs::write(root.path().join("etc/passwd"), "root").unwrap();
            let report = unpacked(root.path(), &archive(entries), 0)
                .unwrap_err()
                .to_string();
            assert!(report.contains(reason), "{entries:?}: {report}");
            assert_eq!(
                std::fs::read_to_string(root.path().join("etc/passwd")).unwrap(),
                "root"
            );
        }
        // An absolute name is one below the directory, as other programs have it.
        let root = tempfile::tempdir().unwrap();
        unpacked(root.path(), &archive(&["/etc/x"]), 0).unwrap();
        assert!(root.path().join("opt/it/etc/x").is_file());
    }

    #[test]
    fn links_of_the_image_are_followed() {
        let root = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(root.path().join("opt/it")).unwrap();
        std::fs::create_dir_all(root.path().join("usr/lib")).unwrap();
        std::os::unix::fs::symlink("/usr/lib", root.path().join("opt/it/lib")).unwrap();
        unpacked(root.path(), &archive(&["lib/", "lib/x"]), 0).unwrap();
        assert!(root.path().join("usr/lib/x").is_file());
        assert!(root.path().join("opt/it/lib").is_symlink());
    }

    #[test]
    fn other_formats_are_named() {
        let root = tempfile::tempdir().unwrap();
        let report = |bytes: &[u8], strip| unpacked(root.path(), bytes, strip).unwrap_err().to_string();
        assert!(report(b"PK\x03\x04 and more", 0).contains("is a zip"));
        assert!(report(b"BZh91AY", 0).contains("bzip2"));
        assert!(report(&[b'x'; 600], 0).contains("no tar archive"));
        assert!(report(&archive(&["a/b"]), 2).contains("nothing of the archive is left"));
    }
}
