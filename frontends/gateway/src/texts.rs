//! The texts of a build, read from the build context through the daemon: the flavor, what it uses, the lock.
//!
//! Loading a flavor asks for files one after the other, and the daemon answers later than a function can wait. So a load
//! runs with what is there; what it missed is read all at once, and it runs again, until it misses nothing new.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use kcompose_core::diagnostic::{Diagnostics, Warned};
use kcompose_core::limits;
use kcompose_core::llb::{Definition, Folder};
use kcompose_core::model::Flavor;
use kcompose_core::source::SourceMap;
use kcompose_dsl::{LoadError, NOT_TEXT, Options};
use miette::Diagnostic;
use thiserror::Error;

use crate::asked::Asked;
use crate::bridge::{Bridge, Solving};
use crate::failure::Failure;
use crate::folders::Found;
use crate::reading;

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

#[derive(Debug, Error, Diagnostic)]
#[error("`{file}` is larger than {limit}")]
#[diagnostic(
    code("kcompose::context::too-large"),
    help("a document, lock or key has at most {limit}")
)]
struct TooLarge {
    file: String,
    limit: limits::Limit,
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
    /// The named build contexts that documents were asked of.
    pub(crate) read: BTreeSet<String>,
}

/// Files of the documents' local source: what was asked for, and what came.
#[derive(Debug, Default)]
struct Files(BTreeMap<String, Result<String, LoadError>>);

/// Reads the flavor with everything that it uses, and the lock beside it.
pub(crate) async fn read(
    bridge: &mut Bridge,
    asked: &Asked,
    found: &Found,
    options: &Options,
    sources: &mut SourceMap,
) -> Result<Texts, Failure> {
    let lock_file = lock_file(asked);
    let mut files = Files::default();
    files.fetch(bridge, asked, found, first(asked)).await?;
    let text = match &files.0[&asked.file] {
        Ok(text) => text.clone(),
        Err(LoadError::Missing) => return Err(no_flavor(&asked.file)),
        Err(error) => return Err(unreadable(&asked.file, error)),
    };
    let flavor = loop {
        let mut missed = BTreeSet::new();
        let mut fresh = SourceMap::new();
        let loaded = load(&asked.file, &text, &files, &mut missed, &mut fresh, options);
        if missed.is_empty() {
            *sources = fresh;
            break loaded;
        }
        files.fetch(bridge, asked, found, missed).await?;
    };
    let read = files.0.keys().filter_map(|path| kcompose_compile::replaced(path));
    let read = read.map(|(name, _)| name.to_owned()).collect();
    let lock = match files.0.remove(&lock_file) {
        Some(Ok(text)) => Some(text),
        Some(Err(LoadError::Missing)) | None => None,
        Some(Err(error)) => return Err(unreadable(&lock_file, &error)),
    };
    Ok(Texts {
        flavor,
        lock_file,
        lock,
        read,
    })
}

/// The text of the flavor alone.
pub(crate) async fn flavor(bridge: &mut Bridge, asked: &Asked) -> Result<String, Failure> {
    let found = crate::folders::find(bridge, asked).await?;
    let text = read_one(bridge, asked, &found.documents, &asked.file).await?;
    text.ok_or_else(|| no_flavor(&asked.file))
}

/// One text of a folder, if it is there.
pub(crate) async fn read_one(
    bridge: &mut Bridge,
    asked: &Asked,
    folder: &Folder,
    path: &str,
) -> Result<Option<String>, Failure> {
    let mut read = read_all(bridge, asked, folder, &[path.to_owned()]).await?;
    match read.remove(path) {
        Some(Ok(text)) => Ok(Some(text)),
        Some(Err(LoadError::Missing)) | None => Ok(None),
        Some(Err(error)) => Err(unreadable(path, &error)),
    }
}

/// Texts of a folder.
async fn read_all(
    bridge: &mut Bridge,
    asked: &Asked,
    folder: &Folder,
    paths: &[String],
) -> Result<BTreeMap<String, Result<String, LoadError>>, Failure> {
    let definition = reading::paths(folder, asked, paths, &[], READ);
    let tree = bridge.solve(&definition, &[], Solving::Later).await?;
    let mut read = BTreeMap::new();
    for path in paths {
        let text = match bridge.read(&tree, path, limits::TEXT.value).await? {
            None => Err(LoadError::Missing),
            Some(bytes) if limits::TEXT.is_exceeded_by(bytes.len()) => Err(LoadError::TooLarge),
            Some(bytes) => LoadError::text(bytes),
        };
        read.insert(path.clone(), text);
    }
    Ok(read)
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
    /// Reads files that were not asked for yet: of the flavor's folder, and of those that stand for parts of the library.
    async fn fetch(
        &mut self,
        bridge: &mut Bridge,
        asked: &Asked,
        found: &Found,
        paths: BTreeSet<String>,
    ) -> Result<(), Failure> {
        let mut by_folder: BTreeMap<Option<&str>, Vec<String>> = BTreeMap::new();
        for path in &paths {
            let (name, inside) = kcompose_compile::replaced(path)
                .map_or((None, path.as_str()), |(name, inside)| (Some(name), inside));
            by_folder.entry(name).or_default().push(inside.to_owned());
        }
        for (name, inside) in by_folder {
            let folder = name.and_then(|name| found.folders.replaced.get(name));
            let read = read_all(bridge, asked, folder.unwrap_or(&found.documents), &inside).await?;
            self.0.extend(read.into_iter().map(|(path, text)| {
                let path = name.map_or(path.clone(), |name| {
                    format!("{}{name}/{path}", kcompose_dsl::REPLACED)
                });
                (path, text)
            }));
        }
        Ok(())
    }
}

/// What the operation that reads a text is called.
const READ: &str = "read";

/// The files of the first read: the flavor and its lock.
fn first(asked: &Asked) -> BTreeSet<String> {
    [asked.file.clone(), lock_file(asked)].into()
}

/// The name of the lock beside the flavor.
pub(crate) fn lock_file(asked: &Asked) -> String {
    Path::new(&asked.file)
        .with_extension("lock")
        .display()
        .to_string()
}

/// The operation that reads the flavor, by which clients show what is said about it.
pub(crate) fn vertex(asked: &Asked, found: &Found) -> Option<String> {
    let paths: Vec<String> = first(asked).into_iter().collect();
    let definition: Definition = reading::paths(&found.documents, asked, &paths, &[], READ);
    definition.vertices().keys().next().cloned()
}

fn no_flavor(file: &str) -> Failure {
    Failure::of(NoFlavor {
        file: file.to_owned(),
    })
}

fn unreadable(file: &str, error: &LoadError) -> Failure {
    let (file, limit) = (file.to_owned(), limits::TEXT);
    match error {
        LoadError::Missing => no_flavor(&file),
        LoadError::TooLarge => Failure::of(TooLarge { file, limit }),
        LoadError::Outside => not_text(file, "a symbolic link leads out of its folder"),
        LoadError::Special(kind) => not_text(file, &format!("it is {kind}")),
        LoadError::Unreadable(reason) => not_text(file, reason),
        LoadError::NotText(_) => not_text(file, NOT_TEXT),
    }
}

fn not_text(file: String, reason: &str) -> Failure {
    Failure::of(NotText {
        file,
        reason: reason.to_owned(),
    })
}
