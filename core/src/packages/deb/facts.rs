//! What a package archive holds, without unpacking it again: paths, units, scripts, triggers.
//!
//! Facts are found once, when an archive is fetched, and kept by the archive's sha256; what is proved about a flavor
//! before it is built is proved with them. Their form is one line of JSON and then one line for each path, which are
//! looked at only when somebody asks.

use std::collections::BTreeMap;
use std::io::{self, Read};

use serde::{Deserialize, Serialize};
use tar::EntryType;
use thiserror::Error;

use crate::archive::{Allowance, Archive, Forward, package_text};
use crate::limits::{self, Exceeded};
use crate::modules;
use crate::packages::accounts::{self, SystemAccount};

use super::archive::{ArchiveError, DebArchive};

/// Why an archive cannot be looked into.
#[derive(Debug, Error)]
pub enum FactsError {
    /// It is no archive of the kind.
    #[error(transparent)]
    Archive(#[from] ArchiveError),
    /// One of its tars is broken.
    #[error("its {part} is broken: {error}")]
    Tar {
        /// Which one.
        part: &'static str,
        /// What is wrong.
        error: io::Error,
    },
    /// It is over a limit.
    #[error("{0}")]
    Limit(Exceeded),
    /// Kept facts that are damaged.
    #[error("the kept facts are damaged: {0}")]
    Damaged(String),
}

/// What a package archive holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PackageFacts {
    head: Head,
    /// One line for each path; see [`PathFact`].
    paths: String,
}

/// All facts but the paths.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Head {
    /// The fields of the control file, each as it stands there, by name.
    pub control: BTreeMap<String, String>,
    /// Paths that are configuration files of the package.
    pub conffiles: Vec<String>,
    /// Names of the maintainer scripts that there are.
    pub scripts: Vec<String>,
    /// The lines of its `triggers`, without comments.
    pub triggers: Vec<String>,
    /// Lines of maintainer scripts that move files of other packages away.
    pub diversions: Vec<String>,
    /// Users and groups that the package makes, by its sysusers.d(5) files, `preinst` and `postinst`.
    pub accounts: Vec<SystemAccount>,
    /// Links that its `postinst` makes with update-alternatives(1).
    pub alternatives: Vec<String>,
    /// The system units that it has, by name; links to other units are among the paths.
    pub units: BTreeMap<String, UnitFacts>,
    /// Names of what is built into its kernel: modules that have no file, and their aliases.
    pub built_in: Vec<String>,
    /// Names of the kernel modules that DKMS builds of it; [`UNKNOWN_MODULE`] for one whose name a script makes.
    pub dkms: Vec<String>,
}

/// Stands for the name of a module that only running a script would tell.
pub const UNKNOWN_MODULE: &str = "*";

/// What matters of a unit before it runs.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct UnitFacts {
    /// The lines of its section `[Install]`, as key and value.
    pub install: Vec<(String, String)>,
    /// Directories that it gets: `StateDirectory` and the like, as key and value.
    pub directories: Vec<(String, String)>,
}

/// What a path of an archive is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum PathKind {
    /// A regular file, or another name of one.
    File,
    /// A directory.
    Directory,
    /// A symbolic link.
    Link,
    /// A device or a pipe.
    Special,
}

/// A path that a package has in the image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PathFact<'a> {
    /// The absolute path, below `/usr` where the top level has only links to it.
    pub path: &'a str,
    /// What it is.
    pub kind: PathKind,
    /// The target of a link, as written; else empty.
    pub target: &'a str,
}

impl FactsError {
    fn of(error: io::Error, part: &'static str) -> Self {
        match Exceeded::of(&error) {
            Some(exceeded) => FactsError::Limit(exceeded.clone()),
            None => FactsError::Tar { part, error },
        }
    }
}

impl PackageFacts {
    /// Looks into an archive.
    pub fn of(bytes: &[u8]) -> Result<Self, FactsError> {
        let archive = DebArchive::parse(bytes)?;
        let (mut facts, allowance) = (PackageFacts::default(), Allowance::default());
        facts
            .read_control(&archive, &allowance)
            .map_err(|error| FactsError::of(error, "control.tar"))?;
        facts
            .read_data(&archive, &allowance)
            .map_err(|error| FactsError::of(error, "data.tar"))?;
        facts.head.accounts = accounts::joined(facts.head.accounts);
        Ok(facts)
    }

