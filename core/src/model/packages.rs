//! `packages`: what is installed.

use crate::source::Spanned;

use super::{Architecture, PackageName, VersionRequest};

/// Everything about packages.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Packages {
    /// Packages to install.
    pub requests: Vec<Spanned<PackageRequest>>,
    /// Packages that must not be in the closure.
    pub without: Vec<Spanned<PackageName>>,
    /// Choices among providers.
    pub prefer: Vec<Spanned<Prefer>>,
    /// Versions that are held.
    pub holds: Vec<Spanned<Hold>>,
}

/// A package to install.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PackageRequest {
    /// Its name.
    pub name: PackageName,
    /// The version that is wanted.
    pub version: Option<Spanned<VersionRequest>>,
    /// The component that it needs, such as `non-free-firmware`; it is then read too.
    pub component: Option<Spanned<String>>,
    /// The `repository` whose versions are wanted, by its name.
    pub repository: Option<Spanned<String>>,
    /// The only architecture that wants it.
    pub architecture: Option<Spanned<Architecture>>,
}

impl PackageRequest {
    /// The request for a package in any version, for every architecture.
    pub fn any(name: PackageName) -> Self {
        PackageRequest {
            name,
            version: None,
            component: None,
            repository: None,
            architecture: None,
        }
    }
}

/// Which package to take for a virtual one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Prefer {
    /// The virtual package.
    pub wanted: PackageName,
    /// The package that provides it.
    pub provider: PackageName,
}

/// A version that stays as it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hold {
    /// The package.
    pub name: PackageName,
    /// The version to keep.
    pub version: Spanned<VersionRequest>,
    /// Why.
    pub reason: Option<Spanned<String>>,
    /// Until when, as `YYYY-MM-DD`; said in reports, never compared with a clock in core.
    pub until: Option<Spanned<String>>,
}
