//! `kairos`: what makes the image a Kairos image.

use crate::source::Spanned;

/// Who sets the layout up at boot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Runtime {
    /// systemd and a generic initrd, with the distro's packages alone.
    Systemd,
    /// Kairos' own immucore and agent.
    Immucore,
}

/// Where the upstream parts of runtime `immucore` come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RuntimeSource(pub String);

/// Kairos' variant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Variant {
    /// Without Kubernetes.
    Core,
    /// With Kubernetes.
    Standard,
}

/// The `kairos` node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kairos {
    /// The runtime; `systemd` when absent.
    pub runtime: Option<Spanned<Runtime>>,
    /// Where upstream's parts come from, with runtime `immucore`.
    pub from: Option<Spanned<RuntimeSource>>,
    /// The model; `generic` when absent.
    pub model: Option<Spanned<String>>,
    /// The variant; `core` when absent.
    pub variant: Option<Spanned<Variant>>,
}
