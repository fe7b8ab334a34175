//! Why a step could not run.

use miette::Diagnostic;
use thiserror::Error;

/// A step that did not start, or that was lost. A step that failed is no problem of ours but an [`Ending`](crate::Ending).
#[derive(Debug, Error, Diagnostic)]
pub enum Problem {
    /// The sandbox could not be set up.
    #[error("the sandbox of a step cannot be set up: {attempt}: {error}")]
    #[diagnostic(
        code(kcompose::sandbox::refused),
        help("`kcompose doctor` says what this machine allows")
    )]
    Refused {
        /// What was attempted.
        attempt: String,
        /// What the system said.
        error: String,
    },
    /// The sandbox stood, but there is no such program in it, or it can't be run.
    #[error("{attempt}: {error}")]
    #[diagnostic(code(kcompose::sandbox::program))]
    Program {
        /// What was attempted.
        attempt: String,
        /// What the system said.
        error: String,
    },
    /// The launcher ended and said nothing.
    #[error("a step was lost: its sandbox ended without a word")]
    #[diagnostic(
        code(kcompose::sandbox::lost),
        help("something killed it; the kernel's log says so if memory ran out")
    )]
    Lost,
    /// A path of the description that starts nowhere.
    #[error("the sandbox cannot use the path `{path}`, because it is not absolute")]
    #[diagnostic(code(kcompose::sandbox::relative))]
    Relative {
        /// The path.
        path: String,
    },
    /// The launcher could not be started.
    #[error("the launcher of steps does not start: {0}")]
    #[diagnostic(code(kcompose::sandbox::launcher))]
    Launcher(#[source] std::io::Error),
    /// A user namespace could not be entered.
    #[error("an ordinary user cannot build on this machine: {reason}")]
    #[diagnostic(code(kcompose::sandbox::user_namespace), help("{help}"))]
    UserNamespace {
        /// What the system said.
        reason: String,
        /// What mends it.
        help: String,
    },
}
