//! `kcompose plan`: the graph, without building it.

use kcompose_compile::Urls;
use kcompose_core::llb::Whose;
use kcompose_core::source::SourceMap;

use crate::args::{Global, Plan, PlanFormat};
use crate::compile::{self, Compiled, Wiring};
use crate::failure::Failure;
use crate::pinning::{self, Pinning};
use crate::project::{self, Project};
use crate::terminal::Terminal;
use crate::world::World;

/// Prints the graph.
pub(crate) async fn run(
    global: &Global,
    args: &Plan,
    terminal: &Terminal,
    sources: &mut SourceMap,
) -> Result<(), Failure> {
    let project = Project::load(&args.source, sources, terminal)?;
    let layout = compile::layout(&project.flavor, sources, terminal)?;
    let mut world = World::new(global, args.lock.offline(), terminal)?;
    let pinned = pinning::pin(&project, &mut world, Pinning::of(args.lock), sources, terminal).await?;
    let epoch = project::epoch(&args.source, pinned.resolved.epoch)?;
    let compiled = compile::compile(&project.flavor, &pinned.resolved, &layout, epoch);
    match args.format {
        PlanFormat::Text => terminal.data(&compiled.plan.to_text(sources)),
        PlanFormat::Dot => terminal.data(&compiled.plan.to_dot()),
        PlanFormat::Json => terminal.data(&super::config::pretty(&compiled.plan.to_json(sources))),
        PlanFormat::Llb => {
            let urls = world.urls(&project.flavor, &pinned.resolved)?;
            terminal.bytes(&llb(&compiled, &project, &urls, sources)?);
        }
    }
    Ok(())
}

fn llb(compiled: &Compiled, project: &Project, urls: &Urls, sources: &SourceMap) -> Result<Vec<u8>, Failure> {
    let (folders, _) = project.contexts.folders(&Whose::Anyone);
    let emitted = compile::definition(
        compiled,
        &project.flavor,
        &Wiring {
            url: &|fetch| urls.of(fetch),
            merge: true,
            no_cache: false,
            pulls_upstream: false,
            sources,
            folders: &folders,
            owner: &Whose::Anyone,
            ignored: &crate::context::ignored(project)?,
        },
    );
    Ok(emitted.definition.bytes())
}
