//! Values that are checked once, when they are read.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// Why a text is no value of its type: what it must look like, for the message and the help.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{fact}")]
pub struct InvalidValue {
    /// What is wrong, lower case, without a full stop: "`0949` is not an octal mode".
    pub fact: String,
    /// What to write instead.
    pub help: String,
}

impl InvalidValue {
    pub(super) fn new(fact: impl Into<String>, help: impl Into<String>) -> Self {
        InvalidValue {
            fact: fact.into(),
            help: help.into(),
        }
    }
}

/// A type whose values are checked when text becomes one.
pub trait CheckedBy: FromStr<Err = InvalidValue> {
    /// What a value of this type is called in messages, with its article: "an octal mode".
    const WHAT: &'static str;
}

/// Defines a checked text; its `FromStr` is written beside.
macro_rules! text_value {
    ($name:ident, $what:literal, $doc:literal) => {
        #[doc = $doc]
        #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(String);

        impl $name {
            /// The text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl From<$name> for String {
            fn from(value: $name) -> String {
                value.0
            }
        }

        impl TryFrom<String> for $name {
            type Error = InvalidValue;
            fn try_from(text: String) -> Result<Self, InvalidValue> {
                text.parse()
            }
        }

        impl CheckedBy for $name {
            const WHAT: &'static str = $what;
        }
    };
}

pub(super) use text_value;

text_value!(
    PackageName,
    "a package name",
    "The name of a package, as its distro spells it."
);
text_value!(
    AbsPath,
    "an absolute path",
    "An absolute path without `.`, `..`, empty parts or a trailing `/`."
);
text_value!(
    UnitName,
    "a unit name",
    "The name of a systemd unit; without a suffix it is a `.service`."
);
text_value!(
    PathPattern,
    "a relative path",
    "A path below the build context, without `..`."
);

impl FromStr for PackageName {
    type Err = InvalidValue;

    // deb-control(5): lower case letters, digits, + - and ., at least two characters, beginning with a letter or digit.
    fn from_str(text: &str) -> Result<Self, InvalidValue> {
        let fine = text.len() >= 2
            && text.starts_with(|first: char| first.is_ascii_lowercase() || first.is_ascii_digit())
            && text
                .chars()
                .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || "+-.".contains(c));
        if fine {
            return Ok(PackageName(text.to_owned()));
        }
        Err(InvalidValue::new(
            format!("`{text}` is not a package name"),
            "a package name has at least two characters: lower case letters, digits, `+`, `-` and `.`",
        ))
    }
}

impl FromStr for AbsPath {
    type Err = InvalidValue;

    fn from_str(text: &str) -> Result<Self, InvalidValue> {
        let fact = || format!("`{text}` is not an absolute path");
        if !text.starts_with('/') {
            return Err(InvalidValue::new(
                fact(),
                format!("begin it with `/`, as in `/{text}`"),
            ));
        }
        if text == "/" {
            return Ok(AbsPath(text.to_owned()));
        }
        let trimmed = text.strip_suffix('/').unwrap_or(text);
        if trimmed[1..]
            .split('/')
            .any(|part| part.is_empty() || part == "." || part == "..")
        {
            return Err(InvalidValue::new(
                fact(),
                "write it without `.`, `..` and doubled `/`",
            ));
        }
        if text.contains(|c: char| c.is_control()) {
            return Err(InvalidValue::new(fact(), "take the control characters out"));
        }
        Ok(AbsPath(trimmed.to_owned()))
    }
}

impl AbsPath {
    /// Whether this path is the other, or lies below it.
    pub fn is_within(&self, other: &AbsPath) -> bool {
        other.0 == "/"
            || self.0 == other.0
            || self
                .0
                .strip_prefix(&other.0)
                .is_some_and(|rest| rest.starts_with('/'))
    }

    /// The path one level up; `None` for `/`.
    pub fn parent(&self) -> Option<AbsPath> {
        let (head, tail) = self.0.rsplit_once('/')?;
        if tail.is_empty() {
            return None;
        }
        Some(AbsPath(if head.is_empty() {
            "/".to_owned()
        } else {
            head.to_owned()
        }))
    }

    /// The last part of the path; empty for `/`.
    pub fn name(&self) -> &str {
        self.0.rsplit_once('/').map_or("", |(_, name)| name)
    }

    /// How many parts it has.
    pub fn depth(&self) -> usize {
        self.0.split('/').filter(|part| !part.is_empty()).count()
    }
}

impl FromStr for UnitName {
    type Err = InvalidValue;

