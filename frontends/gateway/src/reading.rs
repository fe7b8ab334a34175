//! Definitions that do nothing but read: a folder of the client's, a file from a web server.

use kcompose_core::llb::{ARCHIVE, Definition, Folder, Graph, Http, Image, Meta, Platform, Selection};
use kcompose_core::source::SourceMap;

use crate::asked::Asked;

/// Some paths of a folder.
pub(crate) fn paths(
    folder: &Folder,
    asked: &Asked,
    paths: &[String],
    ignored: &[String],
    why: &str,
) -> Definition {
    let hint = match folder {
        Folder::Local { name, .. } => Some(format!("{name}:{}", asked.file)),
        Folder::Git { .. } | Folder::Archive { .. } | Folder::Image(_) | Folder::Made(_) => None,
    };
    let wanted = Selection {
        paths,
        exclude: ignored,
        hint,
    };
    let mut graph = Graph::new();
    let output = graph.folder(
        folder,
        &wanted,
        Meta::named(format!("{why} {}", paths.join(", "))),
    );
    graph.definition(Some(output), &SourceMap::new())
}

/// A file from a web server, with its name in the result; by its sha256 if that is known.
pub(crate) fn web(url: &str, sha256: Option<&str>) -> (Definition, &'static str) {
    let http = Http {
        url: url.to_owned(),
        checksum: sha256.map(|sha256| format!("sha256:{sha256}")),
        filename: Some(ARCHIVE.to_owned()),
        ..Http::default()
    };
    let mut graph = Graph::new();
    let output = graph.http(&http, Meta::named(format!("read {url}")));
    (graph.definition(Some(output), &SourceMap::new()), ARCHIVE)
}

/// The file system of an image.
pub(crate) fn image(reference: &str, architecture: &str) -> Definition {
    let mut graph = Graph::for_platform(Platform::linux(architecture));
    let image = Image {
        reference: reference.to_owned(),
    };
    let output = graph.image(&image, Meta::named(format!("read {reference}")));
    graph.definition(Some(output), &SourceMap::new())
}
