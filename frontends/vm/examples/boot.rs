//! Boots a root tree: `boot TREE [--disk FILE] [--mode MODE] [--script FILE] [--check] [--console] [--timeout SECONDS]`.
#![expect(clippy::print_stderr, reason = "a command")]

use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use kcompose_vm::{Boot, Image, Mode, Output, Source};

struct Terminal {
    console: bool,
}

impl Output for Terminal {
    fn stdout(&mut self, bytes: &[u8]) {
        let _ = std::io::stdout().write_all(bytes);
    }
    fn stderr(&mut self, bytes: &[u8]) {
        let _ = std::io::stderr().write_all(bytes);
    }
    fn console(&mut self, bytes: &[u8]) {
        if self.console {
            let _ = std::io::stderr().write_all(bytes);
        }
    }
    fn progress(&mut self, what: &str) {
        eprintln!("-- {what}");
    }
}

#[tokio::main]
async fn main() {
    let mut words = std::env::args().skip(1);
    let tree = PathBuf::from(words.next().unwrap_or_default());
    let (mut disk, mut script, mut mode, mut timeout) = (None, None, Mode::Active, 300);
    let (mut check, mut console, mut id) = (false, false, tree.display().to_string());
    while let Some(word) = words.next() {
        let mut value = || words.next().unwrap_or_default();
        match word.as_str() {
            "--disk" => disk = Some(value()),
            "--id" => id = value(),
            "--script" => script = std::fs::read(value()).ok(),
            "--timeout" => timeout = value().parse().unwrap_or(timeout),
            "--check" => check = true,
            "--console" => console = true,
            "--mode" => {
                mode = match value().as_str() {
                    "passive" => Mode::Passive,
                    "recovery" => Mode::Recovery,
                    _ => Mode::Active,
                }
            }
            other => eprintln!("-- unknown: {other}"),
        }
    }
    let what = Boot {
        disk: Source::Image {
            image: Image {
                root: Arc::new(tree),
                id,
                architecture: "amd64".to_owned(),
            },
            kept: disk.as_deref().map(Path::new),
        },
        mode,
        script: script.as_deref(),
        check,
        timeout: Duration::from_secs(timeout),
        memory: 1024,
    };
    match kcompose_vm::boot(what, &mut Terminal { console }).await {
        Ok(outcome) => {
            eprintln!("-- {outcome:?}");
            std::process::exit(outcome.exit_code.into());
        }
        Err(failure) => {
            eprintln!(
                "{}: {}",
                failure
                    .problem()
                    .code()
                    .map(|code| code.to_string())
                    .unwrap_or_default(),
                failure.problem()
            );
            std::process::exit(failure.exit_code().into());
        }
    }
}
