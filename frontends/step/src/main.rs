//! The program that runs inside build steps.
//!
//! It reads one [`Program`] and runs its actions in order: `kcompose-step /run/kcompose/program/program.json`. It is
//! static and small, because it travels in every definition, and it needs nothing of the root that it works on.
#![cfg_attr(test, allow(clippy::disallowed_methods))]

mod accounts;
mod archive;
mod certificates;
mod clean;
mod command;
mod configure;
mod deb822;
mod depmod;
mod dracut;
mod files;
mod fs;
mod ids;
mod initrd;
mod kairos;
mod keyboard;
mod locales;
mod modules;
mod near;
mod problem;
mod root_tree;
mod run;
mod seed;
mod services;
mod stamp;
mod syncs;
mod time_zone;
mod times;
mod unpack;
mod verify;
mod walk;

use std::path::Path;
use std::process::ExitCode;

use kcompose_core::step::{Action, Program};

use problem::{Doing, Outcome, Problem};

fn main() -> ExitCode {
    match run_program() {
        Ok(()) => ExitCode::SUCCESS,
        Err(problems) => {
            say(&problems.to_string());
            ExitCode::FAILURE
        }
    }
}

fn run_program() -> Outcome<()> {
    let mut arguments = std::env::args_os().skip(1);
    let (Some(path), None) = (arguments.next(), arguments.next()) else {
        return Err(Problem::new("kcompose::step::usage", "usage: kcompose-step PROGRAM.json").into());
    };
    let program = read_program(Path::new(&path))?;
    // What is made gets its mode by name, never by what the caller's umask leaves of it.
    rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o022));
    act_all(&program.actions, program.epoch)
}

/// Does one thing after the other. What ends each image is done in one walk over its paths: they are looked at for their times,
/// and the checks get what was seen.
fn act_all(actions: &[Action], epoch: i64) -> Outcome<()> {
    match actions {
        [Action::Times(times), Action::Stamp(_), Action::Verify(verify)]
            if times.added.is_none() && verify.root == "/" =>
        {
            let root = Path::new("/");
            let mut tree = times::of_tree(root, epoch)?;
            stamp::run(root, epoch)?;
            tree.look_again(&stamp::PATHS);
            verify::check(&tree, verify)
        }
        [first, rest @ ..] => {
            act(first, epoch)?;
            act_all(rest, epoch)
        }
        [] => Ok(()),
    }
}

fn read_program(path: &Path) -> Outcome<Program> {
    let text = std::fs::read(path).doing("read", path)?;
    serde_json::from_slice(&text).map_err(|error| {
        let message = format!("`{}` is no program for this step: {error}", path.display());
        Problem::new("kcompose::step::program", message).into()
    })
}

fn act(action: &Action, epoch: i64) -> Outcome<()> {
    let root = Path::new("/");
    match action {
        Action::Unpack(unpack) => unpack::run(unpack, epoch),
        Action::Configure(configure) => configure::run(configure, epoch),
        Action::Depmod(depmod) => depmod::run(depmod, epoch),
        Action::RefreshModules(_) => depmod::refresh(epoch),
        Action::TakeModules(take) => modules::take(take, epoch),
        Action::Initrd(initrd) => initrd::run(initrd, epoch),
        Action::KairosInit(kairos) => kairos::run(kairos, epoch),
        Action::Dracut(dracut) => dracut::run(dracut, epoch),
        Action::Brand(brand) => kairos::brand(brand, root, epoch),
        Action::Files(files) => files::run(files, root, epoch),
        Action::Accounts(accounts) => accounts::run(accounts, root, epoch),
        Action::TimeZone(zone) => time_zone::run(zone, root, epoch),
        Action::Locales(locales) => locales::run(locales, root, epoch),
        Action::Keyboard(keyboard) => keyboard::run(keyboard, root, epoch),
        Action::Trust(trust) => certificates::run(trust, root, epoch),
        Action::Services(services) => services::run(services, root),
        Action::Run(script) => run::run(script, epoch),
        Action::Clean(clean) => clean::run(clean, root),
        Action::Times(times) => times::run(times, root, epoch),
        Action::Seed(seed) => seed::run(seed, root, epoch),
        Action::Verify(verify) => verify::run(verify),
        Action::Stamp(_) => stamp::run(root, epoch),
    }
}

/// Prints for the log of the build.
#[expect(
    clippy::print_stderr,
    reason = "this is the frontend of a build step: its log is stderr"
)]
pub(crate) fn say(text: &str) {
    eprintln!("{text}");
}
