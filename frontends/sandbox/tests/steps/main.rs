//! Steps as root, and the same ones as an ordinary user.
//!
//! A user namespace is entered by a process with one thread, so this is a program of its own: it runs every scenario, then
//! starts itself as a user who has a range of ids, and as one who has none.
#![allow(
    clippy::disallowed_methods,
    reason = "a test's own folder holds nothing of others"
)]
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

use kcompose_sandbox::Ids;
use kcompose_testing::needs;

/// A scenario's name, and the scenario.
type Scenario = (&'static str, fn());

/// Set for the process that is the ordinary user.
const AS_USER: &str = "KCOMPOSE_SANDBOX_TEST_AS_USER";

/// Its value if the user has a range of ids.
const RANGE: &str = "range";

/// What a user without a range can't do: steps of another user.
const NEED_IDS: &[&str] = &["a_step_has_dockers_rights", "a_user_is_that_user"];

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
    if let Some(ids) = std::env::var_os(AS_USER) {
        expect_probe();
        let standing = kcompose_sandbox::enter().expect("a user namespace can be entered");
        if ids == RANGE {
            assert_eq!(standing.ids, Ids::Range(65_537));
            return run_all("user", filter.as_deref(), &[]);
        }
        assert!(matches!(standing.ids, Ids::Single { .. }), "{standing:?}");
        return run_all("lone user", filter.as_deref(), NEED_IDS);
    }
    as_root(filter.as_deref())
}

/// The machine that runs these tests allows steps to whoever runs them, and a probe leaves nothing.
fn expect_probe() {
    let folder = tempfile::tempdir().expect("a folder can be made");
    let findings = kcompose_sandbox::probe(folder.path());
    let sandbox = findings
        .iter()
        .find(|finding| finding.subject == "sandbox of steps");
    assert!(
        sandbox.is_some_and(|finding| finding.found.is_ok()),
        "{findings:?}"
    );
    let left = std::fs::read_dir(folder.path()).expect("it is there").count();
    assert_eq!(left, 0);
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
                expect_probe();
                let root = run_all("root", filter.as_deref(), &[]);
                let user = as_user(RANGE, filter.as_deref());
                let lone_user = as_user("none", filter.as_deref());
                assert!(
                    root == ExitCode::SUCCESS && user && lone_user,
                    "a scenario failed"
                );
            }
        })
        .expect("a thread starts")
        .join()
        .unwrap_or_else(|_| result = ExitCode::FAILURE);
    result
}

/// Starts this program as a user with a range of ids, or without one.
fn as_user(ids: &str, filter: Option<&str>) -> bool {
    let folder = tempfile::tempdir().expect("a folder can be made");
    let program = std::env::current_exe().expect("this program has a file");
    let mut command = kcompose_testing::as_ordinary_user(folder.path(), &program);
    command.args(filter).env(AS_USER, ids);
    if ids != RANGE {
        std::fs::write(folder.path().join("ids"), "").expect("the folder can be written to");
    }
    command.status().expect("unshare starts").success()
}

fn run_all(who: &str, filter: Option<&str>, but: &[&str]) -> ExitCode {
    let (mut passing, mut failed) = (0, 0);
    for (name, scenario) in [world::SCENARIOS, endings::SCENARIOS, containment::SCENARIOS].concat() {
        if but.contains(&name) || filter.is_some_and(|filter| !name.contains(filter)) {
            continue;
        }
        let passed = catch_unwind(AssertUnwindSafe(scenario)).is_ok();
        println!("test {who}::{name} ... {}", if passed { "ok" } else { "FAILED" });
        if passed {
            passing += 1;
        } else {
            failed += 1;
        }
    }
    // The form that the usual harness has, which is counted.
    let result = if failed == 0 { "ok" } else { "FAILED" };
    println!("\ntest result: {result}. {passing} passed; {failed} failed; 0 ignored");
    if failed == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}
