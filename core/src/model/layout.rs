//! `layout`: which paths are immutable, ephemeral, persistent.

use crate::source::Spanned;

use super::{AbsPath, Size};

/// What happens to writes below a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum PathClass {
    /// Refused: the path is part of the read-only image.
    ReadOnly,
    /// Lost at reboot: an overlay over the image, in memory.
    Ephemeral,
    /// On a partition of its own, by label.
    Persistent,
    /// Kept: bound from the state directory of COS_PERSISTENT, seeded from the image.
    Keep,
}

/// A path and its class.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LayoutRule {
    /// The path.
    pub path: AbsPath,
    /// Its class.
    pub class: PathClass,
    /// The file system label of a persistent path.
    pub label: Option<String>,
}

/// What the boot does when a partition is not there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnMissing {
    /// Goes on without it: a tmpfs in its place, a message, a sentinel file.
    Degrade,
    /// Reboots.
    Reboot,
}

/// What the boot does without one partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OnMissingRule {
    /// The partition's label.
    pub label: String,
    /// What to do.
    pub then: OnMissing,
}

/// All that is said about the layout.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Layout {
    /// Paths with a class.
    pub rules: Vec<Spanned<LayoutRule>>,
    /// Stock paths that are taken out.
    pub forget: Vec<Spanned<AbsPath>>,
    /// Paths of the image that a partition may hide.
    pub allow_hidden: Vec<Spanned<AbsPath>>,
    /// The size of the memory behind ephemeral paths.
    pub size: Option<Spanned<Size>>,
    /// What missing partitions do.
    pub on_missing: Vec<Spanned<OnMissingRule>>,
}
