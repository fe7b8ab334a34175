//! The release file of a suite: which indexes it has, by checksum, and until when it counts.
//!
//! A [`Release`] is made from an `InRelease` file whose signature was verified, so every hash that hangs from it is
//! trusted. Expiry and rollback are checked here too, while indexes are read; a lock that fits needs none of it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::packages::decompress::Compression;
use crate::packages::{hex, time};

use super::signature::{self, CLOCK_TOLERANCE, Keyring, SignatureError};

/// Why a release file is refused.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum ReleaseError {
    /// Its signature is not trusted.
    #[error(transparent)]
    Signature(#[from] SignatureError),
    /// It lacks something that every release file has.
    #[error("it has no usable field `{0}`")]
    Field(&'static str),
    /// A time in it cannot be read.
    #[error("its `{field}` is `{text}`, which is no time in UTC of the years 1970 to 9999")]
    Time {
        /// The field.
        field: &'static str,
        /// What it says.
        text: String,
    },
    /// It lists files by other checksums only.
    #[error("it has no SHA256 of its files, only {0}")]
    OtherChecksums(String),
    /// It is that of another suite.
    #[error("it is the release file of `{found}`, not of `{wanted}`")]
    OtherSuite {
        /// The suite that was asked for.
        wanted: String,
        /// The suite that it says it is.
        found: String,
    },
    /// It is too old to be trusted.
    #[error("it is expired since {0}: the mirror is not kept up to date, or somebody holds back updates")]
    Expired(String),
    /// It is from the future.
    #[error("it is from the future ({0}): one of the clocks is wrong")]
    FromTheFuture(String),
    /// It is older than one that was seen before.
    #[error(
        "it is of {found}, older than the one of {known} that was used before: the mirror went back in time"
    )]
    Rollback {
        /// Its date.
        found: String,
        /// The date of the one seen before.
        known: String,
    },
}

/// What a release file must be.
#[derive(Clone, Debug)]
pub struct Expected<'a> {
    /// The suite that is asked for.
    pub suite: &'a str,
    /// Whether the file must say that it is that suite: sources that share keys with other suites.
    pub named: bool,
    /// The keys that may sign it.
    pub keys: &'a Keyring,
    /// Now, in seconds since 1970.
    pub now: i64,
    /// Whether one that is past its `Valid-Until` is refused.
    pub fresh: bool,
    /// The date of one that was used before, in seconds since 1970; an older one is refused.
    pub not_before: Option<i64>,
}

/// A release file that was verified.
///
/// Its serialised form is for a cache of what this module verified; nothing else may be read as one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Release {
    /// The sha256 of the file, in hex.
    pub sha256: String,
    /// Its `Codename` and its `Suite`.
    pub names: Vec<String>,
    /// Its `Date`, in seconds since 1970.
    pub date: i64,
    /// Its `Valid-Until`, likewise.
    pub valid_until: Option<i64>,
    /// Fingerprints of the keys whose signatures count, sorted.
    pub signed_by: Vec<String>,
    /// The components, by the names that their folders have.
    pub components: Vec<String>,
    /// The architectures.
    pub architectures: Vec<String>,
    /// Whether indexes can be fetched by their checksum.
    pub by_hash: bool,
    /// How much its packages are wanted when nobody asks for them: 500, or 100 and 1 for suites that are not automatic.
    pub pin: u16,
    no_all_index: bool,
    files: BTreeMap<String, FileEntry>,
}

/// What a release file says about another file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileEntry {
    /// Its sha256.
    #[serde(with = "hex::text")]
    pub sha256: [u8; 32],
    /// Its size in bytes.
    pub size: u64,
}

/// An index of packages, and the files that hold it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListedIndex {
    /// The component; empty in a flat repository.
    pub component: String,
    /// The files that hold it, smallest first. A server need not have each of them.
    pub files: Vec<IndexFile>,
    /// Names of its files in forms that are not read, such as `Packages.bz2`.
    pub unreadable: Vec<String>,
}

/// A `Packages` file as it can be fetched.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IndexFile {
    /// Paths below the suite's folder, best first.
    pub paths: Vec<String>,
    /// How it is compressed.
    pub compression: Compression,
    /// The checksum and size of the file as it is fetched.
    pub file: FileEntry,
}

