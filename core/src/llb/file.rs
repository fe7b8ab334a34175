//! Changes to a file system without running a program.

use super::caps;
use super::graph::{Draft, Inputs, Output, index};
use super::proto::pb;
use super::proto::pb::file_action::Action;

/// One change to a file system.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FileAction {
    /// Copies from another file system.
    Copy(Copy),
    /// Makes a directory.
    MakeDirectory(MakeDirectory),
    /// Makes a file.
    MakeFile(MakeFile),
    /// Deletes a path.
    Remove(Remove),
    /// Makes a symbolic link. Docker before 28 lacks it: write links in a step there.
    Symlink(Symlink),
}

/// A numeric owner and group.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Owner {
    /// The user.
    pub uid: u32,
    /// The group.
    pub gid: u32,
}

/// Copies files or directories from another file system.
///
/// Parents that exist get the time of the copy; a tree that must be reproducible is copied whole onto scratch last.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Copy {
    /// The file system to copy from.
    pub from: Output,
    /// The path in it.
    pub source: String,
    /// The path that it becomes.
    pub destination: String,
    /// Permission bits for everything; kept if `None`.
    pub mode: Option<u32>,
    /// Owner of everything; kept if `None`.
    pub owner: Option<Owner>,
    /// Seconds since 1970 for everything; kept if `None`.
    pub timestamp: Option<i64>,
    /// Whether a directory's contents are copied, not the directory into the destination.
    pub contents_only: bool,
    /// Whether missing parents of the destination are made.
    pub make_parents: bool,
    /// Whether `*` and `?` in the source are patterns; one that matches nothing is fine then.
    pub wildcard: bool,
    /// Only what matches one of these patterns; all if there is none.
    pub include: Vec<String>,
    /// Nothing that matches one of these patterns.
    pub exclude: Vec<String>,
    /// Whether a file may take the place of a directory and the other way round.
    pub replace: bool,
    /// Whether an archive is unpacked at the destination; anything else is copied.
    pub unpack: bool,
}

impl Copy {
    /// The contents of a directory, or a file, with modes and owners as they are and every time set.
    pub fn contents(
        from: Output,
        source: impl Into<String>,
        destination: impl Into<String>,
        timestamp: i64,
    ) -> Self {
        Copy {
            from,
            source: source.into(),
            destination: destination.into(),
            mode: None,
            owner: None,
            timestamp: Some(timestamp),
            contents_only: true,
            make_parents: true,
            wildcard: false,
            include: Vec::new(),
            exclude: Vec::new(),
            replace: false,
            unpack: false,
        }
    }
}

/// Makes a directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MakeDirectory {
    /// Its path.
    pub path: String,
    /// Permission bits. An existing directory keeps its own.
    pub mode: u32,
    /// Owner; root if `None`.
    pub owner: Option<Owner>,
    /// Seconds since 1970; now if `None`.
    pub timestamp: Option<i64>,
    /// Whether missing parents are made, and an existing directory is fine.
    pub make_parents: bool,
}

impl MakeDirectory {
    /// A directory of root's, dated 1970, with its parents.
    pub fn new(path: impl Into<String>, mode: u32) -> Self {
        MakeDirectory {
            path: path.into(),
            mode,
            owner: None,
            timestamp: Some(0),
            make_parents: true,
        }
    }
}

/// Makes a file. Its content travels in the definition, so it is small: daemons take 4 MiB in all, newer ones 16.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MakeFile {
    /// Its path; the directory must exist.
    pub path: String,
    /// Permission bits; the daemon ignores setuid, setgid and sticky here.
    pub mode: u32,
    /// The whole content.
    pub data: Vec<u8>,
    /// Owner; root if `None`.
    pub owner: Option<Owner>,
    /// Seconds since 1970; now if `None`.
    pub timestamp: Option<i64>,
}

impl MakeFile {
    /// A file of root's, dated 1970.
    pub fn new(path: impl Into<String>, mode: u32, data: impl Into<Vec<u8>>) -> Self {
        MakeFile {
            path: path.into(),
            mode,
            data: data.into(),
            owner: None,
            timestamp: Some(0),
        }
    }
}

/// Deletes a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Remove {
    /// The path.
    pub path: String,
    /// Whether it may be missing.
    pub may_be_missing: bool,
    /// Whether `*` and `?` are patterns.
    pub wildcard: bool,
}

/// Makes a symbolic link.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Symlink {
    /// The path of the link.
    pub path: String,
    /// What it says.
    pub target: String,
    /// Owner; root if `None`.
    pub owner: Option<Owner>,
    /// Seconds since 1970; now if `None`.
    pub timestamp: Option<i64>,
}

