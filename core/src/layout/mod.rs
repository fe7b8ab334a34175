//! The immutable layout: which paths are read-only, ephemeral, persistent and kept.
//!
//! [`compile`] makes one [`CompiledLayout`] of what the flavor and its distro say, and reports what cannot be true.
//! [`image_files`] renders it, with the runtime's own files, to what the image must hold: the layout is data below
//! [`DATA`], which the initrd applies; so the initrd knows no layout and is shared by all flavors.
//! [`systemd::initrd_recipe`] says what is in that initrd.

mod compile;
pub mod immucore;
mod problems;
pub mod prove;
mod render;
mod secrets;
pub mod systemd;
#[cfg(test)]
mod tests;

use crate::model::PathClass;

pub use compile::{CompiledLayout, Partition, compile};
pub use prove::prove;
pub use render::{image_files, kernel_files, layout_files, sysctl_files};
pub use secrets::{secret_files, secrets};

/// Where the image keeps what belongs to the runtime.
pub const OWN: &str = "/usr/lib/kcompose";

/// Where the image keeps the layout, as data for the initrd.
pub const DATA: &str = "/usr/lib/kcompose/layout";

/// The manifest of what the image ships in kept paths: for [`crate::step::Seed::manifest`].
///
/// One line an entry, sorted by path: `type mode uid gid value path`. The type is `f`, `d` or `l`; the mode is octal; the
/// value is the sha256 of a file, the target of a link, `-` of a directory. Spaces, backslashes and control characters of
/// paths and targets are written as `\NNN`. A kept path itself has an entry too.
pub const SEED_MANIFEST: &str = "/usr/lib/kcompose/layout/seed.manifest";

/// The id of the image's content in kept paths: for [`crate::step::Seed::image_id`].
pub const IMAGE_ID: &str = "/usr/lib/kcompose/image-id";

/// Paths that the boot writes before anything else can run (machine id and host name, state of services), with the class
/// that they must have.
pub(crate) const NEEDED: [(&str, PathClass); 3] = [
    ("/etc", PathClass::Ephemeral),
    ("/var", PathClass::Ephemeral),
    ("/usr/local", PathClass::Persistent),
];

/// The label of the partition behind `/usr/local` and all kept paths.
pub const PERSISTENT_LABEL: &str = "COS_PERSISTENT";

/// The label of the partition with the operator's configuration.
pub const OEM_LABEL: &str = "COS_OEM";
