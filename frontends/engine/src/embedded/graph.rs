//! A definition as vertices that can be executed.

use std::collections::{BTreeMap, BTreeSet};

use kcompose_core::llb::Definition;
use kcompose_core::llb::proto::pb;
use kcompose_core::source::Span;
use prost::Message;

use crate::digest::sha256;
use crate::error::{EngineError, place};

/// A result of a vertex: a file system.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Output {
    /// The vertex's place in the graph.
    pub(super) vertex: usize,
    /// Which of its results.
    pub(super) index: usize,
}

/// What a vertex does.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Op {
    Source(pb::SourceOp),
    Exec(Box<pb::ExecOp>),
    File(pb::FileOp),
    Merge(pb::MergeOp),
    Diff(pb::DiffOp),
}

/// One operation.
#[derive(Clone, Debug)]
pub(super) struct Vertex {
    pub(super) digest: String,
    pub(super) name: String,
    pub(super) group: Option<String>,
    pub(super) span: Span,
    pub(super) op: Op,
    pub(super) platform: Option<pb::Platform>,
    pub(super) inputs: Vec<Output>,
    /// Whether it runs although its result is known.
    pub(super) ignore_cache: bool,
}

impl Vertex {
    pub(super) fn is_source(&self) -> bool {
        matches!(self.op, Op::Source(_))
    }
}

/// All operations that a result rests on; inputs come before what uses them.
#[derive(Clone, Debug)]
pub(super) struct Graph {
    pub(super) vertices: Vec<Vertex>,
    /// The result; `None` is the empty file system.
    pub(super) result: Option<Output>,
}

impl Graph {
    /// Reads a definition.
    pub(super) fn decode(definition: &Definition) -> Result<Graph, EngineError> {
        let message = definition.message();
        let Some((last, operations)) = message.def.split_last() else {
            return Ok(Graph {
                vertices: Vec::new(),
                result: None,
            });
        };
        let mut reader = Reader {
            definition,
            known: BTreeMap::new(),
            vertices: Vec::new(),
        };
        for bytes in operations {
            reader.operation(bytes)?;
        }
        let terminal = decode(last)?;
        let result = match reader.inputs(&terminal)?.as_slice() {
            [result] => *result,
            other => return Err(broken(&format!("its end has {} inputs", other.len()))),
        };
        Ok(Graph {
            vertices: reader.vertices,
            result: Some(result),
        })
    }

    /// For each vertex those of its results that somebody takes.
    pub(super) fn wanted(&self) -> Vec<BTreeSet<usize>> {
        let mut wanted = vec![BTreeSet::new(); self.vertices.len()];
        let inputs = self.vertices.iter().flat_map(|vertex| &vertex.inputs);
        for output in inputs.chain(&self.result) {
            wanted[output.vertex].insert(output.index);
        }
        wanted
    }
}

struct Reader<'a> {
    definition: &'a Definition,
    known: BTreeMap<String, usize>,
    vertices: Vec<Vertex>,
}

impl Reader<'_> {
    fn operation(&mut self, bytes: &[u8]) -> Result<(), EngineError> {
        let digest = sha256(bytes);
        let operation = decode(bytes)?;
        let inputs = self.inputs(&operation)?;
        let known = self.definition.vertex(&digest);
        let name = known.map(|vertex| vertex.name.clone()).unwrap_or_default();
        let span = known
            .and_then(|vertex| vertex.spans.first().copied())
            .unwrap_or(Span::NONE);
        let op = op(operation.op).map_err(|reason| EngineError::Source {
            name: name.clone(),
            reason,
            help: "build it with a BuildKit: `--engine buildkit`".to_owned(),
            place: place(span),
        })?;
        let metadata = self.definition.message().metadata.get(&digest);
        self.known.insert(digest.clone(), self.vertices.len());
        self.vertices.push(Vertex {
            digest,
            name,
            group: known.and_then(|vertex| vertex.group.clone()),
            span,
            op,
            platform: operation.platform,
            inputs,
            ignore_cache: metadata.is_some_and(|metadata| metadata.ignore_cache),
        });
        Ok(())
    }

    fn inputs(&self, operation: &pb::Op) -> Result<Vec<Output>, EngineError> {
        let input = |input: &pb::Input| {
            let vertex = self.known.get(&input.digest).copied();
            let index = usize::try_from(input.index).ok();
            vertex
                .zip(index)
                .map(|(vertex, index)| Output { vertex, index })
                .ok_or_else(|| {
                    broken(&format!(
                        "an operation takes {}, which is not there",
                        input.digest
                    ))
                })
        };
        operation.inputs.iter().map(input).collect()
    }
}

fn op(op: Option<pb::op::Op>) -> Result<Op, String> {
    match op {
        Some(pb::op::Op::Source(op)) => Ok(Op::Source(op)),
        Some(pb::op::Op::Exec(op)) => Ok(Op::Exec(Box::new(op))),
        Some(pb::op::Op::File(op)) => Ok(Op::File(op)),
        Some(pb::op::Op::Merge(op)) => Ok(Op::Merge(op)),
        Some(pb::op::Op::Diff(op)) => Ok(Op::Diff(op)),
        Some(pb::op::Op::Build(_)) => {
            Err("the embedded engine has no builds inside builds (`BuildOp`)".to_owned())
        }
        None => Err("the embedded engine does not know this operation".to_owned()),
    }
}

fn decode(bytes: &[u8]) -> Result<pb::Op, EngineError> {
    pb::Op::decode(bytes).map_err(|error| broken(&error.to_string()))
}

fn broken(reason: &str) -> EngineError {
    EngineError::Failed {
        reason: format!("the definition is broken: {reason}"),
        log: Vec::new(),
        place: None,
    }
}

#[cfg(test)]
mod tests {
    use kcompose_core::llb::{Exec, FileAction, Graph as Builder, MakeFile, Meta, MountKind};

    use super::*;

    #[test]
    fn a_definition_is_read_with_names_and_what_is_wanted() {
        let mut builder = Builder::new();
        let file = FileAction::MakeFile(MakeFile::new("/a", 0o644, "a"));
        let root = builder.file(None, [file], Meta::named("root"));
        let exec = Exec::new(root, ["/a"]).mount("/out", MountKind::Writable { from: None });
        let outputs = builder.exec(&exec, Meta::named("exec"));
        let definition = builder.definition(Some(outputs[1]), &Default::default());
        let graph = Graph::decode(&definition).unwrap();
        let names: Vec<&str> = graph.vertices.iter().map(|vertex| vertex.name.as_str()).collect();
        assert_eq!(names, ["root", "exec"]);
        assert_eq!(graph.result, Some(Output { vertex: 1, index: 1 }));
        assert_eq!(graph.wanted(), [BTreeSet::from([0]), BTreeSet::from([1])]);
    }

    #[test]
    fn nothing_is_scratch() {
        let definition = Builder::new().definition(None, &Default::default());
        assert_eq!(Graph::decode(&definition).unwrap().result, None);
    }
}
