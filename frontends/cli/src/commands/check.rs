//! `kcompose check`: everything that can be proved without building.

use kcompose_core::diagnostic::{Diagnostics, Sink};
use kcompose_core::layout;
use kcompose_core::resolve::{Resolution, Resolved, resolve};
use kcompose_core::source::SourceMap;
use kcompose_dsl::report::{self, Format};

use crate::args::{Check, Global, ReportFormat};
use crate::context;
use crate::failure::Failure;
use crate::project::{self, Project};
use crate::prove;
use crate::terminal::Terminal;
use crate::world::World;

/// Checks a flavor with what is cached; the network is not used.
pub(crate) async fn run(
    global: &Global,
    args: &Check,
    terminal: &Terminal,
    sources: &mut SourceMap,
) -> Result<(), Failure> {
    let (problems, notes) = problems(global, args, terminal, sources).await?;
    let failed = problems.has_errors();
    print(&problems, sources, args.format, terminal);
    for note in notes {
        terminal.say(&note);
    }
    if failed {
        return Err(Failure::Exit(1));
    }
    if args.format == ReportFormat::Human && problems.is_empty() {
        terminal.say("no problems found");
    }
    Ok(())
}

/// Everything that is wrong, as far as the stages get, and what could not be looked at.
async fn problems(
    global: &Global,
    args: &Check,
    terminal: &Terminal,
    sources: &mut SourceMap,
) -> Result<(Diagnostics, Vec<String>), Failure> {
    let mut world = World::new(global, true, terminal)?;
    let lock_file = project::lock_file(&args.source);
    let (read, ahead) = std::thread::scope(|scope| {
        // What the lock pins is looked at while the flavor is parsed: an editor waits for both.
        let ahead = scope.spawn(|| prove::ahead(&lock_file, &world));
        let read = Project::read(&args.source, sources);
        (read, ahead.join().expect("reading a lock does not panic"))
    });
    let (project, warnings) = match read {
        Ok(read) => read,
        Err(Failure::Wrong(problems)) => return Ok((problems, Vec::new())),
        Err(other) => return Err(other),
    };
    let (lock, contents) = ahead?;
    let mut sink = Sink::new();
    sink.extend(warnings);
    sink.extend(context::missing(&project));
    let layout = match layout::compile(&project.flavor) {
        Ok(compiled) => {
            sink.extend(compiled.warnings);
            Some(compiled.value)
        }
        Err(problems) => {
            sink.extend(problems);
            None
        }
    };
    world.fetcher.facts.lock = lock;
    let mut notes = Vec::new();
    let resolved = resolved(&project, &mut world, &mut sink, &mut notes).await?;
    if let (Some(layout), Some(resolved)) = (layout, resolved) {
        let lock = world.fetcher.facts.lock.as_ref();
        let same = lock.is_some_and(|lock| lock.resolved.packages == resolved.packages);
        let contents = match contents.filter(|_| same) {
            Some(contents) => contents,
            None => prove::contents(&world, &resolved)?,
        };
        let proof = prove::proof(&project, &layout, &resolved, contents)?;
        sink.extend(proof.problems);
        notes.extend(proof.note);
    }
    Ok((sink.into_diagnostics(), notes))
}

/// The packages by the lock or by cached indexes; without either a note says what was left out.
async fn resolved(
    project: &Project,
    world: &mut World,
    sink: &mut Sink,
    notes: &mut Vec<String>,
) -> Result<Option<Resolved>, Failure> {
    loop {
        match resolve(&project.flavor, &world.fetcher.facts) {
            Resolution::Done(done) => {
                sink.extend(done.warnings);
                return Ok(Some(done.value));
            }
            Resolution::Needs(needs) => {
                if let Err(error) = world.fetcher.answer(&needs).await {
                    notes.push(format!(
                        "packages were not checked: {error}; `kcompose lock` fetches the indexes"
                    ));
                    return Ok(None);
                }
            }
            Resolution::Failed(problems) => {
                sink.extend(problems);
                return Ok(None);
            }
        }
    }
}

fn print(problems: &Diagnostics, sources: &SourceMap, format: ReportFormat, terminal: &Terminal) {
    match format {
        ReportFormat::Human => terminal.report(problems, sources),
        ReportFormat::Json => terminal.data(&report::render(problems, sources, Format::Json)),
        ReportFormat::Sarif => terminal.data(&report::render(problems, sources, Format::Sarif)),
        ReportFormat::Github => terminal.data(&report::render(problems, sources, Format::Github)),
    }
}
