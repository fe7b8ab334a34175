//! BuildKit's low-level build definition: a graph of operations, encoded.
//!
//! A [`Graph`] takes operations ([`Http`], [`Exec`], [`FileAction`], …) and hands out their [`Output`]s; each operation is
//! encoded and digested at once, so equal operations are one vertex. [`Graph::definition`] takes what one output needs
//! and makes the [`Definition`] that an engine solves, with a name, a progress group and the place in the flavor for
//! every vertex. The same calls give the same bytes.
//!
//! ```
//! use kcompose_core::llb::{FileAction, Graph, MakeFile, Meta};
//!
//! let mut graph = Graph::new();
//! let file = FileAction::MakeFile(MakeFile::new("/hello", 0o644, "hello\n"));
//! let output = graph.file(None, [file], Meta::named("say hello"));
//! let definition = graph.definition(Some(output), &Default::default());
//! assert!(definition.text().contains("mkfile /hello"));
//! ```

mod caps;
mod definition;
mod encode;
mod exec;
mod file;
mod folder;
mod foreign;
mod git;
mod graph;
mod http;
pub mod proto;
mod source;
mod text;

pub use definition::{Definition, Vertex};
pub use exec::{CacheSharing, Exec, Mount, MountKind, Network};
pub use file::{Copy, FileAction, MakeDirectory, MakeFile, Owner, Remove, Symlink};
pub use folder::{ARCHIVE, Folder, Folders, Made, Selection};
pub use foreign::ForeignError;
pub use git::Git;
pub use graph::{Graph, Group, Meta, Output, Platform};
pub use http::Http;
pub use source::{Image, Local, OciLayout, Whose};

#[cfg(test)]
mod tests;
