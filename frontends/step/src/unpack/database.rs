//! dpkg's database: what is installed, and what unpacking adds to it.

use std::collections::{BTreeSet, HashMap};
use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use crate::deb822::{Stanza, stanzas};
use crate::fs::{self, Meta};
use crate::problem::{Doing, Outcome, Problem, Problems};

use super::claims::Claims;
use super::extract::Extracted;
use super::links;
use super::package::{self, Package, Replaces};

/// Where dpkg keeps its database.
pub(crate) const ADMIN: &str = "var/lib/dpkg";
/// The name of the fragment of `status` in a parts directory.
pub(crate) const STATUS: &str = "status";
/// The name of the list of directories with an owner or mode of their own in a parts directory.
pub(crate) const DIRECTORIES: &str = "directories";

/// The packages of the root before this step.
#[derive(Debug, Default)]
pub(crate) struct Installed {
    pub(crate) packages: Vec<InstalledPackage>,
    /// By bytes: a path is compared and hashed part by part.
    owners: HashMap<OsString, (usize, Vec<u8>)>,
    diversions: Vec<Diversion>,
}

/// A package that dpkg knows.
#[derive(Debug)]
pub(crate) struct InstalledPackage {
    pub(crate) name: String,
    pub(crate) version: String,
    pub(crate) same: bool,
    architecture: String,
    replaces: Vec<Replaces>,
}

#[derive(Debug)]
struct Diversion {
    from: PathBuf,
    /// The path as the diversion spells it.
    spelled: Vec<u8>,
    to: PathBuf,
    by: String,
}

impl InstalledPackage {
    /// The name of its files in dpkg's database.
    pub(crate) fn database_name(&self) -> String {
        package::database_name(&self.name, &self.architecture, self.same)
    }

    /// Whether it may take over files of another package.
    pub(crate) fn replaces(&self, name: &str, version: &str) -> bool {
        package::replaces(&self.replaces, name, version)
    }

    fn parse(stanza: Stanza<'_>) -> Option<Self> {
        let field = |name: &str| stanza.field(name).unwrap_or_default().to_owned();
        let status = field("Status");
        let gone = status.ends_with("not-installed") || status.ends_with("config-files");
        (!gone).then(|| InstalledPackage {
            name: field("Package"),
            version: field("Version"),
            same: field("Multi-Arch") == "same",
            architecture: field("Architecture"),
            replaces: package::parse_replaces(&field("Replaces")),
        })
    }
}

impl Installed {
    /// Reads the database of a root; an empty one has none.
    pub(crate) fn read(root: &Path) -> Outcome<Self> {
        let admin = root.join(ADMIN);
        let status = fs::read_text(&admin.join("status"))?;
        let packages = stanzas(&status).filter_map(InstalledPackage::parse).collect();
        let mut installed = Installed {
            packages,
            diversions: parse_diversions(&fs::read_text(&admin.join("diversions"))?),
            ..Installed::default()
        };
        for (index, package) in installed.packages.iter().enumerate() {
            let list = admin
                .join("info")
                .join(format!("{}.list", package.database_name()));
            for line in fs::read_optional(&list)?
                .unwrap_or_default()
                .split(|byte| *byte == b'\n')
            {
                if let Some(path) = super::placed(line)? {
                    // What another package moved away is no longer where the list says.
                    let path = installed.diverted(&path, line, &package.name);
                    installed
                        .owners
                        .insert(path.into_os_string(), (index, line.to_vec()));
                }
            }
        }
        Ok(installed)
    }

