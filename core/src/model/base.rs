//! `base`: what the image builds on.

use crate::source::Spanned;

use super::Url;

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
}
