//! Builds on a real BuildKit daemon: `tests/with-buildkit cargo test -p kcompose-engine`.
#![allow(clippy::disallowed_methods, clippy::unwrap_used)]

mod daemon;

use std::collections::BTreeSet;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::time::Duration;

use daemon::{Test, daemon};
use fs_err as fs;
use kcompose_core::llb::{Copy, Exec, FileAction, Local, MakeDirectory, MakeFile, Meta, MountKind};
use kcompose_engine::event::State;
use kcompose_engine::{Bridge, BuildKit, BuildResult, EngineError, Event, Fault, Output, Secret};

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
    kcompose_testing::needs!(BuildKit);
    let mut test = Test::new().await;
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
    kcompose_testing::needs!(BuildKit, Program("busybox"));
    let mut test = Test::new().await;
    let root = test.shell();
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
    kcompose_testing::needs!(BuildKit);
    let mut test = Test::new().await;
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
    kcompose_testing::needs!(BuildKit);
    let mut test = Test::new().await;
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
    kcompose_testing::needs!(BuildKit, Program("busybox"));
    let mut test = Test::new().await;
    let root = test.shell();
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
        mut log,
        place,
    } = error
    else {
        panic!("{error:?}")
    };
    assert_eq!((name.as_str(), exit_code, place), ("boom", 7, Some(span.into())));
    // Two pipes: which of them the daemon reads first is its own affair.
    log.sort();
    assert_eq!(log, ["first", "last words"]);
    assert!(!test.path("none.tar").exists());
    let failed =
        |event: &Event| matches!(event, Event::Vertex(vertex) if matches!(vertex.state, State::Failed(_)));
    assert!(events.iter().any(failed));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unreachable_source_is_the_worlds_fault() {
    kcompose_testing::needs!(BuildKit);
    let mut test = Test::new().await;
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
    kcompose_testing::needs!(BuildKit, Program("busybox"));
    let mut test = Test::new().await;
    let root = test.shell();
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
    kcompose_testing::needs!(BuildKit);
    let daemon = daemon().await;
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

#[tokio::test(flavor = "multi_thread")]
async fn every_kind_of_file_comes_from_one_solve() {
    kcompose_testing::needs!(BuildKit);
    let mut test = Test::new().await;
    let files = [
        FileAction::MakeDirectory(MakeDirectory::new("/etc", 0o755)),
        FileAction::MakeDirectory(MakeDirectory::new("/usr", 0o700)),
        FileAction::MakeFile(MakeFile::new("/etc/hello", 0o640, "hello\n")),
    ];
    let made = test.graph.file(None, files, Meta::named("hello"));
    let output = test.graph.file(
        None,
        [FileAction::Copy(Copy::contents(made, "/", "/", 0))],
        Meta::named("tree"),
    );
    let mut request = test.request(output);
    request.tags = vec!["example.org/os/x:1".into()];
    fs::create_dir(test.path("root")).unwrap();
    fs::write(test.path("root/old"), "gone when the new one is whole").unwrap();
    for (kind, name) in [
        ("oci", "o.tar"),
        ("docker", "d.tar"),
        ("tar", "t.tar"),
        ("local", "root"),
    ] {
        let text = format!("type={kind},dest={}", test.path(name).display());
        request.outputs.push(text.parse().unwrap());
    }
    let gzip = format!("type=oci,dest={},compression=gzip", test.path("z.tar").display());
    request.outputs.push(gzip.parse().unwrap());
    test.build(&request).await.0.unwrap();
    assert_eq!(members(&test.path("t.tar")), ["etc/", "etc/hello", "usr/"]);
    assert_eq!(
        fs::read_to_string(test.path("root/etc/hello")).unwrap(),
        "hello\n"
    );
    let mode = fs::metadata(test.path("root/etc/hello"))
        .unwrap()
        .permissions()
        .mode();
    assert_eq!(mode & 0o7777, 0o640);
    assert!(!test.path("root/old").exists());
    let docker = members(&test.path("d.tar"));
    assert_eq!(docker.len(), 4);
    assert!(
        docker[1].ends_with("/layer.tar") && docker[2].ends_with(".json") && docker[3] == "manifest.json"
    );
    // All of them are the same tree, and tools read them.
    let pack = |name: &str| {
        let mut bytes = Vec::new();
        kcompose_engine::rootfs::open(&test.path(name))
            .unwrap()
            .pack(&mut bytes)
            .unwrap();
        bytes
    };
    let tree = fs::read(test.path("t.tar")).unwrap();
    for name in ["o.tar", "d.tar", "z.tar", "t.tar"] {
        assert!(pack(name) == tree, "{name}");
    }
    let left = fs::read_dir(test.folder.path()).unwrap().count();
    assert_eq!(left, 6, "something was left behind");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_local_engine_takes_packages_from_our_server() {
    kcompose_testing::needs!(BuildKit);
    let mut test = Test::new().await;
    let content = format!("package {}", std::process::id());
    let sha256 = kcompose_engine::digest::sha256(content.as_bytes());
    let blob = test.path("blob");
    fs::write(&blob, &content).unwrap();
    let server = kcompose_engine::serve::BlobServer::start(move |_| Some(blob.clone()))
        .await
        .unwrap();
    let http = kcompose_core::llb::Http {
        url: "http://nowhere.invalid/pool/p.deb".into(),
        checksum: Some(sha256.clone()),
        filename: Some("p.deb".into()),
        mode: Some(0o644),
    };
    let output = test.graph.http(&http, Meta::named("fetch"));
    let mut request = test.request(output);
    request.policy.push(kcompose_engine::SourceRule::Convert {
        from: http.url.clone(),
        to: server.url(sha256.strip_prefix("sha256:").unwrap(), "p.deb"),
    });
    let first = test.build(&request).await.0.unwrap();
    assert_eq!(listing(&test, &first), ["p.deb 644 0:0"]);
    // The URL is in no cache key: what was fetched once needs no server, whatever its address.
    drop(server);
    request.policy = vec![kcompose_engine::SourceRule::Convert {
        from: http.url.clone(),
        to: "http://127.0.0.1:9/dead".into(),
    }];
    let again = test.build(&request).await.0.unwrap();
    assert_eq!(again.image.digest, first.image.digest);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_config_is_the_one_that_the_daemon_would_write() {
    kcompose_testing::needs!(BuildKit);
    let mut test = Test::new().await;
    let file = FileAction::MakeFile(MakeFile::new("/a", 0o644, "a"));
    let output = test.graph.file(None, [file], Meta::named("a"));
    let mut request = test.request(output);
    request.config.history = vec!["the <only> layer & more".into()];
    request.config.runtime.cmd = vec!["/a".into()];
    request
        .config
        .runtime
        .labels
        .insert("ö".into(), "\u{2028}".into());
    let (result, events) = test.build(&request).await;
    let exported = format!("exporting config {}", result.unwrap().image.config_digest);
    let said = events
        .iter()
        .any(|event| matches!(event, Event::Transfer(transfer) if transfer.name == exported));
    assert!(said, "{exported} is not what the daemon wrote: {events:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_cache_disk_is_ours_and_not_the_engines() {
    kcompose_testing::needs!(BuildKit, Root);
    let mut test = Test::new().await;
    let small = test.path("small");
    fs::create_dir(&small).unwrap();
    let mounted = std::process::Command::new("mount")
        .args(["-t", "tmpfs", "-o", "size=64k", "none"])
        .arg(&small)
        .status()
        .unwrap();
    assert!(mounted.success());
    // Hashes do not compress.
    let mut noise: Vec<u8> = Vec::new();
    for number in 0..4000 {
        noise.extend(kcompose_engine::digest::sha256(format!("{number}").as_bytes()).bytes());
    }
    let file = FileAction::MakeFile(MakeFile::new("/noise", 0o644, noise));
    let output = test.graph.file(None, [file], Meta::named("noise"));
    let mut request = test.request(output);
    request.layer_directory = small.join("layers");
    let result = test.build(&request).await.0;
    let unmounted = std::process::Command::new("umount")
        .arg("-l")
        .arg(&small)
        .status()
        .unwrap();
    assert!(unmounted.success());
    let Err(EngineError::Full { path }) = result else {
        panic!("{result:?}")
    };
    assert!(path.starts_with(&small));
}

/// A daemon that was killed leaves its mounts; deepest first.
fn unmount_below(folder: &Path) {
    let mounts = fs::read_to_string("/proc/mounts").unwrap();
    let points = mounts.lines().filter_map(|line| line.split(' ').nth(1));
    let mut points: Vec<&str> = points
        .filter(|point| Path::new(point).starts_with(folder))
        .collect();
    points.sort_unstable();
    for point in points.into_iter().rev() {
        let unmounted = std::process::Command::new("umount")
            .arg("-l")
            .arg(point)
            .status()
            .unwrap();
        assert!(unmounted.success(), "{point} stays mounted");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_daemon_that_dies_is_said_to_be_gone() {
    kcompose_testing::needs!(
        BuildKit,
        Root,
        Program("buildkitd"),
        Program("runc"),
        Program("busybox")
    );
    let mut test = Test::new().await;
    // Not below /tmp: that may be an overlay, and an overlay cannot lie on one.
    let root = tempfile::Builder::new()
        .prefix("kcompose-dying-")
        .tempdir_in("/var/tmp")
        .unwrap();
    let socket = root.path().join("bk.sock");
    let address = format!("unix://{}", socket.display());
    let mut daemon = std::process::Command::new(kcompose_testing::program("buildkitd").unwrap())
        .args([
            "--addr",
            &address,
            "--oci-worker-net",
            "host",
            "--containerd-worker=false",
            "--oci-worker-gc=false",
        ])
        .arg("--root")
        .arg(root.path().join("root"))
        .stdout(std::process::Stdio::null())
        .stderr(std::process::Stdio::null())
        .spawn()
        .unwrap();
    test.daemon = loop {
        if let Ok(found) = BuildKit::connect(&[address.parse().unwrap()]).await {
            break found;
        }
        assert_eq!(daemon.try_wait().unwrap(), None, "buildkitd does not start");
        tokio::time::sleep(Duration::from_millis(50)).await;
    };
    let shell = test.shell();
    let output = test.graph.exec(
        &Exec::new(shell, ["/bin/sh", "-c", "sleep 3"]),
        Meta::named("sleep"),
    )[0];
    let mut request = test.request(output);
    request.outputs = vec![Output::oci(test.path("none.tar"))];
    let killed = tokio::spawn(async move {
        tokio::time::sleep(Duration::from_millis(1200)).await;
        daemon.kill().unwrap();
        daemon.wait().unwrap();
    });
    let result = test.build(&request).await.0;
    killed.await.unwrap();
    // Its last step ends by itself; until then the root is in use.
    tokio::time::sleep(Duration::from_secs(4)).await;
    unmount_below(root.path());
    let Err(EngineError::Lost { address: named, .. }) = &result else {
        panic!("{result:?}")
    };
    assert_eq!(*named, address);
    assert_eq!(result.unwrap_err().fault(), Fault::World);
    assert!(!test.path("none.tar").exists());
}
