//! Results of the same operation on inputs that are others and hold the same.
//!
//! A key of an operation changes with anything below it. Where what an operation reads has not changed, neither has its result:
//! so before it runs, those results are looked at that it had on other inputs. Nothing is hashed for that unless the operation
//! has run before, and no file is read unless all names, kinds and sizes are the same.

use std::sync::Arc;

use super::cachekey::Key;
use super::contenthash::{Selector, content_hash, inputs_of_exec_op, inputs_of_file_op, outline_hash};
use super::graph::{Op, Vertex};
use super::problem::Problem;
use super::run::{Work, blocking};
use super::store::{Claim, TreeId};
use crate::layer::Stack;

/// The result of a vertex, if it is kept under the key of another vertex that does the same to the same.
pub(super) async fn find(
    work: &Arc<Work>,
    vertex: usize,
    kind: &Key,
    inputs: &[Vec<TreeId>],
) -> Result<Option<Claim>, Problem> {
    let others = work.build.trees().of_kind(kind);
    if others.is_empty() {
        return Ok(None);
    }
    let (work, inputs) = (Arc::clone(work), inputs.to_vec());
    blocking(move || {
        let read = read(&work.graph.vertices[vertex]);
        for (key, record) in others {
            if !work.serves(vertex, &record.outputs) || !are_alike(&work, &read, &inputs, &record.inputs) {
                continue;
            }
            let failed = Problem::io("read", work.build.trees().root());
            if let Some(claim) = work.build.claim(&key).map_err(failed)? {
                return Ok(Some(claim));
            }
        }
        Ok(None)
    })
    .await
}

/// What a vertex reads of each input; `None` if all of it counts, because it goes into the result.
fn read(vertex: &Vertex) -> Vec<Option<Vec<Selector>>> {
    let inputs = vertex.inputs.len();
    match &vertex.op {
        Op::Exec(op) => inputs_of_exec_op(op, inputs),
        Op::File(op) => inputs_of_file_op(op, inputs),
        Op::Merge(_) | Op::Diff(_) | Op::Source(_) => Vec::new(),
    }
}

fn are_alike(
    work: &Work,
    read: &[Option<Vec<Selector>>],
    ours: &[Vec<TreeId>],
    theirs: &[Vec<TreeId>],
) -> bool {
    if ours.len() != theirs.len() {
        return false;
    }
    let mut hashed = Vec::new();
    for ((read, ours), theirs) in read.iter().zip(ours).zip(theirs) {
        match read {
            _ if ours == theirs => {}
            None => return false,
            Some(selectors) => hashed.push((selectors, ours, theirs)),
        }
    }
    let stack = |trees: &[TreeId]| Stack::new(&work.build.trees().lowers(trees));
    let same = |hash: fn(&Stack, &[Selector]) -> Result<String, _>| {
        hashed.iter().all(|(selectors, ours, theirs)| {
            // What cannot be hashed, because it is gone or never was there, is like nothing.
            let ours = hash(&stack(ours), selectors).ok();
            ours.is_some() && ours == hash(&stack(theirs), selectors).ok()
        })
    };
    same(outline_hash) && same(content_hash)
}
