//! Layers: a change to a file system, as an archive with one well-known digest.

mod tar;

pub use self::tar::{Header, Kind, LayerArchive};
