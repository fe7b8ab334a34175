//! Copies between trees.

use std::collections::BTreeMap;
use std::fs::Metadata;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use kcompose_core::llb::proto::pb;
use rustix::fs::{CWD, FileType, Mode};

use super::content::copy_content;
use super::dress::{self, Owner};
use super::remove::{matches, remove_all};
use super::root::clean;
use super::{FileOpError, Last, Root, bits, make_directories, time};
use crate::session::patterns::{Matched, Patterns};
use crate::times::Moment;

/// Copies what a path, or all that match it, stand for.
pub(super) fn copy(
    source: &Root,
    destination: &Root,
    action: &pb::FileActionCopy,
    owner: Option<Owner>,
) -> Result<(), FileOpError> {
    refuse(action)?;
    if !action.create_dest_path {
        let place = destination.resolve_clean(&action.dest, Last::Follow)?;
        let directory = place.parent().filter(|_| place != destination.path());
        let directory = directory.unwrap_or(destination.path());
        if destination.metadata(directory)?.is_none() {
            return Err(destination.missing(directory));
        }
    }
    let last = if action.follow_symlink {
        Last::Follow
    } else {
        Last::Keep
    };
    let paths = if action.allow_wildcard {
        matches(source, &clean(&action.src), last)?
    } else {
        vec![clean(&action.src)]
    };
    if paths.is_empty() && !action.allow_empty_wildcard {
        return Err(FileOpError::Missing {
            path: action.src.clone(),
        });
    }
    for path in paths {
        Copier::new(source, destination, action, owner).run(&path, last, action)?;
    }
    Ok(())
}

fn refuse(action: &pb::FileActionCopy) -> Result<(), FileOpError> {
    let unsupported = [
        (
            action.attempt_unpack_docker_compatibility,
            "a copy that unpacks archives",
        ),
        (!action.mode_str.is_empty(), "a copy with a symbolic mode"),
        (!action.required_paths.is_empty(), "a copy with required paths"),
    ];
    match unsupported.into_iter().find(|(is_asked, _)| *is_asked) {
        Some((_, what)) => Err(FileOpError::Unsupported { what }),
        None => Ok(()),
    }
}

struct Copier<'a> {
    source: &'a Root,
    destination: &'a Root,
    owner: Option<Owner>,
    mode: Option<u32>,
    time: Option<Moment>,
    replace: bool,
    include: Option<Patterns>,
    exclude: Option<Patterns>,
    /// The first copy of each file that has several names.
    first_names: BTreeMap<u64, PathBuf>,
    /// The directories on the way to what is being copied.
    parents: Vec<Parent>,
}

/// A directory of the source; it is made as soon as something in it is copied.
struct Parent {
    from: PathBuf,
    to: PathBuf,
    is_made: bool,
    /// Whether it was made for what is in it, and was not there before.
    is_late: bool,
}

/// Something to copy.
struct Entry<'a> {
    from: PathBuf,
    to: PathBuf,
    /// Its path below what was asked for; empty for that itself.
    inside: String,
    /// What the patterns said of the directory that it is in.
    above: &'a Said,
}

/// What both lists of patterns said of a path.
#[derive(Clone, Debug, Default)]
struct Said {
    include: Matched,
    exclude: Matched,
}

impl<'a> Copier<'a> {
    fn new(
        source: &'a Root,
        destination: &'a Root,
        action: &pb::FileActionCopy,
        owner: Option<Owner>,
    ) -> Self {
        let patterns = |list: &[String]| (!list.is_empty()).then(|| Patterns::new(list));
        Copier {
            source,
            destination,
            owner,
            mode: (action.mode != -1).then(|| bits(action.mode)),
            time: time(action.timestamp),
            replace: action.always_replace_existing_dest_paths,
            include: patterns(&action.include_patterns),
            exclude: patterns(&action.exclude_patterns),
            first_names: BTreeMap::new(),
            parents: Vec::new(),
        }
    }