    // systemd.unit(5), "Unit names".
    fn from_str(text: &str) -> Result<Self, InvalidValue> {
        const SUFFIXES: [&str; 11] = [
            "service",
            "socket",
            "device",
            "mount",
            "automount",
            "swap",
            "target",
            "path",
            "timer",
            "slice",
            "scope",
        ];
        let legal = |c: char| c.is_ascii_alphanumeric() || ":-_.\\@".contains(c);
        if text.is_empty() || text.len() > 255 || !text.chars().all(legal) {
            return Err(InvalidValue::new(
                format!("`{text}` is not a unit name"),
                "a unit name has letters, digits and `:-_.\\@`, as in `ssh.service`",
            ));
        }
        let known = text
            .rsplit_once('.')
            .is_some_and(|(_, suffix)| SUFFIXES.contains(&suffix));
        Ok(UnitName(if known {
            text.to_owned()
        } else {
            format!("{text}.service")
        }))
    }
}

impl FromStr for PathPattern {
    type Err = InvalidValue;

    fn from_str(text: &str) -> Result<Self, InvalidValue> {
        let trimmed = text.strip_prefix("./").unwrap_or(text).trim_end_matches('/');
        if trimmed.is_empty() || trimmed.starts_with('/') || trimmed.split('/').any(|part| part == "..") {
            return Err(InvalidValue::new(
                format!("`{text}` is not a path below the build context"),
                "write a path relative to the folder of the flavor, without `..`",
            ));
        }
        Ok(PathPattern(trimmed.to_owned()))
    }
}

/// Permission bits, written in octal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct FileMode(pub u32);

impl CheckedBy for FileMode {
    const WHAT: &'static str = "an octal mode";
}

impl FromStr for FileMode {
    type Err = InvalidValue;

    fn from_str(text: &str) -> Result<Self, InvalidValue> {
        let digits = text.strip_prefix("0o").unwrap_or(text);
        match u32::from_str_radix(digits, 8) {
            Ok(mode) if (3..=5).contains(&digits.len()) && mode <= 0o7777 => Ok(FileMode(mode)),
            _ => Err(InvalidValue::new(
                format!("`{text}` is not an octal mode"),
                "write three or four octal digits, as in \"0644\" or \"1777\"",
            )),
        }
    }
}

impl fmt::Display for FileMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:04o}", self.0)
    }
}

/// A size in bytes or a share of the memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Size {
    /// Bytes.
    Bytes(u64),
    /// Per cent, 1 to 100.
    Percent(u8),
}

impl CheckedBy for Size {
    const WHAT: &'static str = "a size";
}

impl FromStr for Size {
    type Err = InvalidValue;

    fn from_str(text: &str) -> Result<Self, InvalidValue> {
        let wrong = || {
            InvalidValue::new(
                format!("`{text}` is not a size"),
                "write it as \"25%\", \"512MiB\" or \"2GiB\"",
            )
        };
        if let Some(share) = text.strip_suffix('%') {
            return match share.parse() {
                Ok(share @ 1..=100) => Ok(Size::Percent(share)),
                _ => Err(wrong()),
            };
        }
        let units = [
            ("KiB", 1 << 10),
            ("MiB", 1 << 20),
            ("GiB", 1 << 30),
            ("TiB", 1u64 << 40),
        ];
        let (number, factor) = units
            .iter()
            .find_map(|(unit, factor)| Some((text.strip_suffix(unit)?, *factor)))
            .unwrap_or((text.strip_suffix('B').unwrap_or(text), 1));
        let number: u64 = number.trim().parse().map_err(|_| wrong())?;
        number.checked_mul(factor).map(Size::Bytes).ok_or_else(wrong)
    }
}

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Size::Percent(share) => write!(f, "{share}%"),
            Size::Bytes(bytes) if bytes >= 1 << 30 && bytes % (1 << 30) == 0 => {
                write!(f, "{}GiB", bytes >> 30)
            }
            Size::Bytes(bytes) if bytes >= 1 << 20 && bytes % (1 << 20) == 0 => {
                write!(f, "{}MiB", bytes >> 20)
            }
            Size::Bytes(bytes) if bytes >= 1 << 10 && bytes % (1 << 10) == 0 => {
                write!(f, "{}KiB", bytes >> 10)
            }
            Size::Bytes(bytes) => write!(f, "{bytes}B"),
        }
    }
}

/// A processor architecture, by Debian's and Go's common name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Architecture {
    /// x86-64.
    Amd64,
    /// 64-bit Arm.
    Arm64,
}

impl Architecture {
    /// All of them.
    pub const ALL: [Architecture; 2] = [Architecture::Amd64, Architecture::Arm64];

    /// The name, as in `dpkg --print-architecture` and in OCI platforms.
    pub fn as_str(self) -> &'static str {
        match self {
            Architecture::Amd64 => "amd64",
            Architecture::Arm64 => "arm64",
        }
    }
}

impl CheckedBy for Architecture {
    const WHAT: &'static str = "an architecture";
}

impl FromStr for Architecture {
    type Err = InvalidValue;

