//! A distro of the library: its documents into a [`Distro`].
//!
//! `distro.kdl` and the document of the release are read with a table of their own; what both say adds up.

mod nodes;

use std::collections::BTreeMap;

use kcompose_core::diagnostic::{Diagnostics, Sink, did_you_mean};
use kcompose_core::layout::systemd::initrd_recipe;
use kcompose_core::model::{Base, Distro};
use kcompose_core::source::{SourceMap, Span, Spanned};
use kcompose_core::step::InlineFile;
use miette::Diagnostic;
use thiserror::Error;

use crate::check::{check_document, listed};
use crate::schema::NodeSpec;
use crate::syntax::{self, Parsed};

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

/// Documents of the library by path, parsed before it is known whether they are needed.
#[derive(Debug, Default)]
pub(crate) struct Ahead(BTreeMap<&'static str, Parsed>);

impl Ahead {
    /// Parses what a flavor with this text may build on: the distros that it names, with the releases that it names or
    /// all of them. Parsing is what reading a flavor costs, so it is done beside the flavor's own.
    pub(crate) fn of(text: &str) -> Self {
        let named = |name: &str| text.contains(name);
        let mut documents = BTreeMap::new();
        for distro in kcompose_library::distros() {
            if !named(distro.name) {
                continue;
            }
            documents.insert(distro.path, Parsed::of(distro.text));
            let any = distro.releases.iter().any(|release| named(release.name));
            let wanted = distro
                .releases
                .iter()
                .filter(|release| !any || named(release.name));
            documents.extend(wanted.map(|release| (release.path, Parsed::of(release.text))));
        }
        Ahead(documents)
    }
}

/// The data of the distro and release that a flavor builds on.
pub(crate) fn distro(
    sources: &mut SourceMap,
    base: &Spanned<Base>,
    ahead: &Ahead,
) -> Result<Distro, Diagnostics> {
    let wanted = &base.value.distro;
    let Some(found) = kcompose_library::distro(&wanted.value) else {
        return Err(unknown_distro(wanted).into());
    };
    let mut sink = Sink::new();
    let mut draft = Draft::new(found.name);
    read(sources, (found.path, found.text), ahead, &mut draft, &mut sink);
    let name = base
        .value
        .release
        .as_ref()
        .map_or(draft.default_release.as_str(), |release| &release.value);
    let Some(release) = found.releases.iter().find(|release| release.name == name) else {
        let span = base
            .value
            .release
            .as_ref()
            .map_or(wanted.span, |release| release.span);
        return Err(unknown_release(&found, name, span).into());
    };
    draft.distro.span = read(
        sources,
        (release.path, release.text),
        ahead,
        &mut draft,
        &mut sink,
    );
    let mut distro = draft.finish(&base.value);
    distro.immucore.initrd_files.extend(release_module());
    let texts = |path: &str| kcompose_library::file(&format!("runtime/systemd/{path}"));
    match initrd_recipe(&texts, release.name) {
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

fn unknown_distro(wanted: &Spanned<String>) -> UnknownDistro {
    let distros = kcompose_library::distros();
    let names: Vec<&str> = distros.iter().map(|distro| distro.name).collect();
    let help = did_you_mean(&wanted.value, &names, || {
        format!("distros of the library: {}", listed(&names))
    });
    UnknownDistro {
        name: wanted.value.clone(),
        help,
        span: wanted.span,
    }
}

fn unknown_release(distro: &kcompose_library::Distro, name: &str, span: Span) -> UnknownRelease {
    let names: Vec<&str> = distro.releases.iter().map(|release| release.name).collect();
    let known = format!("releases of `{}` are {}", distro.name, listed(&names));
    let near = did_you_mean(name, &names, String::new);
    let help = if near.is_empty() {
        known
    } else {
        format!("{near} {known}")
    };
    UnknownRelease {
        distro: distro.name.to_owned(),
        release: name.to_owned(),
        help,
        span,
    }
}

/// Reads one document into the draft; its span.
fn read(
    sources: &mut SourceMap,
    (path, text): (&'static str, &str),
    ahead: &Ahead,
    draft: &mut Draft,
    sink: &mut Sink,
) -> Span {
    let file = sources.add(format!("library:{path}"), text).clone();
    let parsed = ahead.0.get(path);
    let document = match parsed.map_or_else(|| syntax::parse(&file), |parsed| parsed.document(&file)) {
        Ok(document) => document,
        Err(problems) => {
            sink.extend(problems);
            return file.whole();
        }
    };
    let table: Vec<&'static NodeSpec> = ALL.iter().map(|section| &section.spec).collect();
    check_document(&document.nodes, &table, sink);
    for node in &document.nodes {
        if let Some(section) = ALL.iter().find(|section| section.spec.name == node.name.value) {
            (section.lower)(node, draft);
        }
    }
    file.whole()
}
