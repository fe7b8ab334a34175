//! Deleting, and paths with wildcards.

use std::io;
use std::path::{Path, PathBuf};

use kcompose_core::llb::proto::pb;

use super::root::clean;
use super::{FileOpError, Last, Root};
use crate::session::patterns::matches_part;

/// Deletes a path, or all that match it.
pub(super) fn remove(root: &Root, action: &pb::FileActionRm) -> Result<(), FileOpError> {
    if !action.allow_wildcard {
        return remove_one(root, &clean(&action.path), action.allow_not_found);
    }
    for path in matches(root, &clean(&action.path), Last::Keep)? {
        remove_one(root, &path, action.allow_not_found)?;
    }
    Ok(())
}

fn remove_one(root: &Root, path: &Path, may_be_missing: bool) -> Result<(), FileOpError> {
    let place = root.resolve(path, Last::Keep)?;
    if place == root.path() {
        return Err(FileOpError::Unsupported {
            what: "a removal of the root itself",
        });
    }
    // A link is there even if what it names is not. BuildKit looks for that, on its own machine, and then finds none.
    match root.metadata(&place) {
        Ok(None) | Err(FileOpError::NotADirectory { .. }) if may_be_missing => Ok(()),
        Ok(None) => Err(root.missing(&place)),
        Ok(Some(_)) => remove_all(&place).map_err(root.io("delete", &place)),
        Err(error) => Err(error),
    }
}

/// Deletes a file, a link itself, or a directory with all that is in it; nothing is fine too.
pub(super) fn remove_all(place: &Path) -> io::Result<()> {
    let removed = match place.symlink_metadata() {
        Ok(found) if found.is_dir() => std::fs::remove_dir_all(place),
        Ok(_) => std::fs::remove_file(place),
        Err(error) => Err(error),
    };
    match removed {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

/// The paths that match one with `*`, `?` or `[…]` in it; that path itself if it has none.
///
/// What comes before the first wildcard must be there; `last` says whether it may be a link.
pub(super) fn matches(root: &Root, path: &Path, last: Last) -> Result<Vec<PathBuf>, FileOpError> {
    let parts: Vec<String> = path
        .strip_prefix("/")
        .unwrap_or(path)
        .iter()
        .map(|part| part.to_string_lossy().into_owned())
        .collect();
    let Some(first) = parts.iter().position(|part| has_wildcard(part)) else {
        return Ok(vec![path.to_owned()]);
    };
    let plain: PathBuf = parts[..first].iter().collect();
    let start = root.resolve(&plain, last)?;
    let mut found = Vec::new();
    match root.metadata(&start)? {
        None => return Err(root.missing(&start)),
        Some(metadata) if metadata.is_dir() => collect(root, &start, &parts[first..], &mut found)?,
        Some(_) => {}
    }
    let inside = |place: PathBuf| Path::new("/").join(place.strip_prefix(root.path()).unwrap_or(&place));
    Ok(found.into_iter().map(inside).collect())
}

fn collect(
    root: &Root,
    directory: &Path,
    pattern: &[String],
    found: &mut Vec<PathBuf>,
) -> Result<(), FileOpError> {
    let Some((part, rest)) = pattern.split_first() else {
        return Ok(());
    };
    for name in root.names(directory)? {
        if !matches_part(part, &name.to_string_lossy()) {
            continue;
        }
        let place = directory.join(name);
        if rest.is_empty() {
            found.push(place);
        } else if root.metadata(&place)?.is_some_and(|metadata| metadata.is_dir()) {
            collect(root, &place, rest, found)?;
        }
    }
    Ok(())
}

/// Whether a path has a wildcard that no backslash takes the meaning from.
pub(in crate::embedded) fn has_wildcard(path: &str) -> bool {
    let mut characters = path.chars();
    while let Some(character) = characters.next() {
        match character {
            '\\' => drop(characters.next()),
            '*' | '?' | '[' => return true,
            _ => {}
        }
    }
    false
}
