//! Build contexts: far away, large, and in the place of others.

use std::fs::{self, File};
use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use kcompose_testing::needs;
use tempfile::TempDir;

use super::{Docker, FRONTEND};
use crate::daemon::{Daemon, until};
use crate::run::{Outcome, kcompose, replace, scratch};

/// The flavor that copies its folder `overlay`, with a block.
const FLAVOR: &str = "tests/e2e/flavor";

#[test]
fn contexts_lie_far_away() {
    needs!(
        Root,
        Mirror,
        Program("runc"),
        Program("apt-get"),
        Program("git"),
        Program("python3")
    );
    let docker = Docker::modern();
    let served = repository(docker);
    let port = free_port();
    let _git = daemon(
        Command::new(git_daemon())
            .args(["--reuseaddr", "--listen=127.0.0.1", "--export-all"])
            .arg(format!("--base-path={}", served.path().display()))
            .arg(format!("--port={port}")),
        served.path(),
        port,
    );
    let web = free_port();
    let _web = daemon(
        Command::new("python3").args(["-m", "http.server", "--bind", "127.0.0.1", &web.to_string()]),
        served.path(),
        web,
    );
    let check = |place: &str, file: &str| far_away(docker, served.path(), place, file, &[]);
    check(&format!("git://127.0.0.1:{port}/tree/.git#main:os"), "flavor.kdl").ok();
    check(&format!("git://127.0.0.1:{port}/tree/.git#main"), "os/flavor.kdl")
        .ends(1)
        .says("there is no `overlay` in the build context");
    check(&format!("http://127.0.0.1:{web}/os.tar.gz"), "os/flavor.kdl")
        .ends(1)
        .says("there is no `overlay` in the build context");
    check(&format!("http://127.0.0.1:{web}/alone.kdl"), "flavor.kdl")
        .ends(1)
        .says("is no archive");
}

#[test]
fn contexts_ask_for_credentials() {
    needs!(
        Root,
        Mirror,
        Program("runc"),
        Program("apt-get"),
        Program("git"),
        Program("python3")
    );
    let docker = Docker::modern();
    let served = repository(docker);
    fs::write(served.path().join("token"), "open-sesame").unwrap();
    fs::write(
        served.path().join("header"),
        "basic eC1hY2Nlc3MtdG9rZW46b3Blbi1zZXNhbWU=",
    )
    .unwrap();
    let port = free_port();
    let server = kcompose_testing::workspace().join("tests/e2e/docker/git-server.py");
    let _server = daemon(
        Command::new("python3")
            .arg(server)
            .args([&port.to_string(), "x-access-token:open-sesame"]),
        served.path(),
        port,
    );
    let place = format!("http://127.0.0.1:{port}/tree/.git#main:os");
    let check = |secret: &[&str]| far_away(docker, served.path(), &place, "flavor.kdl", secret);
    assert_ne!(
        check(&[]).code,
        Some(0),
        "a private repository was read without a token"
    );
    check(&["--secret", "id=GIT_AUTH_TOKEN,src=token"]).ok();
    check(&["--secret", "id=GIT_AUTH_HEADER,src=header"]).ok();
}

/// A folder to be served: a repository `tree` with the flavor in `os`, the same as `os.tar.gz`, and a flavor alone.
fn repository(docker: &Docker) -> TempDir {
    let folder = docker.flavor(FLAVOR);
    let served = scratch();
    let script = "mkdir -p tree/os && cp -r \"$1\"/. tree/os && tar -C tree -czf os.tar.gz . && echo 'flavor \"x\"' > alone.kdl
        git init -q -b main tree && cd tree && git add -A
        git -c user.name=t -c user.email=t@example.test commit -q -m t";
    let mut command = Command::new("sh");
    command.args(["-euc", script, "sh"]).arg(folder.path());
    let status = command.current_dir(served.path()).stdin(Stdio::null()).status();
    assert!(status.unwrap().success());
    served
}

/// `--check` of a flavor in a context that is named by its place.
fn far_away(docker: &Docker, folder: &Path, place: &str, file: &str, options: &[&str]) -> Outcome {
    let mirror = format!("KCOMPOSE_MIRROR={}", kcompose_testing::mirror());
    let syntax = format!("BUILDKIT_SYNTAX={FRONTEND}");
    let arguments = ["--build-arg", &mirror, "--build-arg", &syntax, "-f", file, place];
    docker.run(
        folder,
        &[
            &["buildx", "build", "--check", "--progress=plain"],
            options,
            &arguments,
        ]
        .concat(),
    )
}

