//! `docker build --check`: what `kcompose check` says, as far as it is known without the packages' files.

use kcompose_core::diagnostic::{is_error, primary_span};
use kcompose_core::source::SourceMap;
use kcompose_dsl::report::{self, Format};
use serde_json::{Value, json};

use super::Said;
use super::source::Sources;
use crate::asked::Asked;
use crate::bridge::Bridge;
use crate::failure::Failure;
use crate::ready;

/// Everything that is wrong with a flavor. Only errors end `--check` with a code.
pub(super) async fn lint(
    bridge: &mut Bridge,
    asked: &Asked,
    sources: &mut SourceMap,
) -> Result<Said, Failure> {
    let found = ready::look(bridge, asked, sources).await?;
    let mut files = Sources::default();
    let warnings: Vec<Value> = found
        .problems
        .iter()
        .map(|problem| {
            let code = problem.code().map(|code| code.to_string()).unwrap_or_default();
            let span = primary_span(problem.as_ref());
            let location = span.and_then(|span| files.location(span, sources));
            let word = if is_error(problem.as_ref()) {
                "error"
            } else {
                "warning"
            };
            let help = problem
                .help()
                .map(|help| format!("\nhelp: {help}"))
                .unwrap_or_default();
            json!({
                "ruleName": code,
                "description": format!("{word} of the flavor"),
                "url": "",
                "detail": format!("{problem}{help}"),
                "location": location.unwrap_or_else(|| json!({})),
            })
        })
        .collect();
    Ok(Said {
        text: report::render(&found.problems, sources, Format::Human(Default::default())),
        code: Some(u8::from(found.problems.has_errors())),
        json: json!({ "warnings": warnings, "sources": files.infos() }),
    })
}