impl Release {
    /// Reads and judges an `InRelease` file.
    pub fn read(file: &[u8], expected: &Expected<'_>) -> Result<Self, ReleaseError> {
        let verified = signature::verify(file, expected.keys, expected.now)?;
        Release::of(file, &verified, expected)
    }

    /// Reads and judges a `Release` file by the signatures of its `Release.gpg`.
    pub fn read_detached(
        file: &[u8],
        signatures: &[u8],
        expected: &Expected<'_>,
    ) -> Result<Self, ReleaseError> {
        let verified = signature::verify_detached(file, signatures, expected.keys, expected.now)?;
        Release::of(file, &verified, expected)
    }

    fn of(
        file: &[u8],
        verified: &signature::Verified,
        expected: &Expected<'_>,
    ) -> Result<Self, ReleaseError> {
        let fields = Fields::parse(verified.text());
        let names = ["Codename", "Suite"]
            .into_iter()
            .filter_map(|field| fields.text(field));
        let release = Release {
            sha256: hex::encode(&crate::packages::sha256(file)),
            names: names.map(str::to_owned).collect(),
            date: fields.time("Date")?.ok_or(ReleaseError::Field("Date"))?,
            valid_until: fields.time("Valid-Until")?,
            signed_by: verified.signed_by().to_vec(),
            components: fields
                .words("Components")
                .map(|name| last_part(name).to_owned())
                .collect(),
            architectures: fields.words("Architectures").map(str::to_owned).collect(),
            by_hash: fields.is_yes("Acquire-By-Hash"),
            pin: fields.pin(),
            no_all_index: fields
                .words("No-Support-for-Architecture-all")
                .any(|what| what == "Packages"),
            files: fields.files()?,
        };
        release.judge(expected)?;
        Ok(release)
    }

    /// Refuses it if it is that of another suite, expired, from the future, or older than one that was used before.
    pub fn judge(&self, expected: &Expected<'_>) -> Result<(), ReleaseError> {
        if expected.named && !self.names.iter().any(|name| name == expected.suite) {
            let found = self
                .names
                .first()
                .map_or("a suite without a name", String::as_str)
                .to_owned();
            return Err(ReleaseError::OtherSuite {
                wanted: expected.suite.to_owned(),
                found,
            });
        }
        if self.date > expected.now.saturating_add(CLOCK_TOLERANCE) {
            return Err(ReleaseError::FromTheFuture(time::format(self.date)));
        }
        if let Some(until) = self
            .valid_until
            .filter(|until| expected.fresh && *until < expected.now)
        {
            return Err(ReleaseError::Expired(time::format(until)));
        }
        match expected.not_before.filter(|known| self.date < *known) {
            Some(known) => Err(ReleaseError::Rollback {
                found: time::format(self.date),
                known: time::format(known),
            }),
            None => Ok(()),
        }
    }

    /// The indexes of a component for an architecture, with that of `all` where it is one of its own; none if the suite
    /// does not have the component. A flat repository has one index, which belongs to no component.
    pub fn indexes(&self, component: &str, architecture: &str) -> Vec<ListedIndex> {
        if component.is_empty() {
            return self.index(component, "").into_iter().collect();
        }
        let has_all = self.architectures.iter().any(|known| known == "all") && !self.no_all_index;
        let all = has_all.then_some("all");
        [Some(architecture), all]
            .into_iter()
            .flatten()
            .filter_map(|name| self.index(component, &format!("{component}/binary-{name}/")))
            .collect()
    }

    /// Whether the suite has a component.
    pub fn has_component(&self, component: &str) -> bool {
        self.components.iter().any(|known| known == component)
    }

    /// Whether the suite lists an index of a component for an architecture.
    pub fn lists(&self, component: &str, architecture: &str) -> bool {
        !self.indexes(component, architecture).is_empty()
    }

    /// Whether the suite lists an index of a component, for any architecture.
    pub fn lists_component(&self, component: &str) -> bool {
        let folder = format!("{component}/binary-");
        self.files.keys().any(|path| path.starts_with(&folder))
    }

