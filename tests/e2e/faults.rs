//! When the world fails: exit 3, what failed by name, and nothing half made.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use kcompose_testing::needs;

use crate::daemon::{BuildKit, signal};
use crate::image::shared;
use crate::run::{Outcome, command, kcompose, kcompose_with, outcome, scratch};

#[test]
fn a_dead_mirror_is_named() {
    needs!(BuildKit);
    let folder = scratch();
    kcompose(folder.path(), "new gateway").ok();
    let cold = folder.path().join("cold");
    let environment = [
        ("KCOMPOSE_MIRROR", "http://127.0.0.1:9/debian"),
        ("KCOMPOSE_CACHE_DIR", cold.to_str().unwrap()),
    ];
    for line in ["build gateway -o type=oci,dest=no.tar", "lock gateway"] {
        kcompose_with(folder.path(), &environment, line)
            .ends(3)
            .says("kcompose::")
            .says("127.0.0.1:9");
    }
    assert_nothing_made(folder.path());
}

#[test]
fn no_engine_is_said_with_the_way_out() {
    needs!(BuildKit, Mirror);
    let folder = scratch();
    shared().copy_flavor(folder.path(), "gateway");
    let environment = [("BUILDKIT_HOST", "unix:///nowhere/buildkitd.sock")];
    kcompose_with(
        folder.path(),
        &environment,
        "build gateway --locked -o type=oci,dest=no.tar",
    )
    .ends(3)
    .says("kcompose::")
    .says("/nowhere/buildkitd.sock")
    .says("help:");
    assert!(!folder.path().join("no.tar").exists());
}

#[test]
fn a_full_disk_keeps_no_half_of_an_image() {
    needs!(Root, BuildKit, Mirror);
    let folder = scratch();
    shared().copy_flavor(folder.path(), "flavor");
    let small = SmallDisk::mount(folder.path().join("small"));
    let full = kcompose(
        folder.path(),
        "build flavor --locked -o type=oci,dest=small/i.tar",
    );
    let left: Vec<_> = fs::read_dir(folder.path().join("small"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .collect();
    drop(small);
    let full = full.ends(3).says("kcompose::");
    assert!(
        !full.lacks("No space") || !full.lacks("no space") || !full.lacks("full"),
        "{}",
        full.report()
    );
    assert!(left.is_empty(), "{left:?}");
}

#[test]
fn an_interrupt_ends_a_build_cleanly() {
    needs!(Root, BuildKit, Mirror);
    let folder = scratch();
    shared().copy_flavor(folder.path(), "flavor");
    let build = Running::start(
        folder.path(),
        "build flavor --locked --no-cache --progress plain -o type=oci,dest=no.tar",
    );
    std::thread::sleep(Duration::from_secs(4));
    signal(build.pid(), "INT");
    build.end_within(Duration::from_secs(30)).ends(130);
    assert!(!folder.path().join("no.tar").exists());
    kcompose(folder.path(), "build flavor --locked -o type=oci,dest=after.tar").ok();
}

#[test]
fn a_daemon_that_dies_in_mid_build_is_exit_3() {
    needs!(Root, BuildKit, Mirror);
    let folder = scratch();
    shared().copy_flavor(folder.path(), "flavor");
    let daemon = BuildKit::start();
    let line = format!(
        "build flavor --locked --progress plain --builder {} -o type=oci,dest=no.tar",
        daemon.address
    );
    let build = Running::start(folder.path(), &line);
    std::thread::sleep(Duration::from_secs(6));
    daemon.kill();
    build
        .end_within(Duration::from_secs(30))
        .ends(3)
        .says("kcompose::");
    assert!(!folder.path().join("no.tar").exists());
}

#[test]
fn a_step_that_fails_is_shown_at_its_line() {
    needs!(Root, BuildKit, Mirror);
    let folder = scratch();
    let flavor = shared().copy_flavor(folder.path(), "flavor").join("flavor.kdl");
    let text = fs::read_to_string(&flavor).unwrap();
    let line = text.lines().count() + 1;
    fs::write(
        &flavor,
        text + "run \"warm\" { script \"echo about to fail; exit 9\"; }\n",
    )
    .unwrap();
    kcompose(folder.path(), "build flavor -o type=oci,dest=no.tar")
        .ends(1)
        .says("kcompose::")
        .says(&format!("flavor.kdl:{line}"))
        .says("about to fail");
    assert!(!folder.path().join("no.tar").exists());
}

#[test]
fn a_script_that_never_runs_is_exit_3_with_the_console() {
    needs!(
        Root,
        BuildKit,
        Mirror,
        Program("qemu-system-x86_64"),
        Program("mke2fs")
    );
    let folder = scratch();
    fs::write(folder.path().join("probe.sh"), "true\n").unwrap();
    let line = format!(
        "boot {} --script probe.sh --timeout 4",
        shared().archive().display()
    );
    kcompose(folder.path(), &line).ends(3).says("kcompose::");
}

/// A tmpfs that is smaller than any image.
struct SmallDisk(PathBuf);

impl SmallDisk {
    fn mount(place: PathBuf) -> SmallDisk {
        fs::create_dir(&place).unwrap();
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", "size=20m", "none"])
            .arg(&place)
            .status()
            .unwrap();
        assert!(mounted.success());
        SmallDisk(place)
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(&self.0).status();
    }
}

/// A call that has not ended.
struct Running {
    line: String,
    child: Child,
}

impl Running {
    fn start(folder: &Path, line: &str) -> Running {
        let mut call = command(folder, line);
        call.stdout(Stdio::piped()).stderr(Stdio::piped());
        Running {
            line: line.to_owned(),
            child: call.spawn().unwrap(),
        }
    }

    fn pid(&self) -> i32 {
        i32::try_from(self.child.id()).unwrap()
    }

    #[track_caller]
    fn end_within(mut self, limit: Duration) -> Outcome {
        // Both pipes are read while it runs, or it could block on a full one.
        let (data, talk) = (
            self.child.stdout.take().unwrap(),
            self.child.stderr.take().unwrap(),
        );
        let data = std::thread::spawn(move || read_all(data));
        let talk = std::thread::spawn(move || read_all(talk));
        let began = Instant::now();
        while self.child.try_wait().unwrap().is_none() {
            if began.elapsed() > limit {
                let _ = self.child.kill();
                let _ = self.child.wait();
                panic!(
                    "`kcompose {}` did not end within {limit:?}:\n{}",
                    self.line,
                    String::from_utf8_lossy(&talk.join().unwrap())
                );
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        let status = self.child.wait().unwrap();
        outcome(
            &self.line,
            &std::process::Output {
                status,
                stdout: data.join().unwrap(),
                stderr: talk.join().unwrap(),
            },
        )
    }
}

fn read_all(mut from: impl std::io::Read) -> Vec<u8> {
    let mut bytes = Vec::new();
    let _ = from.read_to_end(&mut bytes);
    bytes
}

#[track_caller]
fn assert_nothing_made(folder: &Path) {
    assert!(!folder.join("no.tar").exists());
    assert!(!folder.join("gateway/flavor.lock").exists());
}
