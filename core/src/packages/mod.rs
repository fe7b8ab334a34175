//! Packages: families, indexes, archives.
//!
//! A family is one folder: how its versions compare, how its indexes are signed and read, how its archives are laid
//! out. What the step binary shares with the compiler ([`decompress`], [`deb::archive`]) compiles without the feature
//! `compiler`.

use sha2::{Digest, Sha256};

pub mod accounts;
pub mod deb;
pub mod decompress;
pub mod hex;
pub mod time;

/// The sha256 of bytes.
pub fn sha256(bytes: &[u8]) -> [u8; 32] {
    Sha256::digest(bytes).into()
}
