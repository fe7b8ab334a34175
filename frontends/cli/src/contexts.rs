//! Folders that the command line puts in the place of the build context, of blocks, of the distro, of folders that are copied.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use kcompose_core::llb::{Folder, Folders, Whose};
use kcompose_core::plan::CONTEXT;
use kcompose_dsl::LoadError;

use crate::failure::{BadFlag, Failure};
use crate::reading;

/// Folders by the names of what they stand for.
#[derive(Clone, Debug, Default)]
pub(crate) struct Contexts(BTreeMap<String, PathBuf>);

impl Contexts {
    /// From `NAME=PATH` each.
    pub(crate) fn parse(texts: &[String]) -> Result<Self, Failure> {
        let mut contexts = BTreeMap::new();
        for text in texts {
            let Some((name, path)) = text.split_once('=').filter(|(_, path)| !path.is_empty()) else {
                return Err(Failure::usage(BadFlag::new(
                    format!("`--build-context {text}` has no path"),
                    "write it as --build-context NAME=PATH",
                )));
            };
            if !Path::new(path).is_dir() {
                return Err(Failure::usage(BadFlag::new(
                    format!("the build context `{name}` is no folder: `{path}`"),
                    "name a folder of this machine; images and repositories are for `docker build`",
                )));
            }
            contexts.insert(name.to_owned(), PathBuf::from(path));
        }
        Ok(Contexts(contexts))
    }

    /// What they stand for, the build context apart.
    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str).filter(|name| *name != CONTEXT)
    }

    /// The folder of the build context, if it is another than that of the flavor.
    pub(crate) fn context(&self) -> Option<&Path> {
        self.0.get(CONTEXT).map(PathBuf::as_path)
    }

    /// The text of a file in one of them; none if the path is in none.
    pub(crate) fn read(&self, path: &str, asked: &mut BTreeSet<String>) -> Option<Result<String, LoadError>> {
        let (name, path) = kcompose_compile::replaced(path)?;
        let folder = self.0.get(name)?;
        asked.insert(name.to_owned());
        Some(reading::below(folder, Path::new(path)))
    }

    /// Where a path of the build context is, if another folder stands for the one at its top.
    pub(crate) fn holder(&self, path: &str) -> Option<PathBuf> {
        let (first, rest) = path.split_once('/').unwrap_or((path, ""));
        self.0
            .get(first)
            .filter(|_| first != CONTEXT)
            .map(|folder| folder.join(rest))
    }

    /// As a definition names them, and what the client offers under those names.
    pub(crate) fn folders(&self, owner: &Whose) -> (Folders, BTreeMap<String, PathBuf>) {
        let mut folders = Folders::of(Folder::local(CONTEXT, owner.clone()));
        let mut offered = BTreeMap::new();
        for name in self.names() {
            let shown = format!("{CONTEXT}-{name}");
            let folder = Folder::local(shown.clone(), owner.clone());
            folders.replaced.insert(name.to_owned(), folder);
            offered.insert(shown, self.0[name].clone());
        }
        (folders, offered)
    }
}
