//! A script of the flavor, in the root.

use std::path::Path;

use kcompose_core::step::RunScript;

use crate::command;
use crate::configure;
use crate::problem::{Outcome, Problem};

/// Runs the script with `/bin/sh -eu`; it starts no service.
pub(crate) fn run(script: &RunScript, epoch: i64) -> Outcome<()> {
    let guard = configure::guard_scripts(Path::new("/"))?;
    let mut command = command::command("/bin/sh", epoch);
    command
        .env("PATH", configure::path())
        .args(["-eu", "-c", &script.script, &script.name]);
    let run = command::run(&mut command);
    guard.remove()?;
    let run = run?;
    if run.status.success() {
        return Ok(());
    }
    let message = format!(
        "the script `{}` failed ({}):{}",
        script.name,
        run.status,
        run.shown_tail()
    );
    Err(Problem::new("kcompose::step::script", message).into())
}
