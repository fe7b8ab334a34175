//! The image of a flavor: texts, stages, solve, answer.

use std::collections::BTreeMap;

use kcompose_compile::{Urls, Wiring, compile, definition, layout, must_fit, options, read_lock};
use kcompose_core::diagnostic::Diagnostics;
use kcompose_core::model::Flavor;
use kcompose_core::resolve::Resolved;
use kcompose_core::source::{SourceMap, Span};
use kcompose_engine::fetch::Mirrors;
use miette::Diagnostic;
use serde_json::json;
use thiserror::Error;

use crate::asked::Asked;
use crate::bridge::{Answer, Bridge, Solving};
use crate::context;
use crate::failure::Failure;
use crate::texts;

/// The build argument that names a mirror.
const MIRROR: &str = "KCOMPOSE_MIRROR";

/// Builds the image.
pub(crate) async fn build(
    bridge: &mut Bridge,
    asked: &Asked,
    sources: &mut SourceMap,
) -> Result<Answer, Failure> {
    let mut arguments = asked.arguments.clone();
    let mirror = arguments.remove(MIRROR);
    let options = options(asked.platform.as_deref(), &arguments).map_err(Failure::of)?;
    let texts = texts::read(bridge, asked, &options, sources).await?;
    let flavor = &texts.flavor.value;
    let lock = texts.lock.as_deref();
    let lock = lock.map(|text| read_lock(&texts.lock_file, text)).transpose()?;
    let lock = must_fit(&texts.lock_file, lock.as_ref(), flavor)?;
    let missing = context::missing(bridge, asked, flavor).await?;
    if missing.has_errors() {
        return Err(missing.into());
    }
    refuse_path(flavor, &lock.resolved)?;
    let layout = layout(flavor)?.value;
    let said = asked.arguments.get(kcompose_compile::EPOCH).map(String::as_str);
    let epoch = kcompose_compile::epoch(said, lock.resolved.epoch).map_err(Failure::of)?;
    let mut compiled = compile(flavor, &lock.resolved, &layout, epoch);
    compiled.config.runtime.labels.extend(asked.labels.clone());
    let urls = Urls::new(&Mirrors::only(mirror.as_deref()), flavor, &lock.resolved)
        .map_err(|error| Failure::from(Diagnostics::from(error)))?;
    let emitted = definition(
        &compiled,
        flavor,
        &Wiring {
            url: &|fetch| urls.of(fetch),
            merge: bridge.capabilities().merge(),
            no_cache: asked.no_cache,
            pulls_upstream: true,
            sources,
        },
    );
    let reference = bridge.solve(&emitted.definition, &[], Solving::Now).await?;
    let architecture = flavor.architecture.as_str();
    let platforms = json!({ "Platforms": [{
        "ID": format!("linux/{architecture}"),
        "Platform": { "architecture": architecture, "os": "linux" },
    }]});
    Ok(Answer {
        reference: Some(reference),
        metadata: BTreeMap::from([
            ("containerimage.config".to_owned(), compiled.config.request()),
            ("refs.platforms".to_owned(), platforms.to_string().into_bytes()),
        ]),
    })
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