    /// All but the paths.
    pub fn head(&self) -> &Head {
        &self.head
    }

    /// Whether installing it runs nothing: no script of its own, and no trigger that it takes part in.
    ///
    /// What runs when a package goes (`prerm`, `postrm`) does not count, as no package leaves an image.
    pub fn is_plain(&self) -> bool {
        let runs = |script: &String| matches!(script.as_str(), "config" | "preinst" | "postinst");
        self.head.triggers.is_empty() && !self.head.scripts.iter().any(runs)
    }

    /// The paths, sorted.
    pub fn paths(&self) -> impl Iterator<Item = PathFact<'_>> {
        path_facts(&self.paths)
    }

    /// Those of the paths that begin with a text, such as a directory with a `/` at its end.
    pub fn below<'a>(&'a self, start: &'a str) -> impl Iterator<Item = PathFact<'a>> {
        path_facts(&self.paths[first_from(&self.paths, start)..])
            .take_while(move |fact| fact.path.starts_with(start))
    }

    /// The form in which facts are kept.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = serde_json::to_vec(&self.head).expect("facts have only text");
        bytes.push(b'\n');
        bytes.extend(self.paths.bytes());
        bytes
    }

    /// Facts that were kept.
    pub fn from_bytes(bytes: Vec<u8>) -> Result<Self, FactsError> {
        let mut text = String::from_utf8(bytes).map_err(|error| FactsError::Damaged(error.to_string()))?;
        let end = text
            .find('\n')
            .ok_or_else(|| FactsError::Damaged("they have no end of line".to_owned()))?;
        let head =
            serde_json::from_str(&text[..end]).map_err(|error| FactsError::Damaged(error.to_string()))?;
        text.drain(..=end);
        Ok(PackageFacts { head, paths: text })
    }

    fn read_control(&mut self, archive: &DebArchive<'_>, allowance: &Allowance) -> io::Result<()> {
        let control_tar = Forward::new(archive.control_tar(), limits::PACKAGE_SIZE);
        for entry in Archive::new(control_tar, allowance).members()? {
            let entry = entry?;
            let name = String::from_utf8_lossy(&entry.path_bytes())
                .trim_start_matches("./")
                .to_owned();
            let text = package_text(&name, entry, allowance)?;
            let text = String::from_utf8_lossy(&text);
            match name.as_str() {
                "control" => self.head.control = control(&text),
                "conffiles" => self.head.conffiles = words_of_lines(&text),
                "triggers" => self.head.triggers = lines(&text),
                "preinst" | "postinst" | "prerm" | "postrm" | "config" => {
                    let diverts = text
                        .lines()
                        .map(str::trim)
                        .filter(|line| line.contains("dpkg-divert "));
                    self.head
                        .diversions
                        .extend(diverts.filter(|line| !line.starts_with('#')).map(str::to_owned));
                    if matches!(name.as_str(), "preinst" | "postinst") {
                        let script = accounts::of_script(&text);
                        self.head.accounts.extend(script.accounts);
                        self.head.alternatives.extend(script.alternatives);
                    }
                    self.head.scripts.push(name);
                }
                _ => {}
            }
        }
        self.head.scripts.sort();
        Ok(())
    }

    fn read_data(&mut self, archive: &DebArchive<'_>, allowance: &Allowance) -> io::Result<()> {
        let mut found: Vec<String> = Vec::new();
        let data_tar = Forward::new(archive.data_tar(), limits::PACKAGE_SIZE);
        for entry in Archive::new(data_tar, allowance).members()? {
            let mut entry = entry?;
            let path = in_image(&String::from_utf8_lossy(&entry.path_bytes()));
            let header = entry.header();
            let kind = match header.entry_type() {
                EntryType::Directory => 'd',
                EntryType::Symlink => 'l',
                EntryType::Regular | EntryType::Continuous | EntryType::Link | EntryType::GNUSparse => 'f',
                EntryType::Char | EntryType::Block | EntryType::Fifo => 's',
                _ => continue,
            };
            let link = if kind == 'l' {
                entry.link_name_bytes()
            } else {
                None
            };
            let target = link
                .map(|target| String::from_utf8_lossy(&target).into_owned())
                .unwrap_or_default();
            // A tab or a newline in a name would break the lines; no package has one.
            if !path.contains(['\t', '\n']) && !target.contains(['\t', '\n']) {
                found.push(format!("{path}\t{kind}{target}\n"));
            }
            if kind == 'f' {
                self.read_file(&path, &mut entry, allowance)?;
            }
        }
        found.sort_unstable();
        self.paths = found.concat();
        Ok(())
    }

    fn read_file(&mut self, path: &str, content: &mut impl Read, allowance: &Allowance) -> io::Result<()> {
        let unit = path
            .strip_prefix("/usr/lib/systemd/system/")
            .filter(|name| !name.contains('/'));
        let is_sysusers = path.starts_with("/usr/lib/sysusers.d/");
        let of_kernel = path.strip_prefix("/usr/lib/modules/");
        let of_kernel = of_kernel
            .and_then(|path| path.split_once('/'))
            .map(|(_, file)| file);
        let is_built_in = matches!(of_kernel, Some("modules.builtin" | "modules.builtin.modinfo"));
        let of_source = path
            .strip_prefix("/usr/src/")
            .and_then(|path| path.split_once('/'));
        let is_dkms = of_source.is_some_and(|(_, file)| file == "dkms.conf");
        if unit.is_none() && !is_sysusers && !is_built_in && !is_dkms {
            return Ok(());
        }
        let text = package_text(path, content, allowance)?;
        let text = String::from_utf8_lossy(&text);
        match unit {
            Some(name) => drop(self.head.units.insert(name.to_owned(), unit_facts(&text))),
            None if is_sysusers => self.head.accounts.extend(accounts::of_sysusers(text.lines())),
            None if is_dkms => self.head.dkms.extend(dkms_modules(&text)),
            None => self.head.built_in.extend(modules::built_in(&text)),
        }
        Ok(())
    }
}

