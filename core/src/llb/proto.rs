//! BuildKit's messages and services.
//!
//! The one place that names the crate they come from, so that it can be exchanged.

pub use bollard_buildkit_proto::{fsutil, google, health, moby, pb};
