//! Host name, time zone, locales and keyboard: each said once, with the packages that they need.

use miette::Diagnostic;
use thiserror::Error;

use super::Parts;
use super::conflict::{choose, said};
use super::packages;
use crate::diagnostic::Sink;
use crate::model::{Certificate, Distro, FileBody, FileNode, HostName, Keyboard, Locale, Packages, System};
use crate::source::{Span, Spanned};

#[derive(Debug, Error, Diagnostic)]
#[error("the host name `{name}` has upper-case letters")]
#[diagnostic(
    code("kcompose::hostname::upper-case"),
    severity(Warning),
    help("write it as \"{lower}\": DNS ignores case, and some programs do not")
)]
struct UpperCase {
    name: HostName,
    lower: String,
    #[label("named here")]
    span: Span,
}

#[derive(Debug, Error, Diagnostic)]
#[error("`keyboard` has {variants} variants for {layouts}")]
#[diagnostic(
    code("kcompose::keyboard::variants"),
    help(
        "name one variant for each layout, in the same order; leave one empty where the layout has none, as in \",nodeadkeys\""
    )
)]
struct TooManyVariants {
    variants: usize,
    layouts: String,
    #[label("{layouts} here")]
    layout: Span,
    #[label(primary, "{variants} variants here")]
    variant: Span,
}

#[derive(Debug, Error, Diagnostic)]
#[error("the library does not know what `{node}` needs on `{distro}`")]
#[diagnostic(
    code("kcompose::base::node-unsupported"),
    help("take it out, or add `needed-by \"{node}\" {{ … }}` to the distro")
)]
struct Unsupported {
    node: &'static str,
    distro: String,
    #[label("asked for here")]
    span: Span,
}

#[derive(Debug, Error, Diagnostic)]
#[error("an image cannot have a file `/etc/hostname`")]
#[diagnostic(code("kcompose::files::host-name"), help("{help}"))]
struct HostNameFile {
    help: String,
    #[label("written here")]
    span: Span,
}

#[derive(Debug, Error, Diagnostic)]
#[error("`{path}` is written by `{node}` and by `files`")]
#[diagnostic(
    code("kcompose::files::written-by-node"),
    help("take one of the two out: `{node}` writes this file itself")
)]
struct WrittenByNode {
    path: String,
    node: &'static str,
    #[label("`{node}` here")]
    node_span: Span,
    #[label(primary, "and the file here")]
    file: Span,
}

/// What all documents say.
pub(super) fn compose(parts: &Parts, sink: &mut Sink) -> System {
    let host_names = said(parts, |fragment| &fragment.system.host_names);
    let time_zones = said(parts, |fragment| &fragment.system.time_zones);
    let locales = said(parts, |fragment| &fragment.system.locales);
    let keyboards = said(parts, |fragment| &fragment.system.keyboards);
    let host_name = choose("the host name", &host_names, |name| Some(name.to_string()), sink);
    let time_zone = choose("the time zone", &time_zones, |zone| Some(zone.to_string()), sink);
    let locale = choose("the locale", &locales, |locales| Some(joined(locales)), sink);
    let keyboard = choose("the keyboard", &keyboards, |_| None, sink);
    let system = System {
        host_name: host_name.map(|name| name.spanned()),
        time_zone: time_zone.map(|zone| zone.spanned()),
        locales: locale.map(|locales| each_once(locales.value)).unwrap_or_default(),
        keyboard: keyboard.map(|keyboard| keyboard.spanned()),
    };
    if let Some(name) = &system.host_name {
        check_case(name, sink);
    }
    if let Some(keyboard) = &system.keyboard {
        check_variants(&keyboard.value, sink);
    }
    system
}

fn joined(locales: &[Spanned<Locale>]) -> String {
    let names: Vec<&str> = locales.iter().map(|locale| locale.value.as_str()).collect();
    names.join(" ")
}

fn each_once(locales: &[Spanned<Locale>]) -> Vec<Spanned<Locale>> {
    let mut found: Vec<Spanned<Locale>> = Vec::new();
    for locale in locales {
        if !found.contains(locale) {
            found.push(locale.clone());
        }
    }
    found
}

