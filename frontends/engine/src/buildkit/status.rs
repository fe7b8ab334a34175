//! The daemon's progress as events, and what is remembered of it to explain a failure.

use std::collections::BTreeMap;

use kcompose_core::llb::Definition;
use kcompose_core::llb::Vertex as Known;
use kcompose_core::llb::proto::google::protobuf::Timestamp;
use kcompose_core::llb::proto::moby::buildkit::v1::{
    StatusResponse, Vertex as VertexMessage, VertexLog, VertexStatus, VertexWarning,
};
use kcompose_core::source::Span;

use super::ahead::Signal;
use crate::event::{Event, Events, Log, State, Transfer, Vertex, Warning};
use crate::tail::Tail;

/// Translates progress, and remembers the end of every log.
#[derive(Debug)]
pub(super) struct Monitor {
    known: BTreeMap<String, Known>,
    events: Events,
    states: BTreeMap<String, State>,
    logs: BTreeMap<String, Tail>,
    failed: Vec<(String, String)>,
    lower: Option<Signal>,
}

impl Monitor {
    pub(super) fn new(definition: &Definition, events: &Events, lower: Option<Signal>) -> Self {
        Monitor {
            known: definition.vertices().clone(),
            events: events.clone(),
            states: BTreeMap::new(),
            logs: BTreeMap::new(),
            failed: Vec::new(),
            lower,
        }
    }

    /// Takes one message of the daemon's.
    pub(super) fn take(&mut self, message: StatusResponse) {
        message
            .vertexes
            .into_iter()
            .for_each(|vertex| self.vertex(vertex));
        message
            .statuses
            .into_iter()
            .for_each(|status| self.send(Event::Transfer(transfer(status))));
        message.logs.into_iter().for_each(|log| self.log(log));
        message
            .warnings
            .into_iter()
            .for_each(|warning| self.send(Event::Warning(warning_of(warning))));
    }

    /// The operation that failed first, and what the daemon said about it.
    pub(super) fn failed(&self) -> Option<(&str, &str)> {
        self.failed
            .first()
            .map(|(digest, reason)| (digest.as_str(), reason.as_str()))
    }

    /// The last lines that an operation printed.
    pub(super) fn tail(&self, digest: &str) -> Vec<String> {
        self.logs.get(digest).map(Tail::lines).unwrap_or_default()
    }

    /// The daemon repeats itself; only a change is an event.
    fn vertex(&mut self, message: VertexMessage) {
        let state = state(&message);
        if self.states.get(&message.digest) == Some(&state) {
            return;
        }
        if let State::Failed(reason) = &state {
            // What was only stopped because something else failed is no cause.
            if !reason.contains("context canceled") {
                self.failed.push((message.digest.clone(), reason.clone()));
            }
        }
        if let (Some(lower), State::Running(_)) = (&mut self.lower, &state) {
            lower.runs(&message.digest);
        }
        self.states.insert(message.digest.clone(), state.clone());
        let known = self.known.get(&message.digest);
        let group = known.and_then(|vertex| vertex.group.clone());
        let group = group.or_else(|| message.progress_group.map(|group| group.name));
        let span = known
            .and_then(|vertex| vertex.spans.first().copied())
            .unwrap_or(Span::NONE);
        self.send(Event::Vertex(Vertex {
            digest: message.digest,
            name: message.name,
            group,
            span,
            state,
        }));
    }

    fn log(&mut self, message: VertexLog) {
        self.logs
            .entry(message.vertex.clone())
            .or_default()
            .push(&message.msg);
        self.send(Event::Log(Log {
            vertex: message.vertex,
            is_error: message.stream == 2,
            data: message.msg,
        }));
    }

    fn send(&self, event: Event) {
        // Nobody listens any more when the build is being given up.
        let _ = self.events.send(event);
    }
}

fn state(message: &VertexMessage) -> State {
    if !message.error.is_empty() {
        return State::Failed(message.error.clone());
    }
    // A result that is loaded from the cache is started, too.
    if message.cached {
        return State::Cached;
    }
    match (&message.started, &message.completed) {
        (Some(started), Some(completed)) => State::Done(seconds(started), seconds(completed)),
        (Some(started), None) => State::Running(seconds(started)),
        (None, Some(completed)) => State::Done(seconds(completed), seconds(completed)),
        (None, None) => State::Waiting,
    }
}

#[expect(clippy::cast_precision_loss, reason = "seconds since 1970 are far below 2^52")]
fn seconds(time: &Timestamp) -> f64 {
    time.seconds as f64 + f64::from(time.nanos) / 1e9
}

fn transfer(status: VertexStatus) -> Transfer {
    let name = if status.name.is_empty() {
        status.id
    } else {
        status.name
    };
    Transfer {
        vertex: status.vertex,
        name,
        current: u64::try_from(status.current).unwrap_or(0),
        total: u64::try_from(status.total).unwrap_or(0),
        done: status.completed.is_some(),
    }
}

fn warning_of(warning: VertexWarning) -> Warning {
    let text = |bytes: &Vec<u8>| String::from_utf8_lossy(bytes).into_owned();
    Warning {
        vertex: warning.vertex,
        text: text(&warning.short),
        detail: warning.detail.iter().map(text).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_changes_are_events_and_the_first_cause_is_remembered() {
        let definition = kcompose_core::llb::Graph::new().definition(None, &Default::default());
        let (events, mut received) = tokio::sync::mpsc::unbounded_channel();
        let mut monitor = Monitor::new(&definition, &events, None);
        let vertex = |digest: &str, error: &str| VertexMessage {
            digest: digest.into(),
            error: error.into(),
            ..VertexMessage::default()
        };
        let list = [
            vertex("a", ""),
            vertex("a", ""),
            vertex("b", "context canceled"),
            vertex("a", "boom"),
        ];
        monitor.take(StatusResponse {
            vertexes: list.to_vec(),
            ..StatusResponse::default()
        });
        assert_eq!(monitor.failed(), Some(("a", "boom")));
        let count = std::iter::from_fn(|| received.try_recv().ok()).count();
        assert_eq!(count, 3);
    }

    #[test]
    fn what_is_loaded_from_the_cache_does_not_run() {
        let message = |cached| VertexMessage {
            started: Some(Timestamp::default()),
            cached,
            ..VertexMessage::default()
        };
        assert_eq!(state(&message(true)), State::Cached);
        assert_eq!(state(&message(false)), State::Running(0.0));
    }
}
