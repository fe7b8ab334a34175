//! The layers of a daemon, whatever made them.

use fs_err as fs;
use kcompose_core::llb::{Copy, Exec, FileAction, Local, Meta, MountKind, Remove, Symlink};

use crate::common::{Test, check_equal, dated};

#[tokio::test(flavor = "multi_thread")]
async fn mounts_are_those_of_a_daemon() {
    kcompose_testing::needs!(Root, BuildKit, Program("busybox"));
    let mut test = Test::new();
    let shell = test.shell();
    let data = test.file("/data", "data\n");
    let script = dated(
        "cat /in/data /run/key > /out/all; ! echo x > /in/data; echo $TZ >> /out/all; \
         hostname >> /out/all; id >> /out/all; umask >> /out/all; ls /run >> /out/all; ls / >> /out/all; cat /out/all; mkdir /made; touch -d @1600000000 /out /out/all",
    );
    let exec = Exec::new(shell, ["/bin/sh", "-c", &script])
        .env("TZ", "UTC")
        .mount("/run", MountKind::Tmpfs { size: Some(1 << 20) })
        .mount(
            "/run/key",
            MountKind::Secret {
                id: "key".into(),
                mode: 0o400,
                optional: false,
            },
        )
        .mount(
            "/in",
            MountKind::Input {
                from: data,
                selector: None,
            },
        )
        .mount("/out", MountKind::Writable { from: None });
    let outputs = test.graph.exec(&exec, Meta::named("mounts"));
    check_equal(&test, outputs[1]).await;
    check_equal(&test, outputs[0]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn layers_are_those_of_a_daemon() {
    kcompose_testing::needs!(Root, BuildKit, Program("busybox"));
    let mut test = Test::new();
    let shell = test.shell();
    let base = test.sh(
        shell,
        &dated("mkdir -p /d/sub /e; echo a > /d/a; echo b > /d/sub/b; echo c > /e/c; ln /d/a /d/hard; ln -s a /d/link"),
    );
    let changed = test.sh(
        base,
        &dated("rm -r /d; mkdir -p /d/sub; echo new > /d/sub/new; rm /e/c; chmod 700 /e; echo x > /x; mkfifo /pipe; mknod /null c 1 3; chown 3:4 /x"),
    );
    let other = test.sh(shell, &dated("mkdir -p /d/other; echo o > /d/other/o"));
    let merged = test.graph.merge(&[changed, other], Meta::named("merge"));
    check_equal(&test, merged).await;
    let listed = test.sh(merged, &dated("find /d /e | sort > /list; cat /list"));
    check_equal(&test, listed).await;
    let diff = test.graph.diff(Some(base), changed, Meta::named("diff"));
    check_equal(&test, diff).await;
    let onto = test.graph.merge(&[base, diff, other], Meta::named("onto"));
    let listed = test.sh(onto, &dated("find /d /e | sort > /list"));
    check_equal(&test, listed).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn files_are_those_of_a_daemon() {
    kcompose_testing::needs!(Root, BuildKit, Program("busybox"));
    let mut test = Test::new();
    let shell = test.shell();
    let base = test.sh(
        shell,
        &dated("mkdir -p /d/sub; echo a > /d/a; echo b > /d/sub/b; ln -s d /l"),
    );
    let tree = test.sh(
        shell,
        &dated("mkdir -p /t/sub /t/n; echo new > /t/sub/b; echo n > /t/n/n; chown 7:8 /t/n/n"),
    );
    let copy = Copy {
        source: "/t".into(),
        destination: "/l".into(),
        ..Copy::contents(tree, "/", "/", 1_500_000_000)
    };
    let actions = [
        FileAction::Copy(copy),
        FileAction::Remove(Remove {
            path: "/d/a".into(),
            may_be_missing: false,
            wildcard: false,
        }),
        FileAction::Symlink(Symlink {
            path: "/d/s".into(),
            target: "a".into(),
            owner: None,
            timestamp: Some(5),
        }),
    ];
    let made = test.graph.file(Some(base), actions, Meta::named("files"));
    let pinned = test.sh(made, &dated("true"));
    let scratch = FileAction::Copy(Copy::contents(pinned, "/d", "/", 9));
    let scratch = test.graph.file(None, [scratch], Meta::named("scratch"));
    check_equal(&test, scratch).await;
}

/// Files of every kind, with names, modes and owners that are seldom.
const SELDOM: &str = r#"
mkdir -p plain/sub sticky setgid turned/deep gone/er opaque/in
echo hello > plain/file; ln plain/file plain/hard; ln plain/file hard; : > empty; truncate -s 64M sparse; echo end >> sparse
chmod 1777 sticky; chmod 2755 setgid; echo x > suid; chmod 4755 suid; chmod 0 empty; chown 33:42 plain/sub; chown 3000000:70000 suid
ln -s ../nowhere plain/link; ln -s "$(printf '%0120d' 0)" longlink; mkfifo pipe; mknod null c 1 3; ln pipe pipe2
d=$(printf '%060d' 1); f=$(printf '%0101d' 3); mkdir -p $d/$d; echo 1 > $d/$d/$f; echo 2 > "$(printf '%0255d' 4)"
mkdir "ünicode dir"; echo 7 > "ünicode dir/ß"; echo 8 > "$(printf 'latin\351\377')"; mkdir "$(printf '\200dir')"; echo 9 > "$(printf '\200dir')/in"
echo 10 > turned/deep/v; echo 11 > gone/er/x; echo 12 > opaque/in/a; echo 13 > opaque/b
"#;

/// What another one does to them.
const CHANGES: &str = r#"
rm -r gone; rm -r turned; echo now > turned; rm -r opaque; mkdir -p opaque/in; echo 14 > opaque/new; rm hard; mkdir hard; echo 15 > hard/in
echo more >> plain/file; chmod 700 sticky; rm plain/link; mkdir plain/link; mv setgid moved; rm "$(printf 'latin\351\377')"; echo 16 > "$(printf '\200dir')/in2"
"#;

#[tokio::test(flavor = "multi_thread")]
async fn seldom_trees_are_those_of_a_daemon_whatever_is_done_to_them() {
    kcompose_testing::needs!(Root, BuildKit, Program("busybox"));
    let mut test = Test::new();
    let shell = test.shell();
    let base = test.sh(shell, &dated(&format!("mkdir /t; cd /t; {SELDOM}")));
    check_equal(&test, base).await;
    let changed = test.sh(base, &dated(&format!("cd /t; {CHANGES}")));
    check_equal(&test, changed).await;
    let other = test.sh(shell, &dated("mkdir -p /t/plain /t/opaque/in; echo o > /t/plain/other; echo o > /t/pipe; echo o > /t/opaque/in/o"));
    for trees in [[base, other, changed], [other, changed, base]] {
        let merged = test.graph.merge(&trees, Meta::named("merge"));
        let listed = test.sh(
            merged,
            &dated("find /t -exec stat -c '%n %f %u %g %Y' {} + | sort > /list"),
        );
        check_equal(&test, listed).await;
    }
    let diff = test.graph.diff(Some(base), changed, Meta::named("diff"));
    let onto = test.graph.merge(&[other, diff], Meta::named("onto"));
    let listed = test.sh(
        onto,
        &dated("find /t -exec stat -c '%n %f %u %g %Y' {} + | sort > /list"),
    );
    check_equal(&test, listed).await;
    for from in [base, changed] {
        let copy = FileAction::Copy(Copy::contents(from, "/t", "/copied", 9));
        let copied = test.graph.file(Some(other), [copy], Meta::named("copy"));
        check_equal(&test, copied).await;
        let exec = Exec::new(
            shell,
            [
                "/bin/sh",
                "-c",
                "cd /in; find . | sort > /out/list; touch -d @9 /out/list /out",
            ],
        )
        .mount(
            "/in",
            MountKind::Input {
                from,
                selector: Some("/t".to_owned()),
            },
        )
        .mount("/out", MountKind::Writable { from: None });
        let read = test.graph.exec(&exec, Meta::named("read"))[1];
        check_equal(&test, read).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn folders_of_this_machine_are_those_of_a_daemon() {
    kcompose_testing::needs!(Root, BuildKit, Program("busybox"));
    let mut test = Test::new();
    let context = test.path("context");
    fs::create_dir_all(&context).unwrap();
    // What no session sends is left out: names that are no text, devices.
    let script = r#"mkdir -p a/b empty; echo x > a/x; ln a/x a/y; ln -s ../nowhere a/link; mkfifo pipe; echo s > suid; chmod 4755 suid
        echo n > "with spaces"; echo u > "ünicode"; chown -R 33:42 a; chmod 700 a/b; echo i > a/ignored; truncate -s 3M sparse"#;
    let made = std::process::Command::new("/bin/sh")
        .args(["-ec", script])
        .current_dir(&context)
        .status();
    assert!(made.unwrap().success());
    let local = Local {
        name: "context".into(),
        exclude: vec!["a/ignored".into()],
        ..Local::default()
    };
    let local = test.graph.local(&local, Meta::named("local"));
    let copy = FileAction::Copy(Copy::contents(local, "/", "/", 5));
    let copied = test.graph.file(None, [copy], Meta::named("copy"));
    test.locals.insert("context".into(), context);
    check_equal(&test, copied).await;
}
