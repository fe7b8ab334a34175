//! `kcompose lock`: pins every input, and fetches what it pins.

use kcompose_core::printable::printable;
use kcompose_core::source::SourceMap;

use crate::args::{Global, Lock};
use crate::failure::Failure;
use crate::pinning::{self, Pinned, Pinning};
use crate::project::Project;
use crate::prove;
use crate::terminal::Terminal;
use crate::world::{World, fetch_failed};
use crate::{compile, difference, reading};

/// Writes the lock beside the flavor.
pub(crate) async fn run(
    global: &Global,
    args: &Lock,
    terminal: &Terminal,
    sources: &mut SourceMap,
) -> Result<(), Failure> {
    let project = Project::load(&args.source, sources, terminal)?;
    if args.check {
        return check(global, args, &project, terminal, sources).await;
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
        let changes = difference::text(pinned.before.as_ref(), &pinned.lock);
        terminal.data(&printable(&changes));
        return Ok(());
    }
    if !args.no_fetch {
        world.fetch_archives(&project.flavor, &pinned.resolved).await?;
        prove::prove(&project, &layout, &mut pinned, &world, sources, terminal)?;
    }
    finish(&project, &pinned, terminal)
}

/// Compares the lock with the flavor, and its packages with signed indexes.
async fn check(
    global: &Global,
    args: &Lock,
    project: &Project,
    terminal: &Terminal,
    sources: &mut SourceMap,
) -> Result<(), Failure> {
    let lock = pinning::read(&project.lock_file)?;
    pinning::must_fit(project, lock.as_ref())?;
    let Some(lock) = lock else { return Ok(()) };
    let world = World::new(global, args.offline, terminal)?;
    let evidence = world.fetcher.evidence(&project.flavor, &lock).await;
    let evidence = evidence.map_err(fetch_failed)?;
    let text = reading::found(&project.lock_file)?.unwrap_or_default();
    let text = sources.add(project.lock_file.display().to_string(), text).clone();
    let problems = lock.prove(&evidence, &text);
    if problems.has_errors() {
        return Err(Failure::Wrong(problems));
    }
    terminal.report(&problems, sources);
    terminal.say(if problems.is_empty() {
        "the lock fits the flavor, and signed indexes have all its packages"
    } else {
        "the lock fits the flavor"
    });
    Ok(())
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
