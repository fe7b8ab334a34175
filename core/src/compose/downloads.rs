//! Files from web servers: what can be said about them without fetching them.

use miette::Diagnostic;
use thiserror::Error;

use crate::diagnostic::Sink;
use crate::model::{AbsPath, Download, FileBody, FileNode, Url};
use crate::source::{Span, Spanned};

#[derive(Debug, Error, Diagnostic)]
#[error("the download of `{url}` has no checksum")]
#[diagnostic(
    code("kcompose::download::no-checksum"),
    help(
        "add sha256=\"…\" with the digits that its project publishes, or that this command prints: curl -fsSL '{url}' | sha256sum"
    )
)]
struct NoChecksum {
    url: Url,
    #[label("no `sha256=`")]
    span: Span,
}

#[derive(Debug, Error, Diagnostic)]
#[error("`{property}=` is for {what}")]
#[diagnostic(code("kcompose::download::property"), help("{help}"))]
struct Misplaced {
    property: &'static str,
    what: &'static str,
    help: &'static str,
    #[label("not used here")]
    span: Span,
}

#[derive(Debug, Error, Diagnostic)]
#[error("`{name}` cannot be unpacked")]
#[diagnostic(
    code("kcompose::download::format"),
    help(
        "name a tar archive (.tar, .tar.gz, .tar.xz or .tar.zst), or take `unpack` out and unpack it in a `run` step"
    )
)]
struct Format {
    name: String,
    #[label("this format is not read")]
    span: Span,
}

#[derive(Debug, Error, Diagnostic)]
#[error("`{name}` is an archive, and becomes the file `{path}` as it is")]
#[diagnostic(
    code("kcompose::download::not-unpacked"),
    severity(Warning),
    help("add unpack=#true to put its contents into the directory `{path}`")
)]
struct NotUnpacked {
    name: String,
    path: AbsPath,
    #[label("not unpacked")]
    span: Span,
}

/// Names of archives that are unpacked, and of some that are not.
const TAR: [&str; 7] = [".tar", ".tar.gz", ".tgz", ".tar.xz", ".txz", ".tar.zst", ".tzst"];
const OTHER: [&str; 8] = [".zip", ".7z", ".rar", ".bz2", ".tbz", ".tbz2", ".deb", ".rpm"];

/// Looks at every download among the files.
pub(super) fn check(files: &[Spanned<FileNode>], sink: &mut Sink) {
    for file in files {
        if let FileBody::Download(download) = &file.value.body {
            check_one(&file.value, download, sink);
        }
    }
}

fn check_one(file: &FileNode, download: &Download, sink: &mut Sink) {
    let url = &download.url;
    if download.sha256.is_none() {
        sink.push(NoChecksum {
            url: url.value.clone(),
            span: url.span,
        });
    }
    let name = url.value.file_name();
    let name = name.split(['?', '#']).next().unwrap_or_default();
    let is = |endings: &[&str]| {
        endings
            .iter()
            .any(|ending| name.to_ascii_lowercase().ends_with(ending))
    };
    if download.is_unpacked() {
        if let Some(mode) = &file.mode {
            sink.push(Misplaced {
                property: "mode",
                what: "one file",
                help: "take it out: what is unpacked has the modes of the archive",
                span: mode.span,
            });
        }
        if is(&OTHER) {
            sink.push(Format {
                name: name.to_owned(),
                span: url.span,
            });
        }
        return;
    }
    if let Some(strip) = &download.strip {
        sink.push(Misplaced {
            property: "strip",
            what: "archives that are unpacked",
            help: "add unpack=#true, or take it out",
            span: strip.span,
        });
    }
    let path = &file.path.value;
    if is(&TAR) && !TAR.iter().any(|ending| path.as_str().ends_with(ending)) {
        sink.push(NotUnpacked {
            name: name.to_owned(),
            path: path.clone(),
            span: url.span,
        });
    }
}
