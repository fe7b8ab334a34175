//! The Kairos contract.

#[cfg(feature = "compiler")]
pub mod grub;
#[cfg(feature = "compiler")]
pub mod release;
