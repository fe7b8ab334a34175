//! `kcompose build`: resolves, plans, builds, exports.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use kcompose_core::diagnostic::Diagnostics;
use kcompose_core::llb::Whose;
use kcompose_core::model::Flavor;
use kcompose_core::plan::CONTEXT;
use kcompose_core::source::SourceMap;
use kcompose_engine::fetch::Logins;
use kcompose_engine::{
    Bridge, BuildRequest, BuildResult, Credentials, EngineError, Fault, Output, OutputKind, Secret,
};
use tokio_util::sync::CancellationToken;

use crate::args::{Build, Global};
use crate::commands::lock;
use crate::compile::{self, Wiring};
use crate::context;
use crate::engine;
use crate::failure::{BadFlag, Failure, FileFailed};
use crate::interrupt::{self, until_interrupted as until};
use crate::loading::Loading;
use crate::pinning::{self, Pinned, Pinning};
use crate::progress::Shown;
use crate::project::{self, Project};
use crate::prove;
use crate::reproducible;
use crate::terminal::Terminal;
use crate::world::{Mirror, World};

/// Builds the image of a flavor.
pub(crate) async fn run(
    global: &Global,
    args: &Build,
    terminal: &Terminal,
    sources: &mut SourceMap,
) -> Result<(), Failure> {
    let cancel = interrupt::token();
    let project = Project::load(&args.source, sources, terminal)?;
    let mut outputs = outputs(args, &project.flavor)?;
    let secrets = secrets(&args.secrets)?;
    let layout = compile::layout(&project.flavor, sources, terminal)?;
    let logins = logins(&secrets)?;
    let mut world = World::with_logins(global, args.lock.offline(), terminal, logins)?;
    let engine = until(engine::choose(args, &world.store, terminal)).await?;
    let loading = args
        .load
        .then(|| Loading::into(&mut outputs, engine.is_docker()))
        .transpose()?;
    let pinned = until(prepare(args, &project, &layout, &mut world, sources, terminal)).await?;
    let epoch = project::epoch(&args.source, pinned.resolved.epoch)?;
    let compiled = compile::compile(&project.flavor, &pinned.resolved, &layout, epoch);
    let upstream = until(world.upstream(&project.flavor, &pinned.resolved)).await?;
    let urls = world.urls(&project.flavor, &pinned.resolved)?;
    let mirror = if engine.reads_store() {
        Mirror::direct(urls)
    } else {
        world
            .mirror(urls, engine.reaches_loopback(), args.lock.offline())
            .await?
    };
    let merge = engine.capabilities().merge();
    let owner = Whose::Build(kcompose_engine::random_id());
    let (folders, offered) = project.contexts.folders(&owner);
    let ignored = context::ignored(&project)?;
    let definition = |no_cache| {
        let wiring = Wiring {
            url: &|fetch| mirror.url(fetch),
            merge,
            no_cache,
            pulls_upstream: false,
            sources,
            folders: &folders,
            owner: &owner,
            ignored: &ignored,
        };
        compile::definition(&compiled, &project.flavor, &wiring)
    };
    let emitted = definition(args.no_cache);
    let mut request = BuildRequest::new(
        emitted.definition,
        kcompose_compile::config(&compiled, merge),
        world.store.root().join("layers"),
    );
    request.lower = emitted.lower;
    request.outputs = outputs;
    request.tags = tags(args, &project.flavor);
    if args.load && request.tags.is_empty() {
        let identity = &project.flavor.identity;
        request.tags = vec![format!("{}:{}", identity.name.value, identity.version.value)];
    }
    request.locals = offered;
    request
        .locals
        .insert(CONTEXT.to_owned(), project.context().to_owned());
    request.locals.extend(upstream);
    request.secrets = secrets;
    request.credentials = Credentials::from_environment(|name| std::env::var(name).ok());
    request.no_cache = args.no_cache;
    let origins = kcompose_compile::Origins {
        plan: &compiled.plan,
        flavor: &project.flavor,
        resolved: &pinned.resolved,
    };
    let scratch = scratch(args)?;
    let compression = request.outputs.first().map(|output| output.compression);
    let archive = |scratch: &kcompose_scratch::Folder, name| Output {
        compression: compression.unwrap_or_default(),
        ..Output::oci(scratch.path().join(name))
    };
    if let Some(scratch) = &scratch {
        request.outputs.push(archive(scratch, "first.tar"));
    }
    let result = build(&*engine, &request, args, sources, &cancel)
        .await
        .map_err(|error| failed(error, &mirror, &origins))?;
    if let Some(scratch) = &scratch {
        request.outputs.pop();
        let emitted = definition(true);
        let again = BuildRequest {
            definition: emitted.definition,
            lower: emitted.lower,
            outputs: vec![archive(scratch, "second.tar")],
            no_cache: true,
            ..request.clone()
        };
        terminal.say("building a second time, every step again");
        let second = build(&*engine, &again, args, sources, &cancel)
            .await
            .map_err(|error| failed(error, &mirror, &origins))?;
        compare(&result, &second, scratch.path(), terminal)?;
    }
    if let Some(loading) = loading {
        until(loading.finish(&mut request.outputs)).await?;
        terminal.say(&format!("loaded into Docker: {}", request.tags.join(", ")));
    }
    finish(args, &request, &result, terminal)
}

