//! The layers of the image, made as soon as their trees are there: a processor that waits for a step compresses.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Write};
use std::sync::Arc;

use tokio::sync::Semaphore;
use tokio::task::JoinHandle;

use super::graph::{Graph, Op};
use super::problem::Problem;
use super::run::Work;
use super::source;
use super::store::{Claim, TreeId};
use crate::background::{self, Wanted};
use crate::digest::HashWriter;
use crate::error::EngineError;
use crate::layer;
use crate::layers::Layer;

type Making = JoinHandle<Result<Vec<Layer>, Problem>>;

/// The layers of a build.
#[derive(Debug)]
pub(super) struct Layers {
    work: Arc<Work>,
    /// Outputs whose trees are in the image, whole.
    in_image: BTreeSet<(usize, usize)>,
    making: BTreeMap<TreeId, Making>,
    turns: Arc<Semaphore>,
    /// Steps come first: the image is wanted when the last of them has ended.
    wanted: Wanted,
}

impl Layers {
    pub(super) fn new(work: Arc<Work>, parallelism: usize) -> Self {
        Layers {
            in_image: if work.job.wants_layers {
                in_image(&work.graph)
            } else {
                BTreeSet::new()
            },
            work,
            making: BTreeMap::new(),
            turns: Arc::new(Semaphore::new(parallelism)),
            wanted: Wanted::default(),
        }
    }

    /// Begins to make the layers of a result, if they are in the image.
    pub(super) fn begin(&mut self, vertex: usize, claim: &Claim) {
        for (index, trees) in claim {
            if self.in_image.contains(&(vertex, *index)) {
                (0..trees.len()).for_each(|at| self.make(trees, at));
            }
        }
    }

    /// The layers of trees, the lowest first.
    pub(super) async fn of(&mut self, trees: &[TreeId]) -> Result<Vec<Layer>, EngineError> {
        self.wanted.now();
        let mut layers = Vec::new();
        for at in 0..trees.len() {
            self.make(trees, at);
            let Some(making) = self.making.get_mut(&trees[at]) else {
                continue;
            };
            let made = making
                .await
                .unwrap_or_else(|error| Err(Problem::Failed(error.to_string())));
            let made = made.map_err(|problem| self.failed(problem))?;
            layers.extend(made);
            self.making.remove(&trees[at]);
        }
        Ok(layers)
    }

    fn failed(&self, problem: Problem) -> EngineError {
        match problem {
            Problem::Io { action, path, error } => EngineError::io(action, path, error),
            other => EngineError::Failed {
                reason: other.reason(),
                log: Vec::new(),
                place: None,
            },
        }
    }

    fn make(&mut self, trees: &[TreeId], at: usize) {
        let id = trees[at].clone();
        if self.making.contains_key(&id) {
            return;
        }
        let (work, turns) = (Arc::clone(&self.work), Arc::clone(&self.turns));
        let wanted = self.wanted.clone();
        let made = tokio::spawn(async move {
            // The semaphore is never closed, so there is always a turn.
            let _turn = turns.acquire_owned().await;
            let failed = |error: &dyn std::fmt::Display| Problem::Failed(error.to_string());
            let made =
                background::run(move || layers_of(&work, &id, &wanted)).map_err(|error| failed(&error))?;
            made.await.unwrap_or_else(|error| Err(failed(&error)))
        });
        self.making.insert(trees[at].clone(), made);
    }
}

/// The outputs of which every tree is one of the image's.
fn in_image(graph: &Graph) -> BTreeSet<(usize, usize)> {
    let mut found = BTreeSet::new();
    let mut open: Vec<_> = graph.result.into_iter().collect();
    while let Some(output) = open.pop() {
        if !found.insert((output.vertex, output.index)) {
            continue;
        }
        let vertex = &graph.vertices[output.vertex];
        let chosen = |number: i64| {
            usize::try_from(number)
                .ok()
                .and_then(|at| vertex.inputs.get(at).copied())
        };
        match &vertex.op {
            Op::Merge(_) => open.extend(&vertex.inputs),
            Op::File(op) => open.extend(op.actions.first().and_then(|action| chosen(action.input))),
            Op::Exec(op) => {
                let written = op
                    .mounts
                    .iter()
                    .filter(|mount| mount.output >= 0)
                    .nth(output.index);
                open.extend(written.and_then(|mount| chosen(mount.input)));
            }
            Op::Source(_) | Op::Diff(_) => {}
        }
    }
    found
}

/// The layers of one tree: one, but for images that came from elsewhere, which keep theirs.
fn layers_of(work: &Work, id: &TreeId, wanted: &Wanted) -> Result<Vec<Layer>, Problem> {
    let (trees, store) = (work.build.trees(), &work.job.layers);
    if let Some(layers) = source::own_layers(work, id)? {
        return Ok(layers);
    }
    if let Some(layer) = trees.layer(id).and_then(|diff_id| store.layer(&diff_id)) {
        return Ok(vec![layer]);
    }
    let lower = trees.lowers(&trees.below(id).map_err(Problem::io("read", trees.root()))?);
    let archive = |writer: &mut dyn Write| {
        layer::diff(&trees.files(id), &lower, writer)
            .map(drop)
            .map_err(Problem::from)
    };
    let known = trees.likely_layer(id).and_then(|diff_id| store.layer(&diff_id));
    let layer = match known {
        // To look whether it is that one takes a fraction of the time that compressing it again takes.
        Some(layer) if digest_of(wanted, archive)? == layer.diff_id => layer,
        Some(_) | None => store.put(wanted, archive).map_err(|error| match error {
            Problem::Io {
                action: "write",
                error,
                ..
            } => Problem::io("write", store.root())(error),
            other => other,
        })?,
    };
    trees
        .note_layer(id, &layer.diff_id)
        .map_err(Problem::io("write", trees.root()))?;
    Ok(vec![layer])
}

fn digest_of(
    wanted: &Wanted,
    archive: impl FnOnce(&mut dyn Write) -> Result<(), Problem>,
) -> Result<String, Problem> {
    let hashed = background::written(HashWriter::new(io::sink()), wanted, archive)?;
    Ok(hashed.finish().1)
}
