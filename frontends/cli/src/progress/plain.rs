//! A line an event, for logs.

use std::collections::BTreeMap;
use std::io::Write;

use kcompose_core::plan::bytes;
use kcompose_core::printable::printable;
use kcompose_engine::event::{Event, Log, State, Vertex};

use super::Show;
use super::ledger::Ledger;

/// A line an event. Operations of a group are one line when the group is over.
#[derive(Debug, Default)]
pub(super) struct Plain {
    ledger: Ledger,
    /// The state that was printed last, by digest.
    said: BTreeMap<String, &'static str>,
    /// Beginnings of lines that wait for their end, by digest.
    partial: BTreeMap<String, Vec<u8>>,
    groups_over: BTreeMap<String, usize>,
}

impl Show for Plain {
    fn event(&mut self, event: &Event) {
        self.ledger.note(event);
        match event {
            Event::Vertex(vertex) => self.vertex(vertex),
            Event::Log(log) => self.log(log),
            Event::Warning(warning) => say(&format!(
                "#{} WARN: {}",
                self.ledger.number(&warning.vertex),
                warning.text
            )),
            Event::Transfer(_) => {}
        }
    }

    fn finish(&mut self) {
        for (digest, rest) in std::mem::take(&mut self.partial) {
            self.line(&digest, &rest);
        }
    }
}

impl Plain {
    fn vertex(&mut self, vertex: &Vertex) {
        if let (Some(group), false) = (&vertex.group, matches!(vertex.state, State::Failed(_))) {
            return self.group(group);
        }
        let word = word(&vertex.state);
        let Some(word) = word else { return };
        if self.said.insert(vertex.digest.clone(), word) == Some(word) {
            return;
        }
        let number = self.ledger.number(&vertex.digest);
        match &vertex.state {
            State::Waiting => {}
            State::Running(_) => say(&format!("#{number} {}", vertex.name)),
            State::Cached => say(&format!("#{number} CACHED {}", vertex.name)),
            State::Done(from, to) => say(&format!("#{number} DONE {:.1}s {}", to - from, vertex.name)),
            State::Failed(reason) => say(&format!("#{number} ERROR {}: {reason}", vertex.name)),
        }
    }

    fn group(&mut self, group: &str) {
        let tally = self.ledger.tally(Some(group));
        if tally.over < tally.all || self.groups_over.insert(group.to_owned(), tally.all) == Some(tally.all) {
            return;
        }
        let cached = if tally.cached > 0 {
            format!(", {} cached", tally.cached)
        } else {
            String::new()
        };
        let size = if tally.total > 0 {
            format!(", {}", bytes(tally.total))
        } else {
            String::new()
        };
        say(&format!(
            "fetch packages: {} of {}{cached}{size}",
            tally.over, tally.all
        ));
    }

    fn log(&mut self, log: &Log) {
        let mut pending = self.partial.remove(&log.vertex).unwrap_or_default();
        pending.extend_from_slice(&log.data);
        let mut lines: Vec<&[u8]> = pending.split(|byte| *byte == b'\n').collect();
        let rest = lines.pop().unwrap_or_default().to_vec();
        let whole: Vec<Vec<u8>> = lines.into_iter().map(<[u8]>::to_vec).collect();
        for line in whole {
            self.line(&log.vertex, &line);
        }
        if !rest.is_empty() {
            self.partial.insert(log.vertex.clone(), rest);
        }
    }

    fn line(&self, digest: &str, line: &[u8]) {
        say(&format!(
            "#{} | {}",
            self.ledger.number(digest),
            String::from_utf8_lossy(line).trim_end()
        ));
    }
}

fn word(state: &State) -> Option<&'static str> {
    match state {
        State::Waiting => None,
        State::Running(_) => Some("running"),
        State::Cached => Some("cached"),
        State::Done(..) => Some("done"),
        State::Failed(_) => Some("failed"),
    }
}

fn say(line: &str) {
    // Nothing can be done about a closed stderr, and the build goes on without it.
    let _ = writeln!(std::io::stderr().lock(), "{}", printable(line));
}
