//! The Kairos contract.

pub mod checks;

#[cfg(feature = "compiler")]
pub mod grub;
#[cfg(feature = "compiler")]
pub mod release;
