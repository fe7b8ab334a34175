//! What can go wrong with an engine.

use std::path::PathBuf;

use kcompose_core::source::Span;
use miette::{Diagnostic, SourceSpan};
use thiserror::Error;

/// Who is at fault, which decides the exit code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The flavor: exit 1.
    Flavor,
    /// Network, engine, disk: exit 3.
    World,
    /// The person pressed Ctrl-C: exit 130.
    Interrupted,
}

/// A build that did not come to its end.
#[derive(Debug, Error, Diagnostic)]
pub enum EngineError {
    /// No engine answers.
    #[error("no BuildKit answers{}", addresses(.tried))]
    #[diagnostic(
        code(kcompose::engine::unreachable),
        help(
            "start `buildkitd`, or name one with `--builder ADDRESS` or BUILDKIT_HOST, such as `unix:///run/buildkit/buildkitd.sock` or `tcp://host:1234`"
        )
    )]
    Unreachable {
        /// The addresses, and what each said.
        tried: Vec<(String, String)>,
    },

    /// An address that is none.
    #[error("`{address}` is not the address of an engine: {reason}")]
    #[diagnostic(
        code(kcompose::engine::address),
        help("addresses are `unix:///path/to/socket` or `tcp://host:port`")
    )]
    Address {
        /// What was given.
        address: String,
        /// What is wrong with it.
        reason: String,
    },

    /// The engine went away during the build.
    #[error("the engine at {address} went away during the build: {reason}")]
    #[diagnostic(
        code(kcompose::engine::lost),
        help("see its log, then build again: what was finished is still cached")
    )]
    Lost {
        /// Where it was.
        address: String,
        /// What the connection said.
        reason: String,
    },

    /// The engine lacks what the build needs.
    #[error("the engine at {address} cannot do what this build needs: {}", .missing.join(", "))]
    #[diagnostic(
        code(kcompose::engine::capability),
        help("use a newer BuildKit, with `--builder ADDRESS`")
    )]
    Capability {
        /// Where it is.
        address: String,
        /// What it lacks.
        missing: Vec<String>,
    },

    /// A step ran and failed.
    #[error("`{name}` failed with exit code {exit_code}{}", tail(.log))]
    #[diagnostic(code(kcompose::engine::step), help("`--progress plain` shows the whole log"))]
    Step {
        /// The step's name.
        name: String,
        /// Its exit code.
        exit_code: u32,
        /// The end of what it printed.
        log: Vec<String>,
        /// The place that asked for it.
        #[label("asked for here")]
        place: Option<SourceSpan>,
    },

    /// A step used up what it may, and was ended.
    #[error("`{name}` {reason}{}", tail(.log))]
    #[diagnostic(
        code(kcompose::engine::limit),
        help("mend the step, or let it have more with `--limit {limit}=…`")
    )]
    Limit {
        /// The step's name.
        name: String,
        /// What it used up.
        reason: String,
        /// The name of the limit.
        limit: &'static str,
        /// The end of what it printed.
        log: Vec<String>,
        /// The place that asked for it.
        #[label("asked for here")]
        place: Option<SourceSpan>,
    },

    /// A step wants the network, and nobody allowed it.
    #[error(
        "`{name}` wants the network, which on the embedded engine is this machine's own, with its loopback services"
    )]
    #[diagnostic(
        code(kcompose::engine::entitlement),
        help("build with `--allow network.host`, or on a BuildKit, whose steps have a network of their own")
    )]
    Entitlement {
        /// The step's name.
        name: String,
        /// The place that asked for it.
        #[label("asked for here")]
        place: Option<SourceSpan>,
    },

    /// Something that the build reads could not be had.
    #[error("`{name}` failed: {reason}")]
    #[diagnostic(code(kcompose::engine::source), help("{help}"))]
    Source {
        /// The operation's name.
        name: String,
        /// What the engine says.
        reason: String,
        /// What to do.
        help: String,
        /// The place that asked for it.
        #[label("asked for here")]
        place: Option<SourceSpan>,
    },

    /// The engine refused or failed for another reason.
    #[error("the engine failed: {reason}{}", tail(.log))]
    #[diagnostic(code(kcompose::engine::failed), help("the log of the engine may say more"))]
    Failed {
        /// What it says.
        reason: String,
        /// The end of what the failing operation printed.
        log: Vec<String>,
        /// The place that asked for it.
        #[label("asked for here")]
        place: Option<SourceSpan>,
    },

    /// The engine's disk is full.
    #[error("no space left on the engine's disk: {reason}")]
    #[diagnostic(
        code(kcompose::engine::no_space),
        help("free some with `buildctl prune`, or give the engine a larger disk")
    )]
    EngineFull {
        /// What it says.
        reason: String,
    },

    /// A disk of ours is full.
    #[error("no space left on the disk of `{}`", .path.display())]
    #[diagnostic(
        code(kcompose::output::no_space),
        help(
            "free some, or write to another disk with `-o dest=…` or `--cache-dir`; nothing of the output was left behind"
        )
    )]
    Full {
        /// What was being written.
        path: PathBuf,
    },

    /// A file of ours cannot be read or written.
    #[error("cannot {action} `{}`: {reason}", .path.display())]
    #[diagnostic(
        code(kcompose::output::io),
        help("see to it that the path exists and that you may use it")
    )]
    Io {
        /// What was being done.
        action: &'static str,
        /// With what.
        path: PathBuf,
        /// What the system says.
        reason: std::io::Error,
    },

    /// An output that cannot be made like this.
    #[error("output `{output}`: {reason}")]
    #[diagnostic(code(kcompose::output::invalid), help("{help}"))]
    Output {
        /// What was asked for.
        output: String,
        /// What is wrong.
        reason: String,
        /// What to do.
        help: String,
    },

    /// A registry refused.
    #[error("the registry refused `{reference}`: {reason}")]
    #[diagnostic(code(kcompose::output::registry), help("{help}"))]
    Registry {
        /// What was pushed.
        reference: String,
        /// What it says.
        reason: String,
        /// What to do.
        help: String,
    },

    /// The person pressed Ctrl-C.
    #[error("interrupted")]
    #[diagnostic(
        code(kcompose::engine::interrupted),
        help("nothing was written; finished steps stay cached")
    )]
    Cancelled,
}

