//! The build context: what the flavor copies from it must be there before anything is built.

use std::collections::BTreeSet;

use kcompose_core::diagnostic::Diagnostics;
use kcompose_core::llb::{Graph, Local, Meta};
use kcompose_core::model::Flavor;
use kcompose_core::source::SourceMap;

use crate::asked::Asked;
use crate::bridge::{Bridge, Solving};
use crate::failure::Failure;

/// What the flavor takes from the build context and is not there.
pub(crate) async fn missing(
    bridge: &mut Bridge,
    asked: &Asked,
    flavor: &Flavor,
) -> Result<Diagnostics, Failure> {
    let paths = kcompose_compile::paths(flavor);
    if paths.is_empty() {
        return Ok(Diagnostics::default());
    }
    let mut graph = Graph::new();
    let local = Local {
        name: asked.context.clone(),
        follow: paths.iter().map(|path| (*path).to_owned()).collect(),
        shared_key_hint: Some(format!("{}:{}", asked.context, asked.file)),
        ..Local::default()
    };
    let output = graph.local(&local, Meta::named("read the build context"));
    let definition = graph.definition(Some(output), &SourceMap::new());
    let tree = bridge.solve(&definition, &[], Solving::Later).await?;
    let mut there = BTreeSet::new();
    for path in paths {
        if bridge.has(&tree, path).await? {
            there.insert(path);
        }
    }
    let is_there = |path: &str| there.contains(path);
    Ok(kcompose_compile::missing(flavor, &is_there, &|path| {
        format!("`{path}` in the build context")
    }))
}
