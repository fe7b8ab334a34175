//! The texts of a build, read from the build context through the daemon: the flavor, what it uses, the lock.
//!
//! Loading a flavor asks for files one after the other, and the daemon answers later than a function can wait. So a load
//! runs with what is there; what it missed is read all at once, and it runs again, until it misses nothing new.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use kcompose_core::diagnostic::{Diagnostics, Warned};
use kcompose_core::llb::{Definition, Graph, Local, Meta};
use kcompose_core::model::Flavor;
use kcompose_core::source::SourceMap;
use kcompose_dsl::{LoadError, Options};
use miette::Diagnostic;
use thiserror::Error;

use crate::asked::Asked;
use crate::bridge::{Bridge, Solving};
use crate::failure::Failure;

#[derive(Debug, Error, Diagnostic)]
#[error("there is no `{file}` in the build context")]
#[diagnostic(
    code(kcompose::context::no_flavor),
    help("name the flavor with -f; `kcompose new DIR` makes one")
)]
struct NoFlavor {
    file: String,
}

#[derive(Debug, Error, Diagnostic)]
#[error("`{file}` is not text: {reason}")]
#[diagnostic(code(kcompose::context::not_text), help("save it as UTF-8"))]
struct NotText {
    file: String,
    reason: String,
}

/// What documents say.
#[derive(Debug)]
pub(crate) struct Texts {
    /// The flavor with what a person should hear about it, or what is wrong with it.
    pub(crate) flavor: Result<Warned<Flavor>, Diagnostics>,
    /// The name of the lock.
    pub(crate) lock_file: String,
    /// The text of the lock, if there is one.
    pub(crate) lock: Option<String>,
}

/// Files of the documents' local source: what was asked for, and what came.
#[derive(Debug, Default)]
struct Files(BTreeMap<String, Result<String, LoadError>>);

/// Reads the flavor with everything that it uses, and the lock beside it.
pub(crate) async fn read(
    bridge: &mut Bridge,
    asked: &Asked,
    options: &Options,
    sources: &mut SourceMap,
) -> Result<Texts, Failure> {
    let lock_file = lock_file(asked);
    let mut files = Files::default();
    files.fetch(bridge, asked, first(asked)).await?;
    let text = match &files.0[&asked.file] {
        Ok(text) => text.clone(),
        Err(error) => return Err(no_flavor(&asked.file, error)),
    };
    let flavor = loop {
        let mut missed = BTreeSet::new();
        let mut fresh = SourceMap::new();
        let loaded = load(&asked.file, &text, &files, &mut missed, &mut fresh, options);
        if missed.is_empty() {
            *sources = fresh;
            break loaded;
        }
        files.fetch(bridge, asked, missed).await?;
    };
    let lock = match files.0.remove(&lock_file) {
        Some(Ok(text)) => Some(text),
        Some(Err(LoadError::Unreadable(reason))) => return Err(not_text(&lock_file, &reason)),
        Some(Err(LoadError::Missing)) | None => None,
    };
    Ok(Texts {
        flavor,
        lock_file,
        lock,
    })
}

/// The text of the flavor alone.
pub(crate) async fn flavor(bridge: &mut Bridge, asked: &Asked) -> Result<String, Failure> {
    let text = read_one(bridge, asked, &asked.file).await?;
    text.ok_or_else(|| no_flavor(&asked.file, &LoadError::Missing))
}

/// One text of the documents, if it is there.
pub(crate) async fn read_one(
    bridge: &mut Bridge,
    asked: &Asked,
    path: &str,
) -> Result<Option<String>, Failure> {
    let mut files = Files::default();
    files.fetch(bridge, asked, [path.to_owned()].into()).await?;
    match files.0.remove(path) {
        Some(Ok(text)) => Ok(Some(text)),
        Some(Err(LoadError::Unreadable(reason))) => Err(not_text(path, &reason)),
        Some(Err(LoadError::Missing)) | None => Ok(None),
    }
}

fn load(
    name: &str,
    text: &str,
    files: &Files,
    missed: &mut BTreeSet<String>,
    sources: &mut SourceMap,
    options: &Options,
) -> Result<Warned<Flavor>, Diagnostics> {
    let mut read = |path: &str| {
        files.0.get(path).cloned().unwrap_or_else(|| {
            missed.insert(path.to_owned());
            Err(LoadError::Missing)
        })
    };
    kcompose_dsl::load(sources, name, text, &mut read, options)
}

impl Files {
    /// Reads files that were not asked for yet.
    async fn fetch(
        &mut self,
        bridge: &mut Bridge,
        asked: &Asked,
        paths: BTreeSet<String>,
    ) -> Result<(), Failure> {
        let definition = reading(asked, &paths);
        let tree = bridge.solve(&definition, &[], Solving::Later).await?;
        for path in paths {
            let content = bridge.read(&tree, &path).await?;
            let text = match content.map(String::from_utf8) {
                None => Err(LoadError::Missing),
                Some(Ok(text)) => Ok(text),
                Some(Err(error)) => Err(LoadError::Unreadable(error.to_string())),
            };
            self.0.insert(path, text);
        }
        Ok(())
    }
}

/// The files of the first read: the flavor and its lock.
fn first(asked: &Asked) -> BTreeSet<String> {
    [asked.file.clone(), lock_file(asked)].into()
}

fn lock_file(asked: &Asked) -> String {
    Path::new(&asked.file)
        .with_extension("lock")
        .display()
        .to_string()
}

/// The operation that reads the flavor, by which clients show what is said about it.
pub(crate) fn vertex(asked: &Asked) -> Option<String> {
    reading(asked, &first(asked)).vertices().keys().next().cloned()
}

/// The operation that reads some files of the documents' local source.
fn reading(asked: &Asked, paths: &BTreeSet<String>) -> Definition {
    let mut graph = Graph::new();
    let local = Local {
        owner: asked.owner.clone(),
        name: asked.documents.clone(),
        follow: paths.iter().cloned().collect(),
        shared_key_hint: Some(format!("{}:{}", asked.documents, asked.file)),
        ..Local::default()
    };
    let output = graph.local(&local, Meta::named(format!("read {}", listed(paths))));
    graph.definition(Some(output), &SourceMap::new())
}

fn listed(paths: &BTreeSet<String>) -> String {
    paths.iter().map(String::as_str).collect::<Vec<_>>().join(", ")
}

fn no_flavor(file: &str, error: &LoadError) -> Failure {
    match error {
        LoadError::Missing => Failure::of(NoFlavor {
            file: file.to_owned(),
        }),
        LoadError::Unreadable(reason) => not_text(file, reason),
    }
}

fn not_text(file: &str, reason: &str) -> Failure {
    Failure::of(NotText {
        file: file.to_owned(),
        reason: reason.to_owned(),
    })
}
