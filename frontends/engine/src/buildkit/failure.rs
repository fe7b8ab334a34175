//! What a daemon's error means, and which line of the flavor asked for what failed.

use std::error::Error;

use kcompose_core::llb::Definition;
use kcompose_core::llb::proto::google::rpc;
use kcompose_core::source::Span;
use prost::Message;
use serde::Deserialize;
use tonic::{Code, Status};

use crate::error::{EngineError, place};

/// What the details of an error say, as far as a report needs it.
#[derive(Debug, Default)]
struct Details {
    vertex: Option<String>,
    exit_code: Option<u32>,
}

#[derive(Deserialize)]
struct VertexDetail {
    digest: String,
}

#[derive(Deserialize)]
struct ExitDetail {
    #[serde(rename = "Code")]
    code: u32,
}

/// What is known beside the error itself.
pub struct Seen<'a> {
    /// Where the daemon is.
    pub place: &'a str,
    /// The definition that was solved.
    pub definition: &'a Definition,
    /// The operation that was seen to fail.
    pub failed: Option<&'a str>,
    /// The end of what an operation printed.
    pub log: &'a dyn Fn(&str) -> Vec<String>,
}

impl std::fmt::Debug for Seen<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Seen")
            .field("place", &self.place)
            .field("failed", &self.failed)
            .finish_non_exhaustive()
    }
}

/// What a daemon's error means.
pub fn explain(status: &Status, seen: &Seen<'_>) -> EngineError {
    let definition = seen.definition;
    if let Some(reason) = connection_loss(status) {
        return EngineError::Lost {
            address: seen.place.to_owned(),
            reason,
        };
    }
    let details = details(status);
    let vertex = details.vertex.or_else(|| seen.failed.map(str::to_owned));
    let log = vertex.as_deref().map(seen.log).unwrap_or_default();
    let reason = reason(status.message());
    if is_full(&reason) || log.iter().any(|line| is_full(line)) {
        return EngineError::EngineFull { reason };
    }
    let known = vertex.as_deref().and_then(|digest| definition.vertex(digest));
    let span = known
        .and_then(|vertex| vertex.spans.first().copied())
        .unwrap_or(Span::NONE);
    let name = known.map(|vertex| vertex.name.clone()).unwrap_or_default();
    match (details.exit_code, known) {
        (Some(exit_code), _) => EngineError::Step {
            name,
            exit_code,
            log,
            place: place(span),
        },
        (None, Some(_)) if log.is_empty() => {
            let help = source_help(&reason);
            EngineError::Source {
                name,
                reason,
                help,
                place: place(span),
            }
        }
        (None, _) => EngineError::Failed {
            reason,
            log,
            place: place(span),
        },
    }
}

fn details(status: &Status) -> Details {
    let mut details = Details::default();
    let Ok(message) = rpc::Status::decode(status.details()) else {
        return details;
    };
    for any in message.details {
        let kind = any.type_url.rsplit('/').next().unwrap_or_default();
        if kind.starts_with("errdefs.Vertex") {
            details.vertex = serde_json::from_slice::<VertexDetail>(&any.value)
                .ok()
                .map(|vertex| vertex.digest);
        } else if kind.contains("ExitMessage") {
            details.exit_code = serde_json::from_slice::<ExitDetail>(&any.value)
                .ok()
                .map(|exit| exit.code);
        }
    }
    details
}

/// Whether the connection broke, and what it says. A daemon that answers never speaks of its transport.
fn connection_loss(status: &Status) -> Option<String> {
    let from_transport = status.source().is_some();
    let unavailable = status.code() == Code::Unavailable;
    (from_transport || unavailable).then(|| match status.source() {
        Some(source) => root_cause(source),
        None => status.message().to_owned(),
    })
}

/// Whether a failed fetch may work when it is tried again: the server was overwhelmed, not wrong.
pub(super) fn is_passing(reason: &str) -> bool {
    let signs = [
        "connection reset",
        "EOF",
        "i/o timeout",
        "TLS handshake timeout",
        "502 ",
        "503 ",
        "504 ",
        "429 ",
    ];
    signs.iter().any(|sign| reason.contains(sign))
}

/// The innermost cause, which is the one that says something: `connection refused`, not `transport error`.
pub(super) fn root_cause(error: &dyn Error) -> String {
    let mut cause = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    cause.to_string()
}

/// The message without the words that every error of a solve begins with.
fn reason(message: &str) -> String {
    let mut reason = message;
    for prefix in [
        "failed to solve: ",
        "failed to load cache key: ",
        "failed to compute cache key: ",
    ] {
        reason = reason.strip_prefix(prefix).unwrap_or(reason);
    }
    reason.to_owned()
}

fn source_help(reason: &str) -> String {
    let help = if reason.contains("digest mismatch") {
        "the server has another file than the lock names: try another mirror, or `kcompose update`"
    } else if reason.contains("404") || reason.contains("not found") {
        "the file has left the pool: `kcompose update` moves the lock, a snapshot mirror keeps old files"
    } else {
        "see that the engine reaches the server, and build again: what was fetched is cached"
    };
    help.to_owned()
}

fn is_full(text: &str) -> bool {
    let text = text.to_lowercase();
    text.contains("no space left on device") || text.contains("disk quota exceeded")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_broken_connection_is_no_answer() {
        let lost = Status::from_error(Box::new(std::io::Error::from(
            std::io::ErrorKind::ConnectionReset,
        )));
        assert!(connection_loss(&lost).is_some());
        assert!(connection_loss(&Status::unavailable("gone")).is_some());
        assert!(connection_loss(&Status::unknown("failed to solve: x")).is_none());
    }

    #[test]
    fn details_name_the_operation_and_the_exit_code() {
        let any = |kind: &str, value: &str| kcompose_core::llb::proto::google::protobuf::Any {
            type_url: format!("github.com/moby/buildkit/{kind}+json"),
            value: value.into(),
        };
        let vertex = any("errdefs.Vertex", r#"{"digest":"sha256:1"}"#);
        let exit = any("moby.buildkit.v1.frontend.ExitMessage", r#"{"Code":7}"#);
        let message = rpc::Status {
            code: 2,
            message: String::new(),
            details: vec![vertex, exit],
        };
        let status = Status::with_details(Code::Unknown, "x", message.encode_to_vec().into());
        let details = details(&status);
        assert_eq!(
            (details.vertex.as_deref(), details.exit_code),
            (Some("sha256:1"), Some(7))
        );
    }

    #[test]
    fn only_what_may_pass_is_tried_again() {
        assert!(is_passing("Get \"http://m/\": read: connection reset by peer"));
        assert!(!is_passing("digest mismatch sha256:1: sha256:2"));
        assert!(!is_passing("dial tcp 127.0.0.1:9: connect: connection refused"));
    }
}
