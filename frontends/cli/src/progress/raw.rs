//! A JSON document an event, for programs.

use std::io::Write;

use kcompose_core::source::SourceMap;
use kcompose_engine::event::{Event, State, Vertex};
use serde_json::{Value, json};

use super::Show;

/// Events as JSON lines, with the places as text.
#[derive(Debug)]
pub(super) struct Raw {
    sources: SourceMap,
}

impl Raw {
    pub(super) fn new(sources: SourceMap) -> Self {
        Raw { sources }
    }

    fn json(&self, event: &Event) -> Value {
        match event {
            Event::Vertex(vertex) => self.vertex(vertex),
            Event::Log(log) => json!({
                "event": "log",
                "vertex": log.vertex,
                "stream": if log.is_error { "stderr" } else { "stdout" },
                "text": String::from_utf8_lossy(&log.data),
            }),
            Event::Transfer(transfer) => json!({
                "event": "transfer",
                "vertex": transfer.vertex,
                "name": transfer.name,
                "current": transfer.current,
                "total": transfer.total,
                "done": transfer.done,
            }),
            Event::Warning(warning) => json!({
                "event": "warning",
                "vertex": warning.vertex,
                "text": warning.text,
                "detail": warning.detail,
            }),
        }
    }

    fn vertex(&self, vertex: &Vertex) -> Value {
        let (state, began, ended, reason) = match &vertex.state {
            State::Waiting => ("waiting", None, None, None),
            State::Running(began) => ("running", Some(*began), None, None),
            State::Cached => ("cached", None, None, None),
            State::Done(began, ended) => ("done", Some(*began), Some(*ended), None),
            State::Failed(reason) => ("failed", None, None, Some(reason)),
        };
        json!({
            "event": "vertex",
            "digest": vertex.digest,
            "name": vertex.name,
            "group": vertex.group,
            "place": self.sources.place(vertex.span).map(|place| place.to_string()),
            "state": state,
            "began": began,
            "ended": ended,
            "reason": reason,
        })
    }
}

impl Show for Raw {
    fn event(&mut self, event: &Event) {
        // In one write: standard error is not buffered, and other programs write to it, too.
        let _ = std::io::stderr().write_all(format!("{}\n", self.json(event)).as_bytes());
    }

    fn finish(&mut self) {}
}
