//! `kairos`: what makes the image a Kairos image.

use std::fmt;
use std::str::FromStr;

use crate::source::Spanned;

use super::{CheckedBy, InvalidValue, Url, redacted};

/// Who sets the layout up at boot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Runtime {
    /// systemd and a generic initrd, with the distro's packages alone.
    Systemd,
    /// Kairos' own immucore and agent.
    Immucore,
}

/// Where a program comes from that is no package: kairos-init, which brings the upstream parts of runtime `immucore`, or
/// one of Kubernetes.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum RuntimeSource {
    /// An image of a registry, by its full name with host and tag or digest.
    Image(String),
    /// The program itself, by its URL.
    Url(Url),
    /// A path on this machine, relative to the flavor's folder: the program itself, a folder with it, or an OCI layout.
    Path(String),
}

impl CheckedBy for RuntimeSource {
    const WHAT: &'static str = "a source of a program";
}

impl FromStr for RuntimeSource {
    type Err = InvalidValue;

    fn from_str(text: &str) -> Result<Self, InvalidValue> {
        if ["/", "./", "../"].iter().any(|start| text.starts_with(start)) {
            return Ok(RuntimeSource::Path(text.to_owned()));
        }
        let is_clean = text.chars().all(|c| c.is_ascii_graphic());
        if is_clean
            && ["https://", "http://"]
                .iter()
                .any(|start| text.starts_with(start))
        {
            return text.parse().map(RuntimeSource::Url);
        }
        let host = text.split_once('/').map_or("", |(host, _)| host);
        let is_name = host.contains(['.', ':']) || host == "localhost";
        if is_name && is_clean && !host.starts_with('.') {
            return Ok(RuntimeSource::Image(text.to_owned()));
        }
        Err(InvalidValue::new(
            format!(
                "`{}` is neither the name of an image nor a URL nor a path",
                redacted(text)
            ),
            "write an image with its registry, as in \"quay.io/kairos/kairos-init:v0.17.3\", an `https://` URL, or a path that begins with `./` or `/`",
        ))
    }
}

impl fmt::Display for RuntimeSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            RuntimeSource::Image(text) | RuntimeSource::Path(text) => f.write_str(text),
            RuntimeSource::Url(url) => url.fmt(f),
        }
    }
}

/// A distribution of Kubernetes that Kairos' provider knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kubernetes {
    /// K3s.
    K3s,
    /// k0s.
    K0s,
}

impl Kubernetes {
    /// Its name, which is that of its program.
    pub fn name(self) -> &'static str {
        match self {
            Kubernetes::K3s => "k3s",
            Kubernetes::K0s => "k0s",
        }
    }
}

/// Kairos' variant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Variant {
    /// Without Kubernetes.
    Core,
    /// With Kubernetes.
    Standard,
}

/// The `kairos` node.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Kairos {
    /// The runtime; `systemd` when absent.
    pub runtime: Option<Spanned<Runtime>>,
    /// Where upstream's parts come from, with runtime `immucore`.
    pub from: Option<Spanned<RuntimeSource>>,
    /// The model; `generic` when absent.
    pub model: Option<Spanned<String>>,
    /// The variant; `core` when absent.
    pub variant: Option<Spanned<Variant>>,
    /// The Kubernetes of variant `standard`.
    pub kubernetes: Option<Spanned<Kubernetes>>,
    /// Its version, such as `v1.33.5+k3s1`; that of the library when a flavor does not say it.
    pub kubernetes_version: Option<Spanned<String>>,
    /// Where its program comes from; as the library says when a flavor does not.
    pub kubernetes_from: Option<Spanned<RuntimeSource>>,
    /// Whether a trusted boot (a signed unified kernel image) is asked for.
    pub trusted_boot: Option<Spanned<bool>>,
    /// Whether FIPS 140 is asked for.
    pub fips: Option<Spanned<bool>>,
}

impl Kairos {
    /// The runtime that the image has.
    pub fn runtime(&self) -> Runtime {
        self.runtime
            .as_ref()
            .map_or(Runtime::Systemd, |runtime| runtime.value)
    }
}
