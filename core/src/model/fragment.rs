//! What one document says.

use crate::source::{Span, Spanned};

use super::{
    Base, CloudConfig, FileNode, Identity, ImageSettings, Kairos, Kernel, Layout, Packages, Repository, Run, Service,
    Sysctl, Use, User,
};

/// Everything that one document says; nothing is required, nothing is merged.
#[derive(Clone, Debug, Default)]
pub struct Fragment {
    /// `flavor` nodes (more than one is a conflict that compose reports).
    pub identities: Vec<Spanned<Identity>>,
    /// `base` nodes.
    pub bases: Vec<Spanned<Base>>,
    /// `kernel` nodes.
    pub kernels: Vec<Spanned<Kernel>>,
    /// `packages` nodes, one after the other.
    pub packages: Packages,
    /// `repository` nodes.
    pub repositories: Vec<Spanned<Repository>>,
    /// `layout` nodes, one after the other.
    pub layout: Layout,
    /// Entries of `files` nodes.
    pub files: Vec<Spanned<FileNode>>,
    /// Entries of `users` nodes.
    pub users: Vec<Spanned<User>>,
    /// Entries of `services` nodes.
    pub services: Vec<Spanned<Service>>,
    /// Entries of `sysctl` nodes.
    pub sysctls: Vec<Spanned<Sysctl>>,
    /// `cloud-config` nodes.
    pub cloud_configs: Vec<Spanned<CloudConfig>>,
    /// `kairos` nodes.
    pub kairos: Vec<Spanned<Kairos>>,
    /// `image` nodes.
    pub images: Vec<Spanned<ImageSettings>>,
    /// `run` nodes.
    pub runs: Vec<Spanned<Run>>,
    /// `use` nodes.
    pub uses: Vec<Spanned<Use>>,
    /// The span of the whole document.
    pub span: Span,
}