    /// Whether a package of this name is there.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.packages.iter().any(|package| package.name == name)
    }

    /// The package that has a path, and the path as its list spells it.
    pub(crate) fn owner(&self, path: &Path) -> Option<(usize, &[u8])> {
        self.owners
            .get(path.as_os_str())
            .map(|(index, listed)| (*index, listed.as_slice()))
    }

    /// Where a path of a package goes: another package may have moved it away (dpkg-divert(1)).
    ///
    /// The path as the package spells it counts first: packages divert `/sbin/halt` and `/usr/sbin/halt` to different names.
    pub(crate) fn diverted(&self, path: &Path, listed: &[u8], package: &str) -> PathBuf {
        let of_path = self.diversions.iter().filter(|diversion| diversion.from == path);
        let of_path: Vec<&Diversion> = of_path.collect();
        let exact = of_path.iter().find(|diversion| diversion.spelled == listed);
        let moved = exact
            .or(of_path.first())
            .filter(|diversion| diversion.by != package);
        moved.map_or(path, |diversion| &diversion.to).to_owned()
    }

    /// The packages without those that are there already; another version of an installed one is refused.
    pub(crate) fn without_present(&self, packages: Vec<Package>) -> Outcome<Vec<Package>> {
        let mut problems = Problems::default();
        let mut new = Vec::new();
        for package in packages {
            let same_slot = |known: &&InstalledPackage| {
                known.name == package.name
                    && (known.architecture == package.architecture || !(known.same && package.same))
            };
            match self.packages.iter().find(same_slot) {
                None => new.push(package),
                Some(known)
                    if known.version == package.version && known.architecture == package.architecture => {}
                Some(known) => problems.push(other_version(&package, known)),
            }
        }
        problems.or(new)
    }
}

fn other_version(package: &Package, known: &InstalledPackage) -> Problem {
    let Package {
        name,
        version,
        architecture,
        ..
    } = package;
    let message = format!(
        "`{name}` {version} ({architecture}) cannot be added: version {} ({}) is in the image already",
        known.version, known.architecture
    );
    Problem::new("kcompose::step::other_version", message)
        .help("all packages of an image are resolved together: `kcompose lock` again")
}

fn parse_diversions(text: &str) -> Vec<Diversion> {
    let lines: Vec<&str> = text.lines().collect();
    let path = |line: &str| super::placed(line.as_bytes()).ok().flatten().unwrap_or_default();
    lines
        .chunks_exact(3)
        .map(|three| Diversion {
            from: path(three[0]),
            spelled: three[0].as_bytes().to_vec(),
            to: path(three[1]),
            by: three[2].to_owned(),
        })
        .collect()
}

/// Writes `info/*` of the packages, and takes paths that changed hands out of the lists of installed packages.
pub(crate) fn write<'a>(
    root: &Path,
    packages: impl IntoIterator<Item = (&'a Package, &'a Extracted)>,
    epoch: i64,
) -> Outcome<()> {
    let info = root.join(ADMIN).join("info");
    let made = fs::make_directories(&info).doing("make directory", &info)?;
    for (package, extracted) in packages {
        let name = package.database_name();
        for (member, (mode, content)) in &package.members {
            fs::write_file(
                &info.join(format!("{name}.{member}")),
                content,
                Meta::root(*mode, epoch),
            )?;
        }
        let list = lines(
            extracted
                .list
                .iter()
                .filter(|path| !extracted.lost.contains(*path)),
        );
        fs::write_file(
            &info.join(format!("{name}.list")),
            &list,
            Meta::root(0o644, epoch),
        )?;
        if !package.members.contains_key("md5sums") {
            let sums = md5sums(package, extracted);
            fs::write_file(
                &info.join(format!("{name}.md5sums")),
                &sums,
                Meta::root(0o644, epoch),
            )?;
        }
    }
    // A directory that gets a new entry gets a new time with it: the one that the first of ours was made in, too.
    let parents = made.iter().filter_map(|path| path.parent());
    let touched = made
        .iter()
        .map(PathBuf::as_path)
        .chain(parents)
        .chain([info.as_path(), root]);
    touched
        .into_iter()
        .try_for_each(|path| fs::set_mtime(path, epoch).doing("set the time of", path))
}

fn lines<'a>(lines: impl Iterator<Item = &'a Vec<u8>>) -> Vec<u8> {
    let mut text = Vec::new();
    for line in lines {
        text.extend_from_slice(line);
        text.push(b'\n');
    }
    text
}

/// The `md5sums` that dpkg writes for a package that brings none: all its files but the conffiles.
fn md5sums(package: &Package, extracted: &Extracted) -> Vec<u8> {
    let conffiles: BTreeSet<Vec<u8>> = package
        .conffiles()
        .into_iter()
        .map(|(path, _)| path.into_bytes())
        .collect();
    let mut text = Vec::new();
    for (path, sum) in extracted
        .sums
        .iter()
        .filter(|(path, _)| !conffiles.contains(*path))
    {
        text.extend_from_slice(sum.as_bytes());
        text.extend_from_slice(b"  ");
        text.extend_from_slice(&path[1..]);
        text.push(b'\n');
    }
    text
}

