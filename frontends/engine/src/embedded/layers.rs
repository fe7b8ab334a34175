//! The layers of the image: each is compressed in the background as soon as its tree exists.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Write};
use std::sync::Arc;

use tokio::sync::{Semaphore, mpsc, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use super::graph::{Graph, Op, Output};
use super::problem::Problem;
use super::run::Work;
use super::source;
use super::store::{Claim, TreeId};
use crate::background;
use crate::digest::HashWriter;
use crate::error::EngineError;
use crate::layer;
use crate::layers::Layer;

/// The layers of a tree that are being made.
#[derive(Debug)]
struct Making {
    made: AbortOnDropHandle<Result<Vec<Layer>, Problem>>,
    /// The same for who only wants to know of them; closed if they cannot be made.
    known: watch::Receiver<Vec<Layer>>,
}

/// The layers of a build.
#[derive(Debug)]
pub(super) struct Layers {
    work: Arc<Work>,
    /// Outputs whose trees are in the image, whole.
    in_image: BTreeSet<(usize, usize)>,
    making: BTreeMap<TreeId, Making>,
    turns: Arc<Semaphore>,
    /// Turns that steps have while there are any.
    of_steps: usize,
    /// Where the layers of the image's lowest trees go as soon as they are made, in order.
    handing_out: Option<mpsc::UnboundedSender<watch::Receiver<Vec<Layer>>>>,
    /// How many of those trees have gone there.
    handed_out: usize,
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
            turns: Arc::new(Semaphore::new(parallelism.saturating_sub(1).max(1))),
            of_steps: parallelism.saturating_sub(1).min(1),
            handing_out: None,
            handed_out: 0,
        }
    }

    /// Sees to it that layers are handed out while others are made, if anybody takes them.
    pub(super) fn hand_out_early(&mut self) {
        let feed = self.work.job.feed.clone();
        if !feed.is_open() {
            return;
        }
        let (sender, mut receiver) = mpsc::unbounded_channel::<watch::Receiver<Vec<Layer>>>();
        self.handing_out = Some(sender);
        tokio::spawn(async move {
            while let Some(mut known) = receiver.recv().await {
                let Ok(layers) = known.wait_for(|layers| !layers.is_empty()).await else {
                    return;
                };
                layers.iter().cloned().for_each(|layer| feed.put(layer));
            }
        });
    }

    /// Whether layers are handed out while others are made.
    pub(super) fn hands_out(&self) -> bool {
        self.handing_out.is_some()
    }

    /// Hands out the layers of the image's lowest trees, as many as are known by now.
    pub(super) fn hand_out(&mut self, trees: &[TreeId]) {
        for tree in trees.iter().skip(self.handed_out) {
            // What is in the image has been begun.
            let (Some(making), Some(next)) = (self.making.get(tree), &self.handing_out) else {
                return;
            };
            // Whoever stopped listening does not want to know.
            let _ = next.send(making.known.clone());
            self.handed_out += 1;
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
        // The last step has ended.
        self.turns.add_permits(std::mem::take(&mut self.of_steps));
        let mut layers = Vec::new();
        for at in 0..trees.len() {
            self.make(trees, at);
            let Some(making) = self.making.get_mut(&trees[at]) else {
                continue;
            };
            let made = (&mut making.made)
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
        let (sender, known) = watch::channel(Vec::new());
        let made = AbortOnDropHandle::new(tokio::spawn(async move {
            // The semaphore is never closed, so there is always a turn.
            let _turn = turns.acquire_owned().await;
            let failed = |error: &dyn std::fmt::Display| Problem::Failed(error.to_string());
            let background = work.job.background.clone();
            let made = background.thread(move || layers_of(&work, &id));
            let made = made.map_err(|error| failed(&error))?;
            let made = made.await.unwrap_or_else(|error| Err(failed(&error)));
            if let Ok(layers) = &made {
                sender.send_replace(layers.clone());
            }
            made
        }));
        self.making.insert(trees[at].clone(), Making { made, known });
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
        open.extend(made_on(graph, output));
    }
    found
}

/// The outputs whose trees are the lowest of an output's, in order; a new tree on top is the only other one.
pub(super) fn made_on(graph: &Graph, output: Output) -> Vec<Output> {
    let vertex = &graph.vertices[output.vertex];
    let chosen = |number: i64| {
        usize::try_from(number)
            .ok()
            .and_then(|at| vertex.inputs.get(at).copied())
    };
    match &vertex.op {
        Op::Merge(_) => vertex.inputs.clone(),
        Op::File(op) => {
            let first = op.actions.first().and_then(|action| chosen(action.input));
            first.into_iter().collect()
        }
        Op::Exec(op) => {
            let mut written = op.mounts.iter().filter(|mount| mount.output >= 0);
            let written = written.nth(output.index).and_then(|mount| chosen(mount.input));
            written.into_iter().collect()
        }
        Op::Source(_) | Op::Diff(_) => Vec::new(),
    }
}

/// The layers of one tree: one, but for images that came from elsewhere, which keep theirs.
fn layers_of(work: &Work, id: &TreeId) -> Result<Vec<Layer>, Problem> {
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
        Some(layer) if digest_of(&work.cancel, archive)? == layer.diff_id => layer,
        Some(_) | None => store.put(&work.cancel, archive).map_err(|error| match error {
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
    stop: &CancellationToken,
    archive: impl FnOnce(&mut dyn Write) -> Result<(), Problem>,
) -> Result<String, Problem> {
    let hashed = background::written(HashWriter::new(io::sink()), stop, archive)?;
    Ok(hashed.finish().1)
}
