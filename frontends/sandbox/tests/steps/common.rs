//! A root of busybox, and steps on it.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use kcompose_sandbox::{Ending, Overlay, Problem, Spec, Standby, Stream, run_on};
use tokio_util::sync::CancellationToken;

/// Commands that the tests call by name.
const APPLETS: &[&str] = &[
    "cat", "chmod", "chown", "chroot", "cp", "dd", "env", "head", "hostname", "id", "kill", "ln", "ls",
    "mkdir", "mkfifo", "mknod", "mount", "nc", "ps", "readlink", "rm", "rmdir", "setsid", "sh", "sleep",
    "stat", "su", "tail", "test", "touch", "true", "umount", "unshare", "wc", "yes",
];

/// A step's trees below one folder.
pub(crate) struct Fixture {
    pub(crate) folder: tempfile::TempDir,
}

/// What a step wrote, and how it ended.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Outcome {
    pub(crate) ending: Ending,
    pub(crate) left: Vec<String>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Fixture {
    pub(crate) fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder can be made");
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).expect("its mode can be set");
        let fixture = Fixture { folder };
        fill_root(&fixture.path("root"));
        for name in ["upper", "work"] {
            fs::create_dir(fixture.path(name)).expect("a folder can be made");
        }
        fixture
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// A step that runs a script of the shell.
    pub(crate) fn script(&self, script: &str) -> Spec {
        self.command(&["/bin/sh", "-c", script])
    }

    pub(crate) fn command(&self, arguments: &[&str]) -> Spec {
        Spec {
            root: Overlay {
                lower: vec![self.path("root")],
                upper: Some(self.path("upper")),
                work: Some(self.path("work")),
            },
            arguments: arguments.iter().map(|text| (*text).to_owned()).collect(),
            environment: vec!["PATH=/bin".into()],
            ..Spec::default()
        }
    }

    /// Empties what a step wrote: a volatile overlay is mounted once.
    pub(crate) fn renew(&self) {
        for name in ["upper", "work"] {
            let path = self.path(name);
            fs::remove_dir_all(&path).expect("it goes");
            fs::create_dir(&path).expect("a folder can be made");
        }
    }
}

fn fill_root(root: &Path) {
    for name in ["bin", "dev", "proc", "sys", "etc", "tmp"] {
        fs::create_dir_all(root.join(name)).expect("a folder can be made");
    }
    fs::set_permissions(root, fs::Permissions::from_mode(0o755)).expect("its mode can be set");
    let busybox = kcompose_testing::program("busybox").expect("`needs!` asked for it");
    fs::copy(busybox, root.join("bin/busybox")).expect("it can be copied");
    for applet in APPLETS {
        symlink("busybox", root.join("bin").join(applet)).expect("a link can be made");
    }
    fs::write(
        root.join("etc/passwd"),
        "root:x:0:0::/root:/bin/sh\nuser:x:1000:1000::/home/user:/bin/sh\n",
    )
    .expect("it can be written");
}

pub(crate) fn try_step(spec: &Spec) -> Result<Outcome, Problem> {
    wait_for(try_until(spec, &CancellationToken::new()))
}

/// Waits on a runtime as callers have them, with several threads.
pub(crate) fn wait_for<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Runtime::new()
        .expect("a runtime starts")
        .block_on(future)
}

pub(crate) async fn try_until(spec: &Spec, cancel: &CancellationToken) -> Result<Outcome, Problem> {
    try_on(None, spec, cancel).await
}

pub(crate) async fn try_on(
    standby: Option<Standby>,
    spec: &Spec,
    cancel: &CancellationToken,
) -> Result<Outcome, Problem> {
    let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
    let sink = |stream, bytes: &[u8]| match stream {
        Stream::Stdout => stdout.extend(bytes),
        Stream::Stderr => stderr.extend(bytes),
    };
    let ended = run_on(standby, spec, sink, cancel).await?;
    ended.unmounted.wait().await;
    Ok(Outcome {
        ending: ended.ending,
        left: ended.left,
        stdout: String::from_utf8_lossy(&stdout).into_owned(),
        stderr: String::from_utf8_lossy(&stderr).into_owned(),
    })
}

/// What a step that succeeds writes to stdout.
#[track_caller]
pub(crate) fn output(spec: &Spec) -> String {
    let outcome = try_step(spec).expect("the step starts");
    assert_eq!(outcome.ending, Ending::Exited(0), "{outcome:?}");
    outcome.stdout
}