pub(super) fn draft(base: Option<Output>, actions: &[FileAction]) -> Draft {
    let mut inputs = Inputs::default();
    let mut caps = vec![caps::FILE_BASE];
    let base = inputs.number(base);
    let from: Vec<i64> = actions
        .iter()
        .map(|action| secondary(action, &mut inputs))
        .collect();
    let last = actions.len() - 1;
    let messages = actions
        .iter()
        .zip(from)
        .enumerate()
        .map(|(at, (action, secondary_input))| {
            caps.extend(needs(action));
            pb::FileAction {
                // An action works on the result of the one before it; results are counted behind the inputs.
                input: if at == 0 {
                    base
                } else {
                    index(inputs.len() + at - 1)
                },
                secondary_input,
                output: if at == last { 0 } else { -1 },
                action: Some(message(action)),
            }
        });
    let op = pb::FileOp {
        actions: messages.collect(),
    };
    Draft::new(inputs, caps, pb::op::Op::File(op))
}

fn secondary(action: &FileAction, inputs: &mut Inputs) -> i64 {
    match action {
        FileAction::Copy(copy) => inputs.number(Some(copy.from)),
        FileAction::MakeDirectory(_)
        | FileAction::MakeFile(_)
        | FileAction::Remove(_)
        | FileAction::Symlink(_) => -1,
    }
}

fn needs(action: &FileAction) -> Vec<&'static str> {
    match action {
        FileAction::Copy(copy) => {
            let patterns = !copy.include.is_empty() || !copy.exclude.is_empty();
            let patterns = patterns.then_some(caps::FILE_COPY_PATTERNS);
            let replace = copy.replace.then_some(caps::FILE_COPY_ALWAYS_REPLACE);
            patterns.into_iter().chain(replace).collect()
        }
        FileAction::Remove(remove) if remove.wildcard => vec![caps::FILE_RM_WILDCARD],
        FileAction::Symlink(_) => vec![caps::FILE_SYMLINK],
        FileAction::MakeDirectory(_) | FileAction::MakeFile(_) | FileAction::Remove(_) => Vec::new(),
    }
}

fn message(action: &FileAction) -> Action {
    match action {
        FileAction::Copy(copy) => Action::Copy(copy_message(copy)),
        FileAction::MakeDirectory(directory) => Action::Mkdir(pb::FileActionMkDir {
            path: directory.path.clone(),
            mode: bits(directory.mode),
            make_parents: directory.make_parents,
            owner: owner(directory.owner),
            timestamp: directory.timestamp.map_or(-1, nanoseconds),
        }),
        FileAction::MakeFile(file) => Action::Mkfile(pb::FileActionMkFile {
            path: file.path.clone(),
            mode: bits(file.mode),
            data: file.data.clone(),
            owner: owner(file.owner),
            timestamp: file.timestamp.map_or(-1, nanoseconds),
        }),
        FileAction::Remove(remove) => Action::Rm(pb::FileActionRm {
            path: remove.path.clone(),
            allow_not_found: remove.may_be_missing,
            allow_wildcard: remove.wildcard,
        }),
        FileAction::Symlink(link) => Action::Symlink(pb::FileActionSymlink {
            oldpath: link.target.clone(),
            newpath: link.path.clone(),
            owner: owner(link.owner),
            timestamp: link.timestamp.map_or(-1, nanoseconds),
        }),
    }
}

fn copy_message(copy: &Copy) -> pb::FileActionCopy {
    pb::FileActionCopy {
        src: copy.source.clone(),
        dest: copy.destination.clone(),
        owner: owner(copy.owner),
        mode: copy.mode.map_or(-1, bits),
        dir_copy_contents: copy.contents_only,
        create_dest_path: copy.make_parents,
        allow_wildcard: copy.wildcard,
        allow_empty_wildcard: copy.wildcard,
        timestamp: copy.timestamp.map_or(-1, nanoseconds),
        include_patterns: copy.include.clone(),
        exclude_patterns: copy.exclude.clone(),
        always_replace_existing_dest_paths: copy.replace,
        attempt_unpack_docker_compatibility: copy.unpack,
        ..pb::FileActionCopy::default()
    }
}

fn owner(owner: Option<Owner>) -> Option<pb::ChownOpt> {
    let by_id = |id| {
        Some(pb::UserOpt {
            user: Some(pb::user_opt::User::ById(id)),
        })
    };
    owner.map(|owner| pb::ChownOpt {
        user: by_id(owner.uid),
        group: by_id(owner.gid),
    })
}

fn bits(mode: u32) -> i32 {
    i32::try_from(mode & 0o7777).expect("twelve bits fit")
}

fn nanoseconds(seconds: i64) -> i64 {
    seconds.saturating_mul(1_000_000_000)
}
