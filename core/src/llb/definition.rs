//! What an engine is given: operations, what people see of them, and where they come from.

use std::collections::{BTreeMap, BTreeSet};

use prost::Message;

use super::graph::{Graph, Node, Output};
use super::proto::pb;
use super::{encode, text};
use crate::source::{Place, SourceMap, Span};

/// A build definition, ready to be solved.
#[derive(Clone, Debug, PartialEq)]
pub struct Definition {
    message: pb::Definition,
    vertices: BTreeMap<String, Vertex>,
}

/// What we know of an operation that an engine speaks of by digest.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Vertex {
    /// Its name.
    pub name: String,
    /// The places in the flavor that asked for it.
    pub spans: Vec<Span>,
    /// The name of its progress group.
    pub group: Option<String>,
}

impl Definition {
    /// The message that engines take.
    pub fn message(&self) -> &pb::Definition {
        &self.message
    }

    /// The encoded message, which `buildctl debug dump-llb` reads.
    pub fn bytes(&self) -> Vec<u8> {
        self.message.encode_to_vec()
    }

    /// What we know of an operation.
    pub fn vertex(&self, digest: &str) -> Option<&Vertex> {
        self.vertices.get(digest)
    }

    /// All operations by digest.
    pub fn vertices(&self) -> &BTreeMap<String, Vertex> {
        &self.vertices
    }

    /// The capabilities that the engine must have.
    pub fn capabilities(&self) -> BTreeSet<&str> {
        self.message
            .metadata
            .values()
            .flat_map(|metadata| metadata.caps.keys())
            .map(String::as_str)
            .collect()
    }

    /// The part of it that makes one of its results.
    pub fn part(&self, result: &pb::Input) -> Definition {
        let mut needed = BTreeSet::from([result.digest.clone()]);
        let mut operations = Vec::new();
        // Inputs come before what uses them.
        for bytes in self.message.def.iter().rev() {
            if needed.contains(&encode::digest(bytes)) {
                let op = pb::Op::decode(bytes.as_slice()).unwrap_or_default();
                needed.extend(op.inputs.into_iter().map(|input| input.digest));
                operations.push(bytes.clone());
            }
        }
        let operations = operations.into_iter().rev();
        Definition {
            message: pb::Definition {
                def: operations.chain([terminal(result.clone())]).collect(),
                metadata: only(&self.message.metadata, &needed),
                source: self.message.source.as_ref().map(|source| pb::Source {
                    locations: only(&source.locations, &needed),
                    infos: source.infos.clone(),
                }),
            },
            vertices: only(&self.vertices, &needed),
        }
    }

    /// Operations as text that people read, one paragraph each.
    pub fn text(&self) -> String {
        text::text(&self.message)
    }
}

/// The operation at a definition's end, which says what its result is.
fn terminal(result: pb::Input) -> Vec<u8> {
    encode::canonical(&pb::Op {
        inputs: vec![result],
        ..pb::Op::default()
    })
}

/// What is known of some of the operations.
fn only<T: Clone>(all: &BTreeMap<String, T>, digests: &BTreeSet<String>) -> BTreeMap<String, T> {
    let of = |digest: &String| Some((digest.clone(), all.get(digest)?.clone()));
    digests.iter().filter_map(of).collect()
}

pub(super) fn definition(graph: &Graph, output: Option<Output>, sources: &SourceMap) -> Definition {
    let Some(output) = output else {
        return Definition {
            message: pb::Definition::default(),
            vertices: BTreeMap::new(),
        };
    };
    let needed = needed(graph, output);
    let nodes = || {
        graph
            .nodes
            .iter()
            .enumerate()
            .filter(|(at, _)| needed.contains(at))
            .map(|(_, node)| node)
    };
    let def = nodes()
        .map(|node| node.bytes.clone())
        .chain([terminal(graph.input(output))]);
    let message = pb::Definition {
        def: def.collect(),
        metadata: nodes()
            .map(|node| (node.digest.clone(), metadata(node)))
            .collect(),
        source: source(nodes(), sources),
    };
    Definition {
        message,
        vertices: nodes().map(|node| (node.digest.clone(), vertex(node))).collect(),
    }
}

/// The nodes that an output rests on. Inputs are always added before what uses them, so their order is topological.
fn needed(graph: &Graph, output: Output) -> BTreeSet<usize> {
    let mut needed = BTreeSet::new();
    let mut open = vec![output.node];
    while let Some(node) = open.pop() {
        if needed.insert(node) {
            open.extend(graph.nodes[node].inputs.iter().map(|input| input.node));
        }
    }
    needed
}

fn metadata(node: &Node) -> pb::OpMetadata {
    if let Some(foreign) = &node.foreign {
        return foreign.clone();
    }
    let name = Some(&node.meta.name).filter(|name| !name.is_empty());
    let group = node.meta.group.as_ref();
    pb::OpMetadata {
        ignore_cache: node.meta.ignore_cache,
        description: name
            .map(|name| ("llb.customname".to_owned(), name.clone()))
            .into_iter()
            .collect(),
        caps: node.caps.iter().map(|cap| ((*cap).to_owned(), true)).collect(),
        progress_group: group.map(|group| pb::ProgressGroup {
            id: group.id.clone(),
            name: group.name.clone(),
            weak: false,
        }),
        ..pb::OpMetadata::default()
    }
}

fn vertex(node: &Node) -> Vertex {
    let group = node.meta.group.as_ref().map(|group| group.name.clone());
    let named = node
        .foreign
        .as_ref()
        .and_then(|foreign| foreign.description.get("llb.customname"));
    Vertex {
        name: named.unwrap_or(&node.meta.name).clone(),
        spans: node.spans.clone(),
        group,
    }
}

/// The places of all operations, and the text of the files they lie in.
fn source<'a>(nodes: impl Iterator<Item = &'a Node>, sources: &SourceMap) -> Option<pb::Source> {
    let mut source = pb::Source::default();
    let mut files: BTreeMap<Span, i32> = BTreeMap::new();
    for node in nodes {
        let mut locations = Vec::new();
        for span in &node.spans {
            let (Some(file), Some(range)) = (sources.file(*span), range(*span, sources)) else {
                continue;
            };
            let source_index = *files.entry(file.whole()).or_insert_with(|| {
                source.infos.push(pb::SourceInfo {
                    filename: file.name.to_string(),
                    data: file.text.as_bytes().to_vec(),
                    definition: None,
                    language: "KDL".to_owned(),
                });
                i32::try_from(source.infos.len() - 1).expect("there are fewer than 2^31 files")
            });
            locations.push(pb::Location {
                source_index,
                ranges: vec![range],
            });
        }
        if !locations.is_empty() {
            source
                .locations
                .insert(node.digest.clone(), pb::Locations { locations });
        }
    }
    (!source.infos.is_empty()).then_some(source)
}

/// Lines count from one and characters from zero, as BuildKit's own frontend does it.
fn range(span: Span, sources: &SourceMap) -> Option<pb::Range> {
    let start = sources.place(span)?;
    let end = sources.end_place(span)?;
    // A node's span may end behind its line break; the line after it is not part of what asks.
    let end = if end.column == 1 && end.line > start.line {
        start.clone()
    } else {
        end
    };
    Some(pb::Range {
        start: Some(position(&start)?),
        end: Some(position(&end)?),
    })
}

fn position(place: &Place) -> Option<pb::Position> {
    let character = i32::try_from(place.column - 1).ok()?;
    Some(pb::Position {
        line: i32::try_from(place.line).ok()?,
        character,
    })
}
