//! Limits on inputs, in one table.
//!
//! A limit bounds the memory, time or stack that a file written by others can cost. Code that enforces a limit names its
//! entry here; `docs/reference/limits.md` and messages are written from the table.

use std::fmt;

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
];

impl Limit {
    /// Whether a value is over the limit.
    pub fn is_exceeded_by(&self, value: usize) -> bool {
        u64::try_from(value).is_ok_and(|value| value > self.value)
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
