//! What the chosen runtime needs of the distro, and what it cannot give.

use miette::Diagnostic;
use thiserror::Error;

use crate::diagnostic::{Sink, did_you_mean};
use crate::kairos::release::{MODELS, kept_words};
use crate::model::{
    Architecture, Distro, FileBody, FileNode, Kairos, OnArchitecture, OnMissing, PackageName, Rank, Runtime,
    RuntimeNeeds, StockPackage,
};
use crate::source::{Span, Spanned};

use super::conflict::said;
use super::{Parts, kubernetes};

#[derive(Debug, Error, Diagnostic)]
#[error("the library does not know what runtime `immucore` needs on `{distro}`")]
#[diagnostic(
    code("kcompose::kairos::runtime-unsupported"),
    help("use runtime \"systemd\", or another base")
)]
struct NotForDistro {
    distro: String,
    #[label("asked for here")]
    span: Span,
}

#[derive(Debug, Error, Diagnostic)]
#[error("runtime `immucore` does not work without `{package}`")]
#[diagnostic(
    code("kcompose::kairos::required-package"),
    help("take this line out: Kairos needs {why}")
)]
struct RequiredPackage {
    package: PackageName,
    why: String,
    #[label("excluded here")]
    span: Span,
}

#[derive(Debug, Error, Diagnostic)]
#[error("no image of {distro} works without `{package}`")]
#[diagnostic(code("kcompose::compose::needed-package"), help("{help}"))]
struct NeededPackage {
    package: PackageName,
    distro: String,
    help: String,
    #[label("excluded here")]
    span: Span,
}

#[derive(Debug, Error, Diagnostic)]
#[error("a trusted boot cannot be built")]
#[diagnostic(
    code("kcompose::kairos::trusted-boot"),
    help(
        "take `trusted-boot` out: the image boots with shim and GRUB; a signed unified kernel image is made from an image that has no initrd, which this version does not build"
    )
)]
struct NoTrustedBoot {
    #[label("asked for here")]
    span: Span,
}

#[derive(Debug, Error, Diagnostic)]
#[error("`{distro}` has no cryptography by FIPS 140")]
#[diagnostic(
    code("kcompose::kairos::fips"),
    help(
        "take `fips` out: no kernel and no libraries of this distro are validated, so the image would only claim to be"
    )
)]
struct NoFips {
    distro: String,
    #[label("asked for here")]
    span: Span,
}

#[derive(Debug, Error, Diagnostic)]
#[error("Kairos knows no model `{model}`")]
#[diagnostic(code("kcompose::kairos::unknown-model"), help("{help}"))]
struct UnknownModel {
    model: String,
    help: String,
    #[label("unknown")]
    span: Span,
}

#[derive(Debug, Error, Diagnostic)]
#[error("the model `{model}` is a machine of arm64, and the image is for {architecture}")]
#[diagnostic(
    code("kcompose::kairos::model-architecture"),
    help("build with `--platform linux/arm64`, or use the model \"generic\"")
)]
struct ModelOfArm {
    model: String,
    architecture: Architecture,
    #[label("this machine")]
    span: Span,
}

#[derive(Debug, Error, Diagnostic)]
#[error("`PRETTY_NAME` of `{path}` lacks the word `{word}`")]
#[diagnostic(
    code("kcompose::kairos::pretty-name"),
    help(
        "keep the word, as in PRETTY_NAME=\"Acme OS 1 ({word})\": Kairos' steps find their distro by it, and would not run"
    )
)]
struct LostWord {
    path: String,
    word: &'static str,
    #[label("written here")]
    span: Span,
}

#[derive(Debug, Error, Diagnostic)]
#[error("immucore cannot reboot when `{label}` is missing")]
#[diagnostic(
    code("kcompose::layout::immucore-on-missing"),
    help("take this line out: immucore goes on without a partition that it cannot mount")
)]
struct CannotReboot {
    label: String,
    #[label("asked for here")]
    span: Span,
}

/// Judges what is asked of the runtime, and adds what it needs to the distro's data.
pub(super) fn apply(
    parts: &Parts,
    kairos: &mut Kairos,
    distro: &mut Distro,
    files: &[Spanned<FileNode>],
    sink: &mut Sink,
) {
    check_promises(kairos, distro, sink);
    if parts.complete {
        check_model(kairos, parts.architecture, sink);
    }
    kubernetes::apply(parts, kairos, distro, sink);
    let needs = match kairos.runtime() {
        Runtime::Systemd => distro.systemd.clone(),
        Runtime::Immucore => {
            apply_immucore(parts, kairos, distro, files, sink);
            distro.immucore.clone()
        }
    };
    add_needs(distro, &needs, parts.architecture);
    leave_out(parts, distro, &needs, sink);
}

fn apply_immucore(
    parts: &Parts,
    kairos: &mut Kairos,
    distro: &Distro,
    files: &[Spanned<FileNode>],
    sink: &mut Sink,
) {
    let span = kairos.runtime.as_ref().map_or(Span::NONE, |runtime| runtime.span);
    if distro.immucore.packages.is_empty() {
        sink.push(NotForDistro {
            distro: distro.id.clone(),
            span,
        });
    }
    check_names(distro, files, sink);
    check_on_missing(parts, sink);
    if kairos.from.is_none() {
        kairos.from = distro
            .immucore
            .source
            .clone()
            .map(|source| Spanned::new(source, span));
    }
}

