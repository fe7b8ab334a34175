//! Names into exact versions.
//!
//! [`Resolved`] is what a flavor becomes when no name is left to look up; the lock is its text form.

use std::collections::{BTreeMap, BTreeSet};

use crate::model::{Architecture, PackageName};
use crate::step::Ids;

/// A package, pinned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LockedPackage {
    /// Its name.
    pub name: PackageName,
    /// Its version, as the distro writes it, with epoch.
    pub version: String,
    /// `amd64`, `arm64` or `all`.
    pub architecture: String,
    /// The name of the package source, such as `debian` or that of a `repository`.
    pub source: String,
    /// The suite it was found in.
    pub suite: String,
    /// The path below the source's URL.
    pub path: String,
    /// The archive's size in bytes.
    pub size: u64,
    /// The archive's sha256, in hex.
    pub sha256: String,
    /// Whether it is marked `Essential: yes`.
    pub essential: bool,
    /// The unpacked size in KiB, as the index says.
    pub installed_size: u64,
    /// Names of locked packages that satisfy its Depends and Pre-Depends, sorted.
    pub depends: BTreeSet<PackageName>,
}

/// An index that was read: what the lock says about it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct LockedIndex {
    /// The name of the package source.
    pub source: String,
    /// The suite.
    pub suite: String,
    /// The sha256 of its InRelease file, in hex.
    pub inrelease_sha256: String,
    /// Its `Date`, in seconds since 1970.
    pub date: i64,
    /// Fingerprints of the keys whose signatures were good, in hex, sorted.
    pub signed_by: Vec<String>,
}

/// A flavor with nothing left to look up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resolved {
    /// The architecture.
    pub architecture: Architecture,
    /// Every package of the image, by name.
    pub packages: BTreeMap<PackageName, LockedPackage>,
    /// The indexes that were read.
    pub indexes: Vec<LockedIndex>,
    /// Seconds since 1970: the newest index date.
    pub epoch: i64,
    /// Fixed ids of users and groups: the distro's, completed append-only.
    pub ids: Ids,
    /// Ids of the flavor's own users, by name.
    pub accounts: BTreeMap<String, u32>,
}
