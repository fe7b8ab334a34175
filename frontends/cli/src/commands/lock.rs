//! `kcompose lock`: pins every input, and fetches what it pins.

use kcompose_core::source::SourceMap;

use crate::args::{Global, Lock};
use crate::failure::Failure;
use crate::pinning::{self, Pinned, Pinning};
use crate::project::Project;
use crate::prove;
use crate::terminal::Terminal;
use crate::world::World;
use crate::{compile, difference};

/// Writes the lock beside the flavor.
pub(crate) async fn run(
    global: &Global,
    args: &Lock,
    terminal: &Terminal,
    sources: &mut SourceMap,
) -> Result<(), Failure> {
    let project = Project::load(&args.source, sources, terminal)?;
    if args.check {
        pinning::must_fit(&project, pinning::read(&project.lock_file)?.as_ref())?;
        terminal.say("the lock fits the flavor");
        return Ok(());
    }
    let layout = compile::layout(&project.flavor, sources, terminal)?;
    let mut world = World::new(global, args.offline, terminal)?;
    let mut pinned = pinning::pin(
        &project,
        &mut world,
        Pinning::Free(Default::default()),
        sources,
        terminal,
    )
    .await?;
    if args.dry_run {
        terminal.data(&difference::text(pinned.before.as_ref(), &pinned.lock));
        return Ok(());
    }
    if !args.no_fetch {
        world.fetch_archives(&project.flavor, &pinned.resolved).await?;
        prove::prove(&project, &layout, &mut pinned, &world, sources, terminal)?;
    }
    finish(&project, &pinned, terminal)
}

/// Writes a lock that changed, and says what it pins.
pub(crate) fn finish(project: &Project, pinned: &Pinned, terminal: &Terminal) -> Result<(), Failure> {
    if !pinned.changed() {
        terminal.say(&format!("{} is up to date", project.lock_file.display()));
        return Ok(());
    }
    pinning::write(&project.lock_file, &pinned.lock)?;
    let count = pinned.resolved.packages.len();
    terminal.say(&format!("{}: {count} packages", project.lock_file.display()));
    Ok(())
}
