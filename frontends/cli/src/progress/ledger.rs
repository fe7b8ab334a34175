//! What is known of every operation so far.

use std::collections::BTreeMap;

use kcompose_engine::event::{Event, State, Transfer, Vertex};

/// Operations by digest, in the order in which they were first heard of.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    numbers: BTreeMap<String, usize>,
    vertices: Vec<Vertex>,
    transfers: BTreeMap<(String, String), Transfer>,
}

/// How many operations of a group are in which state.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Tally {
    pub(super) all: usize,
    pub(super) over: usize,
    pub(super) cached: usize,
    pub(super) running: usize,
    pub(super) current: u64,
    pub(super) total: u64,
}

impl Ledger {
    /// Notes an event.
    pub(super) fn note(&mut self, event: &Event) {
        match event {
            Event::Vertex(vertex) => self.note_vertex(vertex),
            Event::Transfer(transfer) => {
                let key = (transfer.vertex.clone(), transfer.name.clone());
                self.transfers.insert(key, transfer.clone());
            }
            Event::Log(_) | Event::Warning(_) => {}
        }
    }

    fn note_vertex(&mut self, vertex: &Vertex) {
        let next = self.vertices.len();
        let number = *self.numbers.entry(vertex.digest.clone()).or_insert(next);
        match self.vertices.get_mut(number) {
            Some(known) => *known = vertex.clone(),
            None => self.vertices.push(vertex.clone()),
        }
    }

    /// The number of an operation, from one.
    pub(super) fn number(&self, digest: &str) -> usize {
        self.numbers.get(digest).map_or(0, |number| number + 1)
    }

    /// An operation.
    pub(super) fn vertex(&self, digest: &str) -> Option<&Vertex> {
        self.vertices.get(*self.numbers.get(digest)?)
    }

    /// Operations outside groups that run now.
    pub(super) fn running(&self) -> impl Iterator<Item = &Vertex> {
        self.vertices
            .iter()
            .filter(|vertex| vertex.group.is_none() && matches!(vertex.state, State::Running(_)))
    }

    /// The state of everything, or of one group.
    pub(super) fn tally(&self, group: Option<&str>) -> Tally {
        let mut tally = Tally::default();
        let wanted = |vertex: &&Vertex| group.is_none() || vertex.group.as_deref() == group;
        for vertex in self.vertices.iter().filter(wanted) {
            tally.all += 1;
            match vertex.state {
                State::Waiting => {}
                State::Running(_) => tally.running += 1,
                State::Cached => {
                    tally.cached += 1;
                    tally.over += 1;
                }
                State::Done(..) | State::Failed(_) => tally.over += 1,
            }
        }
        for transfer in self.transfers.values() {
            let in_group = self
                .vertex(&transfer.vertex)
                .is_some_and(|vertex| wanted(&vertex));
            if in_group {
                tally.current += transfer.current;
                tally.total += transfer.total.max(transfer.current);
            }
        }
        tally
    }
}
