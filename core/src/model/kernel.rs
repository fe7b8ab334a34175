//! `kernel`: the one kernel of an image.

use crate::source::Spanned;

use super::{PackageName, VersionRequest};

/// What one `kernel` node says; one that only adds arguments or modules names no package.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KernelPart {
    /// The package.
    pub package: Option<Spanned<PackageName>>,
    /// The version that is wanted.
    pub version: Option<Spanned<VersionRequest>>,
    /// Kernel arguments, in order.
    pub cmdline: Vec<Spanned<String>>,
    /// Modules to load at boot.
    pub load: Vec<Spanned<String>>,
    /// Modules that must not be loaded.
    pub deny: Vec<Spanned<String>>,
    /// Packages whose modules DKMS builds for this kernel; nothing else of them is in the image.
    pub dkms: Vec<Spanned<PackageName>>,
}

/// The kernel's package, its arguments and modules.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kernel {
    /// The package.
    pub package: Spanned<PackageName>,
    /// The version that is wanted.
    pub version: Option<Spanned<VersionRequest>>,
    /// Kernel arguments, in order.
    pub cmdline: Vec<Spanned<String>>,
    /// Modules to load at boot.
    pub load: Vec<Spanned<String>>,
    /// Modules that must not be loaded.
    pub deny: Vec<Spanned<String>>,
    /// Packages whose modules DKMS builds for this kernel; nothing else of them is in the image.
    pub dkms: Vec<Spanned<PackageName>>,
}
