//! `kcompose boot`: an image in a virtual machine.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use kcompose_engine::rootfs;
use kcompose_vm::{Check, CheckResult, Image, Mode, Outcome, Source};
use serde_json::{Value, json};

use crate::args::{Boot, BootMode, DataFormat};
use crate::failure::{BadFlag, Failure, FileFailed};
use crate::interrupt;
use crate::terminal::Terminal;

/// Boots an image and hands the script's output and exit code on.
pub(crate) async fn run(args: &Boot, terminal: &Terminal) -> Result<(), Failure> {
    let disk = disk(args, terminal).await?;
    let script = args.script.as_deref().map(read_script).transpose()?;
    let what = kcompose_vm::Boot {
        disk,
        mode: mode(args.mode),
        script: script.as_deref(),
        check: args.check,
        timeout: args.timeout,
        memory: args.memory,
    };
    let mut relay = Relay {
        terminal: *terminal,
        report: (args.format == DataFormat::Json).then(Vec::new),
    };
    let outcome = kcompose_vm::boot(what, &mut relay).await.map_err(failed)?;
    if let Some(report) = &relay.report {
        let checks = kcompose_vm::parse_checks(&String::from_utf8_lossy(report));
        terminal.data(&format!("{:#}\n", json(&outcome, &checks)));
    } else if script.is_none() && !args.check {
        summary(&outcome, terminal);
    }
    match outcome.exit_code {
        0 => Ok(()),
        code => Err(Failure::Exit(code)),
    }
}

/// The disk; the arguments have an image, or name one.
async fn disk<'a>(args: &'a Boot, terminal: &Terminal) -> Result<Source<'a>, Failure> {
    let kept = args.disk.as_deref();
    match (&args.image, kept) {
        (None, Some(disk)) if disk.exists() => Ok(Source::Disk(disk)),
        (None, _) => {
            let disk = kept.unwrap_or(Path::new("")).display();
            let fact = format!("there is no disk `{disk}`");
            let help = "name the image that it is to be made from";
            Err(Failure::usage(BadFlag::new(fact, help)))
        }
        (Some(image), kept) => {
            let image = super::verify::open(image, args.size.max_image_size, terminal).await?;
            let image = Image {
                id: image.id.clone(),
                architecture: image.architecture.clone().unwrap_or_default(),
                root: Arc::new(Unpacked(image)),
            };
            Ok(Source::Image { image, kept })
        }
    }
}

fn summary(outcome: &Outcome, terminal: &Terminal) {
    terminal.data(&format!("state: {}\n", outcome.state));
    for unit in &outcome.failed_units {
        terminal.data(&format!("failed: {unit}\n"));
    }
    for job in &outcome.waiting_jobs {
        terminal.data(&format!("waiting: {job}\n"));
    }
}

/// The report of `--check` for programs.
fn json(outcome: &Outcome, checks: &[Check]) -> Value {
    let count = |wanted: &str| checks.iter().filter(|check| status(check).0 == wanted).count();
    let list: Vec<Value> = checks
        .iter()
        .map(|check| {
            let (status, reason) = status(check);
            json!({ "name": check.name, "status": status, "reason": reason, "details": check.details })
        })
        .collect();
    json!({
        "version": 1,
        "state": outcome.state,
        "failedUnits": outcome.failed_units,
        "ok": count("ok"),
        "notOk": count("not ok"),
        "skipped": count("skipped"),
        "checks": list,
    })
}

/// The word for a check's result, as in the report for people, and why it was skipped.
fn status(check: &Check) -> (&'static str, Option<&str>) {
    match &check.result {
        CheckResult::Passed => ("ok", None),
        CheckResult::Failed => ("not ok", None),
        CheckResult::Skipped(reason) => ("skipped", Some(reason)),
    }
}

fn read_script(path: &Path) -> Result<Vec<u8>, Failure> {
    fs_err::read(path).map_err(|error| {
        if error.kind() == std::io::ErrorKind::NotFound {
            let fact = format!("there is no script `{}`", path.display());
            return Failure::usage(BadFlag::new(fact, "`--script` takes a file on this machine"));
        }
        Failure::world(FileFailed::new(
            format!("cannot read `{}`", path.display()),
            error,
        ))
    })
}

fn mode(mode: BootMode) -> Mode {
    match mode {
        BootMode::Active => Mode::Active,
        BootMode::Passive => Mode::Passive,
        BootMode::Recovery => Mode::Recovery,
    }
}

fn failed(failure: kcompose_vm::Failure) -> Failure {
    let code = failure.exit_code();
    let problems = std::iter::once(failure.into_problem()).collect();
    if code == 1 {
        Failure::Wrong(problems)
    } else {
        Failure::World(problems)
    }
}

/// An image whose tree is unpacked when the machine needs it.
#[derive(Debug)]
struct Unpacked(rootfs::Image);

impl kcompose_vm::Root for Unpacked {
    fn tree(&self, scratch: &Path) -> Result<PathBuf, kcompose_vm::Problem> {
        self.0
            .tree_until(scratch, &interrupt::token())
            .map_err(|error| -> kcompose_vm::Problem { Box::new(error) })
    }
}

/// The script's output is ours; the console is shown when something goes wrong.
struct Relay {
    terminal: Terminal,
    /// The script's output, where it is not printed as it comes.
    report: Option<Vec<u8>>,
}

impl kcompose_vm::Output for Relay {
    fn stdout(&mut self, bytes: &[u8]) {
        match &mut self.report {
            Some(report) => report.extend_from_slice(bytes),
            None => self.terminal.bytes(bytes),
        }
    }

    fn stderr(&mut self, bytes: &[u8]) {
        let _ = std::io::stderr().lock().write_all(bytes);
    }

    fn console(&mut self, _: &[u8]) {}

    fn progress(&mut self, what: &str) {
        self.terminal.say(what);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn programs_read_counts_and_reasons() {
        let outcome = Outcome {
            exit_code: 1,
            state: "running".to_owned(),
            failed_units: Vec::new(),
            waiting_jobs: Vec::new(),
            accelerator: kcompose_vm::Accelerator::Tcg,
            clean_shutdown: true,
        };
        let checks =
            kcompose_vm::parse_checks("ok a\nnot ok b\n    why\nskipped c: no ssh\nskipped d: no ssh\n");
        let report = json(&outcome, &checks);
        assert_eq!(
            (&report["ok"], &report["notOk"], &report["skipped"]),
            (&1.into(), &1.into(), &2.into())
        );
        assert_eq!(report["checks"][1]["details"][0], "why");
        assert_eq!(report["checks"][2]["reason"], "no ssh");
    }
}