    fn run(mut self, path: &Path, last: Last, action: &pb::FileActionCopy) -> Result<(), FileOpError> {
        let to = &action.dest;
        let is_inside = to.ends_with('/') || to.ends_with("/.");
        let wanted = clean(to);
        let directory = if is_inside {
            wanted.as_path()
        } else {
            wanted.parent().unwrap_or(&wanted)
        };
        let directory = self.destination.resolve(directory, Last::Follow)?;
        let mut made = self.make_directories(&directory)?;
        let mut target = self.destination.resolve(&wanted, Last::Follow)?;

        let from = self.source.resolve(path, last)?;
        let metadata = self.source.metadata(&from)?;
        let is_directory = metadata.ok_or_else(|| self.source.missing(&from))?.is_dir();
        let present = self.destination.metadata(&target)?;
        let goes_inside = if is_directory {
            !action.dir_copy_contents && present.is_some()
        } else {
            present.as_ref().is_some_and(Metadata::is_dir)
        };
        let names_itself = action.src.ends_with("/.") && !action.allow_wildcard;
        if let Some(name) = path.file_name().filter(|_| goes_inside && !names_itself) {
            target.push(name);
        }
        let contents = action.dir_copy_contents && is_directory && present.is_none();
        let directory = target
            .parent()
            .filter(|_| !contents && target != self.destination.path())
            .unwrap_or(&target);
        made.extend(self.make_directories(directory)?);
        let entry = Entry {
            from,
            to: target,
            inside: String::new(),
            above: &Said::default(),
        };
        self.entry(&entry)?;
        // What was put into a directory changed its time.
        for place in made.iter().rev() {
            dress::set_time_if(self.destination, place, self.time)?;
        }
        Ok(())
    }

    fn make_directories(&self, place: &Path) -> Result<Vec<PathBuf>, FileOpError> {
        let mode = self.mode.unwrap_or(0o755) & 0o777;
        make_directories(self.destination, place, mode, self.owner, self.time)
    }

    fn entry(&mut self, entry: &Entry<'_>) -> Result<(), FileOpError> {
        let is_top = entry.inside.is_empty();
        let (mut is_included, mut is_excluded, mut matched) = (true, false, Said::default());
        if !is_top {
            (is_included, matched.include) = said(self.include.as_ref(), entry, &entry.above.include, true);
            (is_excluded, matched.exclude) = said(self.exclude.as_ref(), entry, &entry.above.exclude, false);
            is_included &= !is_excluded;
        }
        let has_exceptions = self.exclude.as_ref().is_some_and(Patterns::has_exceptions);
        if !is_included && self.include.is_none() && !has_exceptions {
            return Ok(());
        }
        let found = self.source.metadata(&entry.from)?;
        let metadata = found.ok_or_else(|| self.source.missing(&entry.from))?;
        if is_included {
            self.make_parents()?;
            self.clear_way(&entry.to, &metadata)?;
        }
        if !metadata.is_dir() {
            return if is_included {
                self.file(entry, &metadata)
            } else {
                Ok(())
            };
        }
        let is_new = is_included && self.make_directory(&entry.to, &metadata, !is_top)?;
        self.parents.push(Parent {
            from: entry.from.clone(),
            to: entry.to.clone(),
            is_made: is_included,
            is_late: false,
        });
        if !is_excluded || has_exceptions {
            self.children(entry, &matched)?;
        }
        let is_late = self.parents.pop().is_some_and(|parent| parent.is_late);
        if is_included && (is_new || !is_top) {
            self.dress(&entry.from, &metadata, &entry.to)
        } else if is_included || is_late {
            dress::set_time_or(self.destination, &entry.to, self.time, &metadata)
        } else {
            Ok(())
        }
    }

    fn children(&mut self, entry: &Entry<'_>, matched: &Said) -> Result<(), FileOpError> {
        for name in self.source.names(&entry.from)? {
            let shown = name.to_string_lossy();
            let inside = if entry.inside.is_empty() {
                shown.into_owned()
            } else {
                format!("{}/{shown}", entry.inside)
            };
            self.entry(&Entry {
                from: entry.from.join(&name),
                to: entry.to.join(&name),
                inside,
                above: matched,
            })?;
        }
        Ok(())
    }

    /// Makes the directories above, if patterns had them wait.
    fn make_parents(&mut self) -> Result<(), FileOpError> {
        for at in 0..self.parents.len() {
            if self.parents[at].is_made {
                continue;
            }
            let (from, to) = (self.parents[at].from.clone(), self.parents[at].to.clone());
            let found = self.source.metadata(&from)?;
            let metadata = found.ok_or_else(|| self.source.missing(&from))?;
            let is_new = self.make_directory(&to, &metadata, at > 0)?;
            if is_new {
                self.dress(&from, &metadata, &to)?;
            }
            self.parents[at].is_made = true;
            self.parents[at].is_late = is_new;
        }
        Ok(())
    }