fn check_case(name: &Spanned<HostName>, sink: &mut Sink) {
    let lower = name.value.as_str().to_ascii_lowercase();
    if lower != name.value.as_str() {
        sink.push(UpperCase {
            name: name.value.clone(),
            lower,
            span: name.span,
        });
    }
}

fn check_variants(keyboard: &Keyboard, sink: &mut Sink) {
    let Some(variant) = &keyboard.variant else { return };
    let (layouts, variants) = (keyboard.layout.value.each().count(), variant.value.each().count());
    if variants > layouts {
        sink.push(TooManyVariants {
            variants,
            layouts: if layouts == 1 {
                "one layout".to_owned()
            } else {
                format!("{layouts} layouts")
            },
            layout: keyboard.layout.span,
            variant: variant.span,
        });
    }
}

/// The nodes that need packages, and where they stand.
pub(super) fn needed(system: &System, certificates: &[Spanned<Certificate>]) -> Vec<(&'static str, Span)> {
    let zone = system.time_zone.as_ref().map(|zone| ("timezone", zone.span));
    let locale = system.locales.iter().find(|locale| !locale.value.is_built_in());
    let locale = locale.map(|locale| ("locale", locale.span));
    let keyboard = system
        .keyboard
        .as_ref()
        .map(|keyboard| ("keyboard", keyboard.span));
    let certificate = certificates.first().map(|first| ("certificates", first.span));
    [zone, locale, keyboard, certificate]
        .into_iter()
        .flatten()
        .collect()
}

/// Adds the packages that nodes need.
pub(super) fn add_packages(
    needed: Vec<(&'static str, Span)>,
    distro: &Distro,
    packages: &mut Packages,
    of_blocks: &Packages,
    sink: &mut Sink,
) {
    for (node, span) in needed {
        match distro.needed_by.get(node) {
            Some(names) => packages::add_needed(node, names, span, packages, of_blocks, sink),
            None => sink.push(Unsupported {
                node,
                distro: distro.id.clone(),
                span,
            }),
        }
    }
}

/// Files that a node writes.
const WRITTEN: [(&str, &str); 7] = [
    ("/etc/default/keyboard", "keyboard"),
    ("/etc/default/locale", "locale"),
    ("/etc/locale.conf", "locale"),
    ("/etc/locale.gen", "locale"),
    ("/etc/localtime", "timezone"),
    ("/etc/timezone", "timezone"),
    ("/etc/vconsole.conf", "keyboard"),
];

/// Files of the flavor that a node writes too, or that only a node may write.
pub(super) fn check_files(system: &System, files: &[Spanned<FileNode>], sink: &mut Sink) {
    for file in files {
        let path = file.value.path.value.as_str();
        if path == "/etc/hostname" {
            push_host_name(file, sink);
        }
        let node = WRITTEN
            .iter()
            .find(|(written, _)| *written == path)
            .map(|(_, node)| *node);
        let place = node.and_then(|node| match node {
            "keyboard" => system.keyboard.as_ref().map(|keyboard| keyboard.span),
            "locale" => system.locales.first().map(|locale| locale.span),
            _ => system.time_zone.as_ref().map(|zone| zone.span),
        });
        if let Some((node, node_span)) = node.zip(place) {
            sink.push(WrittenByNode {
                path: path.to_owned(),
                node,
                node_span,
                file: file.value.path.span,
            });
        }
    }
}

fn push_host_name(file: &Spanned<FileNode>, sink: &mut Sink) {
    let name = match &file.value.body {
        FileBody::Text(text) => text.trim(),
        FileBody::Directory | FileBody::Link(_) | FileBody::Copy(_) | FileBody::Download(_) => "",
    };
    let name = name
        .parse::<HostName>()
        .map_or("gateway-7".to_owned(), |name| name.to_string());
    sink.push(HostNameFile {
        help: format!(
            "to give every machine this name write the node: hostname \"{name}\"; without it each machine makes a name of its id"
        ),
        span: file.value.path.span,
    });
}
