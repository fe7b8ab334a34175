//! `kcompose update`: moves the lock.

use std::collections::BTreeSet;

use kcompose_core::printable::printable;
use kcompose_core::resolve::Movement;
use kcompose_core::source::SourceMap;
use miette::Diagnostic;
use thiserror::Error;

use crate::args::{Global, Update};
use crate::failure::Failure;
use crate::pinning::{self, Pinning};
use crate::project::Project;
use crate::terminal::Terminal;
use crate::world::World;
use crate::{compile, difference, prove};

#[derive(Debug, Error, Diagnostic)]
#[error("`{name}` is not in the lock")]
#[diagnostic(code("kcompose::lock::unknown-package"), help("{help}"))]
struct NotLocked {
    name: String,
    help: String,
}

/// Moves the lock, or some packages of it, and prints the difference.
pub(crate) async fn run(
    global: &Global,
    args: &Update,
    terminal: &Terminal,
    sources: &mut SourceMap,
) -> Result<(), Failure> {
    let project = Project::load(&args.source, sources, terminal)?;
    let layout = compile::layout(&project.flavor, sources, terminal)?;
    known(&project, &args.packages)?;
    let mut world = World::new(global, false, terminal)?;
    let movement = if args.packages.is_empty() {
        Movement::All
    } else {
        Movement::Only(args.packages.iter().cloned().collect::<BTreeSet<String>>())
    };
    let mut pinned = pinning::pin(&project, &mut world, Pinning::Free(movement), sources, terminal).await?;
    let changes = difference::text(pinned.before.as_ref(), &pinned.lock);
    terminal.data(&printable(&changes));
    if args.dry_run {
        return Ok(());
    }
    world.fetch_archives(&project.flavor, &pinned.resolved).await?;
    prove::prove(&project, &layout, &mut pinned, &world, sources, terminal)?;
    super::lock::finish(&project, &pinned, terminal)
}

fn known(project: &Project, packages: &[String]) -> Result<(), Failure> {
    let Some(lock) = pinning::read(&project.lock_file)? else {
        return Ok(());
    };
    let packages_of_lock = lock.resolved.packages.keys().map(|name| name.as_str());
    let upstream = lock.resolved.upstreams().map(|locked| locked.part.name());
    let names: Vec<&str> = packages_of_lock.chain(upstream).collect();
    let Some(name) = packages.iter().find(|name| !names.contains(&name.as_str())) else {
        return Ok(());
    };
    let help = kcompose_core::diagnostic::did_you_mean(name, &names, || {
        "`kcompose update` without names moves all packages".to_owned()
    });
    Err(Failure::usage(NotLocked {
        name: name.clone(),
        help,
    }))
}
