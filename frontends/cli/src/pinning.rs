//! The lock beside a flavor: read, compared, completed, written.

use std::collections::BTreeMap;
use std::path::Path;

use crate::args::LockMode;
use crate::failure::{Failure, FileFailed};
use crate::project::Project;
use crate::reading;
use crate::terminal::Terminal;
use crate::world::{World, fetch_failed};
use kcompose_core::model::{Flavor, PackageName};
use kcompose_core::packages::deb::facts::PackageFacts;
use kcompose_core::resolve::lock::{self, Lock};
use kcompose_core::resolve::{Movement, Resolution, Resolved, resolve};
use kcompose_core::source::SourceMap;

/// What may happen to the lock.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Pinning {
    /// It must fit, and stays.
    Locked,
    /// What it lacks is resolved; the movement says what else may change.
    Free(Movement),
}

impl Pinning {
    /// What the flags of a build allow.
    pub(crate) fn of(mode: LockMode) -> Self {
        if mode.locked() {
            Pinning::Locked
        } else {
            Pinning::Free(Movement::Keep)
        }
    }
}

/// A flavor with its packages pinned.
#[derive(Clone, Debug)]
pub(crate) struct Pinned {
    /// The packages.
    pub(crate) resolved: Resolved,
    /// The lock that says so.
    pub(crate) lock: Lock,
    /// The lock that was there before.
    pub(crate) before: Option<Lock>,
    /// Whether the lock must stay as it is.
    fixed: bool,
}

impl Pinned {
    /// Notes what the archives say of the packages, in a lock that may change.
    pub(crate) fn look_into(&mut self, flavor: &Flavor, archives: &BTreeMap<PackageName, PackageFacts>) {
        if self.fixed {
            return;
        }
        self.resolved.look_into(flavor, archives);
        self.lock.resolved.look_into(flavor, archives);
    }

    /// Whether the lock on disk has to be written.
    pub(crate) fn changed(&self) -> bool {
        self.before.as_ref() != Some(&self.lock)
    }
}

/// Pins the packages of a flavor: by its lock where that fits, else by the indexes.
pub(crate) async fn pin(
    project: &Project,
    world: &mut World,
    pinning: Pinning,
    sources: &SourceMap,
    terminal: &Terminal,
) -> Result<Pinned, Failure> {
    let before = read(&project.lock_file)?;
    let fixed = pinning == Pinning::Locked;
    let movement = match pinning {
        Pinning::Free(movement) => movement,
        Pinning::Locked => {
            must_fit(project, before.as_ref())?;
            Movement::Keep
        }
    };
    world.fetcher.facts.lock.clone_from(&before);
    world.fetcher.facts.movement = movement;
    world.fetcher.folder.clone_from(&project.folder);
    let resolved = loop {
        match resolve(&project.flavor, &world.fetcher.facts) {
            Resolution::Done(resolved) => {
                terminal.report(&resolved.warnings, sources);
                break resolved.value;
            }
            Resolution::Needs(needs) => world.fetcher.answer(&needs).await.map_err(fetch_failed)?,
            Resolution::Failed(problems) => return Err(Failure::Wrong(problems)),
        }
    };
    let mirrors = world.fetcher.mirrors();
    let lock = kcompose_compile::new_lock(&project.flavor, resolved.clone(), before.as_ref(), mirrors);
    Ok(Pinned {
        resolved,
        lock,
        before,
        fixed,
    })
}

/// The lock beside a flavor, if there is one.
pub(crate) fn read(file: &Path) -> Result<Option<Lock>, Failure> {
    let Some(text) = reading::found(file)? else {
        return Ok(None);
    };
    Ok(Some(kcompose_compile::read_lock(
        &file.display().to_string(),
        &text,
    )?))
}

/// Fails when the lock is missing or answers another flavor.
pub(crate) fn must_fit(project: &Project, lock: Option<&Lock>) -> Result<(), Failure> {
    let file = project.lock_file.display().to_string();
    kcompose_compile::must_fit(&file, lock, &project.flavor)?;
    Ok(())
}

/// Writes the lock whole, or not at all.
pub(crate) fn write(file: &Path, lock: &Lock) -> Result<(), Failure> {
    whole(file, lock::render(lock).as_bytes())
}

/// Writes a file whole, or not at all.
pub(crate) fn whole(file: &Path, content: &[u8]) -> Result<(), Failure> {
    use std::io::Write;
    let folder = file
        .parent()
        .filter(|folder| !folder.as_os_str().is_empty())
        .unwrap_or(Path::new("."));
    let written = || -> std::io::Result<()> {
        use std::os::unix::fs::PermissionsExt;
        let mut draft = kcompose_scratch::Draft::new(folder, 0o644)?;
        draft.write_all(content)?;
        draft
            .file()
            .set_permissions(std::fs::Permissions::from_mode(0o644))?;
        draft.file().sync_all()?;
        draft.place(file)
    };
    written().map_err(|error| {
        Failure::world(FileFailed::new(
            format!("cannot write `{}`", file.display()),
            error,
        ))
    })
}
