//! A flavor, read and compiled as far as it goes without the daemon's work.

use kcompose_compile::{Compiled, EPOCH, Urls, must_fit, options, read_lock};
use kcompose_core::diagnostic::{Diagnostics, Problem, Warned};
use kcompose_core::model::{Flavor, RuntimeSource};
use kcompose_core::resolve::lock::Lock;
use kcompose_core::resolve::{Resolved, UpstreamPart};
use kcompose_core::source::{SourceMap, Span};
use kcompose_engine::fetch::Mirrors;
use miette::Diagnostic;
use thiserror::Error;

use crate::asked::Asked;
use crate::bridge::Bridge;
use crate::failure::Failure;
use crate::folders::{self, Found as Places};
use crate::{context, resolving, texts};

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
    help(
        "name an image, such as \"quay.io/kairos/kairos-init:v0.17.3\", or a URL, or build with `kcompose build`"
    )
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
    /// Where everything is that it reads.
    pub(crate) places: Places,
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
    let mirrors = Mirrors::of_lock(asked.mirror.clone(), &lock);
    let urls = Urls::new(&mirrors, &flavor, &lock.resolved).map_err(Failure::of)?;
    Ok(Ready {
        flavor,
        lock,
        compiled,
        urls,
        places: found.places,
        warnings: found.problems,
    })
}

/// A program on the client's disk stays there.
fn refuse_path(flavor: &Flavor, resolved: &Resolved) -> Result<(), Failure> {
    let mut all = resolved.upstreams();
    let Some(upstream) = all.find(|upstream| matches!(upstream.from, RuntimeSource::Path(_))) else {
        return Ok(());
    };
    let kairos = &flavor.kairos.value;
    let from = match upstream.part {
        UpstreamPart::KairosInit => kairos.from.as_ref(),
        UpstreamPart::Kubernetes(_) => kairos.kubernetes_from.as_ref(),
    };
    Err(Failure::of(UpstreamPath {
        from: upstream.from.to_string(),
        span: from.map(|from| from.span).filter(|span| span.is_some()),
    }))
}

/// Everything that can be said about a flavor without building it, as far as the stages get.
#[derive(Debug)]
pub(crate) struct Found {
    /// Problems of every kind, sorted by place.
    pub(crate) problems: Diagnostics,
    /// The flavor.
    pub(crate) flavor: Option<Flavor>,
    /// The lock, if it fits.
    pub(crate) lock: Option<Lock>,
    layout: Option<kcompose_core::layout::CompiledLayout>,
    places: Places,
}

/// Looks at a flavor: its texts, its build context, its layout, its lock.
pub(crate) async fn look(
    bridge: &mut Bridge,
    asked: &Asked,
    sources: &mut SourceMap,
) -> Result<Found, Failure> {
    let places = folders::find(bridge, asked).await?;
    let names = asked.named.keys().cloned().collect();
    let options = options(asked.platform.as_deref(), &asked.arguments, names).map_err(Failure::of)?;
    let texts = texts::read(bridge, asked, &places, &options, sources).await?;
    let mut found = Found {
        problems: Diagnostics::default(),
        flavor: None,
        lock: None,
        layout: None,
        places,
    };
    let flavor = match texts.flavor {
        Ok(loaded) => {
            found.problems.extend(loaded.warnings);
            let ended = kcompose_core::compose::ended_holds(&loaded.value, crate::resolving::now());
            found.problems.extend(ended);
            loaded.value
        }
        Err(problems) => {
            found.problems = problems;
            return Ok(found);
        }
    };
    let names = asked.named.keys().map(String::as_str);
    let unused = kcompose_compile::unused(&flavor, names, &texts.read);
    found.problems.extend(
        unused
            .into_iter()
            .map(|flag| -> Problem { Box::new(flag) })
            .collect(),
    );
    found.places.ignored = context::ignored(bridge, asked, &found.places).await?;
    found
        .problems
        .extend(context::missing(bridge, asked, &flavor, &found.places).await?);
    match kcompose_compile::layout(&flavor) {
        Ok(layout) => {
            found.problems.extend(layout.warnings);
            found.layout = Some(layout.value);
        }
        Err(problems) => found.problems.extend(problems),
    }
    match locked(bridge, asked, (&texts.lock_file, texts.lock.as_deref()), &flavor).await {
        Ok(lock) => {
            found.problems.extend(lock.warnings);
            found.lock = Some(lock.value);
        }
        Err(Failure::Problems(problems)) => found.problems.extend(problems),
        Err(failure @ (Failure::Daemon(_) | Failure::Explained(_))) => return Err(failure),
    }
    if asked.no_network {
        found.problems.extend(without_network(&flavor));
    }
    found.flavor = Some(flavor);
    Ok(found)
}

/// The lock beside the flavor, which must fit, or one that is resolved now.
async fn locked(
    bridge: &mut Bridge,
    asked: &Asked,
    (file, text): (&str, Option<&str>),
    flavor: &Flavor,
) -> Result<Warned<Lock>, Failure> {
    let lock = text.map(|text| read_lock(file, text)).transpose()?;
    if asked.resolves {
        let wanted = asked.mirror.clone();
        let mirrors = match &lock {
            Some(lock) => Mirrors::of_lock(wanted, lock),
            None => Mirrors::only(wanted),
        };
        return resolving::lock(bridge, flavor, lock, &mirrors).await;
    }
    let fits = must_fit(file, lock.as_ref(), flavor)?;
    Ok(Warned {
        value: fits.clone(),
        warnings: Diagnostics::default(),
    })
}

fn without_network(flavor: &Flavor) -> Diagnostics {
    let asking = flavor
        .runs
        .iter()
        .filter(|run| run.value.network.as_ref().is_some_and(|network| network.value));
    asking
        .map(|run| -> Problem {
            Box::new(NoNetwork {
                name: run.value.name.value.clone(),
                span: run.span,
            })
        })
        .collect()
}
