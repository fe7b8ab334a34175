//! The lock beside a flavor: read, and compared.

use kcompose_core::diagnostic::Diagnostics;
use kcompose_core::model::Flavor;
use kcompose_core::resolve::lock::{self, Lock};
use miette::Diagnostic;
use thiserror::Error;

#[derive(Debug, Error, Diagnostic)]
#[error("there is no lock, `{file}`")]
#[diagnostic(code(kcompose::lock::missing), help("`kcompose lock` writes it"))]
struct NoLock {
    file: String,
}

/// The lock in a text.
pub fn read_lock(file: &str, text: &str) -> Result<Lock, Diagnostics> {
    lock::parse(file, text).map_err(Diagnostics::from)
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
