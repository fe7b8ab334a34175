//! A distro of the library: its documents into a [`Distro`].
//!
//! `distro.kdl` and the document of the release are read with a table of their own; what both say adds up.

mod nodes;
mod runtime;
mod secrets;

use kcompose_core::diagnostic::{Diagnostics, Sink, did_you_mean};
use kcompose_core::layout::systemd::initrd_recipe;
use kcompose_core::model::{Base, Distro};
use kcompose_core::packages::deb::signature::Keyring;
use kcompose_core::source::{SourceMap, Span, Spanned};
use kcompose_core::step::InlineFile;
use miette::Diagnostic;
use thiserror::Error;

use crate::check::{check_document, listed};
use crate::load::{LoadError, Loader, REPLACED};
use crate::schema::NodeSpec;
use crate::syntax;

pub(crate) use nodes::{ALL, Draft};

#[derive(Debug, Error, Diagnostic)]
#[error("the library has no distro `{name}`")]
#[diagnostic(code("kcompose::base::unknown-distro"), help("{help}"))]
struct UnknownDistro {
    name: String,
    help: String,
    #[label("unknown")]
    span: Span,
}

#[derive(Debug, Error, Diagnostic)]
#[error("`{distro}` has no release `{release}`")]
#[diagnostic(code("kcompose::base::unknown-release"), help("{help}"))]
struct UnknownRelease {
    distro: String,
    release: String,
    help: String,
    #[label("unknown")]
    span: Span,
}

#[derive(Debug, Error, Diagnostic)]
#[error("there is no `{file}` in the folder that stands for the distro `{name}`")]
#[diagnostic(
    code("kcompose::base::no-document"),
    help("it needs a `distro.kdl` and a document for each release, as the library has them")
)]
struct NoDocument {
    name: String,
    file: String,
    #[label("asked for here")]
    span: Span,
}

#[derive(Debug, Error, Diagnostic)]
#[error("there is no text file `{path}` in the folder of the distro")]
#[diagnostic(
    code("kcompose::base::no-file"),
    help("paths are relative to the distro's folder")
)]
struct NoFile {
    path: String,
    #[label("named here")]
    span: Span,
}

#[derive(Debug, Error, Diagnostic)]
#[error("the initrd of this release is not described: {reason}")]
#[diagnostic(
    code("kcompose::library::initrd"),
    help("this is a mistake of the library; please report it")
)]
struct NoInitrd {
    reason: String,
    #[label("this release")]
    release: Span,
}

/// What reports call a file of the library.
fn in_library(path: &str) -> String {
    format!("library:{path}")
}

/// Where the folder of a distro is: in the library, or in its place.
pub(crate) struct Shelf<'a, 'l> {
    /// Whether a folder takes the place of the library's.
    pub(crate) replaced: bool,
    /// Gives the files of that folder.
    pub(crate) loader: &'a mut Loader<'l>,
}

impl Shelf<'_, '_> {
    /// A file of a distro's folder, with the name that reports print.
    fn file(&mut self, distro: &str, path: &str) -> Option<(String, String)> {
        if self.replaced {
            let name = format!("{REPLACED}{distro}/{path}");
            let text = match (self.loader)(&name) {
                // Keys may come as `gpg --export` writes them.
                Err(LoadError::NotText(bytes)) => Keyring::of_file(&bytes).ok().map(|keys| keys.armored()),
                other => other.ok(),
            };
            return text.map(|text| (name, text));
        }
        let path = format!("distros/{distro}/{path}");
        kcompose_library::file(&path).map(|text| (in_library(&path), text.to_owned()))
    }

    /// What is wrong when a document of a distro is not there.
    fn no_document(&self, distro: &str, file: &str, span: Span) -> Diagnostics {
        if self.replaced {
            return NoDocument {
                name: distro.to_owned(),
                file: file.to_owned(),
                span,
            }
            .into();
        }
        let is_known = kcompose_library::distros()
            .iter()
            .any(|known| known.name == distro);
        match file.strip_suffix(".kdl") {
            Some(release) if is_known => unknown_release(distro, release, span).into(),
            _ => unknown_distro(distro, span).into(),
        }
    }
}

