//! The lock beside a flavor: read, and compared.

use kcompose_core::diagnostic::Diagnostics;
use kcompose_core::model::Flavor;
use kcompose_core::resolve::Resolved;
use kcompose_core::resolve::lock::{self, Lock};
use kcompose_engine::fetch::Mirrors;
use miette::Diagnostic;
use thiserror::Error;

#[derive(Debug, Error, Diagnostic)]
#[error("there is no lock, `{file}`")]
#[diagnostic(
    code(kcompose::lock::missing),
    help(
        "`kcompose lock` writes it; so does `docker build --build-arg KCOMPOSE_RESOLVE=1 --target lock --output . -f FLAVOR .`"
    )
)]
struct NoLock {
    file: String,
}

/// The lock in a text.
pub fn read_lock(file: &str, text: &str) -> Result<Lock, Diagnostics> {
    lock::parse(file, text).map_err(Diagnostics::from)
}

/// The lock of packages that were resolved, with the mirrors that they were found at.
pub fn new_lock(flavor: &Flavor, resolved: Resolved, before: Option<&Lock>, mirrors: &Mirrors) -> Lock {
    let found_at = match before {
        // Where the same was found before is as good, and another machine's mirror is no reason to write a lock anew.
        Some(before) if before.resolved == resolved => before.mirrors.clone(),
        Some(_) | None => mirrors.worth_locking(flavor, &resolved),
    };
    Lock {
        mirrors: found_at,
        ..Lock::new(flavor, resolved)
    }
}

/// Fails when the lock is missing or answers another flavor.
pub fn must_fit<'a>(file: &str, lock: Option<&'a Lock>, flavor: &Flavor) -> Result<&'a Lock, Diagnostics> {
    let Some(lock) = lock else {
        return Err(NoLock {
            file: file.to_owned(),
        }
        .into());
    };
    let differences = lock.fits(flavor);
    if differences.is_empty() {
        Ok(lock)
    } else {
        Err(differences)
    }
}
