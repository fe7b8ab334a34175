//! Makes what one vertex gives: takes what is kept, or runs it and keeps what comes of it.

use std::sync::Arc;

use super::alike;
use super::cachekey::Key;
use super::monitor::now;
use super::problem::Problem;
use super::run::{Work, run};
use super::store::{Claim, Made, TreeId};
use crate::event::State;

/// Makes the result of a vertex, unless another build has made it meanwhile; true if it is new.
pub(super) async fn make(
    work: &Arc<Work>,
    vertex: usize,
    key: &Key,
    anyway: bool,
    nice: u64,
    inputs: Vec<Vec<TreeId>>,
) -> Result<(Arc<Claim>, bool), Problem> {
    let root = work.build.trees().root().to_owned();
    let turn = tokio::select! {
        turn = work.build.turn(key) => turn.map_err(Problem::io("lock", &root))?,
        () = work.cancel.cancelled() => return Err(Problem::Cancelled),
    };
    let kind = Key::of_kind(&work.graph.vertices[vertex]);
    if !anyway {
        let mut kept = work.build.claim(key).map_err(Problem::io("read", &root))?;
        kept = kept.filter(|claim| work.serves(vertex, claim));
        if let (None, Some(kind)) = (&kept, &kind) {
            kept = alike::find(work, vertex, kind, &inputs).await?;
            if let Some(claim) = &kept {
                record(work, vertex, key, Some(kind), claim, inputs.clone())?;
            }
        }
        if let Some(claim) = kept {
            work.monitor.state(vertex, State::Cached);
            return Ok((Arc::new(claim), false));
        }
    }
    let started = now();
    work.monitor.state(vertex, State::Running(started));
    let claim = match run(work, vertex, nice, inputs.clone()).await {
        Err(problem) if is_full(work, &problem) && make_room(work).await => {
            run(work, vertex, nice, inputs.clone()).await?
        }
        other => other?,
    };
    record(work, vertex, key, kind.as_ref(), &claim, inputs)?;
    drop(turn);
    work.monitor.state(vertex, State::Done(started, now()));
    Ok((Arc::new(claim), true))
}

fn record(
    work: &Work,
    vertex: usize,
    key: &Key,
    kind: Option<&Key>,
    claim: &Claim,
    inputs: Vec<Vec<TreeId>>,
) -> Result<(), Problem> {
    let made = Made {
        name: &work.graph.vertices[vertex].name,
        outputs: claim.clone(),
        inputs,
        kind,
    };
    let recorded = work.build.record(key, made);
    recorded.map_err(Problem::io("write", work.build.trees().root()))
}

/// Whether it failed because the disk is full; a step says that in words of its own.
fn is_full(work: &Work, problem: &Problem) -> bool {
    let disk = || rustix::fs::statvfs(work.build.trees().root());
    let step = matches!(problem, Problem::Exit(_) | Problem::Ended(_));
    problem.is_full() || (step && disk().is_ok_and(|disk| disk.f_bavail * disk.f_frsize < 8 << 20))
}

/// Takes out the older half of what is kept and not in use; false if that was nothing.
async fn make_room(work: &Arc<Work>) -> bool {
    let work = Arc::clone(work);
    let freed = tokio::task::spawn_blocking(move || {
        let trees = work.build.trees();
        let size = trees.summary()?.size;
        trees.prune(size / 2)
    });
    matches!(freed.await, Ok(Ok(pruned)) if pruned.size > 0)
}
