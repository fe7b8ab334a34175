//! Steps as root, and the same ones as an ordinary user.
//!
//! A user namespace is entered by a process with one thread, so this is a program of its own: it runs every scenario, and
//! then starts itself as a user who has a range of ids.

#![expect(
    clippy::print_stdout,
    clippy::exit,
    reason = "a test program without the usual harness"
)]

mod common;
mod containment;
mod endings;
mod world;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::process::ExitCode;

use kcompose_testing::needs;

/// A scenario's name, and the scenario.
type Scenario = (&'static str, fn());

/// Set for the process that is the ordinary user.
const AS_USER: &str = "KCOMPOSE_SANDBOX_TEST_AS_USER";

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
    let program = std::env::current_exe().expect("this program has a file");
    let mut command = kcompose_testing::as_ordinary_user(folder.path(), &program);
    command.args(filter).env(AS_USER, "1");
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