/// Solves a request on an engine, with its progress shown.
async fn build(
    engine: &dyn Bridge,
    request: &BuildRequest,
    args: &Build,
    sources: &SourceMap,
    cancel: &CancellationToken,
) -> Result<BuildResult, EngineError> {
    let (events, shown) = Shown::begin(args.progress, sources);
    let result = kcompose_engine::build(engine, request, &events, cancel).await;
    drop(events);
    shown.end().await;
    result
}

/// The failure of a build: the problems that a step printed, or the engine's error.
fn failed(error: EngineError, mirror: &Mirror, origins: &kcompose_compile::Origins<'_>) -> Failure {
    match kcompose_compile::complaints(&error, origins) {
        Some(problems) => Failure::Wrong(problems),
        None => engine_failed(mirror.explain(error)),
    }
}

/// Where two builds are put that are compared.
fn scratch(args: &Build) -> Result<Option<kcompose_scratch::Folder>, Failure> {
    let scratch = args
        .check_reproducible
        .then(kcompose_scratch::Folder::new)
        .transpose();
    scratch.map_err(|error| Failure::world(FileFailed::new("cannot make a folder", error)))
}

fn compare(
    first: &BuildResult,
    second: &BuildResult,
    scratch: &Path,
    terminal: &Terminal,
) -> Result<(), Failure> {
    fn made<'a>(result: &'a BuildResult, archive: &'a Path) -> reproducible::Made<'a> {
        let layers = result.image.layers.iter().map(|layer| layer.diff_id.as_str());
        reproducible::Made {
            digest: &result.image.digest,
            layers: layers.collect(),
            archive,
        }
    }
    let archives = ["first.tar", "second.tar"].map(|name| scratch.join(name));
    let (first, second) = (made(first, &archives[0]), made(second, &archives[1]));
    reproducible::compare(&first, &second, terminal)
}

/// The packages: pinned, in the store, proved against the layout, and the lock written.
async fn prepare(
    args: &Build,
    project: &Project,
    layout: &kcompose_core::layout::CompiledLayout,
    world: &mut World,
    sources: &SourceMap,
    terminal: &Terminal,
) -> Result<Pinned, Failure> {
    let missing = context::missing(project);
    if missing.has_errors() {
        return Err(Failure::Wrong(missing));
    }
    let mut pinned = pinning::pin(project, world, Pinning::of(args.lock), sources, terminal).await?;
    if !args.lock.offline() {
        world.fetch_archives(&project.flavor, &pinned.resolved).await?;
    }
    prove::prove(project, layout, &mut pinned, world, sources, terminal)?;
    if !args.lock.locked() && pinned.changed() {
        lock::finish(project, &pinned, terminal)?;
    }
    Ok(pinned)
}

/// Why an engine failed, with the exit code of whose fault it is.
pub(crate) fn engine_failed(error: EngineError) -> Failure {
    match error.fault() {
        Fault::Flavor => Failure::Wrong(Diagnostics::from(error)),
        Fault::World => Failure::World(Diagnostics::from(error)),
        Fault::Interrupted => Failure::Interrupted,
    }
}

/// What comes out: the flags, else an OCI archive named after the flavor.
fn outputs(args: &Build, flavor: &Flavor) -> Result<Vec<Output>, Failure> {
    only_one_target(args)?;
    let mut outputs = Vec::new();
    for text in &args.outputs {
        let mut output: Output = text.parse().map_err(|error: EngineError| Failure::usage(error))?;
        if output.kind.is_path() && output.destination.is_none() {
            output.destination = Some(PathBuf::from(default_name(flavor, output.kind)));
        }
        outputs.push(output);
    }
    if args.push {
        outputs.push(named(OutputKind::Registry));
    }
    if outputs.is_empty() && !args.load {
        outputs.push(Output::oci(default_name(flavor, OutputKind::Oci)));
    }
    let unnamed = outputs
        .iter()
        .any(|output| !output.kind.is_path() && output.name.is_none());
    if unnamed && tags(args, flavor).is_empty() {
        return Err(Failure::usage(BadFlag::new(
            "a push needs a name",
            "name the image with `-t REGISTRY/NAME:TAG`, or by `image { repository \"…\" }` in the flavor",
        )));
    }
    Ok(outputs)
}