/// Where a member of a data tar comes to lie: the top level has only links for these directories (file-hierarchy(7)).
fn in_image(member: &str) -> String {
    let path = member.trim_start_matches('.').trim_matches('/');
    let top = path.split('/').next().unwrap_or_default();
    match top {
        "bin" | "sbin" | "lib" | "lib64" => format!("/usr/{path}"),
        _ => format!("/{path}"),
    }
}

/// Every line that says a path.
fn path_facts(mut text: &str) -> impl Iterator<Item = PathFact<'_>> {
    std::iter::from_fn(move || {
        loop {
            let end = memchr::memchr(b'\n', text.as_bytes())?;
            let line = &text[..end];
            text = &text[end + 1..];
            if let Some(fact) = path_fact(line) {
                return Some(fact);
            }
        }
    })
}

/// Where the first line begins that is not before a text; the lines are sorted.
fn first_from(text: &str, start: &str) -> usize {
    let bytes = text.as_bytes();
    let (mut low, mut high) = (0, bytes.len());
    while low < high {
        let middle = low + (high - low) / 2;
        let line = memchr::memrchr(b'\n', &bytes[low..middle]).map_or(low, |at| low + at + 1);
        let next = memchr::memchr(b'\n', &bytes[middle..]).map_or(bytes.len(), |at| middle + at + 1);
        if bytes[line..next] < *start.as_bytes() {
            low = next;
        } else {
            high = line;
        }
    }
    low
}

fn path_fact(line: &str) -> Option<PathFact<'_>> {
    let tab = memchr::memchr(b'\t', line.as_bytes())?;
    let (path, rest) = (&line[..tab], &line[tab + 1..]);
    let (kind, target) = rest.split_at_checked(1)?;
    let kind = match kind {
        "d" => PathKind::Directory,
        "l" => PathKind::Link,
        "s" => PathKind::Special,
        _ => PathKind::File,
    };
    Some(PathFact { path, kind, target })
}

fn lines(text: &str) -> Vec<String> {
    let lines = text.lines().map(str::trim);
    lines
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
        .map(str::to_owned)
        .collect()
}

