//! The BuildKit frontend: what `docker build -f flavor.kdl .` comes to, through `buildctl` and a daemon.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use base64::Engine as _;
use kcompose_core::llb::proto::pb;
use kcompose_testing::needs;
use prost::Message as _;

use crate::daemon::Registry;
use crate::run::{Outcome, kcompose, kcompose_with, outcome, scratch};

/// The frontend in a registry.
struct Frontend {
    registry: Registry,
    _folder: tempfile::TempDir,
}

impl Frontend {
    fn start() -> Frontend {
        let folder = scratch();
        let registry = Registry::start(folder.path());
        let name = format!("{}/kcompose:1", registry.address());
        let line = format!(
            "frontend image --program {} -t {name} --push",
            program().display()
        );
        kcompose(folder.path(), &line).ok();
        Frontend {
            registry,
            _folder: folder,
        }
    }

    /// `buildctl build` of a flavor in a folder.
    fn build(&self, folder: &Path, options: &[&str]) -> Outcome {
        let source = format!("source={}/kcompose:1", self.registry.address());
        let mirror = format!("build-arg:KCOMPOSE_MIRROR={}", kcompose_testing::mirror());
        let mut command = Command::new("buildctl");
        command
            .current_dir(folder)
            .args(["build", "--progress", "plain", "--frontend", "gateway.v0"])
            .args(["--local", "context=.", "--local", "dockerfile=.", "--opt"])
            .args([&source, "--opt", &mirror])
            .args(options);
        let line = format!("buildctl {}", options.join(" "));
        outcome(
            &line,
            &command
                .output()
                .expect("tests/with-buildkit puts buildctl on PATH"),
        )
    }

    /// The text of a request's answer.
    fn ask(&self, folder: &Path, request: &str) -> Outcome {
        self.build(folder, &["--opt", &format!("requestid={request}")])
    }
}

/// The static program, linked from what cargo has compiled for these tests.
pub(crate) fn program() -> &'static Path {
    static PROGRAM: OnceLock<PathBuf> = OnceLock::new();
    PROGRAM.get_or_init(|| {
        if let Some(given) = std::env::var_os("KCOMPOSE_GATEWAY") {
            return given.into();
        }
        let script = kcompose_testing::workspace().join("frontends/gateway/build");
        let built = Command::new(script).arg("dev").output().unwrap();
        assert!(
            built.status.success(),
            "{}",
            String::from_utf8_lossy(&built.stderr)
        );
        String::from_utf8(built.stdout).unwrap().trim().into()
    })
}

/// A copy of a flavor with a lock.
pub(crate) fn locked(flavor: &Path) -> tempfile::TempDir {
    let folder = scratch();
    let copied = Command::new("cp")
        .args(["-r", "--"])
        .arg(flavor.join("."))
        .arg(folder.path())
        .status();
    assert!(copied.unwrap().success());
    // Whoever built it left one.
    let _ = fs::remove_file(folder.path().join("flavor.lock"));
    kcompose_with(
        folder.path(),
        &[("KCOMPOSE_MIRROR", &kcompose_testing::mirror())],
        "lock --no-fetch",
    )
    .ok();
    folder
}

/// A definition with its operations in order, and everything else by digest.
fn parts(bytes: &[u8]) -> (Vec<Vec<u8>>, BTreeMap<String, pb::OpMetadata>, Option<pb::Source>) {
    let definition = pb::Definition::decode(bytes).unwrap();
    (
        definition.def,
        definition.metadata.into_iter().collect(),
        definition.source,
    )
}

/// Every example, and every case of the language's suite that is a whole flavor.
fn flavors() -> Vec<PathBuf> {
    // These name a mirror or a file that is nowhere, or an image in a registry.
    const OUT_OF_REACH: [&str; 4] = ["download", "good", "kubernetes", "runtime-immucore"];
    let workspace = kcompose_testing::workspace();
    let folders = |path: &str| -> Vec<PathBuf> {
        let found = fs::read_dir(workspace.join(path)).unwrap();
        let mut found: Vec<PathBuf> = found.map(|entry| entry.unwrap().path()).collect();
        found.sort();
        found
    };
    let mut flavors = folders("examples");
    let whole = folders("dsl/tests/suite").into_iter().filter(|case| {
        let report = fs::read_to_string(case.join("report")).unwrap_or_default();
        report.trim() == "fine" && !OUT_OF_REACH.iter().any(|name| case.ends_with(name))
    });
    flavors.extend(whole);
    flavors.push(workspace.join("tests/e2e/flavor"));
    assert!(flavors.len() > 4, "{flavors:?}");
    flavors
}

