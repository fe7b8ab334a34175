//! A flavor, read and compiled as far as it goes without the daemon's work.

use kcompose_compile::{Compiled, EPOCH, Urls, must_fit, options, read_lock};
use kcompose_core::diagnostic::Diagnostics;
use kcompose_core::model::Flavor;
use kcompose_core::resolve::Resolved;
use kcompose_core::resolve::lock::Lock;
use kcompose_core::source::{SourceMap, Span};
use kcompose_engine::fetch::Mirrors;
use miette::Diagnostic;
use thiserror::Error;

use crate::asked::Asked;
use crate::bridge::Bridge;
use crate::failure::Failure;
use crate::{context, texts};

/// The build argument that names a mirror.
const MIRROR: &str = "KCOMPOSE_MIRROR";

#[derive(Debug, Error, Diagnostic)]
#[error("the step `{name}` asks for the network, and this build has none")]
#[diagnostic(
    code(kcompose::usage::network),
    help("build without --network none, or take `network` out of the step")
)]
struct NoNetwork {
    name: String,
    #[label("asked for here")]
    span: kcompose_core::source::Span,
}

#[derive(Debug, Error, Diagnostic)]
#[error("`{from}` is on the machine that made the lock, and this engine cannot read it")]
#[diagnostic(
    code("kcompose::gateway::upstream-path"),
    help("name an image, such as \"quay.io/kairos/kairos-init:v0.17.3\", or build with `kcompose build`")
)]
struct UpstreamPath {
    from: String,
    #[label("comes from here")]
    span: Option<Span>,
}

/// What documents say, and what they are compiled to.
#[derive(Debug)]
pub(crate) struct Ready {
    /// The flavor.
    pub(crate) flavor: Flavor,
    /// Its lock, which fits.
    pub(crate) lock: Lock,
    /// The plan and the config.
    pub(crate) compiled: Compiled,
    /// Where archives are.
    pub(crate) urls: Urls,
    /// What is left out of the build context.
    pub(crate) ignored: Vec<String>,
    /// What a person should hear.
    pub(crate) warnings: Diagnostics,
}

/// Reads and compiles a flavor.
pub(crate) async fn ready(
    bridge: &mut Bridge,
    asked: &Asked,
    sources: &mut SourceMap,
) -> Result<Ready, Failure> {
    let found = look(bridge, asked, sources).await?;
    if found.problems.has_errors() {
        return Err(found.problems.into());
    }
    let (Some(flavor), Some(lock), Some(layout)) = (found.flavor, found.lock, found.layout) else {
        return Err(found.problems.into());
    };
    refuse_path(&flavor, &lock.resolved)?;
    let said = asked.arguments.get(EPOCH).map(String::as_str);
    let epoch = kcompose_compile::epoch(said, lock.resolved.epoch).map_err(Failure::of)?;
    let mut compiled = kcompose_compile::compile(&flavor, &lock.resolved, &layout, epoch);
    compiled.config.runtime.labels.extend(asked.labels.clone());
    let mirrors = Mirrors::of_lock(asked.arguments.get(MIRROR).map(String::as_str), &lock);
    let urls = Urls::new(&mirrors, &flavor, &lock.resolved).map_err(Failure::of)?;
    Ok(Ready {
        flavor,
        lock,
        compiled,
        urls,
        ignored: found.ignored,
        warnings: found.problems,
    })
}

/// A program on the client's disk stays there.
fn refuse_path(flavor: &Flavor, resolved: &Resolved) -> Result<(), Failure> {
    let on_a_path = resolved
        .upstream
        .as_ref()
        .filter(|upstream| upstream.pinned_image().is_none());
    let Some(upstream) = on_a_path else {
        return Ok(());
    };
    let from = flavor.kairos.value.from.as_ref();
    Err(Failure::of(UpstreamPath {
        from: upstream.from.to_string(),
        span: from.map(|from| from.span).filter(|span| span.is_some()),
    }))
}

/// Everything that can be said about a flavor without building it, as far as the stages get.
#[derive(Debug, Default)]
pub(crate) struct Found {
    /// Problems of every kind, sorted by place.
    pub(crate) problems: Diagnostics,
    /// The flavor.
    pub(crate) flavor: Option<Flavor>,
    /// The lock, if it fits.
    lock: Option<Lock>,
    layout: Option<kcompose_core::layout::CompiledLayout>,
    ignored: Vec<String>,
}

/// Looks at a flavor: its texts, its build context, its layout, its lock.
pub(crate) async fn look(
    bridge: &mut Bridge,
    asked: &Asked,
    sources: &mut SourceMap,
) -> Result<Found, Failure> {
    let mut arguments = asked.arguments.clone();
    arguments.remove(MIRROR);
    // The daemon's own frontend reads this one; it chose us.
    arguments.remove("BUILDKIT_SYNTAX");
    let options = options(asked.platform.as_deref(), &arguments).map_err(Failure::of)?;
    let texts = texts::read(bridge, asked, &options, sources).await?;
    let mut found = Found::default();
    let flavor = match texts.flavor {
        Ok(loaded) => {
            found.problems.extend(loaded.warnings);
            loaded.value
        }
        Err(problems) => {
            found.problems = problems;
            return Ok(found);
        }
    };
    found.ignored = context::ignored(bridge, asked).await?;
    found
        .problems
        .extend(context::missing(bridge, asked, &flavor, &found.ignored).await?);
    match kcompose_compile::layout(&flavor) {
        Ok(layout) => {
            found.problems.extend(layout.warnings);
            found.layout = Some(layout.value);
        }
        Err(problems) => found.problems.extend(problems),
    }
    match locked(&texts.lock_file, texts.lock.as_deref(), &flavor) {
        Ok(lock) => found.lock = Some(lock),
        Err(problems) => found.problems.extend(problems),
    }
    if asked.no_network {
        found.problems.extend(without_network(&flavor));
    }
    found.flavor = Some(flavor);
    Ok(found)
}

fn locked(file: &str, text: Option<&str>, flavor: &Flavor) -> Result<Lock, Diagnostics> {
    let lock = text.map(|text| read_lock(file, text)).transpose()?;
    must_fit(file, lock.as_ref(), flavor).cloned()
}

fn without_network(flavor: &Flavor) -> Diagnostics {
    let asking = flavor
        .runs
        .iter()
        .filter(|run| run.value.network.as_ref().is_some_and(|network| network.value));
    asking
        .map(|run| -> kcompose_core::diagnostic::Problem {
            Box::new(NoNetwork {
                name: run.value.name.value.clone(),
                span: run.span,
            })
        })
        .collect()
}
