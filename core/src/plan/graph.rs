//! The DAG of steps.

use std::collections::BTreeMap;

use petgraph::graph::{DiGraph, NodeIndex};
use petgraph::visit::EdgeRef;

use crate::resolve::{LockedDownload, LockedPackage, LockedUpstream};
use crate::source::Span;
use crate::step::Program;

/// A step's place in its plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct StepId(NodeIndex);

impl StepId {
    /// The position in the plan's order.
    pub fn index(self) -> usize {
        self.0.index()
    }
}

/// One step.
#[derive(Clone, Debug)]
pub struct Step {
    /// What it does, as people read it in the progress.
    pub name: String,
    /// How.
    pub kind: StepKind,
    /// The node that asks for it.
    pub span: Span,
}

/// What a step is.
#[derive(Clone, Debug)]
pub enum StepKind {
    /// Fetches a package archive.
    Fetch(Fetch),
    /// Fetches a file from a web server.
    Download(LockedDownload),
    /// Reads a path of the build context.
    Context(String),
    /// Reads a program that is no package.
    Upstream(LockedUpstream),
    /// Runs the step binary.
    Exec {
        /// What it does.
        program: Program,
        /// The directories that it hands on, in order; `/` is the root itself.
        outputs: Vec<String>,
        /// Whether it may use the network.
        network: bool,
    },
    /// Lays trees over each other; a later one wins.
    Merge,
    /// Copies trees onto a base.
    Copy(CopiedTimes),
}

/// The times of files and directories that a copy writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CopiedTimes {
    /// Those of the copied trees: a later step compares modules with their indexes by time, and sets the directories'.
    Kept,
    /// The epoch: no step comes after it.
    Epoch,
}

impl StepKind {
    /// An exec without network.
    pub fn exec<const N: usize>(program: Program, outputs: [&str; N]) -> Self {
        StepKind::Exec {
            program,
            outputs: outputs.map(str::to_owned).to_vec(),
            network: false,
        }
    }

    /// A word for the kind, as `kcompose plan` prints it.
    pub fn word(&self) -> &'static str {
        match self {
            StepKind::Fetch(_) => "fetch",
            StepKind::Download(_) => "download",
            StepKind::Context(_) => "context",
            StepKind::Upstream(_) => "upstream",
            StepKind::Exec { .. } => "exec",
            StepKind::Merge => "merge",
            StepKind::Copy(_) => "copy",
        }
    }
}

/// An archive to fetch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fetch {
    /// The package source that has it.
    pub source: String,
    /// The suite, which tells the archive (main or security).
    pub suite: String,
    /// The path below the source's URL.
    pub path: String,
    /// The sha256 in hex.
    pub sha256: String,
    /// The size in bytes.
    pub size: u64,
}

impl Fetch {
    /// The archive of a pinned package.
    pub fn of(package: &LockedPackage) -> Self {
        Fetch {
            source: package.source.clone(),
            suite: package.suite.clone(),
            path: package.path.clone(),
            sha256: package.sha256.clone(),
            size: package.size,
        }
    }
}

impl Fetch {
    /// A download, as what an engine is given a URL for.
    pub fn of_download(download: &LockedDownload) -> Self {
        Fetch {
            source: String::new(),
            suite: String::new(),
            path: ALONE.to_owned(),
            sha256: download.sha256.to_string(),
            size: download.size,
        }
    }
}

/// The name of what is alone in a tree.
pub(super) const ALONE: &str = "it";

/// What one step is to another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Role {
    /// The root that it runs in and changes.
    Root,
    /// A read-only mount.
    Mount(Mount),
    /// A tree to merge or to copy.
    Layer,
    /// The tree that others are copied onto.
    Base,
}

/// A read-only mount of another step's output.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mount {
    /// Where it is mounted.
    pub at: String,
    /// What of the other step is mounted.
    pub source: MountSource,
}

/// What of a step is mounted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MountSource {
    /// Its one output, or its first.
    Output,
    /// The output with this name.
    Named(String),
}

impl Role {
    /// Mounts the first output at a path.
    pub fn mount(at: &str) -> Self {
        Role::Mount(Mount {
            at: at.to_owned(),
            source: MountSource::Output,
        })
    }

    /// Mounts a named output at a path.
    pub fn mount_output(at: &str, output: &str) -> Self {
        Role::Mount(Mount {
            at: at.to_owned(),
            source: MountSource::Named(output.to_owned()),
        })
    }
}

/// The whole graph.
#[derive(Clone, Debug)]
pub struct Plan {
    graph: DiGraph<Step, Role>,
    image: Option<StepId>,
    lower: Vec<StepId>,
    /// Seconds since 1970 for every time stamp.
    pub epoch: i64,
    origins: BTreeMap<String, Span>,
}

impl Plan {
    pub(super) fn new(epoch: i64, origins: BTreeMap<String, Span>) -> Self {
        Plan {
            graph: DiGraph::new(),
            image: None,
            lower: Vec::new(),
            epoch,
            origins,
        }
    }

    /// Where something is said that a step complains about, by the name that its program has for it, such as
    /// `file:/etc/motd`.
    pub fn origin(&self, name: &str) -> Option<Span> {
        self.origins.get(name).copied()
    }

    /// Adds a step; what it depends on was added before, so the order of the steps is an order to run them in.
    pub(super) fn add(
        &mut self,
        name: &str,
        kind: StepKind,
        span: Span,
        links: impl IntoIterator<Item = (StepId, Role)>,
    ) -> StepId {
        let node = self.graph.add_node(Step {
            name: name.to_owned(),
            kind,
            span,
        });
        for (from, role) in links {
            self.graph.add_edge(from.0, node, role);
        }
        StepId(node)
    }

    pub(super) fn finish(mut self, lower: Vec<StepId>, image: StepId) -> Self {
        self.lower = lower;
        self.image = Some(image);
        self
    }

    /// Steps whose roots become the image's, the lowest first: with all packages but the flavor's own, and with more and more
    /// of these. Their layers are final long before the image is.
    pub fn lower(&self) -> &[StepId] {
        &self.lower
    }

    /// The step whose first output is the image's root.
    pub fn image(&self) -> StepId {
        self.image.expect("a plan is only handed out finished")
    }

    /// All steps, each after what it depends on.
    pub fn steps(&self) -> impl Iterator<Item = (StepId, &Step)> {
        self.graph
            .node_indices()
            .map(|node| (StepId(node), &self.graph[node]))
    }

    /// One step.
    pub fn step(&self, id: StepId) -> &Step {
        &self.graph[id.0]
    }

    /// What a step depends on, in the order in which it was said.
    pub fn inputs(&self, id: StepId) -> Vec<(StepId, &Role)> {
        let mut edges: Vec<_> = self
            .graph
            .edges_directed(id.0, petgraph::Direction::Incoming)
            .collect();
        edges.sort_by_key(|edge| edge.id());
        edges
            .into_iter()
            .map(|edge| (StepId(edge.source()), edge.weight()))
            .collect()
    }

    /// Bytes that are fetched.
    pub fn fetched_bytes(&self) -> u64 {
        self.steps()
            .map(|(_, step)| match &step.kind {
                StepKind::Fetch(fetch) => fetch.size,
                StepKind::Download(download) => download.size,
                StepKind::Context(_)
                | StepKind::Upstream(_)
                | StepKind::Exec { .. }
                | StepKind::Merge
                | StepKind::Copy(_) => 0,
            })
            .sum()
    }
}
