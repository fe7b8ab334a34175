//! Changes to a file system without running a program, as BuildKit makes them.
//!
//! [`apply`] does one action to a directory that is a whole tree, usually an overlay that the caller mounted: where its
//! changes go is the caller's. The rules are those of BuildKit's backend (`solver/llbsolver/file`) and of its copier
//! (`tonistiigi/fsutil`), because what they leave behind is in the layer's digest. The trees are at rest: nobody else
//! changes them meanwhile. Every path is resolved inside its tree, whatever links say.

mod content;
mod copy;
mod dress;
mod owner;
mod problem;
mod remove;
mod root;

pub(super) use remove::has_wildcard;

use std::io::Write;
use std::path::{Path, PathBuf};

use kcompose_core::llb::proto::pb;
use kcompose_core::llb::proto::pb::file_action::Action;

use crate::times::{Moment, moment};
use dress::Owner;
pub use problem::FileOpError;
use root::{Last, Root};

/// The trees that an action works on, as plain directories.
#[derive(Clone, Copy, Debug)]
pub struct Trees<'a> {
    /// The tree that is changed: the action's `input`, or an empty directory for scratch.
    pub destination: &'a Path,
    /// The tree that is copied from: the action's `secondary_input`. It is only read.
    pub source: Option<&'a Path>,
    /// The tree whose `/etc/passwd` names the owner, for an owner by name.
    pub users: Option<&'a Path>,
    /// The tree whose `/etc/group` names the group, for a group by name.
    pub groups: Option<&'a Path>,
}

impl<'a> Trees<'a> {
    /// One tree to change, and none beside it.
    pub fn new(destination: &'a Path) -> Self {
        Trees {
            destination,
            source: None,
            users: None,
            groups: None,
        }
    }
}

/// Does one action to a tree.
pub fn apply(action: &pb::FileAction, trees: Trees<'_>) -> Result<(), FileOpError> {
    let destination = Root::new(trees.destination);
    let owner = |owner: &Option<pb::ChownOpt>| owner::owner(owner.as_ref(), trees.users, trees.groups);
    match action.action.as_ref() {
        Some(Action::Mkdir(directory)) => make_directory(&destination, directory, owner(&directory.owner)?),
        Some(Action::Mkfile(file)) => make_file(&destination, file, owner(&file.owner)?),
        Some(Action::Symlink(link)) => make_symlink(&destination, link, owner(&link.owner)?),
        Some(Action::Rm(remove)) => remove::remove(&destination, remove),
        Some(Action::Copy(copy)) => {
            let source = trees.source.ok_or(FileOpError::Unsupported {
                what: "a copy from nothing",
            })?;
            copy::copy(&Root::new(source), &destination, copy, owner(&copy.owner)?)
        }
        None => Err(FileOpError::Unsupported {
            what: "an action without a kind",
        }),
    }
}

fn make_directory(
    root: &Root,
    action: &pb::FileActionMkDir,
    owner: Option<Owner>,
) -> Result<(), FileOpError> {
    let place = root.resolve(action.path.as_ref(), Last::Follow)?;
    let (mode, time) = (bits(action.mode) & 0o777, time(action.timestamp));
    if action.make_parents {
        return make_directories(root, &place, mode, owner, time).map(drop);
    }
    if root.metadata(&place)?.is_some() {
        return Ok(());
    }
    make_one_directory(root, &place, mode, owner, time)
}

/// Makes a directory and what is missing above it; gives those that it made, the outermost first.
fn make_directories(
    root: &Root,
    place: &Path,
    mode: u32,
    owner: Option<Owner>,
    time: Option<Moment>,
) -> Result<Vec<PathBuf>, FileOpError> {
    let mut missing = Vec::new();
    for place in place.ancestors() {
        match root.metadata(place)? {
            Some(found) if found.is_dir() => break,
            Some(_) => return Err(root.not_a_directory(place)),
            None => missing.push(place.to_owned()),
        }
        if place == root.path() {
            break;
        }
    }
    missing.reverse();
    for place in &missing {
        make_one_directory(root, place, mode, owner, time)?;
    }
    Ok(missing)
}

fn make_one_directory(
    root: &Root,
    place: &Path,
    mode: u32,
    owner: Option<Owner>,
    time: Option<Moment>,
) -> Result<(), FileOpError> {
    std::fs::create_dir(place).map_err(root.io("make", place))?;
    // The umask does not count, but a parent's setgid bit is inherited.
    let inherited = dress::mode_of(place).map_err(root.io("read", place))? & 0o2000;
    dress::set_mode(place, mode | inherited).map_err(root.io("set the mode of", place))?;
    dress::set_owner_if(root, place, owner)?;
    dress::set_time_if(root, place, time)
}

fn make_file(root: &Root, action: &pb::FileActionMkFile, owner: Option<Owner>) -> Result<(), FileOpError> {
    let place = root.resolve_clean(&action.path, Last::Follow)?;
    let directory = place
        .parent()
        .filter(|_| place != root.path())
        .ok_or_else(|| root.is_a_directory(&place))?;
    if root.metadata(directory)?.is_none() {
        return Err(root.missing(directory));
    }
    // Written beside its place: a device or a link that is there is replaced, never written to.
    let mut staged = tempfile::Builder::new()
        .prefix(".tmp-mkfile")
        .tempfile_in(directory)
        .map_err(root.io("write", &place))?;
    staged.write_all(&action.data).map_err(root.io("write", &place))?;
    dress::set_mode(staged.path(), bits(action.mode) & 0o777).map_err(root.io("set the mode of", &place))?;
    dress::set_owner_if(root, staged.path(), owner)?;
    dress::set_time_if(root, staged.path(), time(action.timestamp))?;
    staged
        .persist(&place)
        .map_err(|error| root.io("write", &place)(error.error))?;
    Ok(())
}

fn make_symlink(
    root: &Root,
    action: &pb::FileActionSymlink,
    owner: Option<Owner>,
) -> Result<(), FileOpError> {
    let place = root.resolve_clean(&action.newpath, Last::Follow)?;
    std::os::unix::fs::symlink(&action.oldpath, &place).map_err(root.io("make the link", &place))?;
    dress::set_owner_if(root, &place, owner)?;
    dress::set_time_if(root, &place, time(action.timestamp))
}

fn bits(mode: i32) -> u32 {
    u32::try_from(mode & 0o7777).unwrap_or(0)
}

/// A time in nanoseconds since 1970; -1 stands for now.
fn time(nanoseconds: i64) -> Option<Moment> {
    (nanoseconds != -1).then(|| moment(nanoseconds))
}
