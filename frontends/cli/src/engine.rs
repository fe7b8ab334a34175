//! Which engine builds: a BuildKit that answers, or the one inside of this program.

use std::sync::OnceLock;

use kcompose_core::diagnostic::Diagnostics;
use kcompose_engine::embedded::{Reach, Settings, StepNetwork};
use kcompose_engine::store::Store;
use kcompose_engine::{Address, Bridge, BuildKit, Embedded, EngineError};
use kcompose_sandbox::{Ids, Problem, Standing};

use crate::args::{Build, EngineChoice, Entitlement};
use crate::commands::build::engine_failed;
use crate::failure::{BadFlag, Failure};
use crate::terminal::Terminal;
use crate::values;

/// What an ordinary user got to build with, if it was asked for.
static STANDING: OnceLock<Result<Standing, Problem>> = OnceLock::new();

/// Takes the rights that the embedded engine needs, while this process has one thread.
pub(crate) fn prepare(args: &Build) {
    let may_be_embedded = match args.engine {
        EngineChoice::Embedded => true,
        EngineChoice::Auto => !names_one(args.builder.as_deref()),
        EngineChoice::Buildkit => false,
    };
    if may_be_embedded {
        // What is wrong is said when the engine is chosen: a BuildKit may answer.
        let _ = STANDING.set(kcompose_sandbox::enter());
    }
}

/// The engine that a person chose, or the one there is.
pub(crate) async fn choose(
    args: &Build,
    store: &Store,
    terminal: &Terminal,
) -> Result<Box<dyn Bridge>, Failure> {
    let builder = args.builder.as_deref();
    match args.engine {
        EngineChoice::Buildkit => daemon(args, connect(builder).await?),
        EngineChoice::Embedded => embedded(args, store),
        EngineChoice::Auto if names_one(builder) => daemon(args, connect(builder).await?),
        EngineChoice::Auto => match BuildKit::connect(&candidates(builder)?).await {
            Ok(found) => daemon(args, found),
            Err(EngineError::Unreachable { .. }) => {
                terminal.say("no BuildKit answers: building with the embedded engine");
                embedded(args, store)
            }
            Err(error) => Err(engine_failed(error)),
        },
    }
}

/// A BuildKit, unless the embedded engine is meant.
fn daemon(args: &Build, found: BuildKit) -> Result<Box<dyn Bridge>, Failure> {
    if args.limits.is_empty() {
        return Ok(Box::new(found));
    }
    Err(Failure::usage(BadFlag::new(
        "`--limit` is for the embedded engine, and a BuildKit answers",
        "add --engine embedded, or set limits where that BuildKit is configured",
    )))
}

/// Connects to a BuildKit.
pub(crate) async fn connect(builder: Option<&str>) -> Result<BuildKit, Failure> {
    BuildKit::connect(&candidates(builder)?)
        .await
        .map_err(engine_failed)
}

fn candidates(builder: Option<&str>) -> Result<Vec<Address>, Failure> {
    Address::candidates(builder, |name| std::env::var(name).ok()).map_err(engine_failed)
}

/// Whether a person says which BuildKit it is; if that one does not answer, no other engine is meant.
fn names_one(builder: Option<&str>) -> bool {
    builder.is_some() || std::env::var_os("BUILDKIT_HOST").is_some_and(|value| !value.is_empty())
}

fn embedded(args: &Build, store: &Store) -> Result<Box<dyn Bridge>, Failure> {
    if let Some(Err(problem)) = STANDING.get() {
        return Err(Failure::World(Diagnostics::from(Refused(
            problem.to_string(),
            help(problem),
        ))));
    }
    if let Some(lack) = one_id() {
        return Err(Failure::World(Diagnostics::from(lack)));
    }
    let reach = if args.lock.offline() {
        Reach::Offline
    } else {
        Reach::Online
    };
    let mut settings = Settings::beside(store.clone(), reach);
    for limit in &args.limits {
        let wrong = |reason: String| BadFlag::new(format!("`--limit {limit}` cannot be read"), reason);
        set(&mut settings, limit).map_err(wrong)?;
    }
    if args.allow.contains(&Entitlement::NetworkHost) {
        settings.network = StepNetwork::Host;
    }
    Ok(Box::new(Embedded::new(settings)))
}

/// Sets one limit by its name.
fn set(settings: &mut Settings, text: &str) -> Result<(), String> {
    let (name, value) = text
        .split_once('=')
        .ok_or_else(|| "write NAME=VALUE, such as time=30m".to_owned())?;
    let steps = &mut settings.steps;
    match name {
        "time" => steps.time = values::duration(value)?,
        "output" => steps.output = values::size(value)?,
        "processes" => {
            steps.processes = value.parse().map_err(|_| "write how many processes".to_owned())?;
        }
        "memory" => steps.memory = Some(values::size(value)?),
        "disk" => steps.disk = Some(values::size(value)?),
        "store" => settings.limit = values::size(value)?,
        _ => return Err("there are time, output, processes, memory, disk and store".to_owned()),
    }
    Ok(())
}

/// The embedded engine cannot work for this user.
#[derive(Debug, thiserror::Error, miette::Diagnostic)]
#[error("the embedded engine cannot build: {0}")]
#[diagnostic(code(kcompose::engine::rights), help("{1}"))]
struct Refused(String, String);

/// A user with a single id has files of one owner only, and every image has files of several.
#[derive(Debug, thiserror::Error, miette::Diagnostic)]
#[error(
    "the embedded engine cannot build with one user id, as the files of an image have several owners: {reason}"
)]
#[diagnostic(
    code("kcompose::engine::one-id"),
    help("{help}; or build as root, or name a BuildKit with `--builder ADDRESS`")
)]
struct OneId {
    reason: String,
    help: String,
}

/// The reason why this user has a single id.
fn one_id() -> Option<OneId> {
    // Root of a container has the ids that the container got.
    let ids = match STANDING.get() {
        Some(Ok(standing)) => standing.ids.clone(),
        Some(Err(_)) | None => kcompose_sandbox::present_ids(),
    };
    match ids {
        Ids::Single { reason, help } => Some(OneId { reason, help }),
        Ids::All | Ids::Range(_) => None,
    }
}

fn help(problem: &Problem) -> String {
    let help = miette::Diagnostic::help(problem).map(|help| help.to_string());
    help.unwrap_or_else(|| "build as root, or name a BuildKit with `--builder ADDRESS`".to_owned())
}
