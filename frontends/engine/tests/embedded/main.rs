//! The embedded engine: by itself, and against a running BuildKit, digest by digest.
#![allow(clippy::disallowed_methods, clippy::unwrap_used)]

mod common;
#[path = "../daemon/mod.rs"]
mod daemon;
mod equal;
mod faults;
mod kept;
