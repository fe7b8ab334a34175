//! What the flavor writes itself.

use std::collections::BTreeMap;

use miette::Diagnostic;
use thiserror::Error;

use super::Parts;
use super::conflict::{Said, choose_each, said};
use crate::diagnostic::{Diagnostics, Sink};
use crate::model::{AbsPath, FileBody, FileNode, Flavor};
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

#[derive(Debug, Error, Diagnostic)]
#[error("`{path}` would replace the accounts that the distro and its packages make")]
#[diagnostic(
    code("kcompose::files::accounts"),
    help(
        "declare accounts in `users` and `groups`, and numbers of packages' accounts in `ids`; they are added to the tables"
    )
)]
struct ReplacesAccounts {
    path: &'static str,
    #[label(primary, "replaced here")]
    span: Span,
}

#[derive(Debug, Error, Diagnostic)]
#[error("`{path}` replaces the ranges that packages give their users")]
#[diagnostic(
    code("kcompose::files::account-ranges"),
    severity(Warning),
    help("see that it lists every user who runs containers, those of packages too")
)]
struct ReplacesRanges {
    path: &'static str,
    #[label(primary, "replaced here")]
    span: Span,
}

/// The tables of accounts (passwd(5), group(5), shadow(5), gshadow(5)).
const ACCOUNT_TABLES: [&str; 4] = ["/etc/passwd", "/etc/group", "/etc/shadow", "/etc/gshadow"];
/// Ranges of ids for user namespaces (subuid(5), subgid(5)).
const RANGES: [&str; 2] = ["/etc/subuid", "/etc/subgid"];

fn check_accounts(files: &[Spanned<FileNode>], sink: &mut Sink) {
    for file in files {
        let (text, span) = (file.value.path.value.as_str(), file.value.path.span);
        if let Some(path) = ACCOUNT_TABLES.into_iter().find(|path| *path == text) {
            sink.push(ReplacesAccounts { path, span });
        } else if let Some(path) = RANGES.into_iter().find(|path| *path == text) {
            sink.push(ReplacesRanges { path, span });
        }
    }
}

/// Tables of accounts in folders that the flavor copies. `is_there` says whether a path of the build context exists.
pub fn copied_accounts(flavor: &Flavor, is_there: &dyn Fn(&str) -> bool) -> Diagnostics {
    let mut sink = Sink::new();
    for file in &flavor.files {
        let FileBody::Copy(from) = &file.value.body else {
            continue;
        };
        for path in ACCOUNT_TABLES {
            let top = file.value.path.value.as_str().trim_end_matches('/');
            let inside = path.strip_prefix(top).filter(|inside| inside.starts_with('/'));
            if inside.is_some_and(|inside| is_there(&format!("{}{inside}", from.value.as_str()))) {
                sink.push(ReplacesAccounts {
                    path,
                    span: from.span,
                });
            }
        }
    }
    sink.into_diagnostics()
}

/// All entries in the order of declaration, one for each path; copies of folders and archives may share a target.
pub(super) fn compose(parts: &Parts, sink: &mut Sink) -> Vec<Spanned<FileNode>> {
    let all = said(parts, |fragment| &fragment.files);
    let key = |file: &FileNode| match &file.body {
        FileBody::Copy(from) => (file.path.value.clone(), Some(from.value.to_string())),
        FileBody::Download(download) if download.is_unpacked() => {
            (file.path.value.clone(), Some(download.url.value.to_string()))
        }
        FileBody::Text(_) | FileBody::Directory | FileBody::Link(_) | FileBody::Download(_) => {
            (file.path.value.clone(), None)
        }
    };
    let setting = |file: &FileNode| format!("`{}`", file.path.value);
    let chosen = choose_each(all, key, setting, |_| None, sink);
    let files: Vec<Spanned<FileNode>> = chosen.iter().map(Said::spanned).collect();
    check_nesting(&files, sink);
    check_accounts(&files, sink);
    files
}

fn check_nesting(files: &[Spanned<FileNode>], sink: &mut Sink) {
    let is_leaf = |body: &FileBody| match body {
        FileBody::Text(_) => true,
        FileBody::Download(download) => !download.is_unpacked(),
        FileBody::Directory | FileBody::Link(_) | FileBody::Copy(_) => false,
    };
    let leaves: BTreeMap<&str, Span> = files
        .iter()
        .filter(|file| is_leaf(&file.value.body))
        .map(|file| (file.value.path.value.as_str(), file.value.path.span))
        .collect();
    for file in files {
        let path = &file.value.path;
        let mut above = path.value.parent();
        while let Some(folder) = above {
            if let Some(span) = leaves.get(folder.as_str()) {
                sink.push(BelowFile {
                    file: path.value.clone(),
                    path: folder.clone(),
                    path_span: *span,
                    file_span: path.span,
                });
            }
            above = folder.parent();
        }
    }
}
