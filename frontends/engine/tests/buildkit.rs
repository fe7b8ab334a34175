//! Builds on a real BuildKit daemon: `KCOMPOSE_TEST_BUILDKIT=unix:///run/buildkit/buildkitd.sock cargo test -p kcompose-engine`.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeSet;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::time::Duration;

use fs_err as fs;
use kcompose_core::image::ImageConfig;
use kcompose_core::llb::{
    Copy, Exec, FileAction, Graph, Local, MakeDirectory, MakeFile, Meta, MountKind, Output as Tree,
};
use kcompose_core::source::SourceMap;
use kcompose_engine::event::State;
use kcompose_engine::{
    Address, Bridge, BuildKit, BuildRequest, BuildResult, EngineError, Event, Fault, Output, Secret, build,
};
use tokio::sync::mpsc::unbounded_channel;
use tokio_util::sync::CancellationToken;

/// The daemon to test against; without one the test says loudly that it did not run.
async fn daemon() -> Option<BuildKit> {
    let Ok(address) = std::env::var("KCOMPOSE_TEST_BUILDKIT") else {
        eprintln!("SKIPPED: KCOMPOSE_TEST_BUILDKIT names no BuildKit");
        return None;
    };
    let candidates = Address::candidates(Some(&address), |_| None).unwrap();
    Some(BuildKit::connect(&candidates).await.unwrap())
}

/// A build of a test: a folder for what it writes, and what it is asked for.
struct Test {
    daemon: BuildKit,
    folder: tempfile::TempDir,
    graph: Graph,
    sources: SourceMap,
    cancel: CancellationToken,
}

