//! The Debian family.

pub mod archive;
