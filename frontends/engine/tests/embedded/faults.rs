//! What goes wrong, and what is left of it.

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use fs_err as fs;
use kcompose_core::llb::{Exec, Meta, Network, Output as Tree};
use kcompose_engine::embedded::{Reach, Settings, StepNetwork};
use kcompose_engine::store::Store;
use kcompose_engine::{Embedded, EngineError, Event};

use crate::common::{Test, dated};

#[tokio::test(flavor = "multi_thread")]
async fn a_step_that_fails_says_why_and_where() {
    kcompose_testing::needs!(Root, Program("busybox"));
    let mut test = Test::new();
    let shell = test.shell();
    let bad = test.sh(shell, "echo no luck; exit 7");
    let built = test.build(bad).await;
    match built.result {
        Err(EngineError::Step {
            exit_code, ref log, ..
        }) => {
            assert_eq!(
                (exit_code, log.as_slice()),
                (7, ["no luck".to_owned()].as_slice())
            );
        }
        other => panic!("{other:?}"),
    }
    let left = fs::read_dir(test.path("cache/engine/tmp")).unwrap().count();
    assert_eq!(left, 0, "something was left behind");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_step_reaches_this_machines_loopback_only_where_that_is_allowed() {
    kcompose_testing::needs!(Root, Program("busybox"));
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let mut test = Test::new();
    let shell = test.shell();
    let script = format!("nc -w 5 127.0.0.1 {port} < /dev/null");
    let mut exec = Exec::new(shell, ["/bin/sh", "-c", script.as_str()]);
    exec.network = Network::Default;
    let step = test.graph.exec(&exec, Meta::named("fetch"))[0];

    let refused = test.build(step).await;
    assert!(
        matches!(&refused.result, Err(EngineError::Entitlement { name, .. }) if name == "fetch"),
        "{:?}",
        refused.result
    );
    assert_eq!(
        refused.ran(),
        Vec::<String>::new(),
        "nothing runs before the refusal"
    );

    // The program of the step ends with the connection.
    std::thread::spawn(move || drop(listener.accept()));
    let mut settings = Settings::beside(Store::new(test.path("cache")), Reach::Offline);
    settings.network = StepNetwork::Host;
    let built = test
        .build_with(&Embedded::new(settings), &test.request(step))
        .await;
    assert!(built.result.is_ok(), "{:?}", built.result);
}

#[tokio::test(flavor = "multi_thread")]
async fn two_builds_at_once_make_a_thing_once() {
    kcompose_testing::needs!(Root, Program("busybox"));
    let mut test = Test::new();
    let shell = test.shell();
    let slow = test.sh(shell, "sleep 1; date +%N > /now");
    let (one, other) = tokio::join!(test.build(slow), test.build(slow));
    assert_eq!(one.digest(), other.digest());
    assert_eq!(
        one.ran().len() + other.ran().len(),
        3,
        "{:?} {:?}",
        one.ran(),
        other.ran()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_tree_is_found_and_made_again() {
    kcompose_testing::needs!(Root, Program("busybox"));
    let mut test = Test::new();
    let shell = test.shell();
    let made = test.sh(shell, "echo right > /file");
    let used = test.sh(made, "grep right /file");
    test.build(made).await.digest();
    let damage = |content: Option<&str>| {
        let trees = fs::read_dir(test.path("cache/engine/trees")).unwrap();
        let files = trees.map(|tree| tree.unwrap().path().join("fs/file"));
        for file in files.filter(|file| file.exists()) {
            match content {
                Some(content) => fs::write(file, content).unwrap(),
                None => fs::remove_dir_all(file.ancestors().nth(2).unwrap()).unwrap(),
            }
        }
    };
    damage(Some("wrong"));
    // The step that reads it fails; that the tree is damaged is seen then.
    assert_eq!(
        test.build(used).await.ran(),
        ["echo right > /file", "grep right /file"]
    );
    damage(Some("wrong"));
    assert_eq!(test.engine().trees().verify().unwrap().len(), 1);
    assert_eq!(test.engine().trees().verify().unwrap().len(), 0);
    damage(None);
    assert!(test.build(made).await.result.is_ok());
    let summary = test.engine().trees().summary().unwrap();
    assert!(summary.records > 0 && summary.size > 0);
    test.engine().trees().prune(0).unwrap();
    assert_eq!(test.engine().trees().summary().unwrap().trees, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_build_that_is_given_up_leaves_nothing_behind() {
    kcompose_testing::needs!(Root, Program("busybox"));
    let mut test = Test::new();
    let shell = test.shell();
    let slow = test.sh(shell, "sleep 60");
    let request = test.request(slow);
    let engine = test.engine();
    let cancel = async {
        tokio::time::sleep(std::time::Duration::from_millis(500)).await;
        test.cancel.cancel();
    };
    let (built, ()) = tokio::join!(test.build_with(&engine, &request), cancel);
    assert!(
        matches!(built.result, Err(EngineError::Cancelled)),
        "{:?}",
        built.result
    );
    let left = fs::read_dir(test.path("cache/engine/tmp")).unwrap().count();
    assert_eq!(left, 0, "something was left behind");
}

/// A tree whose layer takes minutes to make, and in no time is on the disk.
fn endless(test: &mut Test) -> Tree {
    let shell = test.shell();
    test.sh(shell, "truncate -s 200G /sparse")
}

/// Far more than a build needs to end, and far less than the layer of an endless tree.
const SOON: Duration = Duration::from_secs(15);

#[tokio::test(flavor = "multi_thread")]
async fn a_build_that_fails_stops_making_layers() {
    kcompose_testing::needs!(Root, Program("busybox"));
    let mut test = Test::new();
    let tree = endless(&mut test);
    let bad = test.sh(tree, "sleep 1; exit 7");
    let begun = Instant::now();
    // This waits for the last sender of events, which the thread that makes the layer has.
    let built = test.build(bad).await;
    assert!(
        matches!(built.result, Err(EngineError::Step { exit_code: 7, .. })),
        "{:?}",
        built.result
    );
    assert!(begun.elapsed() < SOON, "{:?}", begun.elapsed());
    let left = |folder: &str| fs::read_dir(test.path(folder)).unwrap().count();
    assert_eq!((left("cache/engine/tmp"), left("layers/tmp")), (0, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_build_that_is_cancelled_stops_making_layers() {
    kcompose_testing::needs!(Root, Program("busybox"));
    let mut test = Test::new();
    let tree = endless(&mut test);
    let begun = Instant::now();
    let request = test.request(tree);
    let engine = test.engine();
    let cancel = async {
        tokio::time::sleep(Duration::from_secs(1)).await;
        test.cancel.cancel();
    };
    let (built, ()) = tokio::join!(test.build_with(&engine, &request), cancel);
    assert!(
        matches!(built.result, Err(EngineError::Cancelled)),
        "{:?}",
        built.result
    );
    assert!(begun.elapsed() < SOON, "{:?}", begun.elapsed());
    let left = |folder: &str| fs::read_dir(test.path(folder)).unwrap().count();
    assert_eq!((left("cache/engine/tmp"), left("layers/tmp")), (0, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_step_that_ignores_signals_ends_with_its_build() {
    kcompose_testing::needs!(Root, Program("busybox"));
    let mut test = Test::new();
    let shell = test.shell();
    let deaf = test.sh(shell, "trap '' TERM INT; while :; do sleep 4711; done");
    let request = test.request(deaf);
    let engine = test.engine();
    let cancel = async {
        tokio::time::sleep(Duration::from_secs(1)).await;
        test.cancel.cancel();
    };
    let begun = Instant::now();
    let (built, ()) = tokio::join!(test.build_with(&engine, &request), cancel);
    assert!(
        matches!(built.result, Err(EngineError::Cancelled)),
        "{:?}",
        built.result
    );
    assert!(begun.elapsed() < SOON, "{:?}", begun.elapsed());
    let processes = fs::read_dir("/proc").unwrap();
    let lines = processes.filter_map(|process| fs::read(process.ok()?.path().join("cmdline")).ok());
    assert_eq!(lines.filter(|line| line == b"sleep\x004711\0").count(), 0);
}

/// Names the folder of a build that is to be killed.
const VICTIM: &str = "KCOMPOSE_TEST_VICTIM";

/// A bit of all that an engine does: steps beside and after each other, a merge, a folder that steps share, layers.
fn some_of_all(test: &mut Test) -> Tree {
    let shell = test.shell();
    let one = test.sh(
        shell,
        &dated("mkdir /a; i=0; while [ $i -lt 40 ]; do i=$((i + 1)); echo $i > /a/$i; done"),
    );
    let other = test.sh(shell, &dated("echo other > /other; ln /other /another"));
    let merged = test.graph.merge(&[one, other], Meta::named("merge"));
    let changed = test.sh(merged, &dated("rm -r /a; echo b > /b"));
    test.sh(changed, &dated("echo c > /c"))
}

/// The build that [`builds_that_are_killed_at_fifty_moments_leave_nothing_wrong`] kills; by itself it does nothing.
#[tokio::test(flavor = "multi_thread")]
async fn victim() {
    let Some(folder) = std::env::var_os(VICTIM) else {
        return;
    };
    let mut test = Test::new();
    let end = some_of_all(&mut test);
    test.place = folder.into();
    test.build(end).await.digest();
}

/// Starts the build in a process of its own, and kills it after some time.
fn build_and_kill(folder: &std::path::Path, after: Option<Duration>) -> Duration {
    let mut victim = Command::new(std::env::current_exe().unwrap());
    victim
        .args(["--exact", "faults::victim"])
        .env(VICTIM, folder)
        .stdout(Stdio::null());
    let start = Instant::now();
    let mut victim = victim.spawn().unwrap();
    match after {
        Some(after) => {
            std::thread::sleep(after);
            victim.kill().unwrap();
            victim.wait().unwrap();
        }
        None => assert!(victim.wait().unwrap().success()),
    }
    start.elapsed()
}

/// Moments that differ from run to run would make failures that nobody can repeat; these are spread over the build.
#[tokio::test(flavor = "multi_thread")]
async fn builds_that_are_killed_at_fifty_moments_leave_nothing_wrong() {
    kcompose_testing::needs!(Root, Program("busybox"));
    const MOMENTS: u32 = 50;
    let mut whole = Test::new();
    let end = some_of_all(&mut whole);
    let expected = whole.build(end).await.digest();
    let took = build_and_kill(&whole.path("first"), None);
    for moment in 0..MOMENTS {
        let mut test = Test::new();
        let end = some_of_all(&mut test);
        build_and_kill(&test.place, Some(took * moment / MOMENTS));
        assert_eq!(test.build(end).await.digest(), expected, "killed at {moment}");
        let trees = test.engine().trees();
        assert_eq!(
            trees.verify().unwrap(),
            Vec::<String>::new(),
            "killed at {moment}"
        );
        let left = fs::read_dir(test.path("cache/engine/tmp")).unwrap().count();
        assert_eq!(left, 0, "killed at {moment}: something was left behind");
    }
}

/// What a step that fails prints, if it fails by itself.
#[track_caller]
fn log_of(result: Result<kcompose_engine::BuildResult, EngineError>) -> String {
    match result {
        Err(EngineError::Step { log, .. }) => log.join("\n"),
        other => panic!("{other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn steps_that_want_out_fail_and_say_what_was_refused() {
    kcompose_testing::needs!(Root, Program("busybox"));
    let mut test = Test::new();
    let shell = test.shell();
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    fs::write(test.path("secret"), "secret").unwrap();
    let secret = test.path("secret").display().to_string();
    let tries = [
        ("mount -t tmpfs none /tmp".to_owned(), "ermission denied"),
        ("umount /proc".to_owned(), "ermi"),
        (format!("cat /proc/1/root{secret}"), "ermission denied"),
        (format!("cat ../../../..{secret}"), "No such file"),
        ("mknod /disk b 8 0 && cat /disk".to_owned(), "ermission denied"),
        (
            "echo 1 > /proc/sys/kernel/panic".to_owned(),
            "ead-only file system",
        ),
        (format!("nc -w 2 127.0.0.1 {port}"), "refused"),
        ("nc -w 2 192.0.2.1 80".to_owned(), "unreachable"),
    ];
    for (script, reason) in tries {
        let out = test.sh(shell, &format!("set -e; {script}"));
        let built = test.build(out).await;
        let said = log_of(built.result);
        assert!(said.contains(reason), "{script}: {said}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_step_leaves_running_is_ended_and_named() {
    kcompose_testing::needs!(Root, Program("busybox"));
    let mut test = Test::new();
    let shell = test.shell();
    let step = test.sh(shell, "sleep 4712 & sleep 1; echo on");
    let built = test.build(step).await;
    assert_eq!(built.log(), "on\n");
    let warned = built.events.iter().find_map(|event| match event {
        Event::Warning(warning) => Some((warning.text.clone(), warning.detail.clone())),
        _ => None,
    });
    let (text, names) = warned.unwrap();
    assert!(text.contains("left processes running"), "{text}");
    assert_eq!(names, ["sleep"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_step_that_uses_up_what_it_may_is_ended_and_the_limit_named() {
    kcompose_testing::needs!(Root, Program("busybox"));
    let mut test = Test::new();
    let shell = test.shell();
    let mut settings = Settings::beside(Store::new(test.path("cache")), Reach::Offline);
    settings.steps.time = Duration::from_secs(1);
    settings.steps.output = 10_000;
    settings.steps.processes = 20;
    settings.steps.memory = Some(64 << 20);
    settings.steps.disk = Some(20 << 20);
    let engine = Embedded::new(settings);
    let tries = [
        (
            "sleep 100 & trap '' TERM; sleep 100; sleep 100",
            "time",
            "longer than 1 seconds",
        ),
        (
            "while :; do echo on and on; done",
            "output",
            "printed more than 10000 bytes",
        ),
        (
            "i=0; while [ $i -lt 40 ]; do i=$((i + 1)); sleep 9 & done",
            "processes",
            "20 processes at once",
        ),
        (
            "dd if=/dev/zero of=/large bs=1M count=4000",
            "disk",
            "wrote more than 20971520 bytes",
        ),
        (
            "dd if=/dev/zero of=/dev/null bs=200M count=1",
            "memory",
            "bytes of memory",
        ),
    ];
    for (script, limit, reason) in tries {
        let step = test.sh(shell, script);
        let built = test.build_with(&engine, &test.request(step)).await;
        let error = built.result.unwrap_err();
        let said = error.to_string();
        assert!(said.contains(reason), "{script}: {said}");
        let help = miette::Diagnostic::help(&error).unwrap().to_string();
        assert!(help.contains(&format!("--limit {limit}=")), "{script}: {help}");
        let code = miette::Diagnostic::code(&error).unwrap().to_string();
        assert_eq!(code, "kcompose::engine::limit");
    }
    let left = fs::read_dir(test.path("cache/engine/tmp")).unwrap().count();
    assert_eq!(left, 0, "something was left behind");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_layer_is_found_and_made_again() {
    kcompose_testing::needs!(Root, Program("busybox"));
    let mut test = Test::new();
    let shell = test.shell();
    let made = test.sh(shell, &dated("echo right > /file"));
    let first = test.build(made).await;
    let layers = &first.result.as_ref().unwrap().image.layers;
    let blob = |digest: &str| {
        test.path("layers/blobs/sha256")
            .join(digest.trim_start_matches("sha256:"))
    };
    let whole = fs::read(blob(&layers[0].digest)).unwrap();
    // Shorter, or gone.
    fs::write(blob(&layers[0].digest), &whole[..whole.len() - 1]).unwrap();
    fs::remove_file(blob(&layers[1].digest)).unwrap();
    let again = test.build(made).await;
    assert_eq!(again.digest(), first.digest());
    assert_eq!(again.ran(), Vec::<String>::new());
    assert_eq!(fs::read(blob(&layers[0].digest)).unwrap(), whole);
}

#[tokio::test(flavor = "multi_thread")]
async fn no_more_is_kept_than_the_limit_and_what_was_used_last_stays() {
    kcompose_testing::needs!(Root, Program("busybox"));
    let mut test = Test::new();
    let shell = test.shell();
    let steps = ["1", "2", "3"].map(|name| {
        test.sh(
            shell,
            &format!("dd if=/dev/urandom of=/{name} bs=1M count=20 2> /dev/null"),
        )
    });
    let mut settings = Settings::beside(Store::new(test.path("cache")), Reach::Offline);
    settings.limit = 50 << 20;
    let engine = Embedded::new(settings);
    for step in [0, 1, 0, 2] {
        // Times of use are those of files.
        tokio::time::sleep(Duration::from_millis(20)).await;
        test.build_with(&engine, &test.request(steps[step]))
            .await
            .digest();
        wait_for(&engine, |size| size <= 50 << 20).await;
    }
    assert_eq!(
        test.build_with(&engine, &test.request(steps[0])).await.ran(),
        Vec::<String>::new()
    );
    let forgotten = test.build_with(&engine, &test.request(steps[1])).await;
    assert_eq!(forgotten.ran().len(), 1, "{:?}", forgotten.ran());
}

/// The trees are counted when the image is already written.
async fn wait_for(engine: &Embedded, fits: impl Fn(u64) -> bool) {
    let start = Instant::now();
    while !fits(engine.trees().summary().unwrap().size) {
        assert!(
            start.elapsed() < Duration::from_secs(10),
            "{:?}",
            engine.trees().summary()
        );
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
