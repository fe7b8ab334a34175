//! The files that a flavor copies from its build context, for proofs.

use std::path::{Path, PathBuf};

use kcompose_core::layout::prove::{Copied, ShippedKind};
use kcompose_core::limits;
use kcompose_core::model::FileBody;
use kcompose_engine::{Listed, ListedKind};

use crate::context;
use crate::failure::Failure;
use crate::project::Project;
use crate::reading;

/// The names of all copied files, and the texts of units among them; `None` if they cannot be told before the build.
pub(crate) fn copied(project: &Project) -> Result<Option<Copied>, Failure> {
    let ignored = context::ignored(project)?;
    let mut copied = Copied::default();
    for file in &project.flavor.files {
        let FileBody::Copy(from) = &file.value.body else {
            continue;
        };
        let (folder, path, ignored) = source(project, from.value.as_str(), &ignored);
        let to = file.value.path.value.as_str();
        if add(&mut copied, &folder, &path, to, ignored).is_none() {
            return Ok(None);
        }
    }
    Ok(Some(copied))
}

/// The folder that a source is in, its path there, and what is left out of it.
fn source<'a>(project: &Project, from: &str, ignored: &'a [String]) -> (PathBuf, String, &'a [String]) {
    let (first, rest) = from.split_once('/').unwrap_or((from, ""));
    match project.contexts.holder(first) {
        Some(folder) => (folder, rest.to_owned(), &[]),
        None => (project.context().to_owned(), from.to_owned(), ignored),
    }
}

/// Adds a source and all below it, as it comes to lie at `to`.
fn add(copied: &mut Copied, folder: &Path, from: &str, to: &str, ignored: &[String]) -> Option<()> {
    let mut units = Vec::new();
    let mut is_known = true;
    let mut take = |listed: Listed| {
        let behind = listed.path.strip_prefix(from).unwrap_or(&listed.path);
        let place = match behind.trim_start_matches('/') {
            "" => to.to_owned(),
            behind => format!("{}/{behind}", to.trim_end_matches('/')),
        };
        let kind = match listed.kind {
            ListedKind::Directory => ShippedKind::Directory,
            ListedKind::Link => ShippedKind::Link,
            ListedKind::File => ShippedKind::File,
        };
        // The engine follows a link that is copied by its own name.
        let is_followed = place == to && kind == ShippedKind::Link;
        is_known = !is_followed && !limits::COPIED.is_exceeded_by(copied.paths.len() + 1);
        if copied.add(&place, kind) {
            units.push((listed.path, place));
        }
        is_known
    };
    kcompose_engine::list(folder, from, ignored, &mut take).ok()?;
    for (path, place) in units {
        copied.add_unit(
            &place,
            reading::below(folder, Path::new(&path)).unwrap_or_default(),
        );
    }
    is_known.then_some(())
}
