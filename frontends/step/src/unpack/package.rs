//! What a package says of itself: the members of its `control.tar`.

use std::collections::BTreeMap;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use kcompose_core::archive::{Allowance, Archive, Forward, package_text};
use kcompose_core::limits::{self, Exceeded};
use kcompose_core::packages::deb::archive::DebArchive;
use kcompose_core::packages::deb::version::compare;

use crate::deb822::Stanza;
use crate::problem::{Doing, Outcome, Problem, Problems};

/// A package that is to be unpacked.
#[derive(Debug)]
pub(crate) struct Package {
    /// Where its archive is.
    pub(crate) archive: String,
    /// The size of the archive, as a measure of the work.
    pub(crate) archive_size: u64,
    /// Its name.
    pub(crate) name: String,
    /// Its version.
    pub(crate) version: String,
    /// Its architecture.
    pub(crate) architecture: String,
    /// Whether it can be installed for several architectures at once.
    pub(crate) same: bool,
    /// The stanza of `control`.
    pub(crate) control: String,
    /// The other members: maintainer scripts, triggers and the like, with their modes.
    pub(crate) members: BTreeMap<String, (u32, Vec<u8>)>,
    /// What it replaces: names with a relation and a version.
    pub(crate) replaces: Vec<Replaces>,
}

/// One entry of `Replaces`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Replaces {
    name: String,
    version: Option<(String, String)>,
}

/// Reads what all archives say of themselves, sorted by name and architecture.
pub(crate) fn read_all(archives: &[String]) -> Outcome<Vec<Package>> {
    let mut problems = Problems::default();
    let mut packages = Vec::new();
    for archive in archives {
        match Package::read(archive) {
            Ok(package) => packages.push(package),
            Err(Problems(more)) => problems.0.extend(more),
        }
    }
    packages.sort_by(|a, b| (&a.name, &a.architecture).cmp(&(&b.name, &b.architecture)));
    for pair in packages.windows(2) {
        if (&pair[0].name, &pair[0].architecture) == (&pair[1].name, &pair[1].architecture) {
            let message = format!(
                "`{}` and `{}` are the same package",
                pair[0].archive, pair[1].archive
            );
            problems.push(Problem::new("kcompose::step::package_twice", message));
        }
    }
    problems.or(packages)
}

impl Package {
    fn read(archive: &str) -> Outcome<Self> {
        let bytes = std::fs::read(archive).doing("read", Path::new(archive))?;
        let deb = DebArchive::parse(&bytes).map_err(|error| broken(archive, &error))?;
        let mut members = control_members(deb).map_err(|error| unreadable(archive, &error))?;
        let (_, control) = members
            .remove("control")
            .ok_or_else(|| broken(archive, &"it has no `control`"))?;
        let control = String::from_utf8_lossy(&control).trim_matches('\n').to_owned();
        let field = |name: &str| Stanza(&control).field(name).map(str::to_owned);
        let needed = |name: &str| field(name).ok_or_else(|| broken(archive, &format!("it has no `{name}`")));
        Ok(Package {
            archive: archive.to_owned(),
            archive_size: bytes.len() as u64,
            name: needed("Package")?,
            version: needed("Version")?,
            architecture: needed("Architecture")?,
            same: field("Multi-Arch").as_deref() == Some("same"),
            replaces: parse_replaces(&field("Replaces").unwrap_or_default()),
            members,
            control,
        })
    }

    /// The name of its files in dpkg's database: `name`, or `name:architecture` if it may be there several times.
    pub(crate) fn database_name(&self) -> String {
        database_name(&self.name, &self.architecture, self.same)
    }

    /// Whether it may take over files of another package (Debian Policy 7.6.1); provided names do not count there.
    pub(crate) fn replaces(&self, name: &str, version: &str) -> bool {
        replaces(&self.replaces, name, version)
    }

