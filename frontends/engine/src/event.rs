//! What happens during a build, for whoever shows it.

use kcompose_core::source::Span;
use tokio::sync::mpsc::UnboundedSender;

/// Where events go.
pub type Events = UnboundedSender<Event>;

/// Something that happened.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    /// An operation changed its state. Every operation of the graph comes as waiting first.
    Vertex(Vertex),
    /// An operation printed something.
    Log(Log),
    /// Something moved: bytes of a download, of a layer that is exported.
    Transfer(Transfer),
    /// An operation warns.
    Warning(Warning),
}

/// An operation and its state.
#[derive(Clone, Debug, PartialEq)]
pub struct Vertex {
    /// Its digest, which tells it from others.
    pub digest: String,
    /// Its name for people.
    pub name: String,
    /// The group that it is shown in.
    pub group: Option<String>,
    /// The place in the flavor that asked for it.
    pub span: Span,
    /// Its state.
    pub state: State,
}

/// How far an operation is. Times are seconds since 1970 on the engine's clock.
#[derive(Clone, Debug, PartialEq)]
pub enum State {
    /// It waits for others.
    Waiting,
    /// It runs since then.
    Running(f64),
    /// Its result was there already.
    Cached,
    /// It ran, from then to then.
    Done(f64, f64),
    /// It failed, for this reason.
    Failed(String),
}

/// Output of an operation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Log {
    /// The digest of the operation.
    pub vertex: String,
    /// Whether it came on stderr.
    pub is_error: bool,
    /// The bytes, not cut at lines.
    pub data: Vec<u8>,
}

/// Progress inside an operation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Transfer {
    /// The digest of the operation.
    pub vertex: String,
    /// What moves.
    pub name: String,
    /// Bytes so far.
    pub current: u64,
    /// Bytes in all; 0 if nobody knows.
    pub total: u64,
    /// Whether it is over.
    pub done: bool,
}

/// A warning of an operation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Warning {
    /// The digest of the operation.
    pub vertex: String,
    /// In one line.
    pub text: String,
    /// The rest, by lines.
    pub detail: Vec<String>,
}
