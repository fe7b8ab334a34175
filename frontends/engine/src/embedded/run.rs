//! Makes the result of one vertex.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use super::graph::{Graph, Op};
use super::monitor::Monitor;
use super::next_launcher::NextLauncher;
use super::problem::Problem;
use super::store::{Build, Claim, Made, TreeFacts, TreeId};
use super::unmounting::Unmounting;
use super::{Reach, StepLimits, exec, file, snapshot, source};
use crate::bridge::Job;
use crate::fetch::Download;
use crate::layer;
use crate::store::Store;

/// What the vertices of a build share.
#[derive(Debug)]
pub(super) struct Work {
    pub(super) graph: Graph,
    /// For each vertex the results that somebody takes.
    pub(super) wanted: Vec<BTreeSet<usize>>,
    pub(super) build: Build,
    pub(super) monitor: Monitor,
    pub(super) job: Job,
    pub(super) store: Store,
    pub(super) reach: Reach,
    pub(super) limits: StepLimits,
    /// What fetches files.
    pub(super) download: Download,
    /// Ends when somebody gives the build up, or something failed.
    pub(super) cancel: CancellationToken,
    /// What the next step starts with.
    pub(super) next_launcher: NextLauncher,
    /// Steps that ended, whose mounts the kernel still takes down.
    pub(super) unmounting: Unmounting,
}

/// More trees than this over each other are slow to look names up in; the lower ones are made into one.
const MOST_TREES: usize = 24;

impl Work {
    /// The folders of trees, the top one first, as overlays take them.
    pub(super) fn lowers(&self, trees: &[TreeId]) -> Result<Vec<PathBuf>, Problem> {
        let trees = &distinct(trees);
        let keep = trees.len().min(MOST_TREES - 1);
        if trees.len() <= MOST_TREES {
            return Ok(self.build.trees().lowers(trees));
        }
        let (low, high) = trees.split_at(trees.len() - keep);
        let flat = self.flat(low)?;
        let mut lowers = self.build.trees().lowers(high);
        lowers.push(self.build.trees().files(&flat));
        Ok(lowers)
    }

    /// One tree with what many hold.
    fn flat(&self, trees: &[TreeId]) -> Result<TreeId, Problem> {
        let lower = self.build.trees().lowers(trees);
        self.derived("flat", trees, &[], |files| snapshot::flatten(&lower, files))
    }

    /// A tree without what it does not change of those that it was made on: what it shows on others.
    fn reduced(&self, tree: &TreeId) -> Result<TreeId, Problem> {
        let trees = self.build.trees();
        let below = trees.below(tree).map_err(Problem::io("read", trees.root()))?;
        self.derived("changes", std::slice::from_ref(tree), &below, |files| {
            snapshot::linked(&trees.files(tree), files)?;
            Ok(layer::reduce(files, &trees.lowers(&below))?)
        })
    }

    /// A tree that others lead to, kept like the result of a vertex.
    fn derived(
        &self,
        kind: &str,
        trees: &[TreeId],
        below: &[TreeId],
        make: impl FnOnce(&std::path::Path) -> Result<(), Problem>,
    ) -> Result<TreeId, Problem> {
        let root = self.build.trees().root().to_owned();
        let names: Vec<String> = trees.iter().map(ToString::to_string).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let key = super::cachekey::Key::of_source(kind, &names);
        let known = self.build.claim(&key).map_err(Problem::io("read", &root))?;
        if let Some(id) = known.and_then(|claim| claim.get(&0)?.first().cloned()) {
            return Ok(id);
        }
        let draft = self.build.draft().map_err(Problem::io("write", &root))?;
        let folder = draft.folder(kind).map_err(Problem::io("write", draft.path()))?;
        let files = folder.join("fs");
        fs_err::create_dir(&files).map_err(Problem::io("write", &files))?;
        make(&files)?;
        let kept = self.build.keep(&folder, &facts(&folder, below)?);
        let id = kept.map_err(Problem::io("write", &root))?;
        let made = Made {
            name: kind,
            outputs: BTreeMap::from([(0, vec![id.clone()])]),
            inputs: Vec::new(),
            kind: None,
        };
        self.build
            .record(&key, made)
            .map_err(Problem::io("write", &root))?;
        Ok(id)
    }

    /// Whether a vertex's results that are kept are all that somebody takes.
    pub(super) fn serves(&self, vertex: usize, claim: &Claim) -> bool {
        self.wanted[vertex].iter().all(|index| claim.contains_key(index))
    }

