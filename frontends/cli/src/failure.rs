//! Why a command ends without success, and the exit code that says so.

use kcompose_core::diagnostic::{Diagnostics, Problem};
use miette::Diagnostic;
use thiserror::Error;

pub(crate) use kcompose_compile::BadFlag;

/// Why a command failed.
#[derive(Debug)]
pub(crate) enum Failure {
    /// The flavor or the image is wrong: exit code 1.
    Wrong(Diagnostics),
    /// kcompose was used wrongly: exit code 2.
    Usage(Problem),
    /// The world failed (network, engine, disk, a missing component): exit code 3.
    World(Diagnostics),
    /// The user interrupted: exit code 130.
    Interrupted,
    /// Everything is said already; this is the exit code.
    Exit(u8),
}

impl Failure {
    /// The exit code of `kcompose`.
    pub(crate) fn exit_code(&self) -> u8 {
        match self {
            Failure::Wrong(_) => 1,
            Failure::Usage(_) => 2,
            Failure::World(_) => 3,
            Failure::Interrupted => 130,
            Failure::Exit(code) => *code,
        }
    }

    /// A wrong flavor or image, from one problem.
    pub(crate) fn wrong(problem: impl Diagnostic + Send + Sync + 'static) -> Self {
        Failure::Wrong(Diagnostics::from(problem))
    }

    /// A failure of the world, from one problem.
    pub(crate) fn world(problem: impl Diagnostic + Send + Sync + 'static) -> Self {
        Failure::World(Diagnostics::from(problem))
    }

    /// A wrong use, from one problem.
    pub(crate) fn usage(problem: impl Diagnostic + Send + Sync + 'static) -> Self {
        Failure::Usage(Box::new(problem))
    }
}

impl From<BadFlag> for Failure {
    fn from(flag: BadFlag) -> Self {
        Failure::usage(flag)
    }
}

impl From<Diagnostics> for Failure {
    fn from(diagnostics: Diagnostics) -> Self {
        Failure::Wrong(diagnostics)
    }
}

/// A file could not be read or written.
#[derive(Debug, Error, Diagnostic)]
#[error("{what}: {source}")]
#[diagnostic(code(kcompose::world::file), help("{help}"))]
pub(crate) struct FileFailed {
    /// What was tried, with the path: "cannot read `flavor.kdl`".
    pub(crate) what: String,
    /// What to do.
    pub(crate) help: String,
    /// The system's reason.
    #[source]
    pub(crate) source: std::io::Error,
}

impl FileFailed {
    /// A failed read or write, with the help that fits its reason.
    pub(crate) fn new(what: impl Into<String>, source: std::io::Error) -> Self {
        use std::io::ErrorKind;
        let help = match source.kind() {
            ErrorKind::NotFound => "check the path",
            ErrorKind::PermissionDenied => "check who owns it, and its mode",
            ErrorKind::StorageFull => "there is no space left: make room, or write elsewhere",
            _ => "see the reason above",
        };
        FileFailed {
            what: what.into(),
            help: help.to_owned(),
            source,
        }
    }
}
