//! Images that go to a real registry, and those that the engine keeps: `tests/with-buildkit cargo test -p kcompose-engine`.
#![allow(clippy::disallowed_methods, clippy::unwrap_used)]

mod daemon;

use std::process::{Child, Command, Stdio};
use std::time::Duration;

use daemon::Test;
use fs_err as fs;
use kcompose_core::llb::{FileAction, MakeFile, Meta};
use kcompose_engine::{BuildRequest, Credentials, EngineError};

/// Debian's `docker-registry` on a loopback port; it ends with the test.
struct Registry {
    process: Child,
    port: u16,
}

impl Registry {
    /// Starts one that keeps its blobs in the test's folder, with more lines of configuration.
    async fn start(test: &Test, more: &str) -> Registry {
        let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = free.local_addr().unwrap().port();
        drop(free);
        Registry::start_at(test, port, more).await
    }

    async fn start_at(test: &Test, port: u16, more: &str) -> Registry {
        let configuration = format!(
            "version: 0.1\nstorage:\n  filesystem:\n    rootdirectory: {}\nhttp:\n  addr: 127.0.0.1:{port}\n{more}",
            test.path("registry").display()
        );
        fs::write(test.path("registry.yml"), configuration).unwrap();
        let mut command = Command::new(kcompose_testing::program("docker-registry").unwrap());
        command.arg("serve").arg(test.path("registry.yml"));
        let process = command
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut registry = Registry { process, port };
        while std::net::TcpStream::connect(("127.0.0.1", port)).is_err() {
            assert_eq!(
                registry.process.try_wait().unwrap(),
                None,
                "the registry does not start"
            );
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        registry
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// An image with one file.
fn one_file(test: &mut Test, tags: &[String], output: &str) -> BuildRequest {
    let file = FileAction::MakeFile(MakeFile::new("/a", 0o644, "pushed"));
    let tree = test.graph.file(None, [file], Meta::named("a"));
    let mut request = test.request(tree);
    request.tags = tags.to_vec();
    request.outputs.push(output.parse().unwrap());
    request
}

/// A manifest as the registry keeps it.
fn kept(test: &Test, digest: &str) -> Vec<u8> {
    let hex = digest.trim_start_matches("sha256:");
    let blobs = format!(
        "registry/docker/registry/v2/blobs/sha256/{}/{hex}/data",
        &hex[..2]
    );
    fs::read(test.path(&blobs)).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_push_sends_what_the_registry_lacks() {
    kcompose_testing::needs!(BuildKit, Program("docker-registry"));
    let mut test = Test::new().await;
    let registry = Registry::start(&test, "").await;
    let tags = ["1", "latest"].map(|tag| format!("127.0.0.1:{}/os/x:{tag}", registry.port));
    let request = one_file(&mut test, &tags, "type=registry");
    let [first, second] = [test.build(&request).await.0, test.build(&request).await.0].map(Result::unwrap);
    assert_eq!(kept(&test, &first.image.digest), first.image.manifest);
    assert_eq!(first.image.digest, second.image.digest);
    drop(registry);
    // Nobody answers there any more.
    let error = test.build(&request).await.0.unwrap_err();
    assert!(
        matches!(&error, EngineError::Registry { reason, .. } if reason.contains("refused")),
        "{error:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_private_registry_takes_the_login_that_docker_keeps() {
    kcompose_testing::needs!(BuildKit, Program("docker-registry"));
    let mut test = Test::new().await;
    // `ops` with the password `secret`, as htpasswd -B writes it.
    let users = "ops:$2b$04$sBfgnN03lhPiIi1iMQt7gu3U2DmzCD7/U2PjhAFuLmHP6JIdJN8Zm\n";
    fs::write(test.path("users"), users).unwrap();
    let auth = format!(
        "auth:\n  htpasswd:\n    realm: test\n    path: {}\n",
        test.path("users").display()
    );
    let registry = Registry::start(&test, &auth).await;
    let host = format!("127.0.0.1:{}", registry.port);
    let mut request = one_file(&mut test, &[format!("{host}/os/private:1")], "type=registry");

    let error = test.build(&request).await.0.unwrap_err();
    assert!(
        matches!(&error, EngineError::Registry { reason, .. } if reason.contains("401") || reason.contains("login")),
        "{error:?}"
    );
    let folder = test.path("docker");
    fs::create_dir(&folder).unwrap();
    let login = |auth: &str| {
        let text = format!("{{\"auths\": {{\"{host}\": {{\"auth\": \"{auth}\"}}}}}}");
        fs::write(folder.join("config.json"), text).unwrap();
        Credentials::from_environment(|name| (name == "DOCKER_CONFIG").then(|| folder.display().to_string()))
    };
    // ops:wrong
    request.credentials = login("b3BzOndyb25n");
    assert!(matches!(
        test.build(&request).await.0.unwrap_err(),
        EngineError::Registry { .. }
    ));
    // ops:secret
    request.credentials = login("b3BzOnNlY3JldA==");
    let pushed = test.build(&request).await.0.unwrap();
    assert_eq!(kept(&test, &pushed.image.digest), pushed.image.manifest);
}

/// Says the login of a host where its helper is on `PATH`; by itself it does nothing.
#[test]
fn worker() {
    let Ok(host) = std::env::var("KCOMPOSE_TEST_LOGIN") else {
        return;
    };
    let login = Credentials::from_environment(|name| std::env::var(name).ok()).login(&host);
    match login.unwrap() {
        Some(login) => println!("said {}/{}", login.user, login.secret),
        None => println!("said nothing"),
    }
}

#[test]
fn a_helper_on_the_path_is_asked_for_logins() {
    let folder = tempfile::tempdir().unwrap();
    let helper = folder.path().join("docker-credential-kcompose-test");
    let script = r#"#!/bin/sh
read host
[ "$1 $host" = "get r.example.org" ] || { echo credentials not found in native keychain; exit 1; }
echo '{"ServerURL":"r.example.org","Username":"ops","Secret":"secret"}'
"#;
    fs::write(&helper, script).unwrap();
    fs::set_permissions(&helper, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let asked = |configuration: &str, host: &str| {
        fs::write(folder.path().join("config.json"), configuration).unwrap();
        let path = format!("{}:/usr/bin:/bin", folder.path().display());
        let output = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "worker", "--nocapture"])
            .envs([("KCOMPOSE_TEST_LOGIN", host), ("PATH", &path)])
            .env("DOCKER_CONFIG", folder.path())
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        let line = said.lines().find_map(|line| line.split_once("said "));
        line.unwrap_or_else(|| panic!("{output:?}")).1.to_owned()
    };
    let stored = r#"{"credsStore":"kcompose-test"}"#;
    let own = r#"{"credHelpers":{"r.example.org":"kcompose-test"}}"#;
    for configuration in [stored, own] {
        assert_eq!(asked(configuration, "r.example.org"), "ops/secret");
        assert_eq!(asked(configuration, "other.example.org"), "nothing");
    }
}

/// A name whose registry nobody answers for, and where the image is instead.
async fn pull_with(mirrors: &str, name: &str, into: &std::path::Path) -> Result<(), EngineError> {
    let mirrors = mirrors.to_owned();
    let reach =
        Credentials::from_environment(|name| (name == "KCOMPOSE_REGISTRY_MIRROR").then(|| mirrors.clone()));
    fs::create_dir_all(into).unwrap();
    kcompose_engine::pull(name, &reach, into).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mirror_is_asked_first_and_the_registry_itself_if_that_has_nothing() {
    kcompose_testing::needs!(BuildKit, Program("docker-registry"));
    let mut test = Test::new().await;
    let registry = Registry::start(&test, "").await;
    let here = format!("127.0.0.1:{}", registry.port);
    let request = one_file(&mut test, &[format!("{here}/hub/os/x:1")], "type=registry");
    let pushed = test.build(&request).await.0.unwrap();
    let index = |name: &str| fs::read_to_string(test.path(name).join("index.json")).unwrap();
    let mirrored = format!("quay.io=127.0.0.1:9,docker.io={here}/hub");
    pull_with(&mirrored, "os/x:1", &test.path("one")).await.unwrap();
    assert!(index("one").contains(&pushed.image.digest));
    let dead = format!("{here}=127.0.0.1:9");
    pull_with(&dead, &format!("{here}/hub/os/x:1"), &test.path("two"))
        .await
        .unwrap();
    assert!(index("two").contains(&pushed.image.digest));
    let error = pull_with("quay.io", "os/x:1", &test.path("three"))
        .await
        .unwrap_err();
    assert!(error.to_string().contains("`quay.io`"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_registry_that_is_away_for_a_moment_is_waited_for() {
    kcompose_testing::needs!(BuildKit, Program("docker-registry"));
    let mut test = Test::new().await;
    let registry = Registry::start(&test, "").await;
    let port = registry.port;
    let tags = [format!("127.0.0.1:{port}/os/x:1")];
    let request = one_file(&mut test, &tags, "type=registry");
    test.build(&request).await.0.unwrap();
    drop(registry);
    let later = async {
        tokio::time::sleep(Duration::from_millis(400)).await;
        Registry::start_at(&test, port, "").await
    };
    let folder = test.path("pulled");
    let (_registry, pulled) = tokio::join!(later, pull_with("", &tags[0], &folder));
    pulled.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_image_stays_with_the_engine_under_its_names() {
    kcompose_testing::needs!(BuildKit);
    let mut test = Test::new().await;
    let request = one_file(&mut test, &["registry.example/os/x:1".to_owned()], "type=image");
    let (result, _) = test.build(&request).await;
    // Its digest is for the metadata file.
    assert_eq!(result.unwrap().image.layers.len(), 1);
}
