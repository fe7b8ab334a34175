//! A script of the flavor, in the root.

use std::path::Path;

use kcompose_core::step::RunScript;

use crate::command;
use crate::configure;
use crate::ids;
use crate::problem::{Outcome, Problem};

/// Runs the script with `/bin/sh -eu`; it starts no service. System accounts that it makes get their ids by the rule.
pub(crate) fn run(script: &RunScript, epoch: i64) -> Outcome<()> {
    let root = Path::new("/");
    let before = ids::accounts(root)?;
    let guard = configure::guard_scripts(root)?;
    let mut command = command::command("/bin/sh", epoch);
    command
        .env("PATH", configure::path())
        .args(["-eu", "-c", &script.script, &script.name]);
    let run = command::run(&mut command);
    guard.remove()?;
    let run = run?;
    if run.status.success() {
        return ids::settle_new(root, &before, &script.ids, &script.script);
    }
    let message = format!(
        "the script `{}` failed ({}):{}",
        script.name,
        run.status,
        run.shown_tail()
    );
    Err(Problem::new("kcompose::step::script", message).into())
}