fn named(kind: OutputKind) -> Output {
    Output {
        kind,
        destination: None,
        name: None,
        compression: Default::default(),
    }
}

fn only_one_target(args: &Build) -> Result<(), Failure> {
    match args.target.as_deref() {
        None | Some("image") => Ok(()),
        Some(other) => Err(Failure::usage(BadFlag::new(
            format!("there is no target `{other}`"),
            "a flavor has one target, `image`",
        ))),
    }
}

fn default_name(flavor: &Flavor, kind: OutputKind) -> String {
    let name = format!("{}-{}", flavor.identity.name.value, flavor.identity.version.value);
    match kind {
        OutputKind::Oci => format!("{name}.oci.tar"),
        OutputKind::Docker => format!("{name}.docker.tar"),
        OutputKind::Tar => format!("{name}.tar"),
        OutputKind::Local | OutputKind::Registry | OutputKind::Image => name,
    }
}

/// The names of the image: the flags, else the flavor's repository with its version.
fn tags(args: &Build, flavor: &Flavor) -> Vec<String> {
    if !args.tags.is_empty() {
        return args.tags.clone();
    }
    let repository = flavor.image.repository.as_ref();
    repository
        .map(|repository| format!("{}:{}", repository.value, flavor.identity.version.value))
        .into_iter()
        .collect()
}

fn secrets(texts: &[String]) -> Result<BTreeMap<String, Secret>, Failure> {
    let mut secrets = BTreeMap::new();
    for text in texts {
        let wrong = |reason: String| {
            Failure::usage(BadFlag::new(
                format!("`--secret {text}` cannot be read: {reason}"),
                "write it as --secret id=ID,src=FILE or --secret id=ID,env=VARIABLE",
            ))
        };
        let pairs: BTreeMap<&str, &str> = crate::values::pairs(text).map_err(wrong)?.into_iter().collect();
        let id = pairs
            .get("id")
            .ok_or_else(|| wrong("it has no `id`".to_owned()))?;
        let file = pairs.get("src").or_else(|| pairs.get("source"));
        let secret = match (file, pairs.get("env")) {
            (Some(file), _) => Secret::File(PathBuf::from(file)),
            (None, Some(name)) => Secret::Variable((*name).to_owned()),
            (None, None) => Secret::Variable((*id).to_owned()),
        };
        secrets.insert((*id).to_owned(), secret);
    }
    Ok(secrets)
}

/// The id of the secret whose logins kcompose itself fetches with.
const LOGINS: &str = "auth.conf";

/// The logins of package sources that are given as a secret.
fn logins(secrets: &BTreeMap<String, Secret>) -> Result<Logins, Failure> {
    let Some(secret) = secrets.get(LOGINS) else {
        return Ok(Logins::default());
    };
    let bytes = secret.read().map_err(|error| {
        Failure::usage(BadFlag::new(
            format!("the secret `{LOGINS}` cannot be read: {error}"),
            "give the logins of package sources as --secret id=auth.conf,src=FILE",
        ))
    })?;
    Ok(Logins::parse(&String::from_utf8_lossy(&bytes)))
}

/// Writes what scripts read, and says what was made.
fn finish(
    args: &Build,
    request: &BuildRequest,
    result: &BuildResult,
    terminal: &Terminal,
) -> Result<(), Failure> {
    if let Some(file) = &args.metadata_file {
        let text = super::config::pretty(&result.metadata());
        pinning::whole(file, text.as_bytes())?;
    }
    if let Some(file) = &args.iidfile {
        if result.image.config_digest.is_empty() {
            return Err(Failure::usage(BadFlag::new(
                "only an image has a digest to write, and a tree was made",
                "leave `--iidfile` out, or add an output that is an image",
            )));
        }
        pinning::whole(file, result.image.config_digest.as_bytes())?;
    }
    report(&request.outputs, &request.tags, result, terminal);
    Ok(())
}

/// Says where each output went, and the image's digest.
pub(crate) fn report(outputs: &[Output], tags: &[String], result: &BuildResult, terminal: &Terminal) {
    for output in outputs {
        let place = output
            .destination
            .as_deref()
            .map(Path::display)
            .map(|path| path.to_string());
        let place = place
            .or_else(|| output.name.clone())
            .unwrap_or_else(|| tags.join(", "));
        terminal.say(&format!("{}: {place}", output.kind.word()));
    }
    if !result.image.digest.is_empty() {
        terminal.say(&result.image.digest);
    }
}
