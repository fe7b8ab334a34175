//! `kcompose`: composes immutable, Kairos-compatible operating system images from a declaration.
#![cfg_attr(test, allow(clippy::disallowed_methods, clippy::unwrap_used))]

mod args;
mod commands;
mod compile;
mod context;
mod contexts;
mod copied;
mod difference;
mod engine;
mod failure;
mod interrupt;
mod loading;
mod pinning;
mod progress;
mod project;
mod prove;
mod reading;
mod reproducible;
mod terminal;
mod values;
mod world;

use std::process::ExitCode;

use clap::Parser;
use kcompose_core::source::SourceMap;

use args::{Cli, Command};
use failure::Failure;
use terminal::Terminal;

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(said) => return explained(&said),
    };
    let terminal = Terminal::new(cli.global.color);
    take_rights(&cli.command);
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let runtime = match runtime.and_then(|runtime| interrupt::listen().map(|()| runtime)) {
        Ok(runtime) => runtime,
        Err(error) => {
            let failure = failure::FileFailed::new("cannot start threads", error);
            return terminal.fail(&Failure::world(failure), &SourceMap::new());
        }
    };
    let mut sources = SourceMap::new();
    let result = runtime.block_on(run(cli, &terminal, &mut sources));
    // A download that was given up must not hold the exit.
    runtime.shutdown_background();
    let code = match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => terminal.fail(&failure, &sources),
    };
    // Threads that the command did not wait for drop nothing.
    kcompose_scratch::clear();
    match terminal.delivered() {
        Ok(()) => code,
        Err(lost) => terminal.fail(&lost, &sources),
    }
}

/// Prints help, the version, or why the command line is wrong.
fn explained(said: &clap::Error) -> ExitCode {
    match said.print() {
        Err(error) if !said.use_stderr() => {
            let terminal = Terminal::new(args::Color::Auto);
            terminal.fail(&terminal::lost(&error), &SourceMap::new())
        }
        _ => ExitCode::from(u8::try_from(said.exit_code()).unwrap_or(2)),
    }
}

/// A disk and a tree of the embedded engine hold files of many owners, which an ordinary user can make and delete in a user
/// namespace only.
///
/// A process with threads can't enter one, so this comes first. Where it is refused, the command goes on as it is: the disk
/// may be there already, and what can't be done says so.
fn take_rights(command: &Command) {
    if rustix::process::geteuid().is_root() {
        return;
    }
    match command {
        Command::Build(args) => engine::prepare(args),
        Command::Boot(_) | Command::Cache(_) => drop(kcompose_sandbox::enter()),
        // The owners of a tree that a build has left are themselves only there.
        Command::Verify(args) if std::path::Path::new(&args.image).is_dir() => {
            drop(kcompose_sandbox::enter());
        }
        Command::New(_)
        | Command::Check(_)
        | Command::Lock(_)
        | Command::Update(_)
        | Command::Config(_)
        | Command::Plan(_)
        | Command::Verify(_)
        | Command::Frontend(_)
        | Command::Doctor(_) => {}
    }
}

async fn run(cli: Cli, terminal: &Terminal, sources: &mut SourceMap) -> Result<(), Failure> {
    use interrupt::until_interrupted as until;
    let global = &cli.global;
    match cli.command {
        Command::New(args) => commands::new::run(&args, terminal),
        Command::Check(args) => until(commands::check::run(global, &args, terminal, sources)).await,
        Command::Lock(args) => until(commands::lock::run(global, &args, terminal, sources)).await,
        Command::Update(args) => until(commands::update::run(global, &args, terminal, sources)).await,
        Command::Config(args) => commands::config::run(&args, terminal, sources),
        Command::Plan(args) => until(commands::plan::run(global, &args, terminal, sources)).await,
        Command::Verify(args) => until(commands::verify::run(&args, terminal)).await,
        Command::Boot(args) => until(commands::boot::run(&args, terminal)).await,
        Command::Cache(args) => commands::cache::run(global, &args, terminal),
        Command::Doctor(args) => until(commands::doctor::run(global, &args, terminal)).await,
        // They cancel their work themselves, which takes longer than to drop it.
        Command::Build(args) => commands::build::run(global, &args, terminal, sources).await,
        Command::Frontend(args) => commands::frontend::run(global, &args.command, terminal).await,
    }
}