    /// Whether its `preinst` moves files of other packages away.
    pub(crate) fn diverts(&self) -> bool {
        self.preinst().contains("dpkg-divert")
    }

    /// Whether its `preinst` changes files, so that it must not see those of its own package.
    pub(crate) fn changes_files_first(&self) -> bool {
        let changes = |line: &str| {
            let word = line.split_whitespace().next();
            word.is_some_and(|word| ["mv", "rm", "rmdir", "find"].contains(&word))
        };
        self.diverts() || self.preinst().lines().any(changes)
    }

    fn preinst(&self) -> std::borrow::Cow<'_, str> {
        let script = self.members.get("preinst");
        script.map_or_else(Default::default, |(_, text)| String::from_utf8_lossy(text))
    }

    /// Its conffiles, and whether each is one that is to be removed.
    pub(crate) fn conffiles(&self) -> Vec<(String, bool)> {
        let Some((_, text)) = self.members.get("conffiles") else {
            return Vec::new();
        };
        let lines = String::from_utf8_lossy(text).into_owned();
        let lines = lines.lines().map(str::trim).filter(|line| !line.is_empty());
        lines
            .map(|line| match line.strip_prefix("remove-on-upgrade ") {
                Some(path) => (path.trim().to_owned(), true),
                None => (line.to_owned(), false),
            })
            .collect()
    }

    /// The names of `MERGED` that the package ships as links.
    pub(crate) fn top_level_links(&self) -> Outcome<Vec<String>> {
        let bytes = std::fs::read(&self.archive).doing("read", Path::new(&self.archive))?;
        let names = (|| {
            let deb = DebArchive::parse(&bytes).map_err(|error| std::io::Error::other(error.to_string()))?;
            let mut names = Vec::new();
            let allowance = Allowance::default();
            let data_tar = Forward::new(deb.data_tar(), limits::PACKAGE_SIZE);
            for entry in Archive::new(data_tar, &allowance).members()? {
                let entry = entry?;
                let path = entry.path_bytes();
                let name = String::from_utf8_lossy(path.strip_prefix(b"./").unwrap_or(&path)).into_owned();
                if entry.header().entry_type().is_symlink() && super::MERGED.contains(&name.as_str()) {
                    names.push(name);
                }
            }
            Ok(names)
        })();
        names.map_err(|error: std::io::Error| unreadable(&self.archive, &error).into())
    }
}

/// The name of a package's files in dpkg's database.
pub(crate) fn database_name(name: &str, architecture: &str, same: bool) -> String {
    if same {
        format!("{name}:{architecture}")
    } else {
        name.to_owned()
    }
}

/// Whether one of the entries matches a package.
pub(crate) fn replaces(entries: &[Replaces], name: &str, version: &str) -> bool {
    entries.iter().any(|entry| {
        entry.name == name
            && entry.version.as_ref().is_none_or(|(relation, bound)| {
                let order = compare(version, bound);
                match relation.as_str() {
                    "<<" => order.is_lt(),
                    "<=" | "<" => order.is_le(),
                    "=" => order.is_eq(),
                    ">=" | ">" => order.is_ge(),
                    ">>" => order.is_gt(),
                    _ => false,
                }
            })
    })
}

/// The entries of a `Replaces` field.
pub(crate) fn parse_replaces(field: &str) -> Vec<Replaces> {
    let entries = field.split(',').map(str::trim).filter(|entry| !entry.is_empty());
    entries
        .map(|entry| {
            let (name, bound) = entry
                .split_once('(')
                .map_or((entry, None), |(name, rest)| (name, Some(rest)));
            let name = name.trim().split(':').next().unwrap_or_default().to_owned();
            let version = bound.map(|bound| {
                let bound = bound.trim_end().trim_end_matches(')');
                let start = bound
                    .find(|letter| !"<>=".contains(letter))
                    .unwrap_or(bound.len());
                (bound[..start].to_owned(), bound[start..].trim().to_owned())
            });
            Replaces { name, version }
        })
        .collect()
}

