//! File operations: on an empty folder, or on trees that are mounted with a new one on top.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use fs_err as fs;
use kcompose_core::llb::proto::pb;
use kcompose_core::llb::proto::pb::file_action::Action;
use kcompose_sandbox::Overlay;

use super::fileop;
use super::problem::Problem;
use super::run::{Work, blocking, chosen, seal_tree};
use super::store::{Claim, TreeId};

/// Applies all actions; the result is one tree on those of the base.
pub(super) async fn file(
    work: &Arc<Work>,
    op: &pb::FileOp,
    inputs: Vec<Vec<TreeId>>,
) -> Result<Claim, Problem> {
    check(op, inputs.len())?;
    let base = op.actions.first().map_or(-1, |action| action.input);
    let below = chosen(base, &inputs)?;
    let (op, own, shared) = (op.clone(), below.clone(), Arc::clone(work));
    let (draft, folder) = blocking(move || {
        let root = shared.build.trees().root();
        let draft = shared.build.draft().map_err(Problem::io("write", root))?;
        let folder = draft.folder("tree").map_err(Problem::io("write", root))?;
        let files = folder.join("fs");
        fs::create_dir(&files).map_err(Problem::io("write", &files))?;
        let mut places = Places::new(&shared, draft.path());
        let place = places.writable(&own, &files)?;
        let mut seen = BTreeMap::new();
        for number in op.actions.iter().flat_map(read) {
            seen.insert(number, places.readable(&chosen(number, &inputs)?)?);
        }
        places.mounted(|| apply(&op, &place, &seen))?;
        Ok((draft, folder))
    })
    .await?;
    let tree = seal_tree(work, folder, &below).await?;
    drop(draft);
    Ok(Claim::from([(0, [below, vec![tree]].concat())]))
}

fn apply(op: &pb::FileOp, place: &Path, seen: &BTreeMap<i64, PathBuf>) -> Result<(), Problem> {
    for action in &op.actions {
        let owner = owner(action);
        let tree = |number: Option<i64>| number.and_then(|number| seen.get(&number)).map(PathBuf::as_path);
        let by_name = |option: Option<&pb::UserOpt>| tree(option.and_then(named_in));
        let trees = fileop::Trees {
            destination: place,
            source: tree(Some(action.secondary_input)),
            users: by_name(owner.and_then(|owner| owner.user.as_ref())),
            groups: by_name(owner.and_then(|owner| owner.group.as_ref())),
        };
        fileop::apply(action, trees).map_err(failed)?;
    }
    Ok(())
}

/// The inputs that an action reads.
fn read(action: &pb::FileAction) -> Vec<i64> {
    let owner = owner(action);
    let user = owner.and_then(|owner| owner.user.as_ref()).and_then(named_in);
    let group = owner.and_then(|owner| owner.group.as_ref()).and_then(named_in);
    let source = Some(action.secondary_input);
    [source, user, group]
        .into_iter()
        .flatten()
        .filter(|number| *number >= 0)
        .collect()
}

fn owner(action: &pb::FileAction) -> Option<&pb::ChownOpt> {
    match action.action.as_ref()? {
        Action::Copy(copy) => copy.owner.as_ref(),
        Action::Mkfile(file) => file.owner.as_ref(),
        Action::Mkdir(directory) => directory.owner.as_ref(),
        Action::Symlink(link) => link.owner.as_ref(),
        Action::Rm(_) => None,
    }
}

/// The input that has the name of an owner.
fn named_in(option: &pb::UserOpt) -> Option<i64> {
    match option.user.as_ref()? {
        pb::user_opt::User::ByName(name) => Some(name.input),
        pb::user_opt::User::ById(_) => None,
    }
}

fn failed(error: fileop::FileOpError) -> Problem {
    match error {
        fileop::FileOpError::Io { action, path, reason } => Problem::Io {
            action,
            path: path.into(),
            error: reason,
        },
        other => Problem::Failed(other.to_string()),
    }
}

/// Every action works on what the one before it left, and the last one is the result: what our definitions have.
fn check(op: &pb::FileOp, inputs: usize) -> Result<(), Problem> {
    let inputs = i64::try_from(inputs).unwrap_or(i64::MAX);
    let last = op.actions.len().saturating_sub(1);
    for (at, action) in op.actions.iter().enumerate() {
        let position = i64::try_from(at).unwrap_or(i64::MAX);
        let in_a_row = if at == 0 {
            action.input < inputs
        } else {
            action.input == inputs + position - 1
        };
        let output = if at == last {
            action.output == 0
        } else {
            action.output < 0
        };
        if !in_a_row || !output || action.secondary_input >= inputs {
            return Err(Problem::Unsupported("actions on files that branch".to_owned()));
        }
    }
    Ok(())
}

/// Folders that show trees.
struct Places<'a> {
    work: &'a Work,
    folder: &'a Path,
    mounts: Vec<(PathBuf, Overlay)>,
    count: usize,
}

impl<'a> Places<'a> {
    fn new(work: &'a Work, folder: &'a Path) -> Self {
        Places {
            work,
            folder,
            mounts: Vec::new(),
            count: 0,
        }
    }

    /// Trees with a new one on top.
    fn writable(&mut self, trees: &[TreeId], upper: &Path) -> Result<PathBuf, Problem> {
        if trees.is_empty() {
            return Ok(upper.to_owned());
        }
        let work = self.new_folder()?;
        self.mount(Overlay {
            lower: self.work.lowers(trees)?,
            upper: Some(upper.to_owned()),
            work: Some(work),
        })
    }

    fn readable(&mut self, trees: &[TreeId]) -> Result<PathBuf, Problem> {
        let mut lower = self.work.lowers(trees)?;
        match lower.as_slice() {
            [] => self.new_folder(),
            [only] => Ok(only.clone()),
            _ => {
                let overlay = Overlay {
                    lower: std::mem::take(&mut lower),
                    upper: None,
                    work: None,
                };
                self.mount(overlay)
            }
        }
    }

    fn mount(&mut self, overlay: Overlay) -> Result<PathBuf, Problem> {
        let at = self.new_folder()?;
        self.mounts.push((at.clone(), overlay));
        Ok(at)
    }

    fn new_folder(&mut self) -> Result<PathBuf, Problem> {
        self.count += 1;
        let path = self.folder.join(format!("place{}", self.count));
        fs::create_dir(&path).map_err(Problem::io("write", &path))?;
        Ok(path)
    }

    /// Does something while the trees are seen.
    fn mounted(&self, work: impl FnOnce() -> Result<(), Problem> + Send) -> Result<(), Problem> {
        if self.mounts.is_empty() {
            return work();
        }
        kcompose_sandbox::mounted(&self.mounts, work)
            .map_err(|problem| Problem::Failed(problem.to_string()))?
    }
}