#[test]
fn the_frontend_compiles_what_the_cli_compiles() {
    needs!(Root, BuildKit, Mirror, Program("docker-registry"));
    let frontend = Frontend::start();
    for example in flavors() {
        let folder = locked(&example);
        let asked = frontend.ask(folder.path(), "frontend.kcompose.llb").ok();
        let theirs = base64::engine::general_purpose::STANDARD
            .decode(asked.data.trim())
            .unwrap();
        let ours = crate::run::command(folder.path(), "plan --locked --format llb")
            .env("KCOMPOSE_MIRROR", kcompose_testing::mirror())
            .output()
            .unwrap();
        assert!(ours.status.success());
        let (theirs, ours) = (parts(&theirs), parts(&ours.stdout));
        assert_eq!(theirs.0.len(), ours.0.len(), "{}", example.display());
        assert!(theirs == ours, "{}: definitions differ", example.display());
    }
}

#[test]
fn the_frontend_says_what_is_wrong() {
    needs!(Root, BuildKit, Mirror, Program("docker-registry"));
    let frontend = Frontend::start();
    let folder = locked(&kcompose_testing::workspace().join("examples/minimal"));
    let file = folder.path().join("flavor.kdl");
    let good = fs::read_to_string(&file).unwrap();
    let build = |text: &str, options: &[&str]| {
        fs::write(&file, text).unwrap();
        frontend.build(folder.path(), options).ends(1)
    };
    build(&good.replace("kernel \"", "kernl \""), &[])
        .says("did you mean `kernel`?")
        .says(">>> kernl");
    build(&format!("{good}packages {{ systemd-bot; }}\n"), &[])
        .says("flavor.kdl:…package `systemd-bot` is asked for and not locked")
        .says("kcompose lock")
        .says(">>> packages");
    build(&format!("{good}files {{ copy \"not-there\" to=\"/x\"; }}\n"), &[]).says("there is no `not-there`");
    build(&good, &["--opt", "target=rootfs"]).says("there is no target `rootfs`");
    build(&good, &["--opt", "platform=linux/riscv64"]).says("`linux/riscv64` cannot be built yet");
    build(&good, &["--opt", "requestid=frontend.unheard"])
        .says("frontend.unheard")
        .says("it answers…frontend.lint");
    fs::remove_file(folder.path().join("flavor.lock")).unwrap();
    build(&good, &[]).says("there is no lock").says("kcompose lock");
    fs::remove_file(&file).unwrap();
    frontend
        .build(folder.path(), &[])
        .ends(1)
        .says("there is no `flavor.kdl` in the build context");
}

#[test]
fn the_frontend_answers_questions() {
    needs!(Root, BuildKit, Mirror, Program("docker-registry"));
    let frontend = Frontend::start();
    let folder = locked(&kcompose_testing::workspace().join("examples/minimal"));
    let ask = |request: &str| frontend.ask(folder.path(), request).ok();
    ask("frontend.subrequests.describe").says("frontend.kcompose.plan");
    ask("frontend.targets").says("image (default)");
    ask("frontend.outline").says("no parameters");
    ask("frontend.kcompose.plan").says("seal and verify");
    ask("frontend.kcompose.config").says("flavor \"minimal\"");
    ask("frontend.kcompose.lock").says("package \"systemd\"");
    let file = folder.path().join("flavor.kdl");
    let text = fs::read_to_string(&file).unwrap() + "packages { systemd-bot; }\n";
    fs::write(&file, text).unwrap();
    ask("frontend.lint").says("flavor.kdl:").says("systemd-bot");
}

#[test]
fn the_frontend_builds_the_image_of_the_cli() {
    needs!(Root, BuildKit, Mirror, Program("docker-registry"));
    let frontend = Frontend::start();
    let folder = locked(&kcompose_testing::workspace().join("examples/minimal"));
    let output = "type=oci,tar=false,compression=uncompressed,oci-mediatypes=true,dest=frontend";
    frontend
        .build(
            folder.path(),
            &["--output", output, "--metadata-file", "frontend.json"],
        )
        .ok();
    let line = "build --locked -o type=oci,dest=cli.tar --metadata-file cli.json";
    kcompose_with(
        folder.path(),
        &[("KCOMPOSE_MIRROR", &kcompose_testing::mirror())],
        line,
    )
    .ok();
    let config = |file: &str| {
        let text = fs::read_to_string(folder.path().join(file)).unwrap();
        let metadata: serde_json::Value = serde_json::from_str(&text).unwrap();
        metadata["containerimage.config.digest"].clone()
    };
    assert!(config("cli.json").is_string());
    assert_eq!(config("frontend.json"), config("cli.json"));
}
