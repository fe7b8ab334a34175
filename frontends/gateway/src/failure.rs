//! Why a build ends without an image, in the form that BuildKit's clients print.
//!
//! An error carries the lines of the flavor that it is about as details; `docker build` and `buildctl` print them with
//! the text around. The code is always "unknown": clients print any other one as a prefix, some of them several times.

use kcompose_core::diagnostic::{Diagnostics, primary_span};
use kcompose_core::llb::proto::google::protobuf::Any;
use kcompose_core::llb::proto::google::rpc;
use kcompose_core::model::redacted;
use kcompose_core::source::{Place, SourceFile, SourceMap, Span};
use kcompose_dsl::report::{self, Format};
use kcompose_engine::EngineError;
use miette::Diagnostic;
use prost::Message;
use serde_json::{Value, json};
use tonic::{Code, Status};

/// Why a build failed.
#[derive(Debug)]
pub(crate) enum Failure {
    /// The flavor, the lock or the way we are used is wrong.
    Problems(Diagnostics),
    /// The daemon says so.
    Daemon(Status),
    /// The daemon says so of an operation that we know.
    Explained(Explained),
}

/// What the daemon says, and what it means.
#[derive(Debug)]
pub(crate) struct Explained {
    /// What it means.
    pub(crate) error: EngineError,
    /// What it says.
    pub(crate) status: Status,
}

impl Failure {
    /// The error for the daemon.
    pub(crate) fn status(&self, sources: &SourceMap) -> rpc::Status {
        match self {
            Failure::Problems(problems) => from_problems(problems, sources),
            Failure::Daemon(status) => forwarded(status),
            Failure::Explained(explained) => from_explained(explained, sources),
        }
    }

    /// One problem.
    pub(crate) fn of(problem: impl Diagnostic + Send + Sync + 'static) -> Self {
        Failure::Problems(Diagnostics::from(problem))
    }
}

impl From<Diagnostics> for Failure {
    fn from(problems: Diagnostics) -> Self {
        Failure::Problems(problems)
    }
}

impl From<Status> for Failure {
    fn from(status: Status) -> Self {
        Failure::Daemon(status)
    }
}

fn from_problems(problems: &Diagnostics, sources: &SourceMap) -> rpc::Status {
    let text = report::render(problems, sources, Format::Lines);
    let spans = problems
        .iter()
        .filter_map(|problem| primary_span(problem.as_ref()));
    rpc::Status {
        code: Code::Unknown as i32,
        message: text.trim_end().to_owned(),
        details: spans.filter_map(|span| detail(span, sources)).collect(),
    }
}

/// Our words, with the details of the daemon: clients find the place, the operation and the exit code in them.
fn from_explained(explained: &Explained, sources: &SourceMap) -> rpc::Status {
    let mut error = forwarded(&explained.status);
    let said = report::render_one_as_lines(&explained.error, sources);
    let is_source = |detail: &Any| detail.type_url.contains("errdefs.Source");
    if !error.details.iter().any(is_source) {
        let span = primary_span(&explained.error);
        error.details.extend(span.and_then(|span| detail(span, sources)));
    }
    error.message = said.trim_end().to_owned();
    error
}

/// What the daemon said of a step, unchanged, so that clients find their own details in it.
fn forwarded(status: &Status) -> rpc::Status {
    let mut error = rpc::Status::decode(status.details()).unwrap_or_default();
    if error.message.is_empty() {
        error.message = status.message().to_owned();
    }
    error.code = Code::Unknown as i32;
    error
}

/// A place as a detail of an error.
fn detail(span: Span, sources: &SourceMap) -> Option<Any> {
    let value = json!({
        "info": info(sources.file(span)?),
        "ranges": [range(span, sources)?],
    });
    Some(Any {
        type_url: "github.com/moby/buildkit/errdefs.Source+json".to_owned(),
        value: value.to_string().into_bytes(),
    })
}

/// A file, with its text.
pub(crate) fn info(file: &SourceFile) -> Value {
    use base64::Engine as _;
    json!({
        "filename": &*file.name,
        "data": base64::engine::general_purpose::STANDARD.encode(redacted(&file.text).as_bytes()),
        "language": "KDL",
    })
}

/// Lines count from one, characters from zero.
pub(crate) fn range(span: Span, sources: &SourceMap) -> Option<Value> {
    let position = |place: &Place| json!({ "line": place.line, "character": place.column - 1 });
    let start = sources.place(span)?;
    let end = sources.end_place(span)?;
    let end = if end.column == 1 && end.line > start.line {
        &start
    } else {
        &end
    };
    Some(json!({ "start": position(&start), "end": position(end) }))
}
