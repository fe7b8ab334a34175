//! `base`: what the image builds on.

use crate::source::Spanned;

/// A release of a distro of the library.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Base {
    /// The distro's folder in the library.
    pub distro: Spanned<String>,
    /// The release; the distro's default when absent.
    pub release: Option<Spanned<String>>,
    /// The mirror to use instead of the default, as an http or https URL without a trailing `/`.
    pub mirror: Option<Spanned<String>>,
    /// The security archive to use instead of the default, likewise.
    pub security_mirror: Option<Spanned<String>>,
}