    fn index(&self, component: &str, folder: &str) -> Option<ListedIndex> {
        // Smallest first.
        let order = [
            Compression::Xz,
            Compression::Zstd,
            Compression::Gzip,
            Compression::None,
        ];
        let files = order.into_iter().filter_map(|compression| {
            let path = format!("{folder}Packages{}", compression.suffix());
            let file = *self.files.get(&path)?;
            let by_hash = self
                .by_hash
                .then(|| format!("{folder}by-hash/SHA256/{}", hex::encode(&file.sha256)));
            Some(IndexFile {
                paths: by_hash.into_iter().chain([path]).collect(),
                compression,
                file,
            })
        });
        let files: Vec<IndexFile> = files.collect();
        let names = self.files.keys().filter_map(|path| path.strip_prefix(folder));
        let unreadable: Vec<String> = names
            .filter(|name| UNREAD.contains(name))
            .map(str::to_owned)
            .collect();
        (!files.is_empty() || !unreadable.is_empty()).then(|| ListedIndex {
            component: component.to_owned(),
            files,
            unreadable,
        })
    }
}

/// Forms of an index that apt reads and kcompose does not.
const UNREAD: [&str; 3] = ["Packages.bz2", "Packages.lzma", "Packages.lz4"];

/// `updates/main` of a security archive is the folder `main`.
fn last_part(component: &str) -> &str {
    component.rsplit_once('/').map_or(component, |(_, last)| last)
}

/// The fields of a release file.
struct Fields<'a>(BTreeMap<&'a str, &'a str>);

impl<'a> Fields<'a> {
    fn parse(text: &'a str) -> Self {
        let mut fields = BTreeMap::new();
        let mut rest = text;
        while let Some((name, behind)) = rest.split_once(':') {
            let end = behind
                .match_indices('\n')
                .map(|(at, _)| at)
                .find(|at| !behind[at + 1..].starts_with(' '))
                .unwrap_or(behind.len());
            fields.insert(name.trim(), &behind[..end]);
            rest = &behind[end..];
        }
        Fields(fields)
    }

    fn text(&self, name: &str) -> Option<&'a str> {
        self.0.get(name).map(|value| value.trim())
    }

    fn words(&self, name: &str) -> impl Iterator<Item = &'a str> {
        self.text(name).unwrap_or_default().split_whitespace()
    }

    fn is_yes(&self, name: &str) -> bool {
        self.text(name) == Some("yes")
    }

    /// A time; `None` if the field is absent. One that cannot be read is refused, as apt does: it may be a limit.
    fn time(&self, field: &'static str) -> Result<Option<i64>, ReleaseError> {
        let Some(text) = self.text(field) else {
            return Ok(None);
        };
        let wrong = || ReleaseError::Time {
            field,
            text: text.chars().filter(|c| !c.is_control()).take(80).collect(),
        };
        parse_date(text).map(Some).ok_or_else(wrong)
    }

    // apt_preferences(5), "APT's default priority assignments".
    fn pin(&self) -> u16 {
        match (self.is_yes("NotAutomatic"), self.is_yes("ButAutomaticUpgrades")) {
            (false, _) => 500,
            (true, true) => 100,
            (true, false) => 1,
        }
    }

    /// The indexes of packages among the files; the rest is not looked at.
    fn files(&self) -> Result<BTreeMap<String, FileEntry>, ReleaseError> {
        let Some(list) = self.0.get("SHA256") else {
            let others = ["SHA512", "SHA1", "MD5Sum"];
            let others: Vec<&str> = others
                .into_iter()
                .filter(|name| self.0.contains_key(name))
                .collect();
            return Err(match others[..] {
                [] => ReleaseError::Field("SHA256"),
                _ => ReleaseError::OtherChecksums(others.join(" and ")),
            });
        };
        let is_index = |path: &str| {
            path.rsplit('/')
                .next()
                .is_some_and(|name| name.starts_with("Packages"))
        };
        let mut files = BTreeMap::new();
        for line in list.lines() {
            let mut words = line.split_whitespace();
            let (Some(sha256), Some(size), Some(path)) = (words.next(), words.next(), words.next()) else {
                continue;
            };
            if is_index(path) {
                let sha256 = hex::decode(sha256.as_bytes()).ok_or(ReleaseError::Field("SHA256"))?;
                let size = size.parse().map_err(|_| ReleaseError::Field("SHA256"))?;
                let path = path.strip_prefix("./").unwrap_or(path).to_owned();
                files.insert(path, FileEntry { sha256, size });
            }
        }
        Ok(files)
    }
}