/// The last word of each line: `remove-on-upgrade /etc/x` names `/etc/x` (deb-conffiles(5)).
fn words_of_lines(text: &str) -> Vec<String> {
    text.lines()
        .filter_map(|line| line.split_whitespace().next_back())
        .map(str::to_owned)
        .collect()
}

fn control(text: &str) -> BTreeMap<String, String> {
    let mut fields: BTreeMap<String, String> = BTreeMap::new();
    let mut last = String::new();
    for line in text.lines() {
        if line.starts_with([' ', '\t']) {
            if let Some(value) = fields.get_mut(&last) {
                value.push('\n');
                value.push_str(line);
            }
        } else if let Some((name, value)) = line.split_once(':') {
            name.clone_into(&mut last);
            fields.insert(last.clone(), value.trim().to_owned());
        }
    }
    fields
}

/// The modules that a dkms.conf(8) names; it is a script, of which only plain assignments are read.
fn dkms_modules(text: &str) -> Vec<String> {
    let values = |key: &str| {
        let assigned = text.lines().filter_map(|line| line.trim().split_once('='));
        let named = assigned.filter(|(name, _)| name.split('[').next() == Some(key));
        named
            .map(|(_, value)| value.trim_matches(['"', '\'', ' ']).to_owned())
            .collect::<Vec<_>>()
    };
    let package = values("PACKAGE_NAME").pop().unwrap_or_default();
    let mut names = values("BUILT_MODULE_NAME");
    if names.is_empty() {
        names.push(package.clone());
    }
    names.extend(values("DEST_MODULE_NAME"));
    let plain = |name: String| {
        let name = name
            .replace("${PACKAGE_NAME}", &package)
            .replace("$PACKAGE_NAME", &package);
        let is_made = name.is_empty() || name.contains(['$', '`', '#', ' ']);
        if is_made {
            UNKNOWN_MODULE.to_owned()
        } else {
            modules::name(&name)
        }
    };
    names.into_iter().map(plain).collect()
}

/// The parts of a unit file that are looked at before it runs (systemd.unit(5), systemd.exec(5)).
fn unit_facts(text: &str) -> UnitFacts {
    const DIRECTORIES: [&str; 4] = [
        "StateDirectory",
        "CacheDirectory",
        "LogsDirectory",
        "ConfigurationDirectory",
    ];
    let mut facts = UnitFacts::default();
    let mut section = "";
    let joined = text.replace("\\\n", " ");
    for line in joined
        .lines()
        .map(str::trim)
        .filter(|line| !line.starts_with(['#', ';']))
    {
        if line.starts_with('[') {
            section = line;
        } else if let Some((key, value)) = line.split_once('=') {
            let pair = (key.trim().to_owned(), value.trim().to_owned());
            if section == "[Install]" {
                facts.install.push(pair);
            } else if DIRECTORIES.contains(&key.trim()) {
                facts.directories.push(pair);
            }
        }
    }
    facts
}

#[cfg(test)]
mod tests {
    use super::super::archive::tests::ar;
    use super::*;

    fn tar_of(members: &[(&str, EntryType, &str)]) -> Vec<u8> {
        let mut builder = tar::Builder::new(Vec::new());
        for (path, kind, content) in members {
            let mut header = tar::Header::new_gnu();
            header.set_entry_type(*kind);
            header.set_mode(if *kind == EntryType::Directory {
                0o755
            } else {
                0o644
            });
            header.set_uid(0);
            header.set_gid(42);
            if *kind == EntryType::Symlink {
                header.set_size(0);
                builder.append_link(&mut header, path, content).unwrap();
            } else {
                header.set_size(content.len() as u64);
                builder
                    .append_data(&mut header, path, content.as_bytes())
                    .unwrap();
            }
        }
        builder.into_inner().unwrap()
    }

