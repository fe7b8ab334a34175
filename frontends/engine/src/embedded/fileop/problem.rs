//! What goes wrong when files are changed.

use std::io;

use miette::Diagnostic;
use thiserror::Error;

/// A change to a file system that cannot be made. Paths are those inside the tree.
#[derive(Debug, Error, Diagnostic)]
pub enum FileOpError {
    /// There is nothing by this name.
    #[error("there is no `{path}`")]
    #[diagnostic(code(kcompose::files::missing))]
    Missing {
        /// The path.
        path: String,
    },

    /// Something else is where a directory must be.
    #[error("`{path}` is not a directory")]
    #[diagnostic(
        code(kcompose::files::not_a_directory),
        help("a copy replaces what is in its way only if it is asked to")
    )]
    NotADirectory {
        /// The path.
        path: String,
    },

    /// A directory is where something else must be.
    #[error("`{path}` is a directory")]
    #[diagnostic(
        code(kcompose::files::is_a_directory),
        help("a copy replaces what is in its way only if it is asked to")
    )]
    IsADirectory {
        /// The path.
        path: String,
    },

    /// Links that lead to each other.
    #[error("`{path}` leads through too many symbolic links")]
    #[diagnostic(code(kcompose::files::links))]
    Links {
        /// The path.
        path: String,
    },

    /// An owner by a name that nobody has.
    #[error("there is no {kind} `{name}`")]
    #[diagnostic(
        code(kcompose::files::owner),
        help("it must be in the tree's `/etc/passwd` or `/etc/group`; a number always works")
    )]
    Owner {
        /// `user` or `group`.
        kind: &'static str,
        /// The name.
        name: String,
    },

    /// An owner that this user may not give files to.
    #[error("`{path}` cannot belong to {uid}:{gid} here")]
    #[diagnostic(
        code(kcompose::files::range),
        help(
            "without root, owners come from the user's range in `/etc/subuid` and `/etc/subgid`; make it larger"
        )
    )]
    Range {
        /// The path.
        path: String,
        /// The user.
        uid: u32,
        /// The group.
        gid: u32,
    },

    /// Something that this engine does not do.
    #[error("this engine does not do {what}")]
    #[diagnostic(
        code(kcompose::files::unsupported),
        help("build with a BuildKit: `--engine buildkit`")
    )]
    Unsupported {
        /// What was asked for.
        what: &'static str,
    },

    /// The system refuses.
    #[error("cannot {action} `{path}`: {reason}")]
    #[diagnostic(code(kcompose::files::io))]
    Io {
        /// What was being done.
        action: &'static str,
        /// With what.
        path: String,
        /// What the system says.
        reason: io::Error,
    },
}
