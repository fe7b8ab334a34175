//! A script of the flavor, in the root.

use kcompose_core::step::RunScript;

use crate::command;
use crate::problem::{Outcome, Problem};

/// Runs the script with `/bin/sh -eu`.
pub(crate) fn run(script: &RunScript, epoch: i64) -> Outcome<()> {
    let run =
        command::run(command::command("/bin/sh", epoch).args(["-eu", "-c", &script.script, &script.name]))?;
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
