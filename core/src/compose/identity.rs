//! Who the image is, and what it builds on.

use miette::Diagnostic;
use thiserror::Error;

use super::Parts;
use super::conflict::{choose, said};
use crate::diagnostic::Sink;
use crate::model::{Base, Identity};
use crate::source::{Span, Spanned};

#[derive(Debug, Error, Diagnostic)]
#[error("the node `{node}` is missing")]
#[diagnostic(code("kcompose::compose::missing"), help("add the line: {line}"))]
pub(super) struct Missing {
    pub(super) node: &'static str,
    pub(super) line: &'static str,
    #[label("in this document, or in one that it uses")]
    pub(super) document: Span,
}

/// The one `flavor` node.
pub(super) fn compose(parts: &Parts, sink: &mut Sink) -> Option<Identity> {
    let all = said(parts, |fragment| &fragment.identities);
    if all.is_empty() && parts.lacks("flavor") {
        let line = "flavor \"my-flavor\" version=\"1.0.0\"";
        sink.push(Missing {
            node: "flavor",
            line,
            document: parts.root(),
        });
    }
    let show = |identity: &Identity| Some(format!("{} {}", identity.name.value, identity.version.value));
    choose("the flavor", &all, show, sink).map(|chosen| chosen.value.clone())
}

/// The one `base` node.
pub(super) fn base(parts: &Parts, sink: &mut Sink) -> Option<Spanned<Base>> {
    let all = said(parts, |fragment| &fragment.bases);
    if all.is_empty() && parts.lacks("base") {
        let line = "base \"debian\" release=\"trixie\"";
        sink.push(Missing {
            node: "base",
            line,
            document: parts.root(),
        });
    }
    let show = |base: &Base| {
        let release = base
            .release
            .as_ref()
            .map(|release| format!(" {}", release.value))
            .unwrap_or_default();
        Some(format!("{}{release}", base.distro.value))
    };
    choose("the base", &all, show, sink).map(|chosen| chosen.spanned())
}
