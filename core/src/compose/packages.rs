//! Packages and their sources.

use std::collections::{BTreeMap, BTreeSet};

use miette::Diagnostic;
use thiserror::Error;

use super::Parts;
use super::conflict::{Said, choose, choose_each, said};
use crate::diagnostic::{Diagnostics, Sink, did_you_mean};
use crate::model::{
    Flavor, Fragment, Hold, PackageName, PackageRequest, Packages, Prefer, Repository, is_flat,
};
use crate::packages::time;
use crate::source::{Span, Spanned};

#[derive(Debug, Error, Diagnostic)]
#[error("`{package}` is both asked for and excluded")]
#[diagnostic(code("kcompose::compose::excluded-package"), help("{help}"))]
struct Excluded {
    package: PackageName,
    help: String,
    #[label("asked for here")]
    wanted: Span,
    #[label(primary, "excluded here")]
    excluded: Span,
}

#[derive(Debug, Error, Diagnostic)]
#[error("the hold of `{package}` says no reason")]
#[diagnostic(
    code("kcompose::compose::hold-without-reason"),
    severity(Warning),
    help("say why, so that someone can lift it one day: reason=\"…\"")
)]
struct HoldWithoutReason {
    package: PackageName,
    #[label("held here")]
    span: Span,
}

#[derive(Debug, Error, Diagnostic)]
#[error("the repository `{name}` has a URL and no key to check its index with")]
#[diagnostic(
    code("kcompose::compose::repository-without-key"),
    help(
        "name the file with its public key, as in key=\"keys/{name}.asc\"; for suites of the distro itself leave `url` out"
    )
)]
struct WithoutKey {
    name: String,
    #[label("this repository")]
    span: Span,
}

#[derive(Debug, Error, Diagnostic)]
#[error("the repository `{name}` has a key and no URL")]
#[diagnostic(
    code("kcompose::compose::key-without-url"),
    help("name its `url`; for suites of the distro itself leave `key` out: the distro's own keys sign them")
)]
struct KeyWithoutUrl {
    name: String,
    #[label("this key")]
    span: Span,
}

#[derive(Debug, Error, Diagnostic)]
#[error("there is no repository `{name}`")]
#[diagnostic(code("kcompose::compose::repository-unknown"), help("{advice}"))]
struct RepositoryUnknown {
    name: String,
    advice: String,
    #[label("named here")]
    span: Span,
}

#[derive(Debug, Error, Diagnostic)]
#[error("`{suite}` is a flat repository, which has no components such as `{components}`")]
#[diagnostic(
    code("kcompose::compose::flat-with-components"),
    help(
        "take `components` out{}",
        if plain.chars().any(char::is_alphanumeric) { format!("; for the suite below `dists/` write suite=\"{plain}\", without the slash") } else { String::new() }
    )
)]
struct FlatWithComponents {
    suite: String,
    components: String,
    plain: String,
    #[label("this repository")]
    span: Span,
}

#[derive(Debug, Error, Diagnostic)]
#[error("the hold of `{package}` ended on {until}")]
#[diagnostic(
    code("kcompose::packages::hold-ended"),
    severity(Warning),
    help("see whether it is still needed: take the line out, or move its `until`")
)]
struct HoldEnded {
    package: PackageName,
    until: String,
    #[label("this day is over")]
    span: Span,
}

/// Warnings of the holds whose day is over at a time, in seconds since 1970: core has no clock.
pub fn ended_holds(flavor: &Flavor, now: i64) -> Diagnostics {
    let now = time::format(now);
    let today = now.split_once('T').map_or(now.as_str(), |(day, _)| day);
    let mut sink = Sink::new();
    for hold in &flavor.packages.holds {
        if let Some(until) = hold
            .value
            .until
            .as_ref()
            .filter(|until| until.value.as_str() < today)
        {
            sink.push(HoldEnded {
                package: hold.value.name.clone(),
                until: until.value.clone(),
                span: until.span,
            });
        }
    }
    sink.into_diagnostics()
}

