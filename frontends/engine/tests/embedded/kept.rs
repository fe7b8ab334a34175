//! What is kept, and when it is made again.

use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;

use fs_err as fs;
use kcompose_core::llb::{Copy, Exec, FileAction, Http, Local, Meta, MountKind, Output as Tree};
use kcompose_engine::embedded::{Reach, Settings};
use kcompose_engine::serve::BlobServer;
use kcompose_engine::store::Store;
use kcompose_engine::{Embedded, EngineError, Output};

use crate::common::{Test, dated};
use crate::daemon::daemon;

#[tokio::test(flavor = "multi_thread")]
async fn what_is_kept_is_not_made_again() {
    kcompose_testing::needs!(Root, Program("busybox"));
    let mut test = Test::new();
    let shell = test.shell();
    let first = test.sh(shell, "echo one > /one; echo said >&2");
    let second = test.sh(first, "cat /one /one > /two");
    let built = test.build(second).await;
    assert_eq!(built.log(), "said\n");
    assert_eq!(built.ran().len(), 4);
    let again = test.build(second).await;
    assert_eq!(again.ran(), Vec::<String>::new());
    assert_eq!(again.digest(), built.digest());
    let third = test.sh(first, "rm /one");
    let third = test.build(third).await;
    third.digest();
    assert_eq!(third.ran(), ["rm /one"]);
    let mut anyway = test.request(second);
    anyway.no_cache = true;
    let anyway = test.build_with(&test.engine(), &anyway).await;
    assert_eq!(anyway.ran().len(), 4);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_worked_for_long_waits_until_the_disk_has_everything() {
    kcompose_testing::needs!(Root, Program("busybox"));
    let mut test = Test::new();
    let shell = test.shell();
    let pending = test.path("cache/engine/pending");
    let mut before = 0;
    for script in ["echo one > /one", "echo two > /two", "sleep 2.1", "rm /bin/sh"] {
        let step = test.sh(shell, script);
        let built = test.build(step).await;
        assert!(built.ran().iter().any(|ran| ran == script), "{:?}", built.ran());
        let left = fs::read_dir(&pending).unwrap().count();
        // On a machine that is slow enough, everything takes long.
        let is_quick = !script.starts_with("sleep") && left == before + 1;
        assert!(left == 0 || is_quick, "{script}: {left}");
        before = left;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_archive_that_is_begun_while_a_step_runs_is_the_same() {
    kcompose_testing::needs!(Root, Program("busybox"));
    let mut test = Test::new();
    let shell = test.shell();
    let first = test.sh(shell, "yes one | head -n 3000000 > /one");
    let second = test.sh(first, "sleep 0.3; echo two > /two");
    let out = test.path("out");
    fs::create_dir(&out).unwrap();
    let written = async |output, layers: &str, name: &str| {
        let mut request = test.request(output);
        request.layer_directory = test.path(layers);
        request.outputs = vec![Output::oci(out.join(name))];
        let built = test.build_with(&test.engine(), &request).await;
        (built.ran(), fs::read(out.join(name)).unwrap())
    };
    written(first, "layers", "a.tar").await;
    let (ran, begun) = written(second, "layers", "a.tar").await;
    assert!(ran[0].starts_with("sleep") && ran.len() == 2, "{ran:?}");
    let (ran, whole) = written(second, "other layers", "b.tar").await;
    assert_eq!(ran.len(), 1, "{ran:?}");
    assert!(begun == whole);
    assert_eq!(fs::read_dir(&out).unwrap().count(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn directories_of_this_machine_are_known_by_what_they_hold() {
    kcompose_testing::needs!(Root);
    let mut test = Test::new();
    let context = test.path("context");
    fs::create_dir_all(context.join("sub")).unwrap();
    fs::write(context.join("sub/file"), "one").unwrap();
    fs::write(context.join("sub/other"), "other").unwrap();
    let local = Local {
        name: "context".into(),
        follow: vec!["sub/file".into()],
        ..Local::default()
    };
    let local = test.graph.local(&local, Meta::named("local"));
    let copy = FileAction::Copy(Copy::contents(local, "/sub", "/", 0));
    let output = test.graph.file(None, [copy], Meta::named("copy"));
    let mut request = test.request(output);
    request.locals.insert("context".into(), context.clone());
    let engine = test.engine();
    let one = test.build_with(&engine, &request).await;
    assert_eq!(one.ran(), ["copy", "local"]);
    fs::set_permissions(context.join("sub/file"), std::fs::Permissions::from_mode(0o600)).unwrap();
    fs::write(context.join("sub/other"), "changed").unwrap();
    assert_eq!(
        test.build_with(&engine, &request).await.ran(),
        Vec::<String>::new()
    );
    fs::write(context.join("sub/file"), "two").unwrap();
    let two = test.build_with(&engine, &request).await;
    assert_eq!(two.ran(), ["copy", "local"]);
    assert_ne!(one.digest(), two.digest());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_of_the_store_is_taken_and_a_missing_one_is_an_error_at_its_place() {
    kcompose_testing::needs!(Root);
    let mut test = Test::new();
    let sha256 = kept(&test.path("cache"), b"content");
    let http = |sha256: &str| Http {
        url: "http://127.0.0.1:9/file".into(),
        checksum: Some(format!("sha256:{sha256}")),
        filename: None,
        mode: Some(0o644),
    };
    let there = test.graph.http(&http(&sha256), Meta::named("there"));
    assert_eq!(test.build(there).await.ran(), ["there"]);
    let missing = test.graph.http(&http(&"0".repeat(64)), Meta::named("missing"));
    match test.build(missing).await.result {
        Err(EngineError::Source { name, reason, .. }) => {
            assert_eq!(name, "missing");
            assert!(reason.contains("not in the store"), "{reason}");
        }
        other => panic!("{other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_file_of_the_store_is_fetched_anew() {
    kcompose_testing::needs!(Root);
    let mut test = Test::new();
    let sha256 = kept(&test.path("cache"), b"content");
    let elsewhere = Store::new(test.path("mirror"));
    kept(&test.path("mirror"), b"content");
    let there = elsewhere.clone();
    let server = BlobServer::start(move |sha256| Some(there.blob_path(sha256)))
        .await
        .unwrap();
    let http = Http {
        url: server.url(&sha256, "file"),
        checksum: Some(format!("sha256:{sha256}")),
        filename: None,
        mode: Some(0o644),
    };
    let fetched = test.graph.http(&http, Meta::named("fetched"));
    let store = Store::new(test.path("cache"));
    let damage = |store: &Store| {
        fs::remove_file(store.blob_path(&sha256)).unwrap();
        fs::write(store.blob_path(&sha256), "damaged").unwrap();
    };
    damage(&store);
    let online = Embedded::new(Settings::beside(store.clone(), Reach::Online));
    let built = test.build_with(&online, &test.request(fetched)).await;
    assert_eq!(built.ran(), ["fetched"]);
    assert_eq!(fs::read(store.blob_path(&sha256)).unwrap(), b"content");
    // The mirror's may be, too: what does not fit is nobody's.
    damage(&store);
    damage(&elsewhere);
    fs::remove_dir_all(test.path("cache/engine")).unwrap();
    let built = test.build_with(&online, &test.request(fetched)).await;
    let error = built.result.unwrap_err();
    assert!(matches!(error, EngineError::Source { .. }), "{error:?}");
    assert!(!store.has_blob(&sha256));
}

fn kept(cache: &Path, bytes: &[u8]) -> String {
    use std::io::Write;

    let store = Store::new(cache);
    let digest = kcompose_engine::digest::sha256(bytes);
    let hex = kcompose_engine::digest::hex(&digest).unwrap();
    let mut draft = store.draft().unwrap();
    draft.write_all(bytes).unwrap();
    store.keep_blob(hex, draft).unwrap();
    hex.to_owned()
}

/// A step on a shell that reads `/in`.
fn reader(test: &mut Test, shell: Tree, from: Tree, selector: Option<&str>) -> Tree {
    let script = dated("cat /in/file /in/*/file > /read || true");
    let selector = selector.map(str::to_owned);
    let exec = Exec::new(shell, ["/bin/sh", "-c", &script]).mount("/in", MountKind::Input { from, selector });
    test.graph.exec(&exec, Meta::named("read"))[0]
}

#[tokio::test(flavor = "multi_thread")]
async fn what_reads_the_same_from_another_tree_is_not_made_again() {
    kcompose_testing::needs!(Root, BuildKit, Program("busybox"));
    let mut test = Test::new();
    let shell = test.shell();
    // Each writes the same by another script, at another time, with something else beside it.
    let scripts = [
        "mkdir -p /a/b; echo text > /a/file; echo more > /a/b/file",
        "mkdir -p /a/b /c; echo more > /a/b/file; echo text > /a/file; echo beside > /c/file",
        "mkdir -p /a/b; echo text > /a/file; echo changed > /a/b/file",
    ];
    let made = scripts.map(|script| test.sh(shell, script));
    let copied = made.map(|from| {
        let copy = FileAction::Copy(Copy::contents(from, "/a", "/copied", 7));
        test.graph.file(Some(shell), [copy], Meta::named("copy"))
    });
    let read = made.map(|from| reader(&mut test, shell, from, Some("/a")));
    let daemon = daemon().await;
    for ends in [copied, read] {
        let mut digests = Vec::new();
        let mut ran = Vec::new();
        for end in ends {
            let built = test.build(end).await;
            digests.push(built.digest());
            ran.push(built.ran().len());
            // The daemon takes the same ones for done.
            let theirs = test.build_on(&daemon, end).await;
            let last = |names: Vec<String>| {
                names
                    .into_iter()
                    .filter(|name| ["copy", "read"].contains(&name.as_str()))
                    .count()
            };
            if ran.len() > 1 {
                assert_eq!(last(built.ran()), last(theirs.ran()));
            }
        }
        assert_eq!(digests[0], digests[1]);
        assert_ne!(digests[0], digests[2]);
        assert_eq!(&ran[1..], &[ran[1], ran[1] + 1], "{ran:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_rests_on_the_same_tree_is_not_made_again_whatever_made_that() {
    kcompose_testing::needs!(Root, Program("busybox"));
    let mut test = Test::new();
    let shell = test.shell();
    let end = |test: &mut Test, script: &str| {
        let one = test.sh(shell, &dated(script));
        let other = test.sh(shell, &dated("echo other > /other"));
        let merged = test.graph.merge(&[one, other], Meta::named("merge"));
        test.sh(merged, "ls / > /list; date +%N > /now")
    };
    let first = end(&mut test, "echo one > /one; ln /one /two");
    let first = test.build(first).await;
    assert_eq!(first.ran().len(), 6);
    let rewritten = end(&mut test, "echo two > /one; echo one > /one; ln /one /two");
    let rewritten = test.build(rewritten).await;
    assert_eq!(rewritten.digest(), first.digest());
    assert_eq!(rewritten.ran().len(), 2, "{:?}", rewritten.ran());
    // The same names and contents, but two files.
    let apart = end(&mut test, "echo one > /one; echo one > /two");
    let apart = test.build(apart).await;
    assert_ne!(apart.digest(), first.digest());
    assert_eq!(apart.ran().len(), 3, "{:?}", apart.ran());
    // What is made anew needs no more room.
    let before = test.engine().trees().summary().unwrap();
    let again = test.sh(shell, &dated("echo one > /one; echo one > /two"));
    let mut request = test.request(again);
    request.no_cache = true;
    test.build_with(&test.engine(), &request).await.digest();
    // Only the folders that the shell's first tree makes have the time of this build.
    let after = test.engine().trees().summary().unwrap();
    assert_eq!(after.trees, before.trees + 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_layer_that_another_tree_gave_is_not_compressed_again() {
    kcompose_testing::needs!(Root, Program("busybox"));
    let mut test = Test::new();
    let shell = test.shell();
    let mut layer_of = async |below: &str, script: &str| {
        let base = test.sh(shell, &dated(below));
        let step = test.sh(base, &dated(script));
        let built = test.build(step).await;
        let layer = built.result.unwrap().image.layers.last().unwrap().clone();
        let blob = layer.digest.trim_start_matches("sha256:").to_owned();
        let blob = fs::metadata(test.path("layers/blobs/sha256").join(blob)).unwrap();
        (layer, (blob.ino(), blob.mtime(), blob.mtime_nsec()))
    };
    // Dating it writes the base again, so its size counts.
    let first = layer_of("echo one > /base", "echo same > /file").await;
    assert_eq!(layer_of("echo two > /base", "echo same > /file").await, first);
    // A tree with the same names, sizes and times.
    let other = layer_of("echo six > /base", "echo emas > /file").await;
    assert_ne!(other.0, first.0);
    assert_ne!(other.0.diff_id, first.0.diff_id);
}

#[tokio::test(flavor = "multi_thread")]
async fn sources_that_no_flavor_has_are_refused_by_name() {
    kcompose_testing::needs!(Root);
    let mut test = Test::new();
    let layout = kcompose_core::llb::OciLayout {
        reference: format!("localhost/base@sha256:{}", "0".repeat(64)),
        store: "base".into(),
    };
    let layout = test.graph.oci_layout(&layout, Meta::named("layout"));
    match test.build(layout).await.result {
        Err(EngineError::Capability { missing, .. }) => assert_eq!(missing, ["source.ocilayout"]),
        other => panic!("{other:?}"),
    }
}
