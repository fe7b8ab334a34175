//! Definitions that somebody else has made, as a part of ours.

use std::collections::BTreeMap;

use prost::Message;
use thiserror::Error;

use super::encode;
use super::graph::{Graph, Output};
use super::proto::pb;

/// Why a definition of somebody else cannot be taken in.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("it is no definition: {0}")]
pub struct ForeignError(&'static str);

impl Graph {
    /// The output of another definition, whose operations become part of this graph as they are; none if it is empty.
    pub fn foreign(&mut self, definition: &pb::Definition) -> Result<Option<Output>, ForeignError> {
        let Some((terminal, operations)) = definition.def.split_last() else {
            return Ok(None);
        };
        let terminal = decoded(terminal)?;
        let [root] = &terminal.inputs[..] else {
            return Err(ForeignError("it does not end in one output"));
        };
        let mut taking = Taking {
            graph: self,
            definition,
            open: operations
                .iter()
                .map(|bytes| (encode::digest(bytes), bytes.as_slice()))
                .collect(),
            done: BTreeMap::new(),
        };
        taking.output(root).map(Some)
    }
}

struct Taking<'a> {
    graph: &'a mut Graph,
    definition: &'a pb::Definition,
    /// Operations that were not taken in yet.
    open: BTreeMap<String, &'a [u8]>,
    done: BTreeMap<String, usize>,
}

impl Taking<'_> {
    fn output(&mut self, input: &pb::Input) -> Result<Output, ForeignError> {
        let index = usize::try_from(input.index).map_err(|_| ForeignError("an output has no number"))?;
        let node = match self.done.get(&input.digest) {
            Some(node) => *node,
            None => self.operation(&input.digest)?,
        };
        Ok(Output { node, index })
    }

    fn operation(&mut self, digest: &str) -> Result<usize, ForeignError> {
        // Taken out first, so that a circle ends as something that is missing.
        let bytes = self.open.remove(digest);
        let bytes = bytes.ok_or(ForeignError("an operation is missing"))?;
        let inputs = decoded(bytes)?
            .inputs
            .iter()
            .map(|input| self.output(input))
            .collect::<Result<Vec<_>, _>>()?;
        let metadata = self.definition.metadata.get(digest).cloned().unwrap_or_default();
        let node = self.graph.add_foreign(bytes, inputs, metadata);
        self.done.insert(digest.to_owned(), node);
        Ok(node)
    }
}

fn decoded(bytes: &[u8]) -> Result<pb::Op, ForeignError> {
    pb::Op::decode(bytes).map_err(|_| ForeignError("an operation cannot be read"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::llb::{Copy, FileAction, MakeFile, Meta};
    use crate::source::SourceMap;

    #[test]
    fn a_definition_becomes_part_of_another() {
        let mut theirs = Graph::new();
        let file = FileAction::MakeFile(MakeFile::new("/f", 0o644, "f"));
        let output = theirs.file(None, [file], Meta::named("theirs"));
        let theirs = theirs.definition(Some(output), &SourceMap::new());

        let mut ours = Graph::new();
        let taken = ours.foreign(theirs.message()).unwrap().unwrap();
        let copy = FileAction::Copy(Copy::contents(taken, "/", "/", 0));
        let copied = ours.file(None, [copy], Meta::named("ours"));
        let whole = ours.definition(Some(copied), &SourceMap::new());
        assert_eq!(whole.message().def[0], theirs.message().def[0]);
        let names: Vec<&str> = whole
            .vertices()
            .values()
            .map(|vertex| vertex.name.as_str())
            .collect();
        assert!(names.contains(&"theirs") && names.contains(&"ours"));
        assert!(whole.capabilities().contains("file.base"));
        assert_eq!(ours.foreign(&pb::Definition::default()), Ok(None));
    }

    #[test]
    fn what_is_no_definition_is_refused() {
        let of = |def: Vec<Vec<u8>>| pb::Definition {
            def,
            ..pb::Definition::default()
        };
        let terminal = pb::Op {
            inputs: vec![pb::Input {
                digest: "sha256:0".to_owned(),
                index: 0,
            }],
            ..pb::Op::default()
        };
        for def in [vec![vec![0xff]], vec![Vec::new()], vec![terminal.encode_to_vec()]] {
            assert!(Graph::new().foreign(&of(def.clone())).is_err(), "{def:?}");
        }
    }
}
