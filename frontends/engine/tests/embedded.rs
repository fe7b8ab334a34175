//! The embedded engine: by itself, and against a running BuildKit, digest by digest.
#![allow(clippy::unwrap_used)]

mod daemon;

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use daemon::daemon;
use fs_err as fs;
use kcompose_core::image::ImageConfig;
use kcompose_core::llb::{
    Copy, Exec, FileAction, Graph, Http, Local, MakeDirectory, MakeFile, Meta, MountKind, Output as Tree,
    Remove, Symlink,
};
use kcompose_core::source::SourceMap;
use kcompose_engine::embedded::{Reach, Settings};
use kcompose_engine::event::State;
use kcompose_engine::store::Store;
use kcompose_engine::{
    Bridge, BuildRequest, BuildResult, Embedded, EngineError, Event, Secret, build as solve,
};
use tokio_util::sync::CancellationToken;

/// A cache folder and what is built with it.
struct Test {
    folder: tempfile::TempDir,
    graph: Graph,
    cancel: CancellationToken,
}

impl Test {
    fn new() -> Test {
        Test {
            // An overlay cannot lie on an overlay, nor in memory without attributes.
            folder: tempfile::tempdir_in("/var/tmp").unwrap(),
            graph: Graph::new(),
            cancel: CancellationToken::new(),
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn engine(&self) -> Embedded {
        Embedded::new(Settings::beside(Store::new(self.path("cache")), Reach::Offline))
    }

    fn request(&self, output: Tree) -> BuildRequest {
        let config = ImageConfig {
            architecture: "amd64".into(),
            created: 1_700_000_000,
            ..ImageConfig::default()
        };
        let definition = self.graph.definition(Some(output), &SourceMap::new());
        let mut request = BuildRequest::new(definition, config, self.path("layers"));
        request
            .secrets
            .insert("key".into(), Secret::Value(b"secret\n".to_vec()));
        request
    }

    async fn build_with(&self, bridge: &dyn Bridge, request: &BuildRequest) -> Built {
        let (sender, mut receiver) = tokio::sync::mpsc::unbounded_channel();
        let result = solve(bridge, request, &sender, &self.cancel).await;
        drop(sender);
        let mut events = Vec::new();
        while let Some(event) = receiver.recv().await {
            events.push(event);
        }
        Built { result, events }
    }

    async fn build(&self, output: Tree) -> Built {
        self.build_with(&self.engine(), &self.request(output)).await
    }

    /// A root with a static shell, from this machine's own busybox.
    fn shell(&mut self) -> Tree {
        let busybox = kcompose_testing::program("busybox").expect("the test says that it needs busybox");
        let directories = ["/bin", "/proc", "/sys", "/dev", "/run", "/tmp", "/etc"];
        let directories = directories.map(|path| FileAction::MakeDirectory(MakeDirectory::new(path, 0o755)));
        let shell = FileAction::MakeFile(MakeFile::new("/bin/sh", 0o755, fs::read(busybox).unwrap()));
        let actions = directories.into_iter().chain([shell]);
        let made = self.graph.file(None, actions, Meta::named("made"));
        // A directory gets the time of what is put into it; copied as a whole, it has one that both engines give.
        let dated = FileAction::Copy(Copy::contents(made, "/", "/", 0));
        self.graph.file(None, [dated], Meta::named("shell"))
    }

    fn sh(&mut self, root: Tree, script: &str) -> Tree {
        let exec = Exec::new(root, ["/bin/sh", "-c", script]);
        self.graph.exec(&exec, Meta::named(script))[0]
    }

    fn file(&mut self, path: &str, content: &str) -> Tree {
        let file = FileAction::MakeFile(MakeFile::new(path, 0o644, content));
        self.graph.file(None, [file], Meta::named(path))
    }
}

struct Built {
    result: Result<BuildResult, EngineError>,
    events: Vec<Event>,
}

impl Built {
    /// The digest of the manifest: of everything.
    #[track_caller]
    fn digest(&self) -> String {
        self.result.as_ref().unwrap().image.digest.clone()
    }

    /// The last state of each vertex, by name.
    fn states(&self) -> BTreeMap<String, State> {
        let vertices = self.events.iter().filter_map(|event| match event {
            Event::Vertex(vertex) => Some((vertex.name.clone(), vertex.state.clone())),
            Event::Log(_) | Event::Transfer(_) | Event::Warning(_) => None,
        });
        vertices.collect()
    }

    fn ran(&self) -> Vec<String> {
        let ran = |state: &State| matches!(state, State::Done(..));
        self.states()
            .into_iter()
            .filter(|(_, state)| ran(state))
            .map(|(name, _)| name)
            .collect()
    }

    fn log(&self) -> String {
        let logs = self.events.iter().filter_map(|event| match event {
            Event::Log(log) => Some(String::from_utf8_lossy(&log.data).into_owned()),
            Event::Vertex(_) | Event::Transfer(_) | Event::Warning(_) => None,
        });
        logs.collect()
    }
}

/// Builds with both engines, and compares all that can be compared.
async fn check_equal(test: &Test, output: Tree) {
    let ours = test.build(output).await;
    let mut request = test.request(output);
    request.layer_directory = test.path("other layers");
    let theirs = test.build_with(&daemon().await, &request).await;
    let diff_ids = |built: &Built| -> Vec<String> {
        let layers = &built.result.as_ref().unwrap().image.layers;
        layers.iter().map(|layer| layer.diff_id.clone()).collect()
    };
    if diff_ids(&ours) != diff_ids(&theirs) {
        assert_eq!(ours.log(), theirs.log());
        assert_eq!(
            listing(test, &ours, "layers"),
            listing(test, &theirs, "other layers")
        );
    }
    assert_eq!(diff_ids(&ours), diff_ids(&theirs));
    assert_eq!(ours.digest(), theirs.digest());
    let names = |built: &Built| built.states().into_keys().collect::<Vec<_>>();
    let known: Vec<String> = names(&theirs)
        .into_iter()
        .filter(|name| names(&ours).contains(name))
        .collect();
    assert_eq!(names(&ours), known, "vertices that the daemon does not show");
}

/// Every member of every layer, with all that its header says.
fn listing(test: &Test, built: &Built, folder: &str) -> Vec<String> {
    let image = &built.result.as_ref().unwrap().image;
    let store = kcompose_engine::LayerStore::new(test.path(folder), image.compression);
    let mut lines = Vec::new();
    for (number, layer) in image.layers.iter().enumerate() {
        let mut archive = tar::Archive::new(store.unpacked(layer).unwrap());
        for entry in archive.entries().unwrap() {
            let entry = entry.unwrap();
            let header = entry.header();
            lines.push(format!(
                "{number} {} {:?} {:o} {}:{} {} {}",
                entry.path().unwrap().display(),
                header.entry_type(),
                header.mode().unwrap(),
                header.uid().unwrap(),
                header.gid().unwrap(),
                header.size().unwrap(),
                header.mtime().unwrap(),
            ));
        }
    }
    lines
}

/// Dates what a script made, so that two runs of it make the same.
const DATED: &str = "; find / -xdev -newer /bin/sh ! -path '/proc*' ! -path '/sys*' ! -path '/dev*' ! -path '/etc/hosts' \
! -path '/etc/resolv.conf' ! -path '/in*' ! -path '/run*' -exec touch -h -d @1600000000 {} +";

fn dated(script: &str) -> String {
    format!("set -e; umask 022; {script}{DATED}")
}

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
