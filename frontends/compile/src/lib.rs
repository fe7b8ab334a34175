//! From a flavor and its lock to a definition: the one path that the CLI and the BuildKit frontend share.
//!
//! What comes from outside (texts, the lock, whether a path of the build context exists) is given by the caller: the CLI
//! reads files, the frontend asks BuildKit. Everything between is the same code, so both come to the same definition.
#![cfg_attr(test, allow(clippy::unwrap_used))]

mod arguments;
mod complaints;
mod context;
mod contexts;
mod locked;
mod stages;
mod urls;

pub use arguments::{BadFlag, EPOCH, architecture, epoch, options};
pub use complaints::{Origins, complaints};
pub use context::{missing, paths};
pub use contexts::{replaced, unused};
pub use locked::{must_fit, new_lock, read_lock};
pub use stages::{Compiled, Wiring, compile, config, definition, layout, runtime_text};
pub use urls::Urls;
