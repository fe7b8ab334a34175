//! The build context: what the flavor copies from it must be there before anything is built.

use std::collections::BTreeSet;

use kcompose_core::diagnostic::Diagnostics;
use kcompose_core::llb::{Graph, Local, Meta};
use kcompose_core::model::Flavor;
use kcompose_core::source::SourceMap;

use crate::asked::Asked;
use crate::bridge::{Bridge, Reference, Solving};
use crate::failure::Failure;
use crate::texts;

/// What the flavor takes from the build context and is not there.
pub(crate) async fn missing(
    bridge: &mut Bridge,
    asked: &Asked,
    flavor: &Flavor,
    ignored: &[String],
) -> Result<Diagnostics, Failure> {
    let paths = kcompose_compile::paths(flavor);
    if paths.is_empty() {
        return Ok(Diagnostics::default());
    }
    let paths: Vec<String> = paths.into_iter().map(str::to_owned).collect();
    let tree = tree(bridge, asked, &paths, ignored).await?;
    let mut there = BTreeSet::new();
    for path in paths {
        if bridge.has(&tree, &path).await? {
            there.insert(path);
        }
    }
    let is_there = |path: &str| there.contains(path);
    Ok(kcompose_compile::missing(flavor, &is_there, &|path| {
        format!("`{path}` in the build context")
    }))
}

/// The patterns of what is left out of the build context: those of `flavor.kdl.dockerignore` beside the flavor, else those
/// of `.dockerignore` in the context.
pub(crate) async fn ignored(bridge: &mut Bridge, asked: &Asked) -> Result<Vec<String>, Failure> {
    let own = format!("{}.dockerignore", asked.file);
    if let Some(text) = texts::read_one(bridge, asked, &own).await? {
        return Ok(kcompose_engine::dockerignore(&text));
    }
    let common = ".dockerignore".to_owned();
    let tree = tree(bridge, asked, std::slice::from_ref(&common), &[]).await?;
    let text = bridge.read(&tree, &common).await?;
    Ok(text
        .map(|text| kcompose_engine::dockerignore(&String::from_utf8_lossy(&text)))
        .unwrap_or_default())
}

/// Some paths of the build context.
async fn tree(
    bridge: &mut Bridge,
    asked: &Asked,
    paths: &[String],
    ignored: &[String],
) -> Result<Reference, Failure> {
    let mut graph = Graph::new();
    let local = Local {
        owner: asked.owner.clone(),
        name: asked.context.clone(),
        follow: paths.to_vec(),
        exclude: ignored.to_vec(),
        shared_key_hint: Some(format!("{}:{}", asked.context, asked.file)),
        ..Local::default()
    };
    let output = graph.local(
        &local,
        Meta::named(format!("look for {} in the build context", paths.join(", "))),
    );
    let definition = graph.definition(Some(output), &SourceMap::new());
    Ok(bridge.solve(&definition, &[], Solving::Later).await?)
}
