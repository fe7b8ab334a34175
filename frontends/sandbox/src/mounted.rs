//! Trees as one file system for this program itself, for a moment.
//!
//! The mounts are in a mount namespace of one thread: nobody else sees them, and they go with the thread, whatever ends
//! it.

use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

use kcompose_launcher::attempt::Attempt;
use kcompose_launcher::report::Failure;
use kcompose_launcher::tree::{self, Manner};
use kcompose_launcher::{Overlay, identity};

use crate::Problem;

/// Does something while trees are mounted on folders, which only `work` sees.
///
/// # Errors
///
/// When the kernel refuses: it takes root's rights, or those that [`enter`](crate::enter) gives.
pub fn mounted<T: Send>(
    mounts: &[(PathBuf, Overlay)],
    work: impl FnOnce() -> T + Send,
) -> Result<T, Problem> {
    let inside = || {
        identity::own_mounts().map_err(refused)?;
        for (at, overlay) in mounts {
            mount(at, overlay).map_err(refused)?;
        }
        Ok(work())
    };
    std::thread::scope(|scope| match scope.spawn(inside).join() {
        Ok(result) => result,
        Err(panic) => std::panic::resume_unwind(panic),
    })
}

fn mount(at: &Path, overlay: &Overlay) -> Result<(), Failure> {
    let tree = tree::of_overlay(overlay, false, Manner::of_this_process(false))?;
    let place = tree::folder(at)?;
    tree::attach(tree.as_fd(), place.as_fd()).attempt(|| format!("mounting on {}", at.display()))
}

fn refused(failure: Failure) -> Problem {
    Problem::Refused {
        attempt: failure.attempt,
        error: failure.error,
    }
}