/// Adds what a runtime needs to what images of the distro have.
fn add_needs(distro: &mut Distro, needs: &RuntimeNeeds, architecture: Architecture) {
    let here = |package: &&OnArchitecture| package.only.is_none_or(|only| only == architecture);
    let rank = |name: &PackageName| {
        let is_required = needs.required.iter().any(|(required, _)| required == name);
        if is_required { Rank::Needed } else { Rank::Default }
    };
    for package in needs.core_packages.iter().filter(here) {
        let known = take(&mut distro.packages, &package.name);
        let known = known.or_else(|| take(&mut distro.core_packages, &package.name));
        distro
            .core_packages
            .push(joined(known, package, rank(&package.name)));
    }
    for package in needs.packages.iter().filter(here) {
        let rank = rank(&package.name);
        if let Some(known) = distro
            .core_packages
            .iter_mut()
            .find(|known| known.name == package.name)
        {
            known.rank = known.rank.min(rank);
            continue;
        }
        let known = take(&mut distro.packages, &package.name);
        distro.packages.push(joined(known, package, rank));
    }
    distro.services.extend(needs.services.clone());
    distro.directories.extend(needs.directories.clone());
}

fn take(packages: &mut Vec<StockPackage>, name: &PackageName) -> Option<StockPackage> {
    let at = packages.iter().position(|package| package.name == *name)?;
    Some(packages.remove(at))
}

/// A package that both the distro and a runtime may name is needed if one of them needs it.
fn joined(known: Option<StockPackage>, package: &OnArchitecture, rank: Rank) -> StockPackage {
    let mut joined = known.unwrap_or_else(|| StockPackage::new(package.name.clone(), rank, package.span));
    joined.rank = joined.rank.min(rank);
    joined
}

/// Takes out the default packages that the flavor excludes; to exclude a needed one is an error.
fn leave_out(parts: &Parts, distro: &mut Distro, needs: &RuntimeNeeds, sink: &mut Sink) {
    let excluded = said(parts, |fragment| &fragment.packages.without);
    let is_excluded = |name: &PackageName| excluded.iter().any(|excluded| excluded.value == name);
    let defaults: Vec<String> = distro
        .stock_packages()
        .filter(|package| package.rank == Rank::Default)
        .map(|package| format!("`{}`", package.name))
        .take(8)
        .collect();
    let defaults = defaults.join(", ");
    for list in [&mut distro.core_packages, &mut distro.packages] {
        list.retain(|package| package.rank == Rank::Needed || !is_excluded(&package.name));
    }
    for package in &excluded {
        if let Some((name, why)) = needs.required.iter().find(|(name, _)| name == package.value) {
            sink.push(RequiredPackage {
                package: name.clone(),
                why: why.clone(),
                span: package.span,
            });
        } else if distro.stock_packages().any(|stock| stock.name == *package.value) {
            sink.push(NeededPackage {
                package: package.value.clone(),
                distro: format!("{} {}", distro.id, distro.release),
                help: format!(
                    "take this line out; packages of the distro that can be excluded are {defaults}"
                ),
                span: package.span,
            });
        }
    }
}

/// What would be a lie if it were dropped.
fn check_promises(kairos: &Kairos, distro: &Distro, sink: &mut Sink) {
    if let Some(asked) = kairos.trusted_boot.as_ref().filter(|asked| asked.value) {
        sink.push(NoTrustedBoot { span: asked.span });
    }
    if let Some(asked) = kairos.fips.as_ref().filter(|asked| asked.value) {
        sink.push(NoFips {
            distro: distro.id.clone(),
            span: asked.span,
        });
    }
}

fn check_model(kairos: &Kairos, architecture: Architecture, sink: &mut Sink) {
    let Some(model) = &kairos.model else { return };
    if !MODELS.contains(&model.value.as_str()) {
        let help = did_you_mean(&model.value, MODELS, || {
            format!("models are {}", MODELS.join(", "))
        });
        sink.push(UnknownModel {
            model: model.value.clone(),
            help,
            span: model.span,
        });
    } else if model.value != "generic" && architecture != Architecture::Arm64 {
        sink.push(ModelOfArm {
            model: model.value.clone(),
            architecture,
            span: model.span,
        });
    }
}

/// Names of the image that a file of the flavor changes.
fn check_names(distro: &Distro, files: &[Spanned<FileNode>], sink: &mut Sink) {
    for file in files {
        let path = file.value.path.value.as_str();
        let FileBody::Text(text) = &file.value.body else {
            continue;
        };
        if !matches!(path, "/etc/os-release" | "/usr/lib/os-release") {
            continue;
        }
        if let Some(word) = kept_words(&distro.id).filter(|word| !pretty_name(text).contains(*word)) {
            sink.push(LostWord {
                path: path.to_owned(),
                word,
                span: file.span,
            });
        }
    }
}

fn pretty_name(text: &str) -> &str {
    text.lines()
        .find_map(|line| line.strip_prefix("PRETTY_NAME="))
        .unwrap_or_default()
}

fn check_on_missing(parts: &Parts, sink: &mut Sink) {
    for rule in said(parts, |fragment| &fragment.layout.on_missing) {
        if rule.value.then == OnMissing::Reboot {
            sink.push(CannotReboot {
                label: rule.value.label.clone(),
                span: rule.span,
            });
        }
    }
}
