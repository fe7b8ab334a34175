//! What goes wrong when an image is read.

use std::io;
use std::path::PathBuf;

use kcompose_core::limits::Exceeded;
use miette::Diagnostic;
use thiserror::Error;

/// An image that cannot be read.
#[derive(Debug, Error, Diagnostic)]
pub enum ImageError {
    /// There is nothing by this name.
    #[error("there is no image `{}`", .path.display())]
    #[diagnostic(
        code(kcompose::image::missing),
        help(
            "an image is an OCI archive, an OCI layout folder, an archive of `docker save`, a root tree, or a tar of one"
        )
    )]
    Missing {
        /// What was named.
        path: PathBuf,
    },

    /// It is something else.
    #[error("`{}` is not an image: {reason}", .path.display())]
    #[diagnostic(
        code(kcompose::image::unknown),
        help(
            "an image is an OCI archive, an OCI layout folder, an archive of `docker save`, a root tree, or a tar of one"
        )
    )]
    Unknown {
        /// What was named.
        path: PathBuf,
        /// Why it is none.
        reason: String,
    },

    /// It is an image, and broken.
    #[error("the image `{}` is broken: {reason}", .path.display())]
    #[diagnostic(
        code(kcompose::image::broken),
        help("it was changed or cut off after it was made: get or build it again")
    )]
    Broken {
        /// What was named.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },

    /// It is over a limit.
    #[error("the image `{}` is too large to read: {exceeded}", .path.display())]
    #[diagnostic(code("kcompose::image::too-large"), help("{}", exceeded.help()))]
    TooLarge {
        /// The image.
        path: PathBuf,
        /// The limit.
        exceeded: Exceeded,
    },

    /// A file cannot be read or written.
    #[error("cannot {action} `{}`: {reason}", .path.display())]
    #[diagnostic(
        code(kcompose::image::io),
        help("see to it that the disk has room and that you may use the path")
    )]
    Io {
        /// What was being done.
        action: &'static str,
        /// With what.
        path: PathBuf,
        /// What the system says.
        reason: io::Error,
    },
}

impl ImageError {
    /// The exit code of a command that ends with it: 1 if the image is wrong, 2 if there is none, 3 for the world.
    pub fn exit_code(&self) -> u8 {
        match self {
            ImageError::Broken { .. } | ImageError::TooLarge { .. } => 1,
            ImageError::Missing { .. } | ImageError::Unknown { .. } => 2,
            ImageError::Io { .. } => 3,
        }
    }

    pub(super) fn io(action: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |reason| ImageError::Io { action, path, reason }
    }
}
