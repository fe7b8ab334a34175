//! `repository`: a package source.

use std::collections::BTreeSet;
use std::fmt;
use std::ops::Range;
use std::str::FromStr;

use crate::source::Spanned;

use crate::packages::time;

use super::{CheckedBy, InvalidValue, PackageName, Url, redacted};

/// A package source: one URL, its suites, and the keys that sign it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Repository {
    /// The name in locks and messages.
    pub name: Spanned<String>,
    /// The URL; `None` is the mirror of the distro.
    pub url: Option<Spanned<Url>>,
    /// The suites, in order of preference at equal versions.
    pub suites: Vec<Suite>,
    /// The keys that may sign it: texts of ASCII-armoured OpenPGP keys. In a flavor, paths below its folder that the
    /// frontend replaces by their text. Without a URL, those of the distro sign it too.
    pub keys: Vec<Spanned<String>>,
    /// Which packages of the distro it may replace. Suites of the distro itself may replace any.
    pub replaces: Replaces,
    /// Its priority in the place of the one that its release file implies, as in apt_preferences(5).
    pub priority: Option<Spanned<u16>>,
    /// The time as of which it is read.
    pub snapshot: Option<Spanned<Snapshot>>,
    /// Whether a release file past its `Valid-Until` is read.
    pub allow_expired: bool,
}

impl Repository {
    /// Whether it may replace a package of the distro.
    pub fn may_replace(&self, name: &str) -> bool {
        match &self.replaces {
            Replaces::None => self.url.is_none(),
            Replaces::All => true,
            Replaces::Named(names) => names.iter().any(|known| known.as_str() == name),
        }
    }
}

/// Packages of the distro that a third-party source may replace.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Replaces {
    /// None.
    #[default]
    None,
    /// Every one.
    All,
    /// These.
    Named(Vec<PackageName>),
}

/// A time that an archive is read as of, as snapshot services write it: `20260101T000000Z`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Snapshot(String);

impl Snapshot {
    /// The text, which is the folder of a snapshot service.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Snapshot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl CheckedBy for Snapshot {
    const WHAT: &'static str = "a snapshot's time";
}

impl FromStr for Snapshot {
    type Err = InvalidValue;

    fn from_str(text: &str) -> Result<Self, InvalidValue> {
        let wrong = || {
            InvalidValue::new(
                format!("`{}` is not a snapshot's time", redacted(text)),
                "write it in UTC, as in \"20260101T000000Z\"",
            )
        };
        let digits = |range: Range<usize>| {
            let part = text.get(range)?;
            let is_number = part.bytes().all(|byte| byte.is_ascii_digit());
            part.parse::<i64>().ok().filter(|_| is_number)
        };
        let signs = (text.len(), text.get(8..9), text.get(15..));
        let date = [digits(0..4), digits(4..6), digits(6..8)];
        let clock = [digits(9..11), digits(11..13), digits(13..15)];
        match (signs, date, clock) {
            (
                (16, Some("T"), Some("Z")),
                [Some(year), Some(month), Some(day)],
                [Some(hour), Some(minute), Some(second)],
            ) if time::seconds([year, month, day], [hour, minute, second]).is_some() => {
                Ok(Snapshot(text.to_owned()))
            }
            _ => Err(wrong()),
        }
    }
}

/// Whether a suite is flat: an exact path, with its index beside its release file (sources.list(5)).
pub fn is_flat(suite: &str) -> bool {
    suite.ends_with('/')
}

/// The folder of a suite below the URL of its source; empty for the URL itself.
pub fn suite_folder(suite: &str) -> String {
    if !is_flat(suite) {
        return format!("dists/{suite}");
    }
    let parts = suite.split('/').filter(|part| !part.is_empty() && *part != ".");
    parts.collect::<Vec<_>>().join("/")
}

/// One suite of a package source.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Suite {
    /// Its name below `dists/`, such as `trixie-updates`; or, with a slash at its end, the path of a flat repository.
    pub name: String,
    /// Components, such as `main`; a flat repository has none.
    pub components: Vec<String>,
    /// Whether it lies in the distro's security archive instead of its mirror.
    pub security: bool,
}

impl Suite {
    /// The components whose indexes are read. A flat repository has one index, which is that of the component without name.
    pub fn components(&self) -> BTreeSet<String> {
        if is_flat(&self.name) {
            return BTreeSet::from([String::new()]);
        }
        self.components.iter().cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn snapshots_are_times() {
        for (text, ok) in [
            ("20260101T000000Z", true),
            ("20261301T000000Z", false),
            ("20260101T250000Z", false),
            ("2026-01-01", false),
            ("20260101T000000", false),
            ("+0260101T000000Z", false),
            ("20260101T00000éZ", false),
            ("", false),
        ] {
            assert_eq!(text.parse::<Snapshot>().is_ok(), ok, "{text}");
        }
    }

    #[test]
    fn a_suite_with_a_slash_at_its_end_is_a_path() {
        for (suite, folder) in [
            ("trixie", "dists/trixie"),
            ("bookworm/updates", "dists/bookworm/updates"),
            ("./", ""),
            ("/", ""),
            ("bookworm-cran40/", "bookworm-cran40"),
            ("./a/b/", "a/b"),
        ] {
            assert_eq!(suite_folder(suite), folder, "{suite}");
        }
    }
}
