//! What one document says.

use crate::source::{Span, Spanned};

use super::{
    Base, CertificateFile, CloudConfig, FileNode, FixedId, Group, Identity, ImageSettings, Initrd, Kairos,
    KernelPart, Layout, Packages, Repository, Run, Service, Size, Sysctl, SystemPart, Use, User,
};

/// Everything that one document says; nothing is required, nothing is merged.
#[derive(Clone, Debug, Default)]
pub struct Fragment {
    /// `flavor` nodes (more than one is a conflict that compose reports).
    pub identities: Vec<Spanned<Identity>>,
    /// `base` nodes.
    pub bases: Vec<Spanned<Base>>,
    /// `kernel` nodes.
    pub kernels: Vec<Spanned<KernelPart>>,
    /// `initrd` nodes.
    pub initrds: Vec<Spanned<Initrd>>,
    /// `packages` nodes, one after the other.
    pub packages: Packages,
    /// `repository` nodes.
    pub repositories: Vec<Spanned<Repository>>,
    /// `layout` nodes, one after the other.
    pub layout: Layout,
    /// Sizes of the memory behind ephemeral paths that `layout` nodes say (compose takes one; `layout.size` stays empty).
    pub sizes: Vec<Spanned<Size>>,
    /// Entries of `files` nodes.
    pub files: Vec<Spanned<FileNode>>,
    /// Entries of `users` nodes.
    pub users: Vec<Spanned<User>>,
    /// Entries of `groups` nodes.
    pub groups: Vec<Spanned<Group>>,
    /// Entries of `ids` nodes.
    pub ids: Vec<Spanned<FixedId>>,
    /// Entries of `services` nodes.
    pub services: Vec<Spanned<Service>>,
    /// Entries of `sysctl` nodes.
    pub sysctls: Vec<Spanned<Sysctl>>,
    /// `hostname`, `timezone`, `locale` and `keyboard` nodes.
    pub system: SystemPart,
    /// Files that `certificates` nodes name.
    pub certificates: Vec<Spanned<CertificateFile>>,
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
    /// What `override` nodes say: values that win.
    pub overriding: Option<Box<Fragment>>,
    /// The span of the whole document.
    pub span: Span,
}
