//! Limits on inputs, in one table.
//!
//! A limit bounds the memory, time or stack that a file written by others can cost. Code that enforces a limit names its
//! entry here; `docs/reference/limits.md` and messages are written from the table.

use std::fmt;
use std::io;

use thiserror::Error;

/// A bound on an input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limit {
    /// The name in the reference, such as `nesting`.
    pub name: &'static str,
    /// The largest value that is accepted.
    pub value: u64,
    /// The unit of the value.
    pub unit: Unit,
    /// The input that it bounds.
    pub bounds: &'static str,
    /// The way to raise it; `None` if it is fixed.
    pub raise: Option<&'static str>,
}

/// The unit of a limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// A number of things: their name in the plural.
    Count(&'static str),
    /// A number of bytes.
    Bytes,
}

/// Braces and comments inside each other.
pub const NESTING: Limit = Limit {
    name: "nesting",
    value: 128,
    unit: Unit::Count("levels"),
    bounds: "Braces, and block comments, inside each other in a document.",
    raise: None,
};

/// Syntax errors of one document.
pub const SYNTAX_ERRORS: Limit = Limit {
    name: "syntax-errors",
    value: 200,
    unit: Unit::Count("errors"),
    bounds: "Syntax errors that are reported for one document; reading ends with the last.",
    raise: None,
};

/// Documents that use each other in a row.
pub const USE_DEPTH: Limit = Limit {
    name: "use-depth",
    value: 64,
    unit: Unit::Count("documents"),
    bounds: "Documents that use each other in a row.",
    raise: None,
};

/// Documents that one flavor uses.
pub const DOCUMENTS: Limit = Limit {
    name: "documents",
    value: 1000,
    unit: Unit::Count("documents"),
    bounds: "Documents and blocks that one flavor uses, itself included.",
    raise: None,
};

/// The size of one document.
pub const DOCUMENT: Limit = Limit {
    name: "document",
    value: 1 << 20,
    unit: Unit::Bytes,
    bounds: "One KDL document.",
    raise: None,
};

/// The size of one text.
pub const TEXT: Limit = Limit {
    name: "text",
    value: 16 << 20,
    unit: Unit::Bytes,
    bounds: "One lock, key, certificate or cloud-config.",
    raise: None,
};

/// The size of all texts of one flavor.
pub const TEXTS: Limit = Limit {
    name: "texts",
    value: 64 << 20,
    unit: Unit::Bytes,
    bounds: "All documents, keys and cloud-configs of one flavor together.",
    raise: None,
};

/// The files of copied folders that are looked at before a build.
pub const COPIED: Limit = Limit {
    name: "copied",
    value: 200_000,
    unit: Unit::Count("files"),
    bounds: "Files of copied folders that `check` and `lock` look at; with more of them, proofs about files are left to the build.",
    raise: None,
};

/// Unknown packages for which similar names are looked up.
pub const SUGGESTIONS: Limit = Limit {
    name: "suggestions",
    value: 50,
    unit: Unit::Count("packages"),
    bounds: "Unknown packages whose report names similar ones; each costs a search through all package names.",
    raise: None,
};

/// One file of a package that is read into memory.
pub const PACKAGE_MEMBER: Limit = Limit {
    name: "package-member",
    value: 16 << 20,
    unit: Unit::Bytes,
    bounds: "One maintainer script, unit, `sysusers.d` file or other text of a package that is read before it is installed.",
    raise: None,
};

/// All files of a package that are read into memory.
pub const PACKAGE_MEMBERS: Limit = Limit {
    name: "package-members",
    value: 64 << 20,
    unit: Unit::Bytes,
    bounds: "All texts of one package that are read before it is installed.",
    raise: None,
};

/// The files of a package, unpacked.
pub const PACKAGE_SIZE: Limit = Limit {
    name: "package-size",
    value: 16 << 30,
    unit: Unit::Bytes,
    bounds: "The files of one package or downloaded archive, unpacked.",
    raise: None,
};

/// Members of one archive, or of all layers of one image.
pub const ARCHIVE_MEMBERS: Limit = Limit {
    name: "archive-members",
    value: 600_000,
    unit: Unit::Count("members"),
    bounds: "Members of a package, or of all layers of an image, and the directories above them.",
    raise: None,
};

/// The path of a member, `PATH_MAX` of Linux.
pub const ARCHIVE_PATH: Limit = Limit {
    name: "archive-path",
    value: 4096,
    unit: Unit::Bytes,
    bounds: "The path of one member of a package or an image, and the target of a link.",
    raise: None,
};

/// All names and attributes of one archive, or of all layers of one image.
pub const ARCHIVE_NAMES: Limit = Limit {
    name: "archive-names",
    value: 128 << 20,
    unit: Unit::Bytes,
    bounds: "Paths, link targets and extended attributes of a package, or of all layers of an image.",
    raise: None,
};

/// The headers before one member.
pub const ARCHIVE_HEADER: Limit = Limit {
    name: "archive-header",
    value: 1 << 20,
    unit: Unit::Bytes,
    bounds: "The headers of one member of a tar archive: long names, pax records, maps of sparse files.",
    raise: None,
};

/// Directories and links that the paths of an image's layers lead through.
pub const IMAGE_WALK: Limit = Limit {
    name: "image-walk",
    value: 1 << 30,
    unit: Unit::Bytes,
    bounds: "Paths of directories and links that are passed on the way to the members of an image's layers.",
    raise: None,
};