/// What the user's documents ask for, and what blocks ask for. A package that both ask for is the user's.
pub(super) fn compose(parts: &Parts, sink: &mut Sink) -> (Packages, Packages) {
    let requests = requests(parts, sink);
    let without = each(said(parts, |fragment| &fragment.packages.without));
    let wanted: BTreeMap<&PackageName, Span> = requests
        .iter()
        .map(|request| (&request.value.name, request.span))
        .collect();
    for excluded in &without {
        if let Some(wanted) = wanted.get(&excluded.value) {
            let package = excluded.value.clone();
            sink.push(Excluded {
                package,
                help: "take it out of `packages`, or out of `without`".to_owned(),
                wanted: *wanted,
                excluded: excluded.span,
            });
        }
    }
    let by_user = requests_of_user(parts);
    let is_of_block = |request: &Spanned<PackageRequest>| !by_user.contains(&request.value.name);
    let (blocks, user): (Vec<_>, Vec<_>) = requests.into_iter().partition(is_of_block);
    let user = Packages {
        requests: user,
        without,
        prefer: preferences(parts, sink),
        holds: holds(parts, sink),
    };
    (
        user,
        Packages {
            requests: blocks,
            ..Packages::default()
        },
    )
}

/// Adds packages that a node needs, as if the flavor asked for them where the node stands.
pub(super) fn add_needed(
    node: &str,
    names: &[PackageName],
    span: Span,
    packages: &mut Packages,
    of_blocks: &Packages,
    sink: &mut Sink,
) {
    for name in names {
        if let Some(excluded) = packages.without.iter().find(|excluded| excluded.value == *name) {
            sink.push(Excluded {
                package: name.clone(),
                help: format!("take it out of `without`: `{node}` needs it"),
                wanted: span,
                excluded: excluded.span,
            });
        }
        let mut requests = packages.requests.iter().chain(&of_blocks.requests);
        if !requests.any(|request| request.value.name == *name) {
            packages
                .requests
                .push(Spanned::new(PackageRequest::any(name.clone()), span));
        }
    }
}

/// The packages that the user's own documents ask for.
fn requests_of_user(parts: &Parts) -> BTreeSet<&PackageName> {
    let own = parts.parts.iter().filter(|part| part.block.is_none());
    let requests = own.flat_map(|part| {
        super::conflict::said_by(part, &|fragment: &Fragment| &fragment.packages.requests[..])
    });
    requests.map(|request| &request.value.name).collect()
}

/// One request a package, of those for the architecture at hand; what several documents say about it is joined.
fn requests(parts: &Parts, sink: &mut Sink) -> Vec<Spanned<PackageRequest>> {
    let mut all = said(parts, |fragment| &fragment.packages.requests);
    all.retain(|request| {
        request
            .value
            .architecture
            .as_ref()
            .is_none_or(|only| only.value == parts.architecture)
    });
    let mut by_name: BTreeMap<&PackageName, Vec<Said<'_, PackageRequest>>> = BTreeMap::new();
    for request in &all {
        by_name.entry(&request.value.name).or_default().push(*request);
    }
    let mut found = Vec::new();
    for request in &all {
        if let Some(same) = by_name.remove(&request.value.name) {
            let joined = joined(&same, sink).unwrap_or_else(|| request.value.clone());
            found.push(Spanned::new(joined, request.span));
        }
    }
    found
}