/// Writes what the configure step needs to know of this group.
pub(crate) fn write_parts(
    parts: &Path,
    packages: &[Package],
    extracted: &[Extracted],
    claims: &Claims,
    epoch: i64,
) -> Outcome<()> {
    let late = claims.late();
    let in_time = packages.iter().zip(extracted).enumerate();
    let in_time = in_time.filter(|(index, _)| !late.contains(index));
    let status: Vec<String> = in_time
        .map(|(_, (package, extracted))| stanza(package, extracted))
        .collect();
    fs::write_file(
        &parts.join(STATUS),
        status.join("\n").as_bytes(),
        Meta::root(0o644, epoch),
    )?;
    let mut special = Vec::new();
    for (path, index, meta) in claims.special_directories() {
        let head = format!(
            "{:04o} {} {} {} /",
            meta.mode, meta.uid, meta.gid, packages[index].name
        );
        special.extend_from_slice(head.as_bytes());
        special.extend_from_slice(path.as_os_str().as_bytes());
        special.push(b'\n');
    }
    fs::write_file(&parts.join(DIRECTORIES), &special, Meta::root(0o644, epoch))?;
    let links = links::list(&claims.links());
    fs::write_file(&parts.join(links::LINKS), &links, Meta::root(0o644, epoch))?;
    fs::set_mtime(parts, epoch).doing("set the time of", parts)
}

/// The stanza of an unpacked package in `status`.
fn stanza(package: &Package, extracted: &Extracted) -> String {
    let conffiles: String = package
        .conffiles()
        .into_iter()
        .map(|(path, remove)| {
            if remove {
                // A conffile that a newer version no longer ships, and that was never there.
                return format!("\n {path} newconffile remove-on-upgrade");
            }
            let sum = extracted
                .sums
                .get(path.as_bytes())
                .map_or("newconffile", String::as_str);
            format!("\n {path} {sum}")
        })
        .collect();
    let conffiles = (!conffiles.is_empty()).then_some(conffiles.as_str());
    Stanza(&package.control).with(&[("Status", Some("install ok unpacked")), ("Conffiles", conffiles)])
}

/// Takes paths that a new package took over out of the list of the installed package that had them.
pub(crate) fn rewrite_lists(root: &Path, claims: &Claims, epoch: i64) -> Outcome<()> {
    for (name, taken) in claims.taken_over() {
        let path = root.join(ADMIN).join("info").join(format!("{name}.list"));
        let old = fs::read_optional(&path)?.unwrap_or_default();
        let kept: Vec<Vec<u8>> = old
            .split(|byte| *byte == b'\n')
            .filter(|line| !line.is_empty() && !taken.contains(*line))
            .map(<[u8]>::to_vec)
            .collect();
        fs::write_file(&path, &lines(kept.iter()), Meta::root(0o644, epoch))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt as _;

    use super::*;

    #[test]
    fn the_database_leaves_no_clock_on_directories_that_packages_brought() {
        let root = tempfile::tempdir().unwrap();
        let lib = root.path().join("var/lib");
        std::fs::create_dir_all(&lib).unwrap();
        write(root.path(), [], 1000).unwrap();
        for path in [lib.join("dpkg/info"), lib.join("dpkg"), lib] {
            assert_eq!(
                std::fs::metadata(&path).unwrap().mtime(),
                1000,
                "{}",
                path.display()
            );
        }
    }

    #[test]
    fn a_diverted_path_goes_elsewhere_for_all_but_the_diverter() {
        let text =
            "/bin/x\n/bin/x.real\nother\n/usr/bin/x\n/usr/bin/x.usr\nother\n/bin/y\n/bin/y.real\nother\n";
        let installed = Installed {
            diversions: parse_diversions(text),
            ..Installed::default()
        };
        #[track_caller]
        fn check(installed: &Installed, listed: &str, package: &str, expected: &str) {
            let path = super::super::placed(listed.as_bytes()).unwrap().unwrap();
            let found = installed.diverted(&path, listed.as_bytes(), package);
            assert_eq!(found, Path::new(expected), "{listed} of {package}");
        }
        check(&installed, "/bin/x", "mine", "usr/bin/x.real");
        check(&installed, "/usr/bin/x", "mine", "usr/bin/x.usr");
        check(&installed, "/usr/bin/x", "other", "usr/bin/x");
        check(&installed, "/usr/bin/y", "mine", "usr/bin/y.real");
    }
}
