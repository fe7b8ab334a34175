//! `initrd`: what the initrd holds beside what every machine needs.

use crate::source::Spanned;

/// Drivers that a machine needs before its root file system is there.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Initrd {
    /// Kernel modules by name; what they depend on comes along.
    pub modules: Vec<Spanned<String>>,
    /// Files of firmware, as patterns below `/usr/lib/firmware`.
    pub firmware: Vec<Spanned<String>>,
}
