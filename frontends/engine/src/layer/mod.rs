//! Layers: a change to a file system, as an archive with one well-known digest.
//!
//! [`diff`] writes what a step changed, from the directory in which overlayfs kept the changes; [`whole`] writes a tree as
//! one layer. Both give the archive that BuildKit gives for the same files. [`settle`] makes the directory one that others can
//! be laid on, [`reduce`] one that can be laid on others.

mod diff;
mod overlay;
mod problem;
mod reduce;
mod settle;
mod tar;

pub use self::diff::{diff, whole};
pub(crate) use self::overlay::all_attribute_names;
pub use self::overlay::{Found, Marks, Stack, metadata_of};
pub use self::problem::LayerError;
pub use self::reduce::reduce;
pub use self::settle::settle;
pub use self::tar::{Header, Kind, LayerArchive};
