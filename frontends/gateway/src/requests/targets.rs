//! `docker build --call=targets`: a flavor has one.

use kcompose_core::source::SourceMap;
use serde_json::json;

use super::Said;
use super::source::Sources;
use crate::asked::Asked;
use crate::bridge::Bridge;
use crate::failure::Failure;
use crate::texts;

/// The one target.
pub(super) const TARGET: &str = "image";
/// What it is.
pub(super) const DESCRIPTION: &str = "The image of the flavor";

/// The list of it.
pub(super) async fn targets(
    bridge: &mut Bridge,
    asked: &Asked,
    sources: &mut SourceMap,
) -> Result<Said, Failure> {
    let text = texts::flavor(bridge, asked).await?;
    let first = sources.add(asked.file.as_str(), text).span(0, 0);
    let mut files = Sources::default();
    let location = files.location(first, sources);
    let target = json!({
        "name": TARGET,
        "default": true,
        "description": DESCRIPTION,
        "location": location,
    });
    Ok(Said {
        json: json!({ "targets": [target], "sources": files.texts() }),
        text: format!("{TARGET} (default)  {DESCRIPTION}\n"),
        code: None,
    })
}
