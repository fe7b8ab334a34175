//! The graph: operations in the order in which they were added.

use std::collections::BTreeMap;

use super::definition::{self, Definition};
use super::exec::{self, Exec};
use super::file::{self, FileAction};
use super::proto::pb;
use super::source::{Image, Local, OciLayout};
use super::{Git, Http, caps, encode};
use crate::source::{SourceMap, Span};

/// One result of an operation: a file system.
///
/// Where an operation takes `Option<Output>`, `None` is scratch, the empty file system.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Output {
    pub(super) node: usize,
    pub(super) index: usize,
}

/// What people see of an operation. None of it is in the digest.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Meta {
    /// The name in the progress.
    pub name: String,
    /// The place in the flavor that asks for it.
    pub span: Span,
    /// The group that the progress shows it in.
    pub group: Option<Group>,
    /// Whether it runs even if its result is cached.
    pub ignore_cache: bool,
}

impl Meta {
    /// A name, and no place.
    pub fn named(name: impl Into<String>) -> Self {
        Meta {
            name: name.into(),
            ..Meta::default()
        }
    }

    /// A name and a place.
    pub fn at(name: impl Into<String>, span: Span) -> Self {
        Meta {
            name: name.into(),
            span,
            ..Meta::default()
        }
    }

    /// The same in a progress group.
    pub fn in_group(self, group: &Group) -> Self {
        Meta {
            group: Some(group.clone()),
            ..self
        }
    }
}

/// Operations that the progress shows as one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Group {
    /// What tells it from other groups.
    pub id: String,
    /// What is shown.
    pub name: String,
}

/// The platform that execs run on and images are chosen for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Platform {
    /// The operating system, in Go's words.
    pub os: String,
    /// The architecture, in Go's words.
    pub architecture: String,
    /// Its variant, such as `v7`; empty for none.
    pub variant: String,
}

impl Platform {
    /// Linux on an architecture in Go's words, such as `amd64`.
    pub fn linux(architecture: &str) -> Self {
        Platform {
            os: "linux".into(),
            architecture: architecture.into(),
            variant: String::new(),
        }
    }

    fn message(&self) -> pb::Platform {
        pb::Platform {
            architecture: self.architecture.clone(),
            os: self.os.clone(),
            variant: self.variant.clone(),
            ..pb::Platform::default()
        }
    }
}

/// A graph of operations.
#[derive(Clone, Debug)]
pub struct Graph {
    platform: Platform,
    pub(super) nodes: Vec<Node>,
    by_digest: BTreeMap<String, usize>,
}

/// One operation, encoded.
#[derive(Clone, Debug)]
pub(super) struct Node {
    pub(super) bytes: Vec<u8>,
    pub(super) digest: String,
    pub(super) inputs: Vec<Output>,
    pub(super) caps: Vec<&'static str>,
    pub(super) meta: Meta,
    pub(super) spans: Vec<Span>,
    /// What a foreign definition says about it; it stays as it is.
    pub(super) foreign: Option<pb::OpMetadata>,
}

/// An operation before it is encoded: what it takes, what it needs, and its own message.
pub(super) struct Draft {
    pub(super) inputs: Inputs,
    pub(super) caps: Vec<&'static str>,
    pub(super) op: pb::op::Op,
    pub(super) on_platform: bool,
}

impl Draft {
    pub(super) fn new(inputs: Inputs, caps: Vec<&'static str>, op: pb::op::Op) -> Self {
        Draft {
            inputs,
            caps,
            op,
            on_platform: false,
        }
    }
}

/// The inputs of one operation; each file system is listed once.
#[derive(Debug, Default)]
pub(super) struct Inputs(Vec<Output>);

impl Inputs {
    /// The number that the operation's message uses for this input; -1 for scratch.
    pub(super) fn number(&mut self, output: Option<Output>) -> i64 {
        let Some(output) = output else { return -1 };
        let at = self
            .0
            .iter()
            .position(|known| *known == output)
            .unwrap_or_else(|| {
                self.0.push(output);
                self.0.len() - 1
            });
        index(at)
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }
}

/// A position as the messages count.
pub(super) fn index(at: usize) -> i64 {
    i64::try_from(at).expect("a list in memory has fewer than 2^63 items")
}

impl Default for Graph {
    fn default() -> Self {
        Graph::new()
    }
}

impl Graph {
    /// An empty graph for linux/amd64.
    pub fn new() -> Self {
        Graph::for_platform(Platform::linux("amd64"))
    }

    /// An empty graph for a platform.
    pub fn for_platform(platform: Platform) -> Self {
        Graph {
            platform,
            nodes: Vec::new(),
            by_digest: BTreeMap::new(),
        }
    }

    /// A file from a web server, alone in the root of its file system.
    pub fn http(&mut self, http: &Http, meta: Meta) -> Output {
        self.add(http.draft(), meta)
    }

    /// The file system of an image in a registry.
    pub fn image(&mut self, image: &Image, meta: Meta) -> Output {
        self.add(image.draft(), meta)
    }

    /// The file system of an image in an OCI layout that the client serves.
    pub fn oci_layout(&mut self, layout: &OciLayout, meta: Meta) -> Output {
        self.add(layout.draft(), meta)
    }

    /// A commit of a Git repository, checked out.
    pub fn git(&mut self, git: &Git, meta: Meta) -> Output {
        self.add(git.draft(), meta)
    }

