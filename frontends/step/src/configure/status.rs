//! dpkg's `status` as a whole.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use crate::deb822::{Stanza, stanzas};
use crate::fs::{self, Meta};
use crate::problem::{Outcome, Problem};
use crate::unpack::{ADMIN, database_name, placed};

/// The packages that dpkg knows, by name and architecture.
#[derive(Debug, Default)]
pub(crate) struct Status {
    stanzas: BTreeMap<(String, String), String>,
}

/// What the configure step needs to know of a package.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Package {
    /// Its name.
    pub(crate) name: String,
    /// Its version.
    pub(crate) version: String,
    /// Its architecture.
    pub(crate) architecture: String,
    /// The name of its files in dpkg's database.
    pub(crate) database_name: String,
    /// The text of `Replaces`.
    pub(crate) replaces: String,
}

impl Package {
    /// The paths that its list has, below the root.
    pub(crate) fn paths(&self, root: &Path) -> Outcome<Vec<PathBuf>> {
        let list = root
            .join(ADMIN)
            .join("info")
            .join(format!("{}.list", self.database_name));
        let text = fs::read_optional(&list)?.unwrap_or_default();
        let mut paths = Vec::new();
        for line in text.split(|byte| *byte == b'\n') {
            paths.extend(placed(line)?);
        }
        Ok(paths)
    }
}

impl Status {
    /// Reads it from a root; none is empty.
    pub(crate) fn read(root: &Path) -> Outcome<Self> {
        let mut status = Status::default();
        status.add(&fs::read_text(&root.join(ADMIN).join("status"))?)?;
        Ok(status)
    }

    /// Adds stanzas; returns their packages, sorted.
    pub(crate) fn add(&mut self, text: &str) -> Outcome<Vec<Package>> {
        let mut added = BTreeSet::new();
        for stanza in stanzas(text) {
            let package = package(stanza);
            let key = (package.name.clone(), package.architecture.clone());
            if self.stanzas.insert(key, stanza.0.to_owned()).is_some() {
                let message = format!("`{}` was unpacked twice", package.name);
                return Err(Problem::new("kcompose::step::package_twice", message).into());
            }
            added.insert(package);
        }
        Ok(added.into_iter().collect())
    }

    /// All packages, sorted.
    pub(crate) fn packages(&self) -> Vec<Package> {
        self.stanzas.values().map(|text| package(Stanza(text))).collect()
    }

    /// Writes it to a root.
    pub(crate) fn write(&self, root: &Path, epoch: i64) -> Outcome<()> {
        let mut text = String::new();
        for stanza in self.stanzas.values() {
            text.push_str(stanza.trim_end());
            text.push_str("\n\n");
        }
        fs::write_file(
            &root.join(ADMIN).join("status"),
            text.as_bytes(),
            Meta::root(0o644, epoch),
        )
    }

    /// Marks triggers as pending for a package that is configured; others are told when they are configured.
    pub(crate) fn pend(&mut self, name: &str, triggers: &BTreeSet<String>) {
        for ((known, _), text) in &mut self.stanzas {
            let stanza = Stanza(text);
            let status = stanza.field("Status").unwrap_or_default();
            if known == name && (status.ends_with(" installed") || status.ends_with(" triggers-pending")) {
                let before = stanza
                    .field("Triggers-Pending")
                    .unwrap_or_default()
                    .split_whitespace()
                    .map(str::to_owned);
                let all: BTreeSet<String> = before.chain(triggers.iter().cloned()).collect();
                let all: Vec<String> = all.into_iter().collect();
                let pending = Some(all.join(" "));
                *text = stanza.with(&[
                    ("Status", Some("install ok triggers-pending")),
                    ("Triggers-Pending", pending.as_deref()),
                ]);
            }
        }
    }

    /// The packages that are not configured, with their state.
    pub(crate) fn unfinished(&self) -> Vec<String> {
        let states = self
            .stanzas
            .iter()
            .map(|((name, _), text)| (name, Stanza(text).field("Status").unwrap_or("?")));
        states
            .filter(|(_, state)| *state != "install ok installed")
            .map(|(name, state)| format!("`{name}` ({state})"))
            .collect()
    }

    /// Tells dpkg the foreign architectures, if there are any (`dpkg --add-architecture` writes the same file).
    pub(crate) fn write_architectures(&self, root: &Path, epoch: i64) -> Outcome<()> {
        let native = self
            .stanzas
            .keys()
            .find(|(name, _)| name == "dpkg")
            .map(|(_, architecture)| architecture.clone());
        let Some(native) = native else { return Ok(()) };
        let all: BTreeSet<&String> = self
            .stanzas
            .keys()
            .map(|(_, architecture)| architecture)
            .collect();
        let foreign: Vec<&String> = all
            .into_iter()
            .filter(|one| **one != native && *one != "all")
            .collect();
        if foreign.is_empty() {
            return Ok(());
        }
        let lines: String = std::iter::once(&native)
            .chain(foreign)
            .map(|one| format!("{one}\n"))
            .collect();
        fs::write_file(
            &root.join(ADMIN).join("arch"),
            lines.as_bytes(),
            Meta::root(0o644, epoch),
        )
    }
}

fn package(stanza: Stanza<'_>) -> Package {
    let field = |name: &str| stanza.field(name).unwrap_or_default().to_owned();
    let (name, architecture) = (field("Package"), field("Architecture"));
    let database_name = database_name(&name, &architecture, field("Multi-Arch") == "same");
    Package {
        version: field("Version"),
        replaces: field("Replaces"),
        database_name,
        name,
        architecture,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "Package: a\nArchitecture: all\nStatus: install ok installed\n\n\
        Package: b\nArchitecture: amd64\nMulti-Arch: same\nStatus: install ok unpacked\n";

    #[test]
    fn only_configured_packages_get_pending_triggers() {
        let mut status = Status::default();
        let added = status.add(TEXT).unwrap();
        assert_eq!(added[1].database_name, "b:amd64");
        for name in ["a", "b"] {
            status.pend(name, &["/usr/x".to_owned()].into());
            status.pend(name, &["/usr/w".to_owned()].into());
        }
        assert_eq!(
            status.unfinished(),
            ["`a` (install ok triggers-pending)", "`b` (install ok unpacked)"]
        );
        let first = &status.stanzas[&("a".to_owned(), "all".to_owned())];
        assert!(first.ends_with("Triggers-Pending: /usr/w /usr/x\n"), "{first}");
        assert!(status.add(TEXT).is_err(), "a package can't come twice");
    }
}
