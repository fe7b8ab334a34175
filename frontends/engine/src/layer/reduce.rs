//! Upper directories without what they do not change.

use std::path::{Path, PathBuf};

use super::LayerError;
use super::diff::{is_same, sorted_names};
use super::overlay::{Stack, is_whiteout, metadata_of};
use crate::times::set_times_of;

/// Takes out of an upper directory what is as it is below.
///
/// A step that only touches a file leaves a copy of it, which is in no layer. On the trees that it was made on, the copy
/// changes nothing; on others it would hide theirs.
pub fn reduce(upper: &Path, lower: &[PathBuf]) -> Result<(), LayerError> {
    reduce_directory(upper, &Stack::new(lower)).map(drop)
}

/// True if nothing is left.
fn reduce_directory(path: &Path, below: &Stack) -> Result<bool, LayerError> {
    let before = path.symlink_metadata().map_err(LayerError::read(path))?;
    let mut is_empty = true;
    for name in sorted_names(path)? {
        let child = path.join(&name);
        let Some(metadata) = metadata_of(&child)? else {
            continue;
        };
        let base = below.entry(&name)?;
        let is_idle = if is_whiteout(&metadata) {
            false
        } else if metadata.is_dir() {
            let inside = base
                .as_ref()
                .map_or_else(Stack::empty, |base| base.inside.clone());
            reduce_directory(&child, &inside)?
        } else {
            true
        };
        if !is_idle || !is_same(base.as_ref(), &child, &metadata)? {
            is_empty = false;
        } else if metadata.is_dir() {
            std::fs::remove_dir(&child).map_err(LayerError::change(&child))?;
        } else {
            std::fs::remove_file(&child).map_err(LayerError::change(&child))?;
        }
    }
    set_times_of(path, &before).map_err(LayerError::change(path))?;
    Ok(is_empty)
}