impl EngineError {
    /// Who is at fault.
    pub fn fault(&self) -> Fault {
        match self {
            EngineError::Step { .. } | EngineError::Limit { .. } | EngineError::Entitlement { .. } => {
                Fault::Flavor
            }
            EngineError::Cancelled => Fault::Interrupted,
            EngineError::Unreachable { .. }
            | EngineError::Address { .. }
            | EngineError::Lost { .. }
            | EngineError::Capability { .. }
            | EngineError::Source { .. }
            | EngineError::Failed { .. }
            | EngineError::EngineFull { .. }
            | EngineError::Full { .. }
            | EngineError::Io { .. }
            | EngineError::Output { .. }
            | EngineError::Registry { .. } => Fault::World,
        }
    }

    /// An error of the file system; a full disk is its own problem.
    pub(crate) fn io(action: &'static str, path: impl Into<PathBuf>, reason: std::io::Error) -> Self {
        let path = path.into();
        if is_full(&reason) {
            return EngineError::Full { path };
        }
        EngineError::Io { action, path, reason }
    }
}

/// Whether an error says that a disk or a quota is used up.
pub(crate) fn is_full(error: &std::io::Error) -> bool {
    use std::io::ErrorKind::{QuotaExceeded, StorageFull};
    if matches!(error.kind(), StorageFull | QuotaExceeded) {
        return true;
    }
    // Wrappers keep the words and lose the kind.
    let text = error.to_string().to_lowercase();
    text.contains("no space left") || text.contains("quota exceeded")
}

/// The label of a place, if a document says it.
pub(crate) fn place(span: Span) -> Option<SourceSpan> {
    span.is_some().then(|| span.into())
}

fn addresses(tried: &[(String, String)]) -> String {
    tried
        .iter()
        .map(|(address, reason)| format!("\n  {address}: {reason}"))
        .collect()
}

/// The lines of a log that a report shows.
const SHOWN: usize = 20;

/// The end of a log, each line on a line of its own, indented.
fn tail(log: &[String]) -> String {
    let hidden = log.len().saturating_sub(SHOWN);
    log[hidden..].iter().map(|line| format!("\n  {line}")).collect()
}
