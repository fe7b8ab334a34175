//! The one kernel.

use miette::Diagnostic;
use thiserror::Error;

use super::Parts;
use super::conflict::{Said, choose, said};
use super::identity::Missing;
use crate::diagnostic::Sink;
use crate::model::{Kernel, KernelPart, PackageName};
use crate::source::{Span, Spanned};

#[derive(Debug, Error, Diagnostic)]
#[error("the kernel module `{module}` cannot be both loaded and denied")]
#[diagnostic(
    code("kcompose::compose::module"),
    help("take it out of `load` or out of `deny`")
)]
struct LoadedAndDenied {
    module: String,
    #[label("loaded here")]
    load: Span,
    #[label(primary, "denied here")]
    deny: Span,
}

#[derive(Debug, Error, Diagnostic)]
#[error("`{package}` is built beside the image and installed in it")]
#[diagnostic(
    code("kcompose::compose::dkms-twice"),
    help("take it out of `packages`: then only its modules are in the image")
)]
struct BuiltTwice {
    package: PackageName,
    #[label("installed here")]
    installed: Span,
    #[label(primary, "built here")]
    built: Span,
}

/// All `kernel` nodes: one package; arguments and modules add up.
pub(super) fn compose(parts: &Parts, sink: &mut Sink) -> Option<Spanned<Kernel>> {
    let all = said(parts, |fragment| &fragment.kernels);
    let packages: Vec<_> = all
        .iter()
        .filter_map(|kernel| kernel.part(|part| part.package.as_ref()))
        .collect();
    let versions: Vec<_> = all
        .iter()
        .filter_map(|kernel| kernel.part(|part| part.version.as_ref()))
        .collect();
    if packages.is_empty() && (parts.lacks("kernel") || (parts.complete && !all.is_empty())) {
        let line = "kernel \"linux-image-cloud-amd64\"";
        let document = all.first().map_or(parts.root(), |kernel| kernel.span);
        sink.push(Missing {
            node: "kernel",
            line,
            document,
        });
    }
    let package = choose("the kernel", &packages, |name| Some(name.to_string()), sink)?;
    let version = choose(
        "the kernel's version",
        &versions,
        |version| Some(version.to_string()),
        sink,
    );
    let kernel = Kernel {
        package: package.spanned(),
        version: version.map(|version| version.spanned()),
        cmdline: each(&all, |part| &part.cmdline),
        load: each(&all, |part| &part.load),
        deny: each(&all, |part| &part.deny),
        dkms: each(&all, |part| &part.dkms),
    };
    check_modules(&kernel, sink);
    check_dkms(parts, &kernel, sink);
    Some(Spanned::new(kernel, package.span))
}

/// What all parts list, in order, each once.
fn each<T: Clone + PartialEq>(
    all: &[Said<'_, KernelPart>],
    list: impl Fn(&KernelPart) -> &Vec<Spanned<T>>,
) -> Vec<Spanned<T>> {
    let mut found: Vec<Spanned<T>> = Vec::new();
    for item in all.iter().flat_map(|part| list(part.value)) {
        if !found.contains(item) {
            found.push(item.clone());
        }
    }
    found
}

/// What is built beside the image must not be in it, too.
fn check_dkms(parts: &Parts, kernel: &Kernel, sink: &mut Sink) {
    let requests = said(parts, |fragment| &fragment.packages.requests);
    for package in &kernel.dkms {
        if let Some(request) = requests
            .iter()
            .find(|request| request.value.name == package.value)
        {
            sink.push(BuiltTwice {
                package: package.value.clone(),
                installed: request.span,
                built: package.span,
            });
        }
    }
}

fn check_modules(kernel: &Kernel, sink: &mut Sink) {
    // The kernel takes `-` and `_` in a module's name as the same.
    let same = |a: &str, b: &str| a.replace('-', "_") == b.replace('-', "_");
    for load in &kernel.load {
        if let Some(deny) = kernel.deny.iter().find(|deny| same(&deny.value, &load.value)) {
            sink.push(LoadedAndDenied {
                module: load.value.clone(),
                load: load.span,
                deny: deny.span,
            });
        }
    }
}
