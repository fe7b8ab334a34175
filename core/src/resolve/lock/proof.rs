//! The packages of a lock, compared with signed indexes.
//!
//! A lock is a text that anybody can edit. What it says of a package is true if an index that was signed by a key of the
//! flavor says the same.

use std::collections::{BTreeMap, BTreeSet};

use miette::Diagnostic;
use thiserror::Error;

use crate::diagnostic::{Diagnostics, Sink};
use crate::packages::deb::index::Package;
use crate::packages::hex;
use crate::source::{SourceFile, Span};

use super::super::{LockedPackage, SuiteFacts, SuiteKey};
use super::Lock;

/// The signed indexes of a suite that are at hand.
#[derive(Clone, Debug, Default)]
pub struct Evidence {
    /// Those that the lock was made from.
    pub locked: Option<SuiteFacts>,
    /// Newer ones; they are needed only where those of the lock are gone.
    pub current: Option<SuiteFacts>,
}

#[derive(Debug, Error, Diagnostic)]
#[error("`{name}` {version} with the sha256 {sha256} is in no signed index of `{suite}`")]
#[diagnostic(code("kcompose::lock::not-in-index"), help("{help}"))]
struct NotInIndex {
    name: String,
    version: String,
    sha256: String,
    suite: SuiteKey,
    help: String,
    #[label("locked here")]
    span: Option<Span>,
}

#[derive(Debug, Error, Diagnostic)]
#[error(
    "`{name}` {version} with the sha256 {sha256} is not in the index that `{suite}` has now, and the one that the lock names is not in the store"
)]
#[diagnostic(
    code("kcompose::lock::not-proved"),
    help(
        "check the lock with the store in which it was made, or move the package on: `kcompose update {name}`"
    )
)]
struct NotProved {
    name: String,
    version: String,
    sha256: String,
    suite: SuiteKey,
    #[label("locked here")]
    span: Option<Span>,
}

#[derive(Debug, Error, Diagnostic)]
#[error("no index of `{suite}` is in the store: {count} packages of the lock were not checked")]
#[diagnostic(
    code("kcompose::lock::index-missing"),
    severity(Warning),
    help("check the lock without `--offline`")
)]
struct IndexMissing {
    suite: SuiteKey,
    count: usize,
}

impl Lock {
    /// Everything in which the lock differs from signed indexes; `text` is the text of the lock.
    pub fn prove(&self, evidence: &BTreeMap<SuiteKey, Evidence>, text: &SourceFile) -> Diagnostics {
        let mut sink = Sink::new();
        let mut unchecked: BTreeMap<SuiteKey, usize> = BTreeMap::new();
        let none = Evidence::default();
        for package in self.resolved.packages.values() {
            let suite = SuiteKey {
                source: package.source.clone(),
                suite: package.suite.clone(),
            };
            let known = evidence.get(&suite);
            let Evidence { locked, current } = known.unwrap_or(&none);
            let at_hand: Vec<&SuiteFacts> = [locked, current].into_iter().flatten().collect();
            if at_hand.iter().any(|facts| has(facts, package)) {
                continue;
            }
            let span = line_of(text, package.name.as_str());
            let (name, version) = (package.name.to_string(), package.version.clone());
            let sha256 = package.sha256.clone();
            let others: BTreeSet<String> = at_hand
                .iter()
                .flat_map(|facts| same_version(facts, package))
                .collect();
            if known.is_some() && at_hand.is_empty() {
                *unchecked.entry(suite).or_default() += 1;
            } else if known.is_none() || locked.is_some() || !others.is_empty() {
                sink.push(NotInIndex {
                    help: help(known.is_some(), &others),
                    name,
                    version,
                    sha256,
                    suite,
                    span,
                });
            } else {
                sink.push(NotProved {
                    name,
                    version,
                    sha256,
                    suite,
                    span,
                });
            }
        }
        for (suite, count) in unchecked {
            sink.push(IndexMissing { suite, count });
        }
        sink.into_diagnostics()
    }
}

fn help(is_source: bool, others: &BTreeSet<String>) -> String {
    let restore =
        "take the lock back from version control; or delete the line, and `kcompose lock` writes it anew";
    if !is_source {
        return format!("the flavor names no such package source: {restore}");
    }
    match others.first() {
        Some(sha256) => format!("the index has this version with the sha256 {sha256}: {restore}"),
        None => restore.to_owned(),
    }
}

/// All versions of a package in the indexes of a suite.
fn versions<'a>(facts: &'a SuiteFacts, name: &'a str) -> impl Iterator<Item = Package<'a>> {
    let indexes = facts.components.values().flatten();
    indexes.flat_map(move |index| index.positions(name).map(|at| index.package(at)))
}

/// Looks for exactly this archive in the indexes of a suite.
fn has(facts: &SuiteFacts, locked: &LockedPackage) -> bool {
    versions(facts, locked.name.as_str()).any(|package| {
        package.version == locked.version
            && package.architecture == locked.architecture
            && package.path == locked.path
            && package.size == locked.size
            && hex::encode(&package.sha256) == locked.sha256
    })
}

/// The sha256 of the archives that the indexes have for this version.
fn same_version(facts: &SuiteFacts, locked: &LockedPackage) -> Vec<String> {
    let same = versions(facts, locked.name.as_str())
        .filter(|package| package.version == locked.version && package.architecture == locked.architecture);
    same.map(|package| hex::encode(&package.sha256)).collect()
}

/// The line of a package in the text of a lock.
fn line_of(text: &SourceFile, name: &str) -> Option<Span> {
    let start = format!("package \"{name}\" ");
    let mut offset = 0;
    for line in text.text.split_inclusive('\n') {
        if line.starts_with(&start) {
            return Some(text.span(offset, line.trim_end().len()));
        }
        offset += line.len();
    }
    None
}