fn control_members(deb: DebArchive<'_>) -> std::io::Result<BTreeMap<String, (u32, Vec<u8>)>> {
    let (mut members, allowance) = (BTreeMap::new(), Allowance::default());
    let control_tar = Forward::new(deb.control_tar(), limits::PACKAGE_SIZE);
    for entry in Archive::new(control_tar, &allowance).members()? {
        let entry = entry?;
        let path = entry.path()?.into_owned();
        let Some(name) = path.file_name().filter(|_| entry.header().entry_type().is_file()) else {
            continue;
        };
        let name = String::from_utf8_lossy(name.as_bytes()).into_owned();
        let mode = entry.header().mode()? & 0o7777;
        let content = package_text(&name, entry, &allowance)?;
        members.insert(name, (mode, content));
    }
    Ok(members)
}

/// The problem with an archive that cannot be read, or that is over a limit.
pub(crate) fn unreadable(archive: &str, error: &std::io::Error) -> Problem {
    let Some(exceeded) = Exceeded::of(error) else {
        return broken(archive, error);
    };
    let message = format!("the package `{archive}` is too large to read: {exceeded}");
    Problem::new("kcompose::step::package-limit", message).help(exceeded.help())
}

/// A problem with an archive.
pub(crate) fn broken(archive: &str, error: &dyn std::fmt::Display) -> Problem {
    Problem::new(
        "kcompose::step::archive",
        format!("the package `{archive}` cannot be read: {error}"),
    )
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};

    use super::*;

    #[track_caller]
    fn check(field: &str, name: &str, version: &str, expected: bool) {
        assert_eq!(
            replaces(&parse_replaces(field), name, version),
            expected,
            "{field} / {name} {version}"
        );
    }

    #[test]
    fn a_script_of_gigabytes_is_refused() {
        let size: u64 = 3 << 30;
        let mut header = tar::Header::new_gnu();
        header.set_size(size);
        header.set_mode(0o755);
        header.set_path("./preinst").unwrap();
        header.set_cksum();
        let mut control = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        control.write_all(header.as_bytes()).unwrap();
        // What is behind the limit is never read, so it need not be there.
        std::io::copy(&mut std::io::repeat(0).take(32 << 20), &mut control).unwrap();
        let control = control.finish().unwrap();
        let mut deb = b"!<arch>\n".to_vec();
        for (name, bytes) in [
            ("debian-binary", &b"2.0\n"[..]),
            ("control.tar.gz", &control),
            ("data.tar", b""),
        ] {
            let length = bytes.len();
            deb.extend(format!("{name:<16}{:<12}{:<6}{:<6}{:<8}{length:<10}`\n", 0, 0, 0, 100_644).bytes());
            deb.extend(bytes);
            deb.extend(vec![b'\n'; length % 2]);
        }
        let folder = tempfile::tempdir().unwrap();
        let archive = folder.path().join("x.deb");
        std::fs::write(&archive, deb).unwrap();
        let problem = Package::read(archive.to_str().unwrap()).unwrap_err().to_string();
        assert!(problem.contains("kcompose::step::package-limit"), "{problem}");
        assert!(
            problem.contains("its file `preinst` exceeds the limit `package-member` of 16 MiB"),
            "{problem}"
        );
        assert!(problem.contains("help: the limit is fixed"), "{problem}");
    }

    #[test]
    fn replaces_looks_at_name_and_version() {
        check("a, b (<< 2), c:any (<= 1.0)", "a", "9", true);
        check("a, b (<< 2), c:any (<= 1.0)", "b", "2~rc", true);
        check("a, b (<< 2), c:any (<= 1.0)", "b", "2", false);
        check("a, b (<< 2), c:any (<= 1.0)", "c", "1.0", true);
        check("", "a", "1", false);
    }
}
