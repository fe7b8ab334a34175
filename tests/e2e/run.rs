//! Calls of the binary, and what came of them.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use tempfile::TempDir;

/// What a call printed, and how it ended.
#[derive(Debug)]
pub(crate) struct Outcome {
    line: String,
    /// Its exit code; none if a signal ended it.
    pub(crate) code: Option<i32>,
    /// stdout: data.
    pub(crate) data: String,
    /// stderr: talk.
    pub(crate) talk: String,
}

/// Runs `kcompose` with a line of words, in a folder.
pub(crate) fn kcompose(folder: &Path, line: &str) -> Outcome {
    finish(line, &mut command(folder, line))
}

/// The same with environment variables.
pub(crate) fn kcompose_with(folder: &Path, environment: &[(&str, &str)], line: &str) -> Outcome {
    finish(line, command(folder, line).envs(environment.iter().copied()))
}

/// The same without any network: only files and unix sockets reach the outside.
pub(crate) fn kcompose_without_network(folder: &Path, line: &str) -> Outcome {
    let mut unshared = Command::new("unshare");
    unshared
        .args(["--net", "--", env!("CARGO_BIN_EXE_kcompose")])
        .args(line.split_whitespace());
    finish(line, prepare(&mut unshared, folder))
}

/// A call that has not started yet.
pub(crate) fn command(folder: &Path, line: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_kcompose"));
    command.args(line.split_whitespace());
    prepare(&mut command, folder);
    command
}

fn prepare<'a>(command: &'a mut Command, folder: &Path) -> &'a mut Command {
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("KCOMPOSE_")) {
        command.env_remove(name);
    }
    command
        .current_dir(folder)
        .stdin(Stdio::null())
        .env("NO_COLOR", "1")
        .env("KCOMPOSE_CACHE_DIR", kcompose_testing::cache().join("store"))
}

fn finish(line: &str, command: &mut Command) -> Outcome {
    let output = command.output().expect("the binary was built with this test");
    outcome(line, &output)
}

/// What a finished process printed.
pub(crate) fn outcome(line: &str, output: &std::process::Output) -> Outcome {
    Outcome {
        line: line.to_owned(),
        code: output.status.code(),
        data: String::from_utf8_lossy(&output.stdout).into_owned(),
        talk: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

impl Outcome {
    /// Asserts the exit code.
    #[track_caller]
    pub(crate) fn ends(self, code: i32) -> Self {
        assert!(self.code == Some(code), "expected exit {code}\n{}", self.report());
        self
    }

    /// Asserts exit code 0.
    #[track_caller]
    pub(crate) fn ok(self) -> Self {
        self.ends(0)
    }

    /// Asserts that a line was printed that has these pieces, in this order; `…` stands between pieces.
    #[track_caller]
    pub(crate) fn says(self, pattern: &str) -> Self {
        assert!(
            self.lines().any(|line| has_pieces(line, pattern)),
            "expected a line with {pattern:?}\n{}",
            self.report()
        );
        self
    }

    /// Whether no such line was printed.
    pub(crate) fn lacks(&self, pattern: &str) -> bool {
        !self.lines().any(|line| has_pieces(line, pattern))
    }

    /// All that is known of it, for a person.
    pub(crate) fn report(&self) -> String {
        // What failed of a list of checks stands wherever it does.
        let tail = |text: &str| {
            let lines: Vec<&str> = text.lines().collect();
            let (head, tail) = lines.split_at(lines.len().saturating_sub(60));
            let failed = head.iter().filter(|line| line.starts_with("not ok"));
            failed.chain(tail).copied().collect::<Vec<_>>().join("\n")
        };
        format!(
            "$ kcompose {}\nexit {:?}\n--- stdout\n{}\n--- stderr\n{}",
            self.line,
            self.code,
            tail(&self.data),
            tail(&self.talk)
        )
    }

    fn lines(&self) -> impl Iterator<Item = &str> {
        self.talk.lines().chain(self.data.lines())
    }
}

/// Whether a line has the pieces of a pattern, in order.
pub(crate) fn has_pieces(line: &str, pattern: &str) -> bool {
    let mut rest = line;
    pattern
        .split('…')
        .map(str::trim)
        .all(|piece| match rest.find(piece) {
            Some(at) => {
                rest = &rest[at + piece.len()..];
                true
            }
            None => false,
        })
}

/// A folder that goes with the test, on a disk: `/tmp` may be memory, and images are large.
pub(crate) fn scratch() -> TempDir {
    tempfile::Builder::new()
        .prefix("kcompose-e2e.")
        .tempdir_in("/var/tmp")
        .expect("/var/tmp is writable")
}

/// A folder of these tests' data.
pub(crate) fn data(path: &str) -> PathBuf {
    kcompose_testing::workspace().join("tests/e2e").join(path)
}

/// A script for a guest: the shared helpers, then the checks of one boot.
pub(crate) fn probe(name: &str) -> String {
    let part = |name: &str| fs::read_to_string(data(&format!("probes/{name}.sh"))).unwrap();
    part("checks") + &part(name)
}

/// Copies a folder.
pub(crate) fn copy_folder(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap().map(Result::unwrap) {
        let target = to.join(entry.file_name());
        let kind = entry.file_type().unwrap();
        if kind.is_dir() {
            copy_folder(&entry.path(), &target);
        } else if kind.is_symlink() {
            std::os::unix::fs::symlink(fs::read_link(entry.path()).unwrap(), &target).unwrap();
        } else {
            fs::copy(entry.path(), &target).unwrap();
        }
    }
}

/// Replaces text in a file; it must be there.
#[track_caller]
pub(crate) fn replace(file: &Path, from: &str, to: &str) {
    let text = fs::read_to_string(file).unwrap();
    assert!(text.contains(from), "{} has no {from:?}", file.display());
    fs::write(file, text.replace(from, to)).unwrap();
}