    /// The value of a secret; `None` if it may be missing and is.
    pub(super) fn secret(&self, id: &str, optional: bool) -> Result<Option<Vec<u8>>, Problem> {
        let Some(secret) = self.job.secrets.get(id) else {
            if optional {
                return Ok(None);
            }
            return Err(Problem::Source {
                reason: format!("there is no secret `{id}`"),
                help: format!("give it with `--secret id={id},src=FILE`"),
            });
        };
        secret.read().map(Some).map_err(|error| Problem::Source {
            reason: format!("the secret `{id}` cannot be read: {error}"),
            help: "see to it that the file exists and that you may read it".to_owned(),
        })
    }
}

/// Trees without those that are there again further up, which hides all that the lower one has. Overlayfs refuses them.
fn distinct(trees: &[TreeId]) -> Vec<TreeId> {
    let is_last = |at: usize| !trees[at + 1..].contains(&trees[at]);
    (0..trees.len())
        .filter(|at| is_last(*at))
        .map(|at| trees[at].clone())
        .collect()
}

/// Makes the result of a vertex from those of its inputs; a step stands that far behind others.
pub(super) async fn run(
    work: &Arc<Work>,
    vertex: usize,
    nice: u64,
    inputs: Vec<Vec<TreeId>>,
) -> Result<Claim, Problem> {
    match &work.graph.vertices[vertex].op {
        Op::Source(op) => source::fetch(work, vertex, op).await,
        Op::Exec(op) => exec::exec(work, vertex, nice, op, &inputs).await,
        Op::File(op) => file::file(work, op, inputs).await,
        Op::Merge(op) => merge(op.inputs.iter().map(|input| input.input), &inputs),
        Op::Diff(op) => {
            let number = |input: Option<i64>| input.unwrap_or(-1);
            let lower = number(op.lower.as_ref().map(|lower| lower.input));
            let upper = number(op.upper.as_ref().map(|upper| upper.input));
            let (lower, upper) = (chosen(lower, &inputs)?, chosen(upper, &inputs)?);
            let work = Arc::clone(work);
            blocking(move || diff(&work, &lower, &upper)).await
        }
    }
}

/// Trees over each other are merged.
fn merge(numbers: impl Iterator<Item = i64>, inputs: &[Vec<TreeId>]) -> Result<Claim, Problem> {
    let mut trees = Vec::new();
    for number in numbers {
        trees.extend(chosen(number, inputs)?);
    }
    Ok(BTreeMap::from([(0, trees)]))
}

/// No operation has so many results.
const MADE_ON: usize = usize::MAX;

/// What a file system has on top of another one that it was made from.
fn diff(work: &Work, lower: &[TreeId], upper: &[TreeId]) -> Result<Claim, Problem> {
    match upper.strip_prefix(lower) {
        // From scratch it is all there is, which nothing else need be known of.
        Some(rest) if lower.is_empty() => Ok(BTreeMap::from([(0, rest.to_vec())])),
        // What it was made on has to stay: the layers are what is different from it.
        Some(rest) => {
            let changes = rest
                .iter()
                .map(|tree| work.reduced(tree))
                .collect::<Result<_, _>>()?;
            Ok(BTreeMap::from([(0, changes), (MADE_ON, lower.to_vec())]))
        }
        None => Err(Problem::Unsupported(
            "differences of file systems of which one is not made from the other".to_owned(),
        )),
    }
}

/// The trees of an input; scratch has none.
pub(super) fn chosen(number: i64, inputs: &[Vec<TreeId>]) -> Result<Vec<TreeId>, Problem> {
    if number < 0 {
        return Ok(Vec::new());
    }
    let input = usize::try_from(number).ok().and_then(|at| inputs.get(at));
    input
        .cloned()
        .ok_or_else(|| Problem::Failed("it takes an input that it has not".to_owned()))
}

/// Keeps a folder with `fs` in it as a tree, which was made on others.
pub(super) async fn seal_tree(
    work: &Arc<Work>,
    folder: PathBuf,
    below: &[TreeId],
) -> Result<TreeId, Problem> {
    let (work, below) = (Arc::clone(work), below.to_vec());
    blocking(move || {
        layer::settle(&folder.join("fs"), &work.build.trees().lowers(&below))?;
        let kept = work.build.keep_once(&folder, &facts(&folder, &below)?);
        kept.map_err(Problem::io("write", work.build.trees().root()))
    })
    .await
}

/// What is known of a finished tree.
pub(super) fn facts(folder: &std::path::Path, below: &[TreeId]) -> Result<TreeFacts, Problem> {
    let files = folder.join("fs");
    let listing = snapshot::listing(&files).map_err(Problem::io("read", &files))?;
    Ok(TreeFacts {
        listing: listing.digest,
        size: listing.size,
        below: below.to_vec(),
        contents: None,
    })
}

/// Runs what waits for the disk on a thread of its own.
pub(super) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Problem> + Send + 'static,
) -> Result<T, Problem> {
    let failed = |error: tokio::task::JoinError| Problem::Failed(error.to_string());
    tokio::task::spawn_blocking(work).await.map_err(failed)?
}
