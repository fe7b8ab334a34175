//! Packages: families, indexes, archives.
//!
//! A family is one folder: how its versions compare, how its indexes are signed and read, how its archives are laid
//! out. What the step binary shares with the compiler ([`decompress`], [`deb::archive`]) compiles without the feature
//! `compiler`.

pub mod deb;
pub mod decompress;
