//! The Debian family.

pub mod archive;
#[cfg(feature = "compiler")]
pub mod check;
#[cfg(feature = "compiler")]
pub mod facts;
#[cfg(feature = "compiler")]
pub mod index;
#[cfg(feature = "compiler")]
pub mod relation;
#[cfg(feature = "compiler")]
pub mod release;
#[cfg(feature = "compiler")]
pub mod signature;
pub mod version;
