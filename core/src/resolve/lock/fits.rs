//! Whether a lock still answers what a flavor asks, and if not, what differs.

use std::collections::BTreeSet;

use miette::Diagnostic;
use thiserror::Error;

use crate::diagnostic::{Diagnostics, Sink, did_you_mean};
use crate::model::{Flavor, PackageName, Url};
use crate::source::Span;

use super::{LANGUAGE, Lock, Request, said_urls};

#[derive(Debug, Error, Diagnostic)]
#[error("{what} is asked for and not locked")]
#[diagnostic(code("kcompose::lock::not-locked"), help("{help}"))]
struct NotLocked {
    what: String,
    help: String,
    #[label("asked for here")]
    span: Option<Span>,
}

#[derive(Debug, Error, Diagnostic)]
#[error("{what} is locked and no longer asked for")]
#[diagnostic(
    code("kcompose::lock::no-longer-asked"),
    help("`kcompose lock` takes it out, and moves nothing else")
)]
struct NoLongerAsked {
    what: String,
    #[label("of this flavor")]
    span: Option<Span>,
}

#[derive(Debug, Error, Diagnostic)]
#[error("package source `{name}` is read from {now} now, and was locked from {before}")]
#[diagnostic(
    code("kcompose::lock::url-changed"),
    help("`kcompose lock` reads the indexes there, and moves as little as it can")
)]
struct UrlChanged {
    name: String,
    now: String,
    before: String,
    #[label("named here")]
    span: Option<Span>,
}

#[derive(Debug, Error, Diagnostic)]
#[error("the data of the distro changed since the lock was made")]
#[diagnostic(
    code("kcompose::lock::distro-changed"),
    help("`kcompose lock` takes the changes in, and moves as little as it can")
)]
struct DistroChanged {
    #[label("the distro")]
    span: Option<Span>,
}

#[derive(Debug, Error, Diagnostic)]
#[error("the lock is of language version {found}, and this kcompose writes version {LANGUAGE}")]
#[diagnostic(code("kcompose::lock::language"), help("{}", if *.found > LANGUAGE { "use a newer kcompose" } else { "`kcompose lock` rewrites it" }))]
struct OtherLanguage {
    found: u32,
}

impl Lock {
    /// Everything in which a flavor differs from what was locked; nothing if the lock fits.
    pub fn fits(&self, flavor: &Flavor) -> Diagnostics {
        let mut sink = Sink::new();
        let request = Request::of(flavor);
        if self.language != LANGUAGE {
            sink.push(OtherLanguage { found: self.language });
        }
        let some = |span: Span| Some(span).filter(|span| span.is_some());
        if self.request == request.digest() {
            self.compare_urls(flavor, &mut sink);
            return sink.into_diagnostics();
        }
        let new: Vec<(&String, &Span)> = request
            .asked
            .iter()
            .filter(|(line, _)| !self.asked.contains(line))
            .collect();
        for (line, span) in &new {
            sink.push(NotLocked {
                what: in_words(line),
                help: self.help(line),
                span: some(**span),
            });
        }
        // What is asked for in another way now was already said.
        let is_said = |line: &str| new.iter().any(|(other, _)| subject(other) == subject(line));
        for line in self
            .asked
            .iter()
            .filter(|line| !request.asked.contains_key(*line) && !is_said(line))
        {
            sink.push(NoLongerAsked {
                what: in_words(line),
                span: some(flavor.identity.name.span),
            });
        }
        let differences = sink.into_diagnostics();
        if differences.is_empty() {
            return DistroChanged {
                span: some(flavor.distro.span),
            }
            .into();
        }
        differences
    }
}

impl Lock {
    /// Notes package sources that are read from elsewhere now.
    fn compare_urls(&self, flavor: &Flavor, sink: &mut Sink) {
        let Some(locked) = &self.urls else { return };
        let said = said_urls(flavor);
        let names: BTreeSet<&String> = locked.keys().chain(said.keys()).collect();
        for name in names {
            let (now, before) = (said.get(name), locked.get(name));
            if now.map(|(url, _)| url) != before {
                let shown = |url: Option<&Url>| {
                    url.map_or_else(|| "the distro's mirror".to_owned(), |url| format!("`{url}`"))
                };
                sink.push(UrlChanged {
                    name: name.clone(),
                    now: shown(now.map(|(url, _)| url)),
                    before: shown(before),
                    span: now
                        .map(|(_, span)| *span)
                        .or(Some(flavor.distro.span))
                        .filter(|span| span.is_some()),
                });
            }
        }
    }

    /// What to do about a line that is not locked. A name that is nearly one that was locked is likely a slip.
    fn help(&self, line: &str) -> String {
        let adds = "`kcompose lock` adds it, and moves nothing else";
        let ("package" | "kernel", name) = subject(line) else {
            return adds.to_owned();
        };
        let known = self.resolved.packages.keys().map(PackageName::as_str);
        let known: Vec<&str> = known.filter(|known| *known != name).collect();
        match did_you_mean(name, &known, String::new) {
            nothing if nothing.is_empty() => adds.to_owned(),
            meant => format!("{meant} Else {adds}"),
        }
    }
}

/// What a line is about: its kind and the name.
fn subject(line: &str) -> (&str, &str) {
    // `id user NAME NUMBER` has a kind of two words.
    let first = if line.starts_with("id ") { "id ".len() } else { 0 };
    let end = line[first..].find(' ').map_or(line.len(), |at| first + at);
    let name = line[end..].split_whitespace().next().unwrap_or_default();
    (&line[..end], name)
}

/// A line as a report writes it: "package `tree`".
fn in_words(line: &str) -> String {
    if let Some((rest, repository)) = line
        .rsplit_once(" from ")
        .filter(|_| line.starts_with("package "))
    {
        return format!("{} of repository `{repository}`", in_words(rest));
    }
    let words: Vec<&str> = line.split(' ').collect();
    match words[..] {
        ["package", name] => format!("package `{name}`"),
        ["package", name, "of", component] => format!("package `{name}` of component `{component}`"),
        ["package", name, version] => format!("package `{name}` in version `{version}`"),
        ["package", name, version, "of", component] => {
            format!("package `{name}` in version `{version}` of component `{component}`")
        }
        ["kernel", name] => format!("kernel `{name}`"),
        ["kernel", name, version] => format!("kernel `{name}` in version `{version}`"),
        ["without", name] => format!("`without \"{name}\"`"),
        ["prefer", wanted, provider] => format!("`prefer \"{wanted}\" \"{provider}\"`"),
        ["hold", name, version] => format!("`hold \"{name}\"` at version `{version}`"),
        ["runtime", name, from] => format!("runtime `{name}` from `{from}`"),
        ["download", url, _] => format!("download `{url}`"),
        ["user", name, id] => format!("user `{name}` with id {id}"),
        ["user", name] => format!("user `{name}`"),
        ["group", name, id] => format!("group `{name}` with id {id}"),
        ["group", name] => format!("group `{name}`"),
        ["id", kind, name, id] => format!("id {id} of {kind} `{name}`"),
        ["repository", name, suite, ..] => format!("repository `{name}` with suite `{suite}`"),
        ["components", "of", distro, components] => format!("components `{components}` of `{distro}`"),
        ["snapshot", "of", distro, time] => format!("snapshot `{time}` of `{distro}`"),
        ["base", distro, release, architecture] => format!("base `{distro}` `{release}` for {architecture}"),
        _ => format!("`{line}`"),
    }
}
