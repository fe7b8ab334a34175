//! Places in the form that clients read: files once, positions by the files' numbers.

use std::collections::BTreeMap;

use kcompose_core::source::{SourceMap, Span};
use serde_json::{Value, json};

use crate::failure::{info, range};

/// The files that an answer speaks of.
#[derive(Debug, Default)]
pub(super) struct Sources {
    list: Vec<Value>,
    known: BTreeMap<Span, usize>,
}

impl Sources {
    /// A place, with its file added to the list.
    pub(super) fn location(&mut self, span: Span, sources: &SourceMap) -> Option<Value> {
        let file = sources.file(span)?;
        let index = *self.known.entry(file.whole()).or_insert_with(|| {
            self.list.push(info(file));
            self.list.len() - 1
        });
        Some(json!({ "sourceIndex": index, "ranges": [range(span, sources)?] }))
    }

    /// The files, each with its name and text.
    pub(super) fn infos(self) -> Vec<Value> {
        self.list
    }

    /// The files' texts alone.
    pub(super) fn texts(self) -> Vec<Value> {
        self.list
            .into_iter()
            .map(|mut info| info["data"].take())
            .collect()
    }
}
