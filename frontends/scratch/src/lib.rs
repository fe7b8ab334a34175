//! Temporary folders and files that only their owner can enter.
//!
//! Trees of images hold setuid programs and device nodes, and images of private registries hold secrets. A temporary folder
//! with the usual mode 0755 hands them to every user of the machine, so [`Folder`] has mode 0700 whatever the umask is. Other
//! ways to make temporary folders are disallowed in `clippy.toml`.
//!
//! A [`Draft`] is a file without a name that becomes its destination when it is whole, so that whatever ends the process leaves
//! nothing of it.
#![cfg_attr(test, allow(clippy::unwrap_used))]

mod draft;
mod folder;

pub use draft::Draft;
pub use folder::{Folder, clear};