    /// A directory of the client's.
    pub fn local(&mut self, local: &Local, meta: Meta) -> Output {
        self.add(local.draft(), meta)
    }

    /// Runs a program. The first output is its root as it left it; one more follows for each writable mount
    /// ([`MountKind::Writable`](super::MountKind)), in the order of the mounts.
    pub fn exec(&mut self, exec: &Exec, meta: Meta) -> Vec<Output> {
        let outputs = 1 + exec::writable(exec);
        let root = self.add(exec::draft(exec), meta);
        (0..outputs).map(|index| Output { index, ..root }).collect()
    }

    /// Changes a file system by a row of actions; the result is one layer.
    pub fn file(
        &mut self,
        base: Option<Output>,
        actions: impl IntoIterator<Item = FileAction>,
        meta: Meta,
    ) -> Output {
        let actions: Vec<FileAction> = actions.into_iter().collect();
        assert!(!actions.is_empty(), "a file operation has at least one action");
        self.add(file::draft(base, &actions), meta)
    }

    /// File systems laid over each other; what comes later wins. Needs the capability `mergeop`.
    ///
    /// A directory replaces a symbolic link of the same name without an error and the other way round, so inputs must
    /// agree on what a path is.
    pub fn merge(&mut self, inputs: &[Output], meta: Meta) -> Output {
        if let [one] = inputs {
            return *one;
        }
        assert!(!inputs.is_empty(), "a merge has at least one input");
        let mut numbers = Inputs::default();
        let inputs = inputs
            .iter()
            .map(|input| pb::MergeInput {
                input: numbers.number(Some(*input)),
            })
            .collect();
        self.add(
            Draft::new(
                numbers,
                vec![caps::MERGE],
                pb::op::Op::Merge(pb::MergeOp { inputs }),
            ),
            meta,
        )
    }

    /// What `upper` changes in `lower`, as a layer of its own. Needs the capability `diffop`.
    pub fn diff(&mut self, lower: Option<Output>, upper: Output, meta: Meta) -> Output {
        let mut numbers = Inputs::default();
        let lower = pb::LowerDiffInput {
            input: numbers.number(lower),
        };
        let upper = pb::UpperDiffInput {
            input: numbers.number(Some(upper)),
        };
        let op = pb::DiffOp {
            lower: Some(lower),
            upper: Some(upper),
        };
        self.add(Draft::new(numbers, vec![caps::DIFF], pb::op::Op::Diff(op)), meta)
    }

    /// What an engine needs to make this output; `None` is an empty file system.
    ///
    /// `sources` holds the files that the spans point into; they travel along, so that the daemon's own messages show
    /// the lines of the flavor.
    pub fn definition(&self, output: Option<Output>, sources: &SourceMap) -> Definition {
        definition::definition(self, output, sources)
    }

    /// How many operations there are.
    pub fn len(&self) -> usize {
        self.nodes.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.nodes.is_empty()
    }

    /// The digest of the operation that makes an output.
    pub fn digest(&self, output: Output) -> &str {
        &self.nodes[output.node].digest
    }

    /// How definitions name a result.
    pub fn input(&self, output: Output) -> pb::Input {
        pb::Input {
            digest: self.digest(output).to_owned(),
            index: index(output.index),
        }
    }

    /// Takes an operation in that somebody else has encoded.
    pub(super) fn add_foreign(
        &mut self,
        bytes: &[u8],
        inputs: Vec<Output>,
        metadata: pb::OpMetadata,
    ) -> usize {
        let digest = encode::digest(bytes);
        if let Some(node) = self.by_digest.get(&digest) {
            return *node;
        }
        self.by_digest.insert(digest.clone(), self.nodes.len());
        self.nodes.push(Node {
            bytes: bytes.to_vec(),
            digest,
            inputs,
            caps: Vec::new(),
            meta: Meta::default(),
            spans: Vec::new(),
            foreign: Some(metadata),
        });
        self.nodes.len() - 1
    }

    fn add(&mut self, draft: Draft, meta: Meta) -> Output {
        let mut caps = draft.caps;
        let platform = draft.on_platform.then(|| self.platform.message());
        caps.extend(platform.is_some().then_some(caps::PLATFORM));
        caps.extend((!meta.name.is_empty()).then_some(caps::DESCRIPTION));
        caps.extend(meta.ignore_cache.then_some(caps::IGNORE_CACHE));
        let inputs = draft.inputs.0;
        let span = meta.span;
        let bytes = encode::canonical(&pb::Op {
            inputs: inputs.iter().map(|input| self.input(*input)).collect(),
            platform,
            constraints: None,
            op: Some(draft.op),
        });
        let digest = encode::digest(&bytes);
        let node = match self.by_digest.get(&digest) {
            Some(node) => *node,
            None => {
                self.by_digest.insert(digest.clone(), self.nodes.len());
                self.nodes.push(Node {
                    bytes,
                    digest,
                    inputs,
                    caps,
                    meta,
                    spans: Vec::new(),
                    foreign: None,
                });
                self.nodes.len() - 1
            }
        };
        let spans = &mut self.nodes[node].spans;
        if span.is_some() && !spans.contains(&span) {
            spans.push(span);
        }
        Output { node, index: 0 }
    }
}
