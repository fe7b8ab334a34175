//! The build context: whether what the flavor copies is there, and what is left out.

use std::collections::{BTreeMap, BTreeSet};

use kcompose_core::diagnostic::Diagnostics;
use kcompose_core::llb::Folder;
use kcompose_core::model::Flavor;

use crate::asked::Asked;
use crate::bridge::{Bridge, Solving};
use crate::failure::Failure;
use crate::folders::Found;
use crate::{reading, texts};

/// What the flavor takes from the build context and is not there.
pub(crate) async fn missing(
    bridge: &mut Bridge,
    asked: &Asked,
    flavor: &Flavor,
    found: &Found,
) -> Result<Diagnostics, Failure> {
    let mut there = BTreeSet::new();
    for (name, paths) in by_holder(flavor, found) {
        let (folder, ignored) = match name {
            None => (&found.folders.context, &found.ignored[..]),
            Some(name) => (&found.folders.replaced[name], &[][..]),
        };
        there.extend(present(bridge, asked, folder, &paths, ignored).await?);
    }
    Ok(kcompose_compile::missing(
        flavor,
        &|path| there.contains(path),
        &|path| match found.folders.holder(path) {
            (_, None, path) => format!("`{path}` in the build context"),
            (_, Some(name), path) => format!("`{path}` in the build context `{name}`"),
        },
    ))
}

/// The paths that a flavor takes, with what they are called in the folder that holds them, by that folder's name.
fn by_holder<'a>(flavor: &'a Flavor, found: &'a Found) -> BTreeMap<Option<&'a str>, Vec<(&'a str, &'a str)>> {
    let mut all: BTreeMap<Option<&str>, Vec<(&str, &str)>> = BTreeMap::new();
    for path in kcompose_compile::paths(flavor) {
        let (_, name, inside) = found.folders.holder(path);
        all.entry(name).or_default().push((path, inside));
    }
    all
}

/// Those of some paths that are in a folder.
async fn present(
    bridge: &mut Bridge,
    asked: &Asked,
    folder: &Folder,
    paths: &[(&str, &str)],
    ignored: &[String],
) -> Result<Vec<String>, Failure> {
    let (whole, paths): (Vec<_>, Vec<_>) = paths.iter().partition(|(_, inside)| inside.is_empty());
    // A folder that is taken whole is there.
    let mut there: Vec<String> = whole.into_iter().map(|(path, _)| (*path).to_owned()).collect();
    if paths.is_empty() {
        return Ok(there);
    }
    let inside: Vec<String> = paths.iter().map(|(_, inside)| (*inside).to_owned()).collect();
    let definition = reading::paths(folder, asked, &inside, ignored, "look for");
    let tree = bridge.solve(&definition, &[], Solving::Later).await?;
    for (path, inside) in paths {
        if bridge.has(&tree, inside).await? {
            there.push((*path).to_owned());
        }
    }
    Ok(there)
}

/// The patterns of what is left out of the build context: those of `flavor.kdl.dockerignore` beside the flavor, else those
/// of `.dockerignore` in the context.
pub(crate) async fn ignored(
    bridge: &mut Bridge,
    asked: &Asked,
    found: &Found,
) -> Result<Vec<String>, Failure> {
    let own = format!("{}.dockerignore", asked.file);
    for (folder, file) in [
        (&found.documents, own.as_str()),
        (&found.folders.context, ".dockerignore"),
    ] {
        if let Some(text) = texts::read_one(bridge, asked, folder, file).await? {
            return Ok(kcompose_engine::dockerignore(&text));
        }
    }
    Ok(Vec::new())
}