    #[test]
    fn paths_below_a_folder_are_found_without_looking_at_all() {
        let paths = [
            "/a",
            "/usr",
            "/usr/lib",
            "/usr/lib/a",
            "/usr/lib/b/c",
            "/usr/lib-x",
            "/usr/lib0",
            "/var",
        ];
        let mut lines: Vec<String> = paths.iter().map(|path| format!("{path}\tf\n")).collect();
        lines.sort_unstable();
        let facts = PackageFacts::from_bytes(format!("{{}}\n{}", lines.concat()).into_bytes()).unwrap();
        for start in [
            "",
            "/",
            "/usr/lib/",
            "/usr/lib",
            "/usr/lib/b/c",
            "/usr/m",
            "/var/",
            "/w",
            "/0",
        ] {
            let all: Vec<&str> = facts.paths().map(|fact| fact.path).collect();
            let expected: Vec<&str> = all.into_iter().filter(|path| path.starts_with(start)).collect();
            let found: Vec<&str> = facts.below(start).map(|fact| fact.path).collect();
            assert_eq!(found, expected, "{start}");
        }
    }

    #[test]
    fn an_archive_is_looked_into_once_and_its_facts_come_back() {
        let control = tar_of(&[
            (
                "./control",
                EntryType::Regular,
                "Package: x\nDescription: short\n long\n",
            ),
            (
                "./preinst",
                EntryType::Regular,
                "#!/bin/sh\ndpkg-divert --add /bin/y\naddgroup --system y\n",
            ),
            (
                "./conffiles",
                EntryType::Regular,
                "/etc/x\nremove-on-upgrade /etc/old\n",
            ),
            (
                "./triggers",
                EntryType::Regular,
                "# c\ninterest-noawait /usr/share/x\n",
            ),
        ]);
        let unit = "[Service]\nStateDirectory=x\nExecStart=/x \\\n -y\n[Install]\nWantedBy=multi-user.target\nAlias=z.service\n";
        let data = tar_of(&[
            ("./lib/", EntryType::Directory, ""),
            ("./lib/systemd/system/x.service", EntryType::Regular, unit),
            (
                "./usr/lib/sysusers.d/x.conf",
                EntryType::Regular,
                "# c\nu x - \"X\"\n",
            ),
            ("./usr/bin/y", EntryType::Symlink, "../lib/y"),
            (
                "./lib/modules/6.12/modules.builtin",
                EntryType::Regular,
                "kernel/fs/fuse/fuse-core.ko\n",
            ),
            (
                "./lib/modules/6.12/modules.builtin.modinfo",
                EntryType::Regular,
                "fuse_core.license=GPL\0fuse_core.alias=fs-fuse\0fuse_core.alias=pci:v*\0",
            ),
            (
                "./usr/src/x-1/dkms.conf",
                EntryType::Regular,
                "PACKAGE_NAME=\"x\"\nBUILT_MODULE_NAME[0]=\"$PACKAGE_NAME-core\"\nBUILT_MODULE_NAME[1]=$(ls)\n",
            ),
        ]);
        let deb = ar(&[
            ("debian-binary", b"2.0\n"),
            ("control.tar", &control),
            ("data.tar", &data),
        ]);
        let facts = PackageFacts::of(&deb).unwrap();
        assert_eq!(PackageFacts::from_bytes(facts.to_bytes()).unwrap(), facts);
        let head = facts.head();
        assert_eq!(head.control["Description"], "short\n long");
        assert_eq!(
            (&head.scripts[..], &head.diversions[..]),
            (
                &["preinst".to_owned()][..],
                &["dpkg-divert --add /bin/y".to_owned()][..]
            )
        );
        assert_eq!(head.conffiles, ["/etc/x", "/etc/old"]);
        assert_eq!(head.triggers, ["interest-noawait /usr/share/x"]);
        let names: Vec<&str> = head
            .accounts
            .iter()
            .map(|account| account.name.as_str())
            .collect();
        assert_eq!(names, ["x", "y", "x"]);
        let unit = &head.units["x.service"];
        assert_eq!(
            unit.install[0],
            ("WantedBy".to_owned(), "multi-user.target".to_owned())
        );
        assert_eq!(unit.directories, [("StateDirectory".to_owned(), "x".to_owned())]);
        let paths: Vec<_> = facts.paths().map(|fact| (fact.path, fact.kind)).collect();
        let expected = [
            ("/usr/bin/y", PathKind::Link),
            ("/usr/lib", PathKind::Directory),
            ("/usr/lib/modules/6.12/modules.builtin", PathKind::File),
            ("/usr/lib/modules/6.12/modules.builtin.modinfo", PathKind::File),
            ("/usr/lib/systemd/system/x.service", PathKind::File),
            ("/usr/lib/sysusers.d/x.conf", PathKind::File),
            ("/usr/src/x-1/dkms.conf", PathKind::File),
        ];
        assert_eq!(head.built_in, ["fuse_core", "fs_fuse"]);
        assert_eq!(head.dkms, ["x_core", UNKNOWN_MODULE]);
        assert_eq!(paths, expected);
        let link = facts.paths().next().unwrap();
        assert_eq!(link.target, "../lib/y");
    }