/// Seconds since 1970 of `Sat, 21 Nov 2026 09:15:44 UTC`.
fn parse_date(text: &str) -> Option<i64> {
    const MONTHS: [&str; 12] = [
        "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
    ];
    let text = text.split_once(',').map_or(text, |(_, rest)| rest);
    let words: Vec<&str> = text.split_whitespace().collect();
    let [day, month, year, time, zone] = words[..] else {
        return None;
    };
    if !matches!(zone, "UTC" | "GMT" | "Z" | "+0000") {
        return None;
    }
    let month = i64::try_from(MONTHS.iter().position(|name| *name == month)?).ok()? + 1;
    let clock: Vec<i64> = time.split(':').map(str::parse).collect::<Result<_, _>>().ok()?;
    let clock = clock.try_into().ok()?;
    time::seconds([year.parse().ok()?, month, day.parse().ok()?], clock)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check_date(text: &str, expected: Option<&str>) {
        let found = parse_date(text).map(time::format);
        assert_eq!(found.as_deref(), expected, "{text}");
    }

    #[test]
    fn dates_are_those_that_apt_reads() {
        check_date("Sat, 21 Nov 2026 09:15:44 UTC", Some("2026-11-21T09:15:44Z"));
        check_date("Sat, 21 Nov 2026  9:15:44 +0000", Some("2026-11-21T09:15:44Z"));
        for text in [
            "Sat, 21 Nov 2026 09:15:44 +0100",
            "Sat, 21 Nov 2026 09:15:44",
            "Sat, 21 Nov -2026 09:15:44 UTC",
            "Sat, 21 Nov 92233720368547758 09:15:44 UTC",
            "Sat, 99999999999999 Nov 2026 09:15:44 UTC",
            "Sat, 21 Nov 2026 99999999999999999:15:44 UTC",
            "2026-11-21T09:15:44Z",
        ] {
            check_date(text, None);
        }
    }

    #[track_caller]
    fn check_indexes(files: &str, component: &str, expected: &[&str]) {
        let text = format!("SHA256:\n{files}");
        let release = Release {
            sha256: String::new(),
            names: Vec::new(),
            date: 0,
            valid_until: None,
            signed_by: Vec::new(),
            components: Vec::new(),
            architectures: vec!["amd64".to_owned()],
            by_hash: false,
            pin: 500,
            no_all_index: false,
            files: Fields::parse(&text).files().unwrap(),
        };
        let indexes = release.indexes(component, "amd64");
        let all = indexes.iter().flat_map(|index| {
            let files = index.files.iter().map(|file| file.paths[0].as_str());
            files.chain(index.unreadable.iter().map(String::as_str))
        });
        assert_eq!(all.collect::<Vec<_>>(), expected, "{files}");
    }

    #[test]
    fn every_form_of_an_index_is_found() {
        let line = |path: &str| format!(" {} 1 {path}\n", "ab".repeat(32));
        let lines = |paths: &[&str]| paths.iter().map(|path| line(path)).collect::<String>();
        let usual = lines(&[
            "main/binary-amd64/Packages",
            "main/binary-amd64/Packages.bz2",
            "x/y",
        ]);
        check_indexes(&usual, "main", &["main/binary-amd64/Packages", "Packages.bz2"]);
        check_indexes(&usual, "contrib", &[]);
        check_indexes(&usual, "", &[]);
        let flat = lines(&["Packages", "./Packages.gz", "Packages.bz2"]);
        check_indexes(&flat, "", &["Packages.gz", "Packages", "Packages.bz2"]);
        check_indexes(&flat, "main", &[]);
    }

    #[test]
    fn checksums_that_are_not_read_are_named() {
        let text = format!("SHA512:\n {} 1 main/binary-amd64/Packages\n", "ab".repeat(64));
        let error = Fields::parse(&text).files().unwrap_err();
        assert_eq!(error.to_string(), "it has no SHA256 of its files, only SHA512");
    }
}
