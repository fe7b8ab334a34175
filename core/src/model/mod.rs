//! What documents say.
//!
//! A [`Fragment`] is what one document says: every field optional and spanned, every value valid by itself. `compose`
//! makes one [`Flavor`] of all fragments: nothing missing, no conflict; every value remembers where it was said.
//! One concept is one file here, in the dsl's `nodes/`, in `compose/` and in `plan/`.

mod base;
mod certificates;
mod cloud_config;
mod download;
mod files;
mod flavor;
mod fragment;
mod groups;
mod ids;
mod image;
mod initrd;
mod kairos;
mod kernel;
mod layout;
mod packages;
mod repository;
mod run;
mod secret;
mod services;
mod sysctl;
mod system;
mod url;
mod r#use;
mod users;
mod values;

pub use base::Base;
pub use certificates::{Certificate, CertificateFile};
pub use cloud_config::CloudConfig;
pub use download::{Download, Sha256};
pub use files::{FileBody, FileNode};
pub use flavor::{
    Distro, Flavor, Identity, KubernetesNeeds, OnArchitecture, Rank, RuntimeNeeds, StockPackage, WithPackage,
};
pub use fragment::Fragment;
pub use groups::Group;
pub use ids::FixedId;
pub use image::{ImageSettings, Label};
pub use initrd::Initrd;
pub use kairos::{Kairos, Kubernetes, Runtime, RuntimeSource, Variant};
pub use kernel::{Kernel, KernelPart};
pub use layout::{Layout, LayoutRule, OnMissing, OnMissingRule, PathClass};
pub use packages::{Hold, PackageRequest, Packages, Prefer};
pub use repository::{Replaces, Repository, Snapshot, Suite, is_flat, suite_folder};
pub use run::Run;
pub use secret::MachineSecret;
pub use services::{Service, ServiceVerb};
pub use sysctl::Sysctl;
pub use system::{HostName, Keyboard, Locale, System, SystemPart, TimeZone, XkbNames};
pub use url::{Login, Scheme, Url, redacted};
pub use r#use::Use;
pub use users::User;
pub use values::{
    AbsPath, Architecture, CheckedBy, FileMode, InvalidValue, PackageName, PathPattern, Relation, Size,
    UnitName, VersionRequest,
};
