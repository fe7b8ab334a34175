//! Why a vertex failed, before it is known which one it was.

use std::io;
use std::path::{Path, PathBuf};

use super::graph::Vertex;
use crate::error::{EngineError, is_full, place};
use crate::layer::LayerError;

/// Why a vertex failed.
#[derive(Debug)]
pub(super) enum Problem {
    /// The program of a step said so.
    Exit(u32),
    /// A step was ended from outside.
    Ended(String),
    /// A step used up what it may.
    Limit { reason: String, name: &'static str },
    /// A source could not be had.
    Source { reason: String, help: String },
    /// This engine does not do that.
    Unsupported(String),
    /// The disk, or the system.
    Io {
        action: &'static str,
        path: PathBuf,
        error: io::Error,
    },
    /// Something else.
    Failed(String),
    /// Nobody wants it any more.
    Cancelled,
}

impl Problem {
    /// For `map_err`: what was being done with a path.
    pub(super) fn io(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Problem {
        let path = path.to_owned();
        move |error| Problem::Io { action, path, error }
    }

    /// Whether the disk is full.
    pub(super) fn is_full(&self) -> bool {
        match self {
            Problem::Io { error, .. } => is_full(error),
            Problem::Exit(_)
            | Problem::Ended(_)
            | Problem::Limit { .. }
            | Problem::Source { .. }
            | Problem::Unsupported(_)
            | Problem::Failed(_)
            | Problem::Cancelled => false,
        }
    }

    /// The error of a build, at the place that asked for the vertex.
    pub(super) fn at(self, vertex: &Vertex, log: Vec<String>) -> EngineError {
        let (name, place) = (vertex.name.clone(), place(vertex.span));
        match self {
            Problem::Exit(exit_code) => EngineError::Step {
                name,
                exit_code,
                log,
                place,
            },
            Problem::Ended(reason) => EngineError::Failed {
                reason: format!("`{name}` {reason}"),
                log,
                place,
            },
            Problem::Limit { reason, name: limit } => EngineError::Limit {
                name,
                reason,
                limit,
                log,
                place,
            },
            Problem::Source { reason, help } => EngineError::Source {
                name,
                reason,
                help,
                place,
            },
            Problem::Unsupported(reason) => EngineError::Source {
                name,
                reason: format!("the embedded engine has no {reason}"),
                help: "build it with a BuildKit: `--engine buildkit`".to_owned(),
                place,
            },
            Problem::Io { action, path, error } => EngineError::io(action, path, error),
            Problem::Failed(reason) => EngineError::Failed {
                reason: format!("`{name}`: {reason}"),
                log,
                place,
            },
            Problem::Cancelled => EngineError::Cancelled,
        }
    }

    /// The reason in one line, for the progress.
    pub(super) fn reason(&self) -> String {
        match self {
            Problem::Exit(code) => format!("exit code {code}"),
            Problem::Ended(reason) | Problem::Unsupported(reason) | Problem::Failed(reason) => reason.clone(),
            Problem::Source { reason, .. } | Problem::Limit { reason, .. } => reason.clone(),
            Problem::Io { action, path, error } => format!("cannot {action} `{}`: {error}", path.display()),
            Problem::Cancelled => "interrupted".to_owned(),
        }
    }
}

impl From<io::Error> for Problem {
    fn from(error: io::Error) -> Self {
        Problem::io("write", Path::new("the layer"))(error)
    }
}

impl From<LayerError> for Problem {
    fn from(error: LayerError) -> Self {
        match error {
            LayerError::Read { path, reason } => Problem::Io {
                action: "read",
                path,
                error: reason,
            },
            LayerError::Change { path, reason } => Problem::Io {
                action: "change",
                path,
                error: reason,
            },
            LayerError::Write(error) => Problem::Io {
                action: "write",
                path: PathBuf::from("the layer"),
                error,
            },
            LayerError::Redirect { .. } => Problem::Failed(error.to_string()),
        }
    }
}
