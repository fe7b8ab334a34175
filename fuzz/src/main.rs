//! Hostile inputs for every reader of files that others write.
//!
//! `kcompose-fuzz short` reads the same inputs in each run and is part of the tests; `fuzz/run TARGET|all SECONDS` reads
//! others for as long as it is told. A fault is a panic, an abort, an input that takes more than 5 s of processor time, or
//! more than 512 MiB of memory. The input is kept in `fuzz/faults`, and `kcompose-fuzz replay TARGET FILE` reads it again.
#![cfg_attr(test, allow(clippy::disallowed_methods, clippy::unwrap_used))]
#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a program for the terminal"
)]

mod corpus;
mod images;
mod mutate;
mod random;
mod shapes;
mod signed;
mod supervise;
mod targets;
mod worker;

use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use supervise::Outcome;
use targets::{ALL, Target};
use worker::Row;

/// Inputs of the short run for each target.
const SHORT: u64 = 100_000;

const USAGE: &str = "usage: kcompose-fuzz short | list | run TARGET|all SECONDS [SEED] | replay TARGET FILE";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let done = match words.as_slice() {
        ["list"] => {
            ALL.iter().for_each(|target| println!("{}", target.name));
            Ok(true)
        }
        ["short"] => short(),
        ["run", target, seconds] => long(target, seconds, None),
        ["run", target, seconds, seed] => long(target, seconds, Some(seed)),
        ["replay", target, file] => replay(target, Path::new(file)),
        ["worker", target, seed, first, count, time, current] => {
            as_worker(target, [seed, first, count, time], Path::new(current))
        }
        _ => Err(USAGE.to_owned()),
    };
    match done {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(reason) => {
            eprintln!("{reason}");
            ExitCode::from(2)
        }
    }
}

fn named(name: &str) -> Result<&'static Target, String> {
    let found = ALL.iter().find(|target| target.name == name);
    found.ok_or_else(|| format!("there is no target `{name}`; `kcompose-fuzz list` prints them"))
}

fn number(text: &str) -> Result<u64, String> {
    text.parse().map_err(|_| format!("`{text}` is not a number"))
}

/// The run of the tests.
fn short() -> Result<bool, String> {
    let row = Row {
        seed: 1,
        first: 0,
        count: SHORT,
        time: Duration::from_secs(3600),
    };
    let targets: Vec<&Target> = ALL.iter().collect();
    print(supervise::run_all(&targets, row, false), Some(SHORT))
}

/// A run by time, with inputs that no earlier run had unless a seed is named.
fn long(target: &str, seconds: &str, seed: Option<&str>) -> Result<bool, String> {
    let targets: Vec<&Target> = if target == "all" {
        ALL.iter().collect()
    } else {
        vec![named(target)?]
    };
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |time| time.as_secs());
    let seed = seed.map_or(Ok(now), number)?;
    let row = Row {
        seed,
        first: 0,
        count: u64::MAX,
        time: Duration::from_secs(number(seconds)?),
    };
    println!("seed {seed}");
    print(supervise::run_all(&targets, row, true), None)
}

/// Prints a table; whether nothing is wrong and each target read as many inputs as it should.
fn print(outcomes: Vec<std::io::Result<Outcome>>, wanted: Option<u64>) -> Result<bool, String> {
    println!(
        "{:<14}{:>12}{:>10}{:>12}{:>8}",
        "target", "executions", "seconds", "peak MiB", "faults"
    );
    let (mut is_good, mut inputs, mut time) = (true, 0, Duration::ZERO);
    let mut faults = Vec::new();
    for outcome in outcomes {
        let outcome = outcome.map_err(|error| error.to_string())?;
        println!(
            "{:<14}{:>12}{:>10.1}{:>12}{:>8}",
            outcome.target,
            outcome.inputs,
            outcome.time.as_secs_f64(),
            outcome.peak >> 20,
            outcome.faults.len()
        );
        inputs += outcome.inputs;
        time += outcome.time;
        is_good &= outcome.faults.is_empty() && wanted.is_none_or(|wanted| outcome.inputs >= wanted);
        faults.extend(outcome.faults.into_iter().map(|fault| (outcome.target, fault)));
    }
    println!("{:<14}{inputs:>12}{:>10.1}", "all", time.as_secs_f64());
    for (target, (reason, input)) in faults {
        println!(
            "{target}: {reason}\n  kcompose-fuzz replay {target} {}",
            input.display()
        );
    }
    Ok(is_good)
}

fn replay(target: &str, file: &Path) -> Result<bool, String> {
    let target = named(target)?;
    let input = std::fs::read(file).map_err(|error| format!("{}: {error}", file.display()))?;
    worker::limit_memory().map_err(|error| error.to_string())?;
    (target.read)(&input);
    println!("{} MiB", worker::peak_memory() >> 20);
    Ok(true)
}

fn as_worker(target: &str, numbers: [&str; 4], current: &Path) -> Result<bool, String> {
    let target = named(target)?;
    let [seed, first, count, milliseconds] = numbers.map(number);
    let row = Row {
        seed: seed?,
        first: first?,
        count: count?,
        time: Duration::from_millis(milliseconds?),
    };
    let inputs = worker::work(target, row, current).map_err(|error| error.to_string())?;
    println!("{inputs} {}", worker::peak_memory());
    Ok(true)
}
