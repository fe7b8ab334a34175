//! Progress as events, and what is remembered of it to explain a failure.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use super::graph::Graph;
use crate::event::{Event, Events, Log, State, Transfer, Vertex, Warning};
use crate::tail::Tail;

/// Tells of the vertices of a graph, by their place in it.
#[derive(Debug)]
pub(super) struct Monitor {
    events: Events,
    shown: Vec<Vertex>,
    logs: Mutex<BTreeMap<usize, Tail>>,
}

impl Monitor {
    /// Every vertex begins as waiting.
    pub(super) fn new(graph: &Graph, events: &Events) -> Self {
        let shown = graph.vertices.iter().map(|vertex| Vertex {
            digest: vertex.digest.clone(),
            name: vertex.name.clone(),
            group: vertex.group.clone(),
            span: vertex.span,
            state: State::Waiting,
        });
        let monitor = Monitor {
            events: events.clone(),
            shown: shown.collect(),
            logs: Mutex::default(),
        };
        (0..monitor.shown.len()).for_each(|vertex| monitor.state(vertex, State::Waiting));
        monitor
    }

    pub(super) fn state(&self, vertex: usize, state: State) {
        let shown = self.shown[vertex].clone();
        self.send(Event::Vertex(Vertex { state, ..shown }));
    }

    pub(super) fn log(&self, vertex: usize, is_error: bool, data: &[u8]) {
        self.logs
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .entry(vertex)
            .or_default()
            .push(data);
        self.send(Event::Log(Log {
            vertex: self.shown[vertex].digest.clone(),
            is_error,
            data: data.to_vec(),
        }));
    }

    pub(super) fn warning(&self, vertex: usize, text: &str, detail: Vec<String>) {
        self.send(Event::Warning(Warning {
            vertex: self.shown[vertex].digest.clone(),
            text: text.to_owned(),
            detail,
        }));
    }

    pub(super) fn transfer(&self, vertex: usize, name: &str, current: u64, done: bool) {
        self.send(Event::Transfer(Transfer {
            vertex: self.shown[vertex].digest.clone(),
            name: name.to_owned(),
            current,
            total: if done { current } else { 0 },
            done,
        }));
    }

    /// The last lines that a vertex printed.
    pub(super) fn tail(&self, vertex: usize) -> Vec<String> {
        let logs = self.logs.lock().unwrap_or_else(PoisonError::into_inner);
        logs.get(&vertex).map(Tail::lines).unwrap_or_default()
    }

    fn send(&self, event: Event) {
        // Nobody listens any more when the build is being given up.
        let _ = self.events.send(event);
    }
}

/// Seconds since 1970.
pub(super) fn now() -> f64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0.0, |time| time.as_secs_f64())
}
