//! `docker build --call=targets`: what a flavor can be made into.

use kcompose_core::source::SourceMap;
use serde_json::{Value, json};

use super::Said;
use super::source::Sources;
use crate::asked::{Asked, TARGETS};
use crate::bridge::Bridge;
use crate::failure::Failure;
use crate::texts;

/// The list of the targets.
pub(super) async fn targets(
    bridge: &mut Bridge,
    asked: &Asked,
    sources: &mut SourceMap,
) -> Result<Said, Failure> {
    let text = texts::flavor(bridge, asked).await?;
    let first = sources.add(asked.file.as_str(), text).span(0, 0);
    let mut files = Sources::default();
    let location = files.location(first, sources);
    let targets = TARGETS.iter().enumerate().map(|(at, (name, _, description))| {
        json!({
            "name": name,
            "default": at == 0,
            "description": description,
            "location": location,
        })
    });
    let targets: Vec<Value> = targets.collect();
    let lines = TARGETS.iter().enumerate().map(|(at, (name, _, description))| {
        let default = if at == 0 { " (default)" } else { "" };
        format!("{:<18}{description}\n", format!("{name}{default}"))
    });
    Ok(Said {
        text: lines.collect(),
        json: json!({ "targets": targets, "sources": files.texts() }),
        code: None,
    })
}
