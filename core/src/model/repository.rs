//! `repository`: a package source.

use crate::source::Spanned;

/// A package source: one URL, its suites, and the keys that sign it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Repository {
    /// The name in locks and messages.
    pub name: Spanned<String>,
    /// The URL; `None` is the mirror of the distro.
    pub url: Option<Spanned<String>>,
    /// The suites, in order of preference at equal versions.
    pub suites: Vec<Suite>,
    /// The keys that may sign it: texts of ASCII-armoured OpenPGP keys. In a flavor, paths below its folder that the
    /// frontend replaces by their text.
    pub keys: Vec<Spanned<String>>,
}

/// One suite of a package source.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Suite {
    /// Its name below `dists/`, such as `trixie-updates`.
    pub name: String,
    /// Components, such as `main`.
    pub components: Vec<String>,
    /// Whether it lies in the distro's security archive instead of its mirror.
    pub security: bool,
}
