//! Once at the start of a process: the rights that building takes.

use kcompose_launcher::identity;
use kcompose_launcher::report::Failure;

use crate::{Problem, program};

pub use kcompose_launcher::identity::{Ids, Standing, present_ids};

/// Takes the rights that building takes, for this process and its children.
///
/// Root gets a mount namespace of its own, so that what is mounted goes with the process. Anyone else also enters a user
/// namespace with the ids that are set aside for that user; without such a range it holds the user alone, and the answer
/// says why. Call it first in `main`: a process with threads can't do this.
///
/// # Errors
///
/// When the kernel refuses.
pub fn enter() -> Result<Standing, Problem> {
    let launcher = program::path().map_err(Problem::Launcher)?;
    identity::enter(&launcher).map_err(|failure| refused(&failure))
}

pub(crate) fn refused(failure: &Failure) -> Problem {
    Problem::UserNamespace {
        reason: format!("{}: {}", failure.attempt, failure.error),
        help: help().to_owned(),
    }
}

/// What forbids user namespaces on known distributions.
pub(crate) fn help() -> &'static str {
    let says = |file: &str, value: &str| std::fs::read_to_string(file).is_ok_and(|text| text.trim() == value);
    if says("/proc/sys/kernel/apparmor_restrict_unprivileged_userns", "1") {
        "AppArmor restricts user namespaces: `sysctl kernel.apparmor_restrict_unprivileged_userns=0`, or build as root"
    } else if says("/proc/sys/kernel/unprivileged_userns_clone", "0") {
        "user namespaces are switched off: `sysctl kernel.unprivileged_userns_clone=1`, or build as root"
    } else if says("/proc/sys/user/max_user_namespaces", "0") {
        "user namespaces are switched off: `sysctl user.max_user_namespaces=10000`, or build as root"
    } else {
        "the kernel or a container around this process forbids user namespaces; build as root, or outside of it"
    }
}
