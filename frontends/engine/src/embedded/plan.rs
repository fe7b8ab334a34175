//! What of a graph has to run: looked for from the result upwards, so that what rests on nothing new is not looked at.

use std::path::Path;
use std::sync::Arc;

use super::cachekey::Key;
use super::graph::Graph;
use super::problem::Problem;
use super::source;
use super::store::{Build, Claim};
use crate::bridge::Job;

/// What is to be done for a vertex.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Task {
    /// Nothing: what rests on it is kept already.
    None,
    /// Its results are kept.
    Kept(Arc<Claim>),
    /// It runs.
    Run,
    /// It runs although its results may be kept.
    RunAnyway,
}

/// The tasks and the keys of all vertices.
#[derive(Debug)]
pub(super) struct Plan {
    pub(super) tasks: Vec<Task>,
    pub(super) keys: Vec<Key>,
}

/// Looks what has to run. A failure says at which vertex.
pub(super) fn plan(graph: &Graph, job: &Job, build: &Build) -> Result<Plan, (usize, Problem)> {
    let keys = keys(graph, job)?;
    let forced = forced(graph, job.no_cache);
    let wanted = graph.wanted();
    let mut tasks = vec![Task::None; graph.vertices.len()];
    let mut open: Vec<usize> = graph.result.iter().map(|result| result.vertex).collect();
    while let Some(vertex) = open.pop() {
        if tasks[vertex] != Task::None {
            continue;
        }
        let failed = |error| (vertex, Problem::io("read", build.trees().root())(error));
        let kept = if forced[vertex] {
            None
        } else {
            build.claim(&keys[vertex]).map_err(failed)?
        };
        let serves = |claim: &Claim| wanted[vertex].iter().all(|index| claim.contains_key(index));
        tasks[vertex] = match kept.filter(serves) {
            Some(claim) => Task::Kept(Arc::new(claim)),
            None => {
                open.extend(graph.vertices[vertex].inputs.iter().map(|input| input.vertex));
                if forced[vertex] {
                    Task::RunAnyway
                } else {
                    Task::Run
                }
            }
        };
    }
    Ok(Plan { tasks, keys })
}

fn keys(graph: &Graph, job: &Job) -> Result<Vec<Key>, (usize, Problem)> {
    let mut keys: Vec<Key> = Vec::with_capacity(graph.vertices.len());
    for (at, vertex) in graph.vertices.iter().enumerate() {
        let key = match &vertex.op {
            super::graph::Op::Source(op) => {
                source::key(op, vertex.platform.as_ref(), job).map_err(|problem| (at, problem))?
            }
            _ => {
                let inputs = vertex
                    .inputs
                    .iter()
                    .map(|input| (&keys[input.vertex], input.index));
                Key::of_operation(vertex, &inputs.collect::<Vec<_>>())
            }
        };
        keys.push(key);
    }
    Ok(keys)
}

/// Vertices that run in any case, with all that rest on them: what is kept of those was made from other results. Sources
/// are pinned by what they bring, so fetching them again could bring nothing new.
fn forced(graph: &Graph, all: bool) -> Vec<bool> {
    let mut forced: Vec<bool> = Vec::with_capacity(graph.vertices.len());
    for vertex in &graph.vertices {
        let by_input = vertex.inputs.iter().any(|input| forced[input.vertex]);
        forced.push(!vertex.is_source() && (all || vertex.ignore_cache || by_input));
    }
    forced
}

/// The folder of a local source.
pub(super) fn local<'a>(job: &'a Job, name: &str) -> Result<&'a Path, Problem> {
    let folder = job.locals.get(name);
    folder
        .map(std::path::PathBuf::as_path)
        .ok_or_else(|| Problem::Source {
            reason: format!("there is no local directory `{name}`"),
            help: "name it with `--build-context`".to_owned(),
        })
}
