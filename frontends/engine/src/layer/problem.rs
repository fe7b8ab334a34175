//! What goes wrong when a layer is made.

use std::io;
use std::path::{Path, PathBuf};

use miette::Diagnostic;
use thiserror::Error;

/// A layer that cannot be made.
#[derive(Debug, Error, Diagnostic)]
pub enum LayerError {
    /// Something in the tree cannot be read.
    #[error("cannot read `{}`: {reason}", .path.display())]
    #[diagnostic(
        code(kcompose::layer::read),
        help("see to it that nobody else changes the build's trees, and that the disk is sound")
    )]
    Read {
        /// What was read.
        path: PathBuf,
        /// What the system says.
        reason: io::Error,
    },

    /// Something in the tree cannot be changed.
    #[error("cannot change `{}`: {reason}", .path.display())]
    #[diagnostic(
        code(kcompose::layer::change),
        help("see to it that the disk has room and is sound")
    )]
    Change {
        /// What was to be changed.
        path: PathBuf,
        /// What the system says.
        reason: io::Error,
    },

    /// The archive cannot be written.
    #[error("cannot write the layer: {0}")]
    #[diagnostic(code(kcompose::layer::write), help("see to it that the disk has room"))]
    Write(io::Error),

    /// A directory was renamed by a note to the kernel, not by its files.
    #[error("`{}` is a renamed directory whose files are elsewhere", .path.display())]
    #[diagnostic(
        code(kcompose::layer::redirect),
        help("the step must run on an overlay that is mounted with `redirect_dir=nofollow`")
    )]
    Redirect {
        /// The directory.
        path: PathBuf,
    },
}

impl LayerError {
    pub(super) fn read(path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |reason| LayerError::Read { path, reason }
    }

    pub(super) fn change(path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |reason| LayerError::Change { path, reason }
    }
}
