//! `docker build -f flavor.kdl .` on Docker's own engines, which `tests/with-docker` starts.
//!
//! An engine is started once for all tests and goes with the last of them. The frontend is loaded into it, as it is on a
//! machine without a registry.

mod builds;
mod contexts;
mod drivers;
mod questions;

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::OnceLock;

use tempfile::TempDir;

use crate::frontend::program;
use crate::run::{Outcome, kcompose, outcome, scratch};

/// The frontend's name. No registry has it.
const FRONTEND: &str = "example.test/kcompose/frontend:1";

/// An engine with its client.
#[derive(Debug)]
struct Docker {
    version: &'static str,
    /// Where it is, and where its client is.
    variables: Vec<(String, String)>,
    /// `tests/with-docker`, which keeps it running while its stdin is open: as long as this process.
    _keeper: (Child, ChildStdin),
}

impl Docker {
    /// Docker 28 with containerd's image store.
    fn modern() -> &'static Docker {
        static DOCKER: OnceLock<Docker> = OnceLock::new();
        DOCKER.get_or_init(|| Docker::start("28"))
    }

    /// Docker 28 with a graph driver.
    fn graph() -> &'static Docker {
        static DOCKER: OnceLock<Docker> = OnceLock::new();
        DOCKER.get_or_init(|| Docker::start("28-graph"))
    }

    /// Docker 20.10.
    fn old() -> &'static Docker {
        static DOCKER: OnceLock<Docker> = OnceLock::new();
        DOCKER.get_or_init(|| Docker::start("20.10"))
    }

    #[track_caller]
    fn start(version: &'static str) -> Docker {
        let script = "env | grep -E '^(DOCKER_|PATH=)'; echo; read end || true";
        let mut keeper = Command::new(kcompose_testing::workspace().join("tests/with-docker"))
            .args([version, "sh", "-c", script])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(keeper.stdout.take().unwrap()).lines();
        let variables: Vec<(String, String)> = lines
            .map_while(Result::ok)
            .take_while(|line| !line.is_empty())
            .filter_map(|line| {
                let (name, value) = line.split_once('=')?;
                Some((name.to_owned(), value.to_owned()))
            })
            .collect();
        assert!(
            !variables.is_empty(),
            "tests/with-docker {version} starts no engine"
        );
        let stdin = keeper.stdin.take().unwrap();
        let docker = Docker {
            version,
            variables,
            _keeper: (keeper, stdin),
        };
        docker.load_frontend();
        docker
    }

    /// `docker load` of the image that `kcompose frontend image` writes.
    #[track_caller]
    fn load_frontend(&self) {
        let folder = scratch();
        let line = format!(
            "frontend image --program {} -t {FRONTEND} -o type=docker,dest=frontend.tar",
            program().display()
        );
        kcompose(folder.path(), &line).ok();
        self.run(folder.path(), &["load", "-i", "frontend.tar"])
            .ok()
            .says(FRONTEND);
    }

    /// A call of `docker`.
    fn run(&self, folder: &Path, words: &[&str]) -> Outcome {
        let line = format!("docker {}   # {}", words.join(" "), self.version);
        // The client is found on the PATH of this call, not of this process.
        let path = self.variables.iter().find(|(name, _)| name == "PATH");
        let found = path.and_then(|(_, path)| {
            std::env::split_paths(path)
                .map(|folder| folder.join("docker"))
                .find(|file| file.is_file())
        });
        let mut called = Command::new(found.expect("tests/with-docker puts docker on PATH"));
        called.args(words).current_dir(folder).stdin(Stdio::null());
        called.envs(self.variables.iter().map(|(name, value)| (name, value)));
        outcome(&line, &called.output().unwrap())
    }

    /// `docker buildx build` of the flavor in a folder, or `docker build` where there is no buildx.
    fn build(&self, folder: &Path, options: &[&str]) -> Outcome {
        let mirror = format!("KCOMPOSE_MIRROR={}", kcompose_testing::mirror());
        let mut words = if self.version == "20.10" {
            vec!["build"]
        } else {
            vec!["buildx", "build"]
        };
        words.extend(["--progress=plain", "--build-arg", &mirror, "-f", "flavor.kdl"]);
        words.extend(options);
        words.push(".");
        self.run(folder, &words)
    }

    /// Makes the first line of a flavor name the frontend, as this engine reads it.
    #[track_caller]
    fn name_frontend(&self, folder: &Path) {
        let file = folder.join("flavor.kdl");
        let text = fs::read_to_string(&file).unwrap();
        let body = match text.split_once('\n') {
            Some((first, rest)) if first.contains("syntax=") => rest,
            _ => &text,
        };
        // Docker before 23 reads only its own comments.
        let comment = if self.version == "20.10" { "#" } else { "//" };
        fs::write(&file, format!("{comment} syntax={FRONTEND}\n{body}")).unwrap();
    }

    /// A copy of a flavor with a lock, whose first line names the frontend.
    fn flavor(&self, path: &str) -> TempDir {
        let folder = crate::frontend::locked(&kcompose_testing::workspace().join(path));
        self.name_frontend(folder.path());
        folder
    }
}