fn joined(same: &[Said<'_, PackageRequest>], sink: &mut Sink) -> Option<PackageRequest> {
    let name = same.first()?.value.name.clone();
    let versions: Vec<_> = same
        .iter()
        .filter_map(|request| request.part(|request| request.version.as_ref()))
        .collect();
    let components: Vec<_> = same
        .iter()
        .filter_map(|request| request.part(|request| request.component.as_ref()))
        .collect();
    let version = choose(
        &format!("the version of `{name}`"),
        &versions,
        |version| Some(version.to_string()),
        sink,
    );
    let component = choose(
        &format!("the component of `{name}`"),
        &components,
        |text| Some(text.clone()),
        sink,
    );
    let repositories: Vec<_> = same
        .iter()
        .filter_map(|request| request.part(|request| request.repository.as_ref()))
        .collect();
    let repository = choose(
        &format!("the repository of `{name}`"),
        &repositories,
        |text| Some(text.clone()),
        sink,
    );
    Some(PackageRequest {
        name,
        version: version.map(|version| version.spanned()),
        component: component.map(|component| component.spanned()),
        repository: repository.map(|repository| repository.spanned()),
        architecture: same.first()?.value.architecture.clone(),
    })
}

fn each(all: Vec<Said<'_, PackageName>>) -> Vec<Spanned<PackageName>> {
    let mut seen = BTreeSet::new();
    all.into_iter()
        .filter(|name| seen.insert(name.value))
        .map(|name| name.spanned())
        .collect()
}

fn preferences(parts: &Parts, sink: &mut Sink) -> Vec<Spanned<Prefer>> {
    let all = said(parts, |fragment| &fragment.packages.prefer);
    let setting = |prefer: &Prefer| format!("the package for `{}`", prefer.wanted);
    let chosen = choose_each(
        all,
        |prefer| prefer.wanted.clone(),
        setting,
        |prefer| Some(prefer.provider.to_string()),
        sink,
    );
    chosen.iter().map(Said::spanned).collect()
}

fn holds(parts: &Parts, sink: &mut Sink) -> Vec<Spanned<Hold>> {
    let all = said(parts, |fragment| &fragment.packages.holds);
    let setting = |hold: &Hold| format!("the version of `{}`", hold.name);
    let chosen = choose_each(
        all,
        |hold| hold.name.clone(),
        setting,
        |hold| Some(hold.version.value.to_string()),
        sink,
    );
    for hold in &chosen {
        if hold.value.reason.is_none() {
            sink.push(HoldWithoutReason {
                package: hold.value.name.clone(),
                span: hold.span,
            });
        }
    }
    chosen.iter().map(Said::spanned).collect()
}

/// Notes a third-party repository without a key, and a key for what the distro's own keys sign.
fn judge_key(repository: &Repository, span: Span, sink: &mut Sink) {
    let name = repository.name.value.clone();
    match (&repository.url, repository.keys.first()) {
        (Some(_), None) => sink.push(WithoutKey { name, span }),
        (None, Some(key)) => sink.push(KeyWithoutUrl { name, span: key.span }),
        (Some(_), Some(_)) | (None, None) => {}
    }
}

/// Notes packages that are asked of a repository that the flavor does not have.
pub(super) fn judge_repositories(
    packages: [&Packages; 2],
    repositories: &[Spanned<Repository>],
    sink: &mut Sink,
) {
    let known: Vec<&str> = repositories
        .iter()
        .map(|known| known.value.name.value.as_str())
        .collect();
    let requests = packages.into_iter().flat_map(|packages| &packages.requests);
    for wanted in requests.filter_map(|request| request.value.repository.as_ref()) {
        if !known.contains(&wanted.value.as_str()) {
            let otherwise = || "add a `repository` with this name".to_owned();
            sink.push(RepositoryUnknown {
                advice: did_you_mean(&wanted.value, &known, otherwise),
                name: wanted.value.clone(),
                span: wanted.span,
            });
        }
    }
}

/// The third-party package sources, one for each name.
pub(super) fn repositories(parts: &Parts, sink: &mut Sink) -> Vec<Spanned<Repository>> {
    let all = said(parts, |fragment| &fragment.repositories);
    let setting = |repository: &Repository| format!("the repository `{}`", repository.name.value);
    let chosen = choose_each(
        all,
        |repository| repository.name.value.clone(),
        setting,
        |_| None,
        sink,
    );
    for repository in &chosen {
        judge_key(repository.value, repository.span, sink);
        let mut suites = repository.value.suites.iter();
        if let Some(suite) = suites.find(|suite| is_flat(&suite.name) && !suite.components.is_empty()) {
            sink.push(FlatWithComponents {
                suite: suite.name.clone(),
                components: suite.components.join(" "),
                plain: suite.name.trim_end_matches('/').to_owned(),
                span: repository.span,
            });
        }
    }
    chosen.iter().map(Said::spanned).collect()
}
