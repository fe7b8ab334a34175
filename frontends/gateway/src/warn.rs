//! Warnings, shown by clients beside the progress.

use kcompose_core::diagnostic::{Diagnostics, primary_span};
use kcompose_core::llb::proto::moby::buildkit::v1::frontend::WarnRequest;
use kcompose_core::llb::proto::pb;
use kcompose_core::source::{Place, SourceMap};
use miette::Diagnostic;

use crate::asked::Asked;
use crate::bridge::Bridge;
use crate::folders::Found;
use crate::texts;

/// Sends what a person should hear. A daemon that takes no warnings is none the worse for it.
pub(crate) async fn all(
    bridge: &mut Bridge,
    asked: &Asked,
    found: &Found,
    warnings: &Diagnostics,
    sources: &SourceMap,
) {
    if !bridge.capabilities().has("gateway.warnings") {
        return;
    }
    // A warning hangs on an operation that the client has seen: that which read the flavor.
    let Some(digest) = texts::vertex(asked, found) else {
        return;
    };
    for problem in warnings.iter() {
        let mut request = request(problem.as_ref(), sources);
        request.digest.clone_from(&digest);
        bridge.warn(request).await;
    }
    for option in &asked.unknown {
        let short = format!("the option `{option}` is not known to this frontend, and was left out");
        let request = WarnRequest {
            digest: digest.clone(),
            level: 1,
            short: short.into_bytes(),
            ..WarnRequest::default()
        };
        bridge.warn(request).await;
    }
}

fn request(problem: &dyn Diagnostic, sources: &SourceMap) -> WarnRequest {
    let span = primary_span(problem);
    let file = span.and_then(|span| sources.file(span));
    let place = span.and_then(|span| sources.place(span));
    let place = place.map(|place| format!("{place}: ")).unwrap_or_default();
    WarnRequest {
        digest: String::new(),
        level: 1,
        short: format!("{place}{problem}").into_bytes(),
        detail: problem
            .help()
            .map(|help| help.to_string().into_bytes())
            .into_iter()
            .collect(),
        url: String::new(),
        info: file.map(|file| pb::SourceInfo {
            filename: file.name.to_string(),
            data: file.text.as_bytes().to_vec(),
            definition: None,
            language: "KDL".to_owned(),
        }),
        ranges: span
            .and_then(|span| {
                Some(pb::Range {
                    start: Some(position(&sources.place(span)?)),
                    end: Some(position(&sources.end_place(span)?)),
                })
            })
            .into_iter()
            .collect(),
    }
}

fn position(place: &Place) -> pb::Position {
    pb::Position {
        line: i32::try_from(place.line).unwrap_or(i32::MAX),
        character: i32::try_from(place.column - 1).unwrap_or(i32::MAX),
    }
}
