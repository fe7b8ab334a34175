//! A flavor on disk: where it is, what it says.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use kcompose_compile::EPOCH;
use kcompose_core::compose::ended_holds;
use kcompose_core::diagnostic::Diagnostics;
use kcompose_core::model::Flavor;
use kcompose_core::source::SourceMap;
use kcompose_dsl::{LoadError, Options};

use crate::args::Source;
use crate::contexts::Contexts;
use crate::failure::{BadFlag, Failure};
use crate::reading;
use crate::terminal::Terminal;

/// The name of a flavor's file in its folder.
const FLAVOR: &str = "flavor.kdl";

/// A flavor and its folder.
#[derive(Debug)]
pub(crate) struct Project {
    /// The folder of the flavor.
    pub(crate) folder: PathBuf,
    /// Folders in the place of others.
    pub(crate) contexts: Contexts,
    /// The file of the flavor.
    pub(crate) file: PathBuf,
    /// The lock beside the flavor.
    pub(crate) lock_file: PathBuf,
    /// What the flavor says.
    pub(crate) flavor: Flavor,
}

impl Project {
    /// Reads a flavor and everything that it uses, and says its warnings.
    pub(crate) fn load(
        source: &Source,
        sources: &mut SourceMap,
        terminal: &Terminal,
    ) -> Result<Project, Failure> {
        let (project, warnings) = Project::read(source, sources)?;
        terminal.report(&warnings, sources);
        Ok(project)
    }

    /// Reads a flavor, and hands out its warnings.
    pub(crate) fn read(source: &Source, sources: &mut SourceMap) -> Result<(Project, Diagnostics), Failure> {
        let contexts = Contexts::parse(&source.build_contexts)?;
        let options = options(source, &contexts)?;
        let file = flavor_file(&source.path);
        let text = flavor_text(&source.path, &file)?;
        let name = file.display().to_string();
        let folder = file
            .parent()
            .filter(|folder| !folder.as_os_str().is_empty())
            .unwrap_or(Path::new("."))
            .to_owned();
        let mut asked = BTreeSet::new();
        let mut read = |path: &str| {
            let replaced = contexts.read(path, &mut asked);
            replaced.unwrap_or_else(|| reading::document(&folder, Path::new(path)))
        };
        let mut loaded = kcompose_dsl::load(sources, &name, &text, &mut read, &options)?;
        loaded
            .warnings
            .extend(ended_holds(&loaded.value, crate::world::now()));
        if let Some(unused) = kcompose_compile::unused(&loaded.value, contexts.names(), &asked).pop() {
            return Err(Failure::usage(unused));
        }
        Ok((
            Project {
                folder,
                contexts,
                file,
                lock_file: lock_file(source),
                flavor: loaded.value,
            },
            loaded.warnings,
        ))
    }

    /// The folder that the flavor copies from.
    pub(crate) fn context(&self) -> &Path {
        self.contexts.context().unwrap_or(&self.folder)
    }

    /// Where a path of the build context is.
    pub(crate) fn in_context(&self, path: &str) -> PathBuf {
        let replaced = self.contexts.holder(path);
        replaced.unwrap_or_else(|| self.context().join(path))
    }
}

/// The lock beside the flavor that is asked for.
pub(crate) fn lock_file(source: &Source) -> PathBuf {
    flavor_file(&source.path).with_extension("lock")
}

fn flavor_file(path: &Path) -> PathBuf {
    if path.is_dir() {
        // `.` is left out, so that reports say `flavor.kdl:1:1` as an editor would.
        return if path == Path::new(".") {
            PathBuf::from(FLAVOR)
        } else {
            path.join(FLAVOR)
        };
    }
    path.to_owned()
}

/// The text of a flavor. A file that the user names may be a link to anywhere; one that is found in a folder may not.
fn flavor_text(named: &Path, file: &Path) -> Result<String, Failure> {
    let text = if named == file {
        reading::named(file)
    } else {
        reading::found(file)?.ok_or(LoadError::Missing)
    };
    text.map_err(|error| match error {
        LoadError::Missing => Failure::usage(BadFlag::new(
            format!("there is no flavor at `{}`", file.display()),
            "name a folder with flavor.kdl or a file; `kcompose new DIR` makes one",
        )),
        error => reading::failed(file, error),
    })
}

fn options(source: &Source, contexts: &Contexts) -> Result<Options, Failure> {
    let mut arguments = BTreeMap::new();
    for argument in &source.build_args {
        let Some((name, value)) = argument.split_once('=') else {
            return Err(Failure::usage(BadFlag::new(
                format!("`--build-arg {argument}` has no value"),
                "write it as --build-arg NAME=VALUE",
            )));
        };
        arguments.insert(name.to_owned(), value.to_owned());
    }
    let replaced = contexts.names().map(str::to_owned).collect();
    Ok(kcompose_compile::options(
        source.platform.as_deref(),
        &arguments,
        replaced,
    )?)
}

/// The time stamp of everything in the image: the flag, the environment, else what the lock says.
pub(crate) fn epoch(source: &Source, locked: i64) -> Result<i64, Failure> {
    let flag = source
        .build_args
        .iter()
        .rev()
        .find_map(|argument| argument.strip_prefix(EPOCH)?.strip_prefix('='));
    let said = flag.map(str::to_owned).or_else(|| std::env::var(EPOCH).ok());
    Ok(kcompose_compile::epoch(said.as_deref(), locked)?)
}
