//! A script of the flavor, in the root.

use std::path::Path;

use kcompose_core::step::RunScript;

use crate::command::{self, STUBS};
use crate::configure::dkms;
use crate::fs;
use crate::problem::{Outcome, Problem};

/// Runs the script with `/bin/sh -eu`.
pub(crate) fn run(script: &RunScript, epoch: i64) -> Outcome<()> {
    let mut command = command::command("/bin/sh", epoch);
    command.env("PATH", format!("{STUBS}:{}", command::PATH)).args([
        "-eu",
        "-c",
        &script.script,
        &script.name,
    ]);
    dkms::stub_uname(Path::new("/"))?;
    let run = command::run(&mut command)?;
    fs::remove(Path::new(STUBS))?;
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
