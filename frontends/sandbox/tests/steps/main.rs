//! Steps as root, and the same ones as an ordinary user.
//!
//! A user namespace is entered by a process with one thread, so this is a program of its own: it runs every scenario, and
//! then starts itself as a user who has a range of ids. That user and the range exist only in a mount namespace, where
//! `/etc/passwd`, `/etc/subuid` and `/etc/subgid` are other files; the system's own are left alone.

#![expect(
    clippy::print_stdout,
    clippy::exit,
    reason = "a test program without the usual harness"
)]

mod common;
mod containment;
mod endings;
mod world;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::process::{Command, ExitCode};

use kcompose_testing::needs;

/// A scenario's name, and the scenario.
type Scenario = (&'static str, fn());

/// Set for the process that is the ordinary user.
const AS_USER: &str = "KCOMPOSE_SANDBOX_TEST_AS_USER";

/// No system has this user.
const USER: u32 = 54_321;

fn main() -> ExitCode {
    let filter = std::env::args()
        .skip(1)
        .find(|argument| !argument.starts_with('-'));
    if std::env::args().any(|argument| argument == "--list") {
        return ExitCode::SUCCESS;
    }
    if let Some(spec) = std::env::var_os(containment::VICTIM) {
        containment::be_victim(Path::new(&spec));
    }
    if std::env::var_os(AS_USER).is_some() {
        let standing = kcompose_sandbox::enter().expect("a user namespace can be entered");
        assert!(
            matches!(standing.ids, kcompose_sandbox::Ids::Range(65537)),
            "{standing:?}"
        );
        return run_all("user", filter.as_deref());
    }
    as_root(filter.as_deref())
}

fn as_root(filter: Option<&str>) -> ExitCode {
    let mut result = ExitCode::SUCCESS;
    std::thread::Builder::new()
        .name("steps".into())
        .spawn({
            let filter = filter.map(str::to_owned);
            move || {
                needs!(
                    Root,
                    Program("busybox"),
                    Program("cc"),
                    Program("newuidmap"),
                    Program("setpriv")
                );
                let root = run_all("root", filter.as_deref());
                let user = as_user(filter.as_deref());
                assert!(root == ExitCode::SUCCESS && user, "a scenario failed");
            }
        })
        .expect("a thread starts")
        .join()
        .unwrap_or_else(|_| result = ExitCode::FAILURE);
    result
}

/// Starts this program as a user with a range of ids.
fn as_user(filter: Option<&str>) -> bool {
    let folder = tempfile::tempdir().expect("a folder can be made");
    let path = folder.path();
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).expect("its mode can be set");
    let program = path.join("steps");
    fs::copy(
        std::env::current_exe().expect("this program has a file"),
        &program,
    )
    .expect("it can be copied");
    let mut accounts = fs::read_to_string("/etc/passwd").expect("there are accounts");
    accounts.push_str(&format!(
        "kcompose-test:x:{USER}:{USER}::{}:/bin/sh\n",
        path.display()
    ));
    fs::write(path.join("passwd"), accounts).expect("it can be written");
    fs::write(path.join("ids"), "kcompose-test:100000:65536\n").expect("it can be written");
    fs::create_dir(path.join("tmp")).expect("a folder can be made");
    std::os::unix::fs::chown(path.join("tmp"), Some(USER), Some(USER)).expect("it can be given away");
    let script = format!(
        "set -e; cd '{folder}'; mount --bind passwd /etc/passwd
         for file in subuid subgid; do [ -e /etc/$file ] || touch /etc/$file; mount --bind ids /etc/$file; done
         exec setpriv --reuid {USER} --regid {USER} --clear-groups -- ./steps \"$@\"",
        folder = path.display()
    );
    let mut command = Command::new("unshare");
    command
        .args(["--mount", "--propagation", "private", "sh", "-c", &script, "sh"])
        .args(filter)
        .env(AS_USER, "1")
        .env("TMPDIR", path.join("tmp"))
        .arg0("unshare");
    command.status().expect("unshare starts").success()
}

fn run_all(who: &str, filter: Option<&str>) -> ExitCode {
    let mut failed = 0;
    for (name, scenario) in [world::SCENARIOS, endings::SCENARIOS, containment::SCENARIOS].concat() {
        if filter.is_some_and(|filter| !name.contains(filter)) {
            continue;
        }
        let passed = catch_unwind(AssertUnwindSafe(scenario)).is_ok();
        println!("test {who}::{name} ... {}", if passed { "ok" } else { "FAILED" });
        failed += usize::from(!passed);
    }
    if failed == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}