    #[test]
    fn a_package_is_plain_if_installing_it_runs_nothing() {
        let plain = |control: &[(&str, EntryType, &str)]| {
            let (control, data) = (tar_of(control), tar_of(&[]));
            let members: [(&str, &[u8]); 3] = [
                ("debian-binary", b"2.0\n"),
                ("control.tar", &control),
                ("data.tar", &data),
            ];
            PackageFacts::of(&ar(&members)).unwrap().is_plain()
        };
        let with = |name, text| {
            plain(&[
                ("./control", EntryType::Regular, "Package: x\n"),
                (name, EntryType::Regular, text),
            ])
        };
        assert!(with("./conffiles", "/etc/x\n"));
        assert!(with("./prerm", "#!/bin/sh\n") && with("./postrm", "#!/bin/sh\n"));
        for script in ["./config", "./preinst", "./postinst"] {
            assert!(!with(script, "#!/bin/sh\n"), "{script}");
        }
        assert!(with("./triggers", "# none\n"));
        assert!(!with("./triggers", "activate-noawait ldconfig\n"));
        assert!(!with("./triggers", "interest /usr/share/x\n"));
    }

    /// A tar of one member, compressed; only its first megabytes are there.
    fn bomb(path: &str, size: u64) -> Vec<u8> {
        let mut header = tar::Header::new_gnu();
        header.set_size(size);
        header.set_mode(0o755);
        header.set_path(path).unwrap();
        header.set_cksum();
        let zeros = io::repeat(0).take(size.next_multiple_of(512).min(32 << 20) + 1024);
        let mut compressed = Vec::new();
        let mut encoder = zstd::stream::read::Encoder::new(header.as_bytes().chain(zeros), 1).unwrap();
        encoder.read_to_end(&mut compressed).unwrap();
        compressed
    }

    #[test]
    fn texts_of_gigabytes_are_refused() {
        const SIZE: u64 = 3 << 30;
        let is_refused = |control: &[u8], data: &[u8], file: &str| {
            let deb = ar(&[
                ("debian-binary", b"2.0\n"),
                ("control.tar.zst", control),
                ("data.tar.zst", data),
            ]);
            let error = PackageFacts::of(&deb).unwrap_err().to_string();
            assert_eq!(
                error,
                format!("its file `{file}` exceeds the limit `package-member` of 16 MiB")
            );
        };
        let (control, data) = (bomb("./control", 1), bomb("./usr/share/x", 1));
        for member in ["preinst", "control", "unknown"] {
            is_refused(&bomb(member, SIZE), &data, member);
        }
        for path in [
            "/usr/lib/systemd/system/x.service",
            "/usr/lib/sysusers.d/x.conf",
            "/usr/lib/modules/6.12/modules.builtin",
            "/usr/src/x-1/dkms.conf",
        ] {
            is_refused(&control, &bomb(&format!(".{path}"), SIZE), path);
        }
        let large = ar(&[
            ("debian-binary", b"2.0\n"),
            ("control.tar.zst", &control),
            (
                "data.tar.zst",
                &bomb("./usr/share/x", limits::PACKAGE_MEMBER.value + 1),
            ),
        ]);
        assert_eq!(PackageFacts::of(&large).unwrap().paths().count(), 1);
    }

    #[test]
    fn damaged_facts_are_no_facts() {
        assert!(PackageFacts::from_bytes(b"{}".to_vec()).is_err());
        assert!(PackageFacts::from_bytes(b"{]\n".to_vec()).is_err());
        assert!(PackageFacts::from_bytes(b"{}\n".to_vec()).is_ok());
    }
}
