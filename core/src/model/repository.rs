//! `repository`: a package source.

use std::collections::BTreeSet;

use crate::source::Spanned;

use super::Url;

/// A package source: one URL, its suites, and the keys that sign it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Repository {
    /// The name in locks and messages.
    pub name: Spanned<String>,
    /// The URL; `None` is the mirror of the distro.
    pub url: Option<Spanned<Url>>,
    /// The suites, in order of preference at equal versions.
    pub suites: Vec<Suite>,
    /// The keys that may sign it: texts of ASCII-armoured OpenPGP keys. In a flavor, paths below its folder that the
    /// frontend replaces by their text.
    pub keys: Vec<Spanned<String>>,
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
