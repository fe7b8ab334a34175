//! Our own requests: what the commands `config`, `plan` and `lock` of kcompose print.

use kcompose_core::resolve::lock;
use kcompose_core::source::SourceMap;
use kcompose_dsl::render;
use serde_json::json;

use super::Said;
use crate::asked::Asked;
use crate::bridge::Bridge;
use crate::failure::Failure;
use crate::image::wired;
use crate::ready::{look, ready};

/// The composed flavor.
pub(super) async fn config(
    bridge: &mut Bridge,
    asked: &Asked,
    sources: &mut SourceMap,
) -> Result<Said, Failure> {
    let found = look(bridge, asked, sources).await?;
    let Some(flavor) = found.flavor else {
        return Err(found.problems.into());
    };
    let left_out = found.lock.map(|lock| lock.resolved.left_out).unwrap_or_default();
    Ok(Said {
        json: render::json(&flavor, &left_out, sources),
        text: render::kdl(&flavor, &left_out, sources),
        code: None,
    })
}

/// The steps.
pub(super) async fn plan(
    bridge: &mut Bridge,
    asked: &Asked,
    sources: &mut SourceMap,
) -> Result<Said, Failure> {
    let plan = ready(bridge, asked, sources).await?.compiled.plan;
    Ok(Said {
        json: plan.to_json(sources),
        text: plan.to_text(sources),
        code: None,
    })
}

/// The lock that the image would be built from.
pub(super) async fn lock(
    bridge: &mut Bridge,
    asked: &Asked,
    sources: &mut SourceMap,
) -> Result<Said, Failure> {
    let lock = lock::render(&ready(bridge, asked, sources).await?.lock);
    Ok(Said {
        json: json!({ "lock": &lock }),
        text: lock,
        code: None,
    })
}

/// The definition, for `base64 -d | buildctl debug dump-llb`.
pub(super) async fn llb(
    bridge: &mut Bridge,
    asked: &Asked,
    sources: &mut SourceMap,
) -> Result<Said, Failure> {
    use base64::Engine as _;
    let ready = ready(bridge, asked, sources).await?;
    let definition = wired(
        &ready,
        asked,
        sources,
        (
            bridge.capabilities().merge(),
            &ready.places.folders.clone().nobodys(),
        ),
    );
    let text = base64::engine::general_purpose::STANDARD.encode(definition.bytes());
    Ok(Said {
        json: json!({ "definition": &text }),
        text,
        code: None,
    })
}
