//! Upper directories that others can be laid on.
//!
//! What overlayfs leaves in an upper directory speaks of the one mount that it was made by. A mark that hides a whole
//! directory would hide it in every input of a merge, where BuildKit deletes only the names that the step deleted; and
//! notes about the origin of files mean nothing elsewhere.

use std::path::Path;

use rustix::fs::{CWD, FileType, Mode};

use super::LayerError;
use super::diff::sorted_names;
use super::overlay::{Marks, Stack, is_opaque, is_whiteout, metadata_of, notes};
use crate::times::set_times_of;

/// Rewrites an upper directory, so that it changes the same on its own lower layers and can be stacked on others.
///
/// Opaque directories become a whiteout for each name that they hide, and all notes of overlayfs go. The layer that
/// [`diff`](super::diff()) writes is the same before and after. Nothing may be mounted on it.
pub fn settle(upper: &Path, lower: &[std::path::PathBuf]) -> Result<(), LayerError> {
    let marks = Marks::here();
    settle_directory(upper, &Stack::new(lower), marks, false)
}

fn settle_directory(path: &Path, below: &Stack, marks: Marks, is_new: bool) -> Result<(), LayerError> {
    let before = path.symlink_metadata().map_err(LayerError::read(path))?;
    let hides = is_new || is_opaque(path, marks)?;
    let names = sorted_names(path)?;
    for name in &names {
        let child = path.join(name);
        let Some(metadata) = metadata_of(&child)? else {
            continue;
        };
        if is_whiteout(&metadata) {
            continue;
        }
        if metadata.is_dir() {
            let inside = below.entry(name)?.map_or_else(Stack::empty, |base| base.inside);
            settle_directory(&child, &inside, marks, hides)?;
        } else {
            strip(&child, marks)?;
        }
    }
    if hides {
        let hidden = below.names()?;
        for name in hidden.difference(&names) {
            whiteout(&path.join(name))?;
        }
    }
    strip(path, marks)?;
    set_times_of(path, &before).map_err(LayerError::change(path))
}

fn whiteout(path: &Path) -> Result<(), LayerError> {
    rustix::fs::mknodat(CWD, path, FileType::CharacterDevice, Mode::empty(), 0)
        .map_err(|error| LayerError::change(path)(error.into()))
}

fn strip(path: &Path, marks: Marks) -> Result<(), LayerError> {
    for name in notes(path, marks) {
        rustix::fs::lremovexattr(path, name.as_slice())
            .map_err(|error| LayerError::change(path)(error.into()))?;
    }
    Ok(())
}
