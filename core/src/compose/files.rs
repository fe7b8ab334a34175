//! What the flavor writes itself.

use miette::Diagnostic;
use thiserror::Error;

use super::Parts;
use super::conflict::{Said, choose_each, said};
use crate::diagnostic::Sink;
use crate::model::{AbsPath, FileBody, FileNode};
use crate::source::{Span, Spanned};

#[derive(Debug, Error, Diagnostic)]
#[error("`{file}` lies below `{path}`, which is a file")]
#[diagnostic(
    code("kcompose::files::below-file"),
    help("make `{path}` a directory, or choose another path")
)]
struct BelowFile {
    file: AbsPath,
    path: AbsPath,
    #[label("a file here")]
    path_span: Span,
    #[label(primary, "below it here")]
    file_span: Span,
}

/// All entries in the order of declaration, one for each path; copies of folders may share a target.
pub(super) fn compose(parts: &Parts, sink: &mut Sink) -> Vec<Spanned<FileNode>> {
    let all = said(parts, |fragment| &fragment.files);
    let key = |file: &FileNode| match &file.body {
        FileBody::Copy(from) => (file.path.value.clone(), Some(from.value.clone())),
        FileBody::Text(_) | FileBody::Directory | FileBody::Link(_) => (file.path.value.clone(), None),
    };
    let setting = |file: &FileNode| format!("`{}`", file.path.value);
    let chosen = choose_each(all, key, setting, |_| None, sink);
    let files: Vec<Spanned<FileNode>> = chosen.iter().map(Said::spanned).collect();
    check_nesting(&files, sink);
    files
}

fn check_nesting(files: &[Spanned<FileNode>], sink: &mut Sink) {
    let leaves = files
        .iter()
        .filter(|file| matches!(file.value.body, FileBody::Text(_)));
    for leaf in leaves {
        let path = &leaf.value.path;
        let below = files.iter().filter(|file| {
            file.value.path.value != path.value && file.value.path.value.is_within(&path.value)
        });
        for file in below {
            sink.push(BelowFile {
                file: file.value.path.value.clone(),
                path: path.value.clone(),
                path_span: path.span,
                file_span: file.value.path.span,
            });
        }
    }
}