impl Test {
    async fn new() -> Option<Test> {
        let daemon = daemon().await?;
        let folder = tempfile::tempdir().unwrap();
        let (graph, sources) = (Graph::new(), SourceMap::new());
        Some(Test {
            daemon,
            folder,
            graph,
            sources,
            cancel: CancellationToken::new(),
        })
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn request(&self, output: Tree) -> BuildRequest {
        let config = ImageConfig {
            architecture: "amd64".into(),
            created: 1_700_000_000,
            ..ImageConfig::default()
        };
        let definition = self.graph.definition(Some(output), &self.sources);
        BuildRequest::new(definition, config, self.path("layers"))
    }

    async fn build(&self, request: &BuildRequest) -> (Result<BuildResult, EngineError>, Vec<Event>) {
        let (sender, mut receiver) = unbounded_channel();
        let result = build(&self.daemon, request, &sender, &self.cancel).await;
        drop(sender);
        let mut events = Vec::new();
        while let Some(event) = receiver.recv().await {
            events.push(event);
        }
        (result, events)
    }

    /// A root with a static shell, from the host's own busybox.
    fn shell(&mut self) -> Option<Tree> {
        let busybox = ["/bin/busybox", "/usr/bin/busybox"]
            .into_iter()
            .find(|path| Path::new(path).exists());
        let Some(busybox) = busybox else {
            eprintln!("SKIPPED: there is no busybox (Debian: busybox-static) for a root with a shell");
            return None;
        };
        let directories = ["/bin", "/proc", "/sys", "/dev", "/run", "/tmp", "/etc"];
        let directories = directories.map(|path| FileAction::MakeDirectory(MakeDirectory::new(path, 0o755)));
        let shell = FileAction::MakeFile(MakeFile::new("/bin/sh", 0o755, fs::read(busybox).unwrap()));
        Some(
            self.graph
                .file(None, directories.into_iter().chain([shell]), Meta::named("shell")),
        )
    }
}

/// Members of an archive, in order.
fn members(archive: &Path) -> Vec<String> {
    let mut archive = tar::Archive::new(fs::File::open(archive).unwrap());
    let names = archive
        .entries()
        .unwrap()
        .map(|entry| entry.unwrap().path().unwrap().display().to_string());
    names.collect()
}

/// `path mode uid:gid` of every member of the image's layers.
fn listing(test: &Test, result: &BuildResult) -> Vec<String> {
    let store = kcompose_engine::LayerStore::new(test.path("layers"), result.image.compression);
    let mut lines = Vec::new();
    for layer in &result.image.layers {
        let mut archive = tar::Archive::new(store.unpacked(layer).unwrap());
        for entry in archive.entries().unwrap() {
            let entry = entry.unwrap();
            let header = entry.header();
            let link = entry
                .link_name()
                .unwrap()
                .map(|to| format!(" -> {}", to.display()))
                .unwrap_or_default();
            let (mode, uid, gid) = (
                header.mode().unwrap(),
                header.uid().unwrap(),
                header.gid().unwrap(),
            );
            lines.push(format!(
                "{} {mode:o} {uid}:{gid}{link}",
                entry.path().unwrap().display()
            ));
        }
    }
    lines
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_on_scratch_becomes_the_same_archive_twice() {
    let Some(mut test) = Test::new().await else { return };
    let actions = [
        FileAction::MakeDirectory(MakeDirectory::new("/etc", 0o755)),
        FileAction::MakeFile(MakeFile::new("/etc/hello", 0o644, "hello\n")),
    ];
    let made = test.graph.file(None, actions, Meta::named("hello"));
    let tree = FileAction::Copy(Copy::contents(made, "/", "/", 0));
    let output = test.graph.file(None, [tree], Meta::named("dated"));
    let mut request = test.request(output);
    let paths = ["a.tar", "b.tar"].map(|name| test.path(name));
    request.outputs = paths.iter().map(Output::oci).collect();
    let (result, events) = test.build(&request).await;
    let result = result.unwrap();
    assert_eq!(listing(&test, &result), ["etc/ 755 0:0", "etc/hello 644 0:0"]);
    let members = members(&paths[0]);
    assert_eq!(&members[..2], ["blobs/", "blobs/sha256/"]);
    assert_eq!(&members[5..], ["index.json", "oci-layout"]);
    let bytes = paths.each_ref().map(|path| fs::read(path).unwrap());
    assert!(bytes[0] == bytes[1]);
    // Our digests are the daemon's, so events carry our names' vertices.
    let ours: BTreeSet<&String> = request.definition.vertices().keys().collect();
    let theirs: BTreeSet<&String> = events
        .iter()
        .filter_map(|event| match event {
            Event::Vertex(vertex) => Some(&vertex.digest),
            Event::Log(_) | Event::Transfer(_) | Event::Warning(_) => None,
        })
        .collect();
    assert!(ours.is_subset(&theirs), "{ours:?} {theirs:?}");

    request.no_cache = true;
    request.layer_directory = test.path("other layers");
    request.outputs = vec![Output::oci(test.path("c.tar"))];
    let (again, _) = test.build(&request).await;
    assert_eq!(again.unwrap().image.digest, result.image.digest);
    assert!(fs::read(test.path("c.tar")).unwrap() == bytes[0]);
    assert_eq!(
        fs::read_dir(test.folder.path()).unwrap().count(),
        5,
        "something was left behind"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_program_runs_with_mounts_and_logs() {
    let Some(mut test) = Test::new().await else { return };
    let Some(root) = test.shell() else { return };
    let data = FileAction::MakeFile(MakeFile::new("/data", 0o644, "from a file system\n"));
    let data = test.graph.file(None, [data], Meta::default());
    let script = "cat /in/data /run/secret > /out/all; echo said >&2; test ! -e /sys/class/net/eth0; echo $TZ >> /out/all";
    let exec = Exec::new(root, ["/bin/sh", "-c", script])
        .env("TZ", "UTC")
        .mount("/run", MountKind::Tmpfs { size: None })
        .mount(
            "/run/secret",
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
    let outputs = test.graph.exec(&exec, Meta::named("run it"));
    let mut request = test.request(outputs[1]);
    request
        .secrets
        .insert("key".into(), Secret::Value(b"secret\n".to_vec()));
    request.no_cache = true;
    let (result, events) = test.build(&request).await;
    let result = result.unwrap();
    assert_eq!(listing(&test, &result), ["all 644 0:0"]);
    let said = events
        .iter()
        .any(|event| matches!(event, Event::Log(log) if log.data == b"said\n" && log.is_error));
    assert!(said, "{events:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_local_directory_is_filtered_and_normalised() {
    let Some(mut test) = Test::new().await else { return };
    let context = test.path("context");
    fs::create_dir_all(context.join("overlay/etc")).unwrap();
    fs::create_dir_all(context.join("target/debug")).unwrap();
    for (path, mode) in [
        ("overlay/run", 0o700),
        ("overlay/etc/conf", 0o600),
        ("target/debug/big", 0o644),
    ] {
        fs::write(context.join(path), path).unwrap();
        fs::set_permissions(context.join(path), std::fs::Permissions::from_mode(mode)).unwrap();
    }
    fs::hard_link(context.join("overlay/run"), context.join("overlay/run2")).unwrap();
    symlink("run", context.join("overlay/link")).unwrap();
    let local = Local {
        name: "context".into(),
        exclude: vec!["**/debug".into(), "target".into()],
        shared_key_hint: Some("context".into()),
        ..Local::default()
    };
    let local = test.graph.local(&local, Meta::named("context"));
    let copy = FileAction::Copy(Copy::contents(local, "/", "/", 0));
    let output = test.graph.file(None, [copy], Meta::named("copy"));
    let mut request = test.request(output);
    request.locals.insert("context".into(), context.clone());
    let (result, _) = test.build(&request).await;
    let first = result.unwrap();
    let expected = [
        "overlay/ 755 0:0",
        "overlay/etc/ 755 0:0",
        "overlay/etc/conf 644 0:0",
        "overlay/link 777 0:0 -> run",
        "overlay/run 755 0:0",
        "overlay/run2 755 0:0 -> overlay/run",
    ];
    assert_eq!(listing(&test, &first), expected);
    // The same size, another content: it must be seen.
    fs::write(context.join("overlay/etc/conf"), "OVERLAY/etc/conf").unwrap();
    let (result, _) = test.build(&request).await;
    assert_ne!(result.unwrap().image.digest, first.image.digest);
}

#[tokio::test(flavor = "multi_thread")]
async fn merged_trees_are_one_layer_each() {
    let Some(mut test) = Test::new().await else { return };
    let mut tree = |path: &str| {
        let file = FileAction::MakeFile(MakeFile::new(path, 0o644, path));
        test.graph.file(None, [file], Meta::named(path))
    };
    let trees = [tree("/a"), tree("/b"), tree("/c")];
    let output = test.graph.merge(&trees, Meta::named("merge"));
    let request = test.request(output);
    let (result, _) = test.build(&request).await;
    let result = result.unwrap();
    assert_eq!(listing(&test, &result), ["a 644 0:0", "b 644 0:0", "c 644 0:0"]);
    assert_eq!(result.image.layers.len(), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failing_program_is_reported_where_it_was_asked_for() {
    let Some(mut test) = Test::new().await else { return };
    let Some(root) = test.shell() else { return };
    let text = "flavor \"x\"\nrun \"boom\" { script \"exit 7\"; }\n";
    let span = test.sources.add("flavor.kdl", text).span(11, 35);
    let exec = Exec::new(root, ["/bin/sh", "-c", "echo first; echo last words >&2; exit 7"]);
    let output = test.graph.exec(&exec, Meta::at("boom", span))[0];
    let mut request = test.request(output);
    request.outputs = vec![Output::oci(test.path("none.tar"))];
    let (result, events) = test.build(&request).await;
    let error = result.unwrap_err();
    assert_eq!(error.fault(), Fault::Flavor);
    let EngineError::Step {
        name,
        exit_code,
        log,
        place,
    } = error
    else {
        panic!("{error:?}")
    };
    assert_eq!((name.as_str(), exit_code, place), ("boom", 7, Some(span.into())));
    assert_eq!(log, ["first", "last words"]);
    assert!(!test.path("none.tar").exists());
    let failed =
        |event: &Event| matches!(event, Event::Vertex(vertex) if matches!(vertex.state, State::Failed(_)));
    assert!(events.iter().any(failed));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unreachable_source_is_the_worlds_fault() {
    let Some(mut test) = Test::new().await else { return };
    let span = test.sources.add("flavor.kdl", "packages { curl; }\n").span(11, 4);
    let http = kcompose_core::llb::Http {
        url: "http://127.0.0.1:9/curl.deb".into(),
        checksum: Some(format!("sha256:{}", "12".repeat(32))),
        ..Default::default()
    };
    let output = test.graph.http(&http, Meta::at("fetch curl", span));
    let request = test.request(output);
    let (result, _) = test.build(&request).await;
    let error = result.unwrap_err();
    assert_eq!(error.fault(), Fault::World);
    let EngineError::Source {
        name, reason, place, ..
    } = error
    else {
        panic!("{error:?}")
    };
    assert_eq!((name.as_str(), place), ("fetch curl", Some(span.into())));
    assert!(reason.contains("127.0.0.1:9"), "{reason}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_build_stops_at_once_when_it_is_cancelled() {
    let Some(mut test) = Test::new().await else { return };
    let Some(root) = test.shell() else { return };
    let output = test.graph.exec(
        &Exec::new(root, ["/bin/sh", "-c", "sleep 60"]),
        Meta::named("sleep"),
    )[0];
    let mut request = test.request(output);
    request.no_cache = true;
    request.outputs = vec![Output::oci(test.path("none.tar"))];
    let cancel = test.cancel.clone();
    tokio::spawn(async move {
        tokio::time::sleep(Duration::from_millis(700)).await;
        cancel.cancel();
    });
    let started = std::time::Instant::now();
    let (result, _) = test.build(&request).await;
    assert!(matches!(result, Err(EngineError::Cancelled)), "{result:?}");
    assert!(started.elapsed() < Duration::from_secs(5));
    assert!(!test.path("none.tar").exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_daemon_says_what_it_can_do() {
    let Some(daemon) = daemon().await else { return };
    for name in [
        "source.http.checksum",
        "file.base",
        "exec.meta.network",
        "readfile",
    ] {
        assert!(daemon.capabilities().has(name), "{name}");
    }
}

#[tokio::test]
async fn without_a_daemon_every_address_that_was_tried_is_named() {
    let candidates = ["unix:///nonexistent/bk.sock", "tcp://127.0.0.1:9"].map(|text| text.parse().unwrap());
    let error = BuildKit::connect(&candidates).await.unwrap_err();
    let text = error.to_string();
    assert!(
        text.contains("unix:///nonexistent/bk.sock: No such file"),
        "{text}"
    );
    assert!(text.contains("tcp://127.0.0.1:9: Connection refused"), "{text}");
    assert_eq!(error.fault(), Fault::World);
}
