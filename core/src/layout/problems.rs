//! What can be wrong with a layout by itself.

use miette::Diagnostic;
use thiserror::Error;

use crate::source::Span;

#[derive(Debug, Error, Diagnostic)]
#[error("`{path}` cannot be in the layout: it has the character {character:?}")]
#[diagnostic(
    code("kcompose::layout::character"),
    help("paths of the layout have letters, digits and `._+@%~-`: lists of mounts cannot hold others")
)]
pub(super) struct ForeignCharacter {
    pub(super) path: String,
    pub(super) character: char,
    #[label("said here")]
    pub(super) span: Span,
}

#[derive(Debug, Error, Diagnostic)]
#[error("`{path}` and `{other}` would be kept in one directory, `{name}`")]
#[diagnostic(
    code("kcompose::layout::same-state"),
    help("the directory's name has dashes for slashes, as in Kairos; rename one of the two paths")
)]
pub(super) struct SameState {
    pub(super) path: String,
    pub(super) other: String,
    pub(super) name: String,
    #[label("said here")]
    pub(super) span: Span,
}

#[derive(Debug, Error, Diagnostic)]
#[error("persistent `{path}` has no label")]
#[diagnostic(
    code("kcompose::layout::no-label"),
    help("name the file system's label, as in label=\"DATA\"")
)]
pub(super) struct NoLabel {
    pub(super) path: String,
    #[label("on which partition?")]
    pub(super) span: Span,
}

#[derive(Debug, Error, Diagnostic)]
#[error("label `{label}` belongs to `{wanted}`")]
#[diagnostic(code("kcompose::layout::label-taken"), help("{help}"))]
pub(super) struct LabelTaken {
    pub(super) label: String,
    pub(super) wanted: String,
    pub(super) help: String,
    #[label("said here")]
    pub(super) span: Span,
}

#[derive(Debug, Error, Diagnostic)]
#[error("there is nothing to keep `{path}` on")]
#[diagnostic(
    code("kcompose::layout::no-state"),
    help(
        "kept paths live on the partition COS_PERSISTENT: persistent \"/usr/local\" label=\"COS_PERSISTENT\""
    )
)]
pub(super) struct NoState {
    pub(super) path: String,
    #[label("kept here")]
    pub(super) span: Span,
}

#[derive(Debug, Error, Diagnostic)]
#[error("no image boots without a writable `{path}`")]
#[diagnostic(
    code("kcompose::layout::needed"),
    help(
        "it must be {class}: take this line out; directories below it can be kept: keep \"/etc/gateway\" \"/var/lib/gateway\""
    )
)]
pub(super) struct Needed {
    pub(super) path: &'static str,
    pub(super) class: &'static str,
    #[label("taken out here")]
    pub(super) span: Span,
}

#[derive(Debug, Error, Diagnostic)]
#[error("immucore mounts the partition `{label}` read-only at `{path}`")]
#[diagnostic(
    code("kcompose::layout::immucore-partition"),
    help("keep the path on COS_PERSISTENT instead: keep \"{path}\"; or use runtime \"systemd\"")
)]
pub(super) struct NotByImmucore {
    pub(super) path: String,
    pub(super) label: String,
    #[label("said here")]
    pub(super) span: Span,
}

#[derive(Debug, Error, Diagnostic)]
#[error("immucore cannot keep `{path}` read-only below a path that is ephemeral")]
#[diagnostic(
    code("kcompose::layout::immucore-read-only"),
    help("put what must not change below /usr; or use runtime \"systemd\"")
)]
pub(super) struct Writable {
    pub(super) path: String,
    #[label("said here")]
    pub(super) span: Span,
}