    fn from_str(text: &str) -> Result<Self, InvalidValue> {
        Self::ALL
            .into_iter()
            .find(|known| known.as_str() == text)
            .ok_or_else(|| {
                InvalidValue::new(
                    format!("`{text}` is not a known architecture"),
                    "known are `amd64` and `arm64`",
                )
            })
    }
}

impl fmt::Display for Architecture {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// How a version must compare.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Relation {
    /// `<`
    Before,
    /// `<=`
    AtMost,
    /// `=`
    Equal,
    /// `>=`
    AtLeast,
    /// `>`
    After,
}

impl Relation {
    /// The sign, as a flavor writes it.
    pub fn sign(self) -> &'static str {
        match self {
            Relation::Before => "<",
            Relation::AtMost => "<=",
            Relation::Equal => "=",
            Relation::AtLeast => ">=",
            Relation::After => ">",
        }
    }
}

/// A wish for versions: `>=8.10`, `=1.2-3`, `6.12.*`, or a plain version, which means "equal".
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum VersionRequest {
    /// Compared by the rules of the package family.
    Compare(Relation, String),
    /// Everything that begins with this text (written with a final `*`).
    Prefix(String),
}

impl CheckedBy for VersionRequest {
    const WHAT: &'static str = "a version request";
}

impl FromStr for VersionRequest {
    type Err = InvalidValue;

    fn from_str(text: &str) -> Result<Self, InvalidValue> {
        let signs = [
            (">=", Relation::AtLeast),
            ("<=", Relation::AtMost),
            (">", Relation::After),
            ("<", Relation::Before),
            ("=", Relation::Equal),
        ];
        let (relation, version) = signs
            .iter()
            .find_map(|(sign, relation)| Some((Some(*relation), text.strip_prefix(sign)?.trim())))
            .unwrap_or((None, text.trim()));
        let legal = |c: char| c.is_ascii_alphanumeric() || ".+-~:".contains(c);
        let body = version.strip_suffix('*').unwrap_or(version);
        if body.is_empty() || !body.chars().all(legal) {
            return Err(InvalidValue::new(
                format!("`{text}` is not a version request"),
                "write it as \">=8.10\", \"=1.2.3-4\" or \"6.12.*\"",
            ));
        }
        match (relation, version.ends_with('*')) {
            (None, true) => Ok(VersionRequest::Prefix(body.to_owned())),
            (Some(_), true) => Err(InvalidValue::new(
                format!("`{text}` mixes a comparison and a prefix"),
                "write either \">=6.12\" or \"6.12.*\"",
            )),
            (relation, false) => Ok(VersionRequest::Compare(
                relation.unwrap_or(Relation::Equal),
                version.to_owned(),
            )),
        }
    }
}

impl TryFrom<String> for VersionRequest {
    type Error = InvalidValue;
    fn try_from(text: String) -> Result<Self, InvalidValue> {
        text.parse()
    }
}

impl From<VersionRequest> for String {
    fn from(request: VersionRequest) -> String {
        request.to_string()
    }
}

impl fmt::Display for VersionRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            VersionRequest::Compare(relation, version) => write!(f, "{}{version}", relation.sign()),
            VersionRequest::Prefix(prefix) => write!(f, "{prefix}*"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check<T: FromStr + fmt::Debug>(text: &str, ok: bool) {
        assert_eq!(text.parse::<T>().is_ok(), ok, "{text:?}");
    }

    #[test]
    fn names_paths_and_modes_are_checked() {
        check::<PackageName>("libc6", true);
        check::<PackageName>("7zip", true);
        check::<PackageName>("Foo", false);
        check::<AbsPath>("/etc/ssh", true);
        check::<AbsPath>("etc", false);
        check::<AbsPath>("/a/../b", false);
        check::<FileMode>("0644", true);
        check::<FileMode>("0949", false);
        check::<Size>("25%", true);
        check::<Size>("0%", false);
        check::<VersionRequest>(">=8.10", true);
        check::<VersionRequest>(">=8.*", false);
        assert_eq!("ssh".parse::<UnitName>().unwrap().as_str(), "ssh.service");
        assert_eq!("a.b".parse::<UnitName>().unwrap().as_str(), "a.b.service");
        assert_eq!(
            "apt-daily.timer".parse::<UnitName>().unwrap().as_str(),
            "apt-daily.timer"
        );
    }

    #[test]
    fn a_path_lies_within_itself_and_what_is_above() {
        let path = |text: &str| text.parse::<AbsPath>().unwrap();
        assert!(path("/etc/ssh").is_within(&path("/etc")));
        assert!(!path("/etcetera").is_within(&path("/etc")));
        assert!(path("/etc").is_within(&path("/")));
        assert_eq!(path("/etc").parent(), Some(path("/")));
        assert_eq!(path("/").parent(), None);
    }
}
