//! `base`: what the image builds on.

use crate::source::Spanned;

use super::{Snapshot, Url};

/// A release of a distro of the library.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Base {
    /// The distro's folder in the library.
    pub distro: Spanned<String>,
    /// The release; the distro's default when absent.
    pub release: Option<Spanned<String>>,
    /// The mirror to use instead of the default.
    pub mirror: Option<Spanned<Url>>,
    /// The security archive to use instead of the default.
    pub security_mirror: Option<Spanned<Url>>,
    /// The components to read, in the place of those that the release names.
    pub components: Option<Spanned<Vec<String>>>,
    /// The time as of which the archive is read.
    pub snapshot: Option<Spanned<Snapshot>>,
    /// Whether release files past their `Valid-Until` are read.
    pub allow_expired: Option<Spanned<bool>>,
}