/// The layers of an image.
pub const IMAGE_LAYERS: Limit = Limit {
    name: "image-layers",
    value: 512,
    unit: Unit::Count("layers"),
    bounds: "Layers of an image.",
    raise: None,
};

/// The archive and the layers of an image, unpacked.
pub const IMAGE_SIZE: Limit = Limit {
    name: "image-size",
    value: 16 << 30,
    unit: Unit::Bytes,
    bounds: "The archive and all layers of an image, unpacked.",
    raise: Some("`--max-image-size SIZE` of `verify` and `boot`"),
};

/// The ratio between a layer and its compressed form.
pub const IMAGE_RATIO: Limit = Limit {
    name: "image-ratio",
    value: 200,
    unit: Unit::Count("times"),
    bounds: "The size of an unpacked layer or archive of more than 256 MiB, as a multiple of its compressed size.",
    raise: Some(
        "`verify --max-image-size SIZE`, `boot --max-image-size SIZE`: a size that is named replaces the ratio",
    ),
};

/// One file of an image that is read into memory.
pub const IMAGE_FILE: Limit = Limit {
    name: "image-file",
    value: 256 << 20,
    unit: Unit::Bytes,
    bounds: "One file of an image that a check reads whole; a larger one counts as unreadable.",
    raise: None,
};

/// A name or path in the loader's cache.
pub const LOADER_NAME: Limit = Limit {
    name: "loader-name",
    value: 4096,
    unit: Unit::Bytes,
    bounds: "One name or path in `/etc/ld.so.cache`; the file has at most 16 MiB, and all its names together four times its size.",
    raise: None,
};

/// The texts of an initrd that are read into memory.
pub const INITRD_TEXTS: Limit = Limit {
    name: "initrd-texts",
    value: 64 << 20,
    unit: Unit::Bytes,
    bounds: "Names and small files of an initrd.",
    raise: None,
};

/// The steps of evaluating an image's `bootargs.cfg`.
pub const BOOT_STEPS: Limit = Limit {
    name: "boot-steps",
    value: 1_000_000,
    unit: Unit::Count("words"),
    bounds: "Words of commands that evaluating `/etc/cos/bootargs.cfg` of an image runs; a file that is looked for counts as 1000.",
    raise: None,
};

/// The text of an image's `bootargs.cfg`.
pub const BOOT_TEXT: Limit = Limit {
    name: "boot-text",
    value: 1 << 20,
    unit: Unit::Bytes,
    bounds: "`/etc/cos/bootargs.cfg`, the files that it sources, and the words that their variables expand to.",
    raise: None,
};

/// Every limit, in the order of the reference.
pub const ALL: &[Limit] = &[
    NESTING,
    SYNTAX_ERRORS,
    USE_DEPTH,
    DOCUMENTS,
    DOCUMENT,
    TEXT,
    TEXTS,
    COPIED,
    SUGGESTIONS,
    PACKAGE_MEMBER,
    PACKAGE_MEMBERS,
    PACKAGE_SIZE,
    ARCHIVE_MEMBERS,
    ARCHIVE_PATH,
    ARCHIVE_NAMES,
    ARCHIVE_HEADER,
    IMAGE_WALK,
    IMAGE_LAYERS,
    IMAGE_SIZE,
    IMAGE_RATIO,
    IMAGE_FILE,
    LOADER_NAME,
    INITRD_TEXTS,
    BOOT_STEPS,
    BOOT_TEXT,
];

/// An input that is over a limit.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{what} exceeds the limit `{}` of {limit}", .limit.name)]
pub struct Exceeded {
    /// The limit.
    pub limit: Limit,
    /// The input, such as "its member `preinst`".
    pub what: String,
}

impl Exceeded {
    /// The limit that an error of a reader is about.
    pub fn of(error: &io::Error) -> Option<&Self> {
        error.get_ref()?.downcast_ref()
    }

    /// The way to raise the limit.
    pub fn help(&self) -> String {
        match self.limit.raise {
            Some(raise) => format!("if you trust it, raise the limit: {raise}"),
            None => "the limit is fixed: tell the owner of the file".to_owned(),
        }
    }
}

impl From<Exceeded> for io::Error {
    fn from(exceeded: Exceeded) -> Self {
        io::Error::other(exceeded)
    }
}

impl Limit {
    /// Whether a value is over the limit.
    pub fn is_exceeded_by(&self, value: usize) -> bool {
        u64::try_from(value).is_ok_and(|value| value > self.value)
    }

    /// The error for an input that is over the limit.
    pub fn exceeded(self, what: impl Into<String>) -> Exceeded {
        Exceeded {
            limit: self,
            what: what.into(),
        }
    }
}

impl fmt::Display for Limit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const UNITS: [(u64, &str); 3] = [(1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")];
        match self.unit {
            Unit::Count(things) => write!(f, "{} {things}", self.value),
            Unit::Bytes => match UNITS.iter().find(|(size, _)| self.value.is_multiple_of(*size)) {
                Some((size, unit)) => write!(f, "{} {unit}", self.value / size),
                None => write!(f, "{} bytes", self.value),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn each_limit_has_one_name() {
        let names: BTreeSet<&str> = ALL.iter().map(|limit| limit.name).collect();
        assert_eq!(names.len(), ALL.len());
    }

    #[test]
    fn a_limit_is_shown_with_its_unit() {
        assert_eq!(TEXT.to_string(), "16 MiB");
        assert_eq!(NESTING.to_string(), "128 levels");
    }

    #[test]
    fn a_limit_accepts_its_own_value() {
        assert!(!NESTING.is_exceeded_by(128));
        assert!(NESTING.is_exceeded_by(129));
    }
}