/// The data of the distro and release that a flavor builds on.
pub(crate) fn distro(
    sources: &mut SourceMap,
    base: &Spanned<Base>,
    shelf: &mut Shelf<'_, '_>,
) -> Result<Distro, Diagnostics> {
    let wanted = &base.value.distro;
    let Some((path, text)) = shelf.file(&wanted.value, "distro.kdl") else {
        return Err(shelf.no_document(&wanted.value, "distro.kdl", wanted.span));
    };
    let mut sink = Sink::new();
    let mut draft = Draft::new(&wanted.value);
    read(sources, (path, text), &mut draft, shelf, &mut sink);
    let name = base.value.release.as_ref();
    let name = name.map_or_else(|| draft.default_release.clone(), |release| release.value.clone());
    // The document of all releases is none of them.
    let document = Some(&name).filter(|name| *name != "distro");
    let document = document.and_then(|name| shelf.file(&wanted.value, &format!("{name}.kdl")));
    let Some(document) = document else {
        let span = base
            .value
            .release
            .as_ref()
            .map_or(wanted.span, |release| release.span);
        return Err(shelf.no_document(&wanted.value, &format!("{name}.kdl"), span));
    };
    draft.distro.span = read(sources, document, &mut draft, shelf, &mut sink);
    let mut distro = draft.finish(&base.value);
    distro.immucore.initrd_files.extend(release_module());
    let texts = |path: &str| kcompose_library::file(&format!("runtime/systemd/{path}"));
    match initrd_recipe(&texts, &name) {
        Ok(recipe) => distro.initrd = recipe,
        Err(problem) => sink.push(NoInitrd {
            reason: problem.to_string(),
            release: distro.span,
        }),
    }
    sink.finish(distro).map(|distro| distro.value)
}

/// Our module of dracut. It comes after `99base`, which writes the file that it changes.
fn release_module() -> Option<InlineFile> {
    let text = kcompose_library::file("runtime/immucore/release-module.sh")?;
    Some(InlineFile {
        path: "/usr/lib/dracut/modules.d/99kcompose/module-setup.sh".to_owned(),
        mode: 0o755,
        text: text.to_owned(),
    })
}

fn unknown_distro(wanted: &str, span: Span) -> UnknownDistro {
    let distros = kcompose_library::distros();
    let names: Vec<&str> = distros.iter().map(|distro| distro.name).collect();
    let help = did_you_mean(wanted, &names, || {
        format!("distros of the library: {}", listed(&names))
    });
    UnknownDistro {
        name: wanted.to_owned(),
        help,
        span,
    }
}

fn unknown_release(distro: &str, name: &str, span: Span) -> UnknownRelease {
    let releases = kcompose_library::distro(distro).map(|distro| distro.releases);
    let names: Vec<&str> = releases.iter().flatten().map(|release| release.name).collect();
    let known = format!("releases of `{distro}` are {}", listed(&names));
    let near = did_you_mean(name, &names, String::new);
    let help = if near.is_empty() {
        known
    } else {
        format!("{near} {known}")
    };
    UnknownRelease {
        distro: distro.to_owned(),
        release: name.to_owned(),
        help,
        span,
    }
}

/// Reads one document into the draft; its span.
fn read(
    sources: &mut SourceMap,
    (name, text): (String, String),
    draft: &mut Draft,
    shelf: &mut Shelf<'_, '_>,
    sink: &mut Sink,
) -> Span {
    let file = sources.add(name, text).clone();
    let document = match syntax::parse_library(&file) {
        Ok(document) => document,
        Err(problems) => {
            sink.extend(problems);
            return file.whole();
        }
    };
    let table: Vec<&'static NodeSpec> = ALL.iter().map(|section| &section.spec).collect();
    check_document(&document.nodes, &table, sink);
    let id = draft.distro.id.clone();
    draft.texts.clear();
    for path in nodes::named_files(&document.nodes) {
        match shelf.file(&id, &path.value) {
            Some((_, text)) => drop(draft.texts.insert(path.value, text)),
            None => sink.push(NoFile {
                path: path.value,
                span: path.span,
            }),
        }
    }
    for node in &document.nodes {
        if let Some(section) = ALL.iter().find(|section| section.spec.name == node.name.value) {
            (section.lower)(node, draft);
        }
    }
    file.whole()
}