#[test]
fn contexts_stand_for_others() {
    needs!(Root, Mirror, Program("runc"), Program("apt-get"));
    let docker = Docker::modern();
    let folder = docker.flavor(FLAVOR);
    let other = scratch();
    fs::create_dir_all(other.path().join("block")).unwrap();
    fs::write(other.path().join("block/block.kdl"), "packages { tree; }\n").unwrap();
    let library = kcompose_testing::workspace().join("library/distros/debian");
    crate::run::copy_folder(&library, &other.path().join("distro"));
    let config =
        |options: &[&str]| docker.build(folder.path(), &[&["--call=kcompose.config"], options].concat());
    let context =
        |name: &str, path: &str| format!("--build-context={name}={}", other.path().join(path).display());
    // A folder that is copied.
    fs::rename(folder.path().join("overlay"), other.path().join("overlay")).unwrap();
    let check = |options: &[&str]| docker.build(folder.path(), &[&["--check"], options].concat());
    check(&[]).ends(1).says("there is no `overlay`");
    let overlay = context("overlay", "overlay");
    check(&[&overlay]).ok();
    // The same, in an image.
    let packed = Command::new("tar")
        .args(["-C", "overlay", "-cf", "overlay.tar", "."])
        .current_dir(other.path())
        .status();
    assert!(packed.unwrap().success());
    docker
        .run(other.path(), &["import", "overlay.tar", "example.test/overlay:1"])
        .ok();
    check(&["--build-context=overlay=docker-image://example.test/overlay:1"]).ok();
    // A block, also for the CLI.
    replace(
        &folder.path().join("flavor.kdl"),
        "kernel \"",
        "use \"tools\"\nkernel \"",
    );
    config(&[&overlay]).ends(1).says("there is no block `tools`");
    let block = context("tools", "block");
    config(&[&overlay, &block]).ok().says("tree");
    let line = format!("config . {overlay} {block}");
    kcompose(folder.path(), &line).ok().says("tree");
    // The distro.
    let document = other.path().join("distro/distro.kdl");
    let text = fs::read_to_string(&document).unwrap();
    fs::write(&document, format!("{text}\npackages {{ figlet; }}\n")).unwrap();
    config(&[&overlay, &block, &context("debian", "distro")]).ok();
    fs::remove_file(&document).unwrap();
    config(&[&overlay, &block, &context("debian", "distro")])
        .ends(1)
        .says("there is no `distro.kdl` in the folder that stands for the distro `debian`");
}

#[test]
fn what_is_not_used_is_not_sent() {
    needs!(Root, Mirror, Program("runc"), Program("apt-get"));
    let docker = Docker::modern();
    let folder = docker.flavor(FLAVOR);
    // Larger than anything that could be sent in the time of this test.
    let large = File::create(folder.path().join("large")).unwrap();
    large.set_len(1 << 40).unwrap();
    docker.build(folder.path(), &["--check"]).ok();
    fs::write(folder.path().join(".dockerignore"), "overlay\n").unwrap();
    docker
        .build(folder.path(), &["--check"])
        .ends(1)
        .says("there is no `overlay` in the build context");
    fs::write(folder.path().join("flavor.kdl.dockerignore"), "large\n").unwrap();
    docker.build(folder.path(), &["--check"]).ok();
}

#[test]
fn bake_links_what_it_builds() {
    needs!(Root, Mirror, Program("runc"), Program("apt-get"));
    let docker = Docker::modern();
    let folder = docker.flavor(FLAVOR);
    fs::rename(folder.path().join("overlay"), folder.path().join("aside")).unwrap();
    let bake = format!(
        r#"{{ "target": {{
            "overlay": {{ "context": "aside", "dockerfile-inline": "FROM scratch\nCOPY . /\n" }},
            "default": {{
                "dockerfile": "flavor.kdl", "contexts": {{ "overlay": "target:overlay" }}, "call": "check",
                "args": {{ "KCOMPOSE_MIRROR": "{}" }}
            }}
        }} }}"#,
        kcompose_testing::mirror()
    );
    fs::write(folder.path().join("bake.json"), bake).unwrap();
    let baked = || -> Outcome { docker.run(folder.path(), &["buildx", "bake", "-f", "bake.json"]) };
    baked().ok();
    fs::rename(folder.path().join("aside"), folder.path().join("gone")).unwrap();
    assert_ne!(baked().code, Some(0));
}

/// The server itself: `git daemon` starts it as a child, which nobody would end.
fn git_daemon() -> PathBuf {
    let asked = Command::new("git").arg("--exec-path").output().unwrap();
    Path::new(String::from_utf8(asked.stdout).unwrap().trim()).join("git-daemon")
}

fn free_port() -> u16 {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    listener.local_addr().unwrap().port()
}

/// A server that ends with the test.
fn daemon(command: &mut Command, folder: &Path, port: u16) -> Daemon {
    let child = command
        .current_dir(folder)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let daemon = Daemon::of(child);
    until("the server answers", || {
        std::net::TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_ok()
    });
    daemon
}