    /// Deletes what is in the way of something of another kind, if that was asked for.
    fn clear_way(&self, to: &Path, metadata: &Metadata) -> Result<(), FileOpError> {
        if !self.replace {
            return Ok(());
        }
        match self.destination.metadata(to)? {
            Some(present) if !(present.is_dir() && metadata.is_dir()) => {
                remove_all(to).map_err(self.destination.io("delete", to))
            }
            _ => Ok(()),
        }
    }

    /// Makes a directory unless it is there; says whether it is new.
    fn make_directory(&self, to: &Path, metadata: &Metadata, overwrite: bool) -> Result<bool, FileOpError> {
        match self.destination.metadata(to)? {
            None => {
                std::fs::create_dir(to).map_err(self.destination.io("make", to))?;
                Ok(true)
            }
            Some(present) if !present.is_dir() => Err(self.destination.not_a_directory(to)),
            Some(_) => {
                if overwrite {
                    let mode = metadata.mode() & 0o7777;
                    dress::set_mode(to, mode).map_err(self.destination.io("set the mode of", to))?;
                }
                Ok(false)
            }
        }
    }

    fn file(&mut self, entry: &Entry<'_>, metadata: &Metadata) -> Result<(), FileOpError> {
        let (from, to) = (&entry.from, &entry.to);
        match self.destination.metadata(to)? {
            Some(present) if present.is_dir() => return Err(self.destination.is_a_directory(to)),
            Some(_) => std::fs::remove_file(to).map_err(self.destination.io("replace", to))?,
            None => {}
        }
        let kind = metadata.file_type();
        let made = if kind.is_file() {
            match self.first_name(metadata, to) {
                Some(first) => std::fs::hard_link(first, to),
                None => copy_content(from, to),
            }
        } else if kind.is_symlink() {
            let target = from.read_link().map_err(self.source.io("read", from))?;
            std::os::unix::fs::symlink(target, to)
        } else {
            make_special(to, metadata)
        };
        made.map_err(self.destination.io("write", to))?;
        self.dress(from, metadata, to)
    }

    /// The copy of another name of the same file, if there is one already.
    fn first_name(&mut self, metadata: &Metadata, to: &Path) -> Option<PathBuf> {
        if metadata.nlink() < 2 {
            return None;
        }
        if let Some(first) = self.first_names.get(&metadata.ino()) {
            return Some(first.clone());
        }
        self.first_names.insert(metadata.ino(), to.to_owned());
        None
    }

    /// Owner, mode, times and attributes, in the order in which none undoes another.
    fn dress(&self, from: &Path, metadata: &Metadata, to: &Path) -> Result<(), FileOpError> {
        let kept = Owner {
            uid: metadata.uid(),
            gid: metadata.gid(),
        };
        dress::set_owner(self.destination, to, self.owner.unwrap_or(kept))?;
        if !metadata.is_symlink() {
            let mode = self.mode.unwrap_or(metadata.mode() & 0o7777);
            dress::set_mode(to, mode).map_err(self.destination.io("set the mode of", to))?;
        }
        dress::set_time_or(self.destination, to, self.time, metadata)?;
        dress::copy_attributes(from, to);
        Ok(())
    }
}

/// What patterns say of a path; `without` if there are none.
fn said(patterns: Option<&Patterns>, entry: &Entry<'_>, above: &Matched, without: bool) -> (bool, Matched) {
    match patterns {
        Some(patterns) => patterns.matches_below(&entry.inside, above),
        None => (without, Matched::default()),
    }
}

/// Makes a pipe or a device.
///
/// BuildKit's copier clears the bits of a socket in every mode (`copyDevice` in fsutil): a socket becomes an empty file, and
/// a block device a character device of the same numbers. No device of an image serves anybody; equal layers do.
fn make_special(to: &Path, metadata: &Metadata) -> std::io::Result<()> {
    let kind = metadata.file_type();
    let (kind, device) = if kind.is_fifo() {
        (FileType::Fifo, 0)
    } else if kind.is_char_device() || kind.is_block_device() {
        (FileType::CharacterDevice, metadata.rdev())
    } else {
        (FileType::RegularFile, 0)
    };
    Ok(rustix::fs::mknodat(
        CWD,
        to,
        kind,
        Mode::from_raw_mode(0o600),
        device,
    )?)
}
