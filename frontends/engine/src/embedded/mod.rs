//! An engine of our own, for machines where nothing is installed.

mod attributes;
pub mod contenthash;
pub mod fileop;
