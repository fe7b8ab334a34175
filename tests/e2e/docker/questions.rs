//! What is asked without a build, and what is wrong.

use std::fs;

use kcompose_testing::needs;
use serde_json::Value;

use super::Docker;
use crate::run::{kcompose_with, replace};

const MINIMAL: &str = "examples/minimal";

#[test]
fn docker_asks_and_is_answered() {
    needs!(Root, Mirror, Program("runc"), Program("apt-get"));
    let docker = Docker::modern();
    let folder = docker.flavor(MINIMAL);
    for (call, text) in [
        ("subrequests.describe", "kcompose.plan"),
        ("outline", "image"),
        ("targets", "lock"),
        ("check", "Check complete, no warnings found"),
        ("kcompose.plan", "seal and verify"),
        ("kcompose.config", "flavor \"minimal\""),
        ("kcompose.lock", "package \"systemd\""),
    ] {
        docker
            .build(folder.path(), &[&format!("--call={call}")])
            .ok()
            .says(text);
        let json = docker
            .build(folder.path(), &[&format!("--call={call},format=json")])
            .ok();
        serde_json::from_str::<Value>(&json.data)
            .unwrap_or_else(|error| panic!("{call}: {error}\n{}", json.report()));
    }
}

#[test]
fn docker_says_what_is_wrong() {
    needs!(Root, Mirror, Program("runc"), Program("apt-get"));
    let docker = Docker::modern();
    let folder = docker.flavor(MINIMAL);
    let file = folder.path().join("flavor.kdl");
    let lock = folder.path().join("flavor.lock");
    let good = fs::read_to_string(&file).unwrap();
    let locked = fs::read_to_string(&lock).unwrap();
    let check = |text: &str| {
        fs::write(&file, text).unwrap();
        docker.build(folder.path(), &["--check"])
    };
    check(&good).ok();
    check(&good.replace("kernel \"", "kernl \""))
        .ends(1)
        .says("flavor.kdl:7")
        .says("did you mean `kernel`?");
    check(&format!("\u{feff}{good}")).ok();
    check(&good.replacen("// syntax=", "/* syntax= */", 1))
        .ends(1)
        .says("unknown instruction");
    fs::write(&file, &good).unwrap();
    let build = |options: &[&str]| docker.build(folder.path(), options).ends(1);
    build(&["--target=rootfs"]).says("there is no target `rootfs`");
    build(&["--platform=linux/amd64,linux/arm64"]).says("one platform at a time");
    build(&["--build-arg=ROLE=edge"]).says("has no parameter `ROLE`");
    build(&["--build-context=nothing=."]).says("there is no build context `nothing` to replace");
    build(&["--add-host=a:10.0.0.1"]).says("`add-hosts` cannot be honoured");
    build(&["--ulimit=nofile=10"]).says("`ulimit` cannot be honoured");
    fs::write(&lock, "lock format=\n").unwrap();
    build(&[]).says("`flavor.lock` line 1 cannot be read");
    fs::write(&lock, locked.replacen("language=1", "language=2", 1)).unwrap();
    build(&[]).says("language version 2").says("newer");
    fs::write(&lock, locked.replacen("format=1", "format=9", 1)).unwrap();
    build(&[]).says("format 9");
    fs::remove_file(&lock).unwrap();
    build(&[])
        .says("there is no lock")
        .says("kcompose lock")
        .says("KCOMPOSE_RESOLVE=1");
    fs::remove_file(&file).unwrap();
    build(&[]);
}

#[test]
fn docker_resolves_as_the_cli_does() {
    needs!(Root, Mirror, Program("runc"), Program("apt-get"));
    let docker = Docker::modern();
    let folder = docker.flavor(MINIMAL);
    let lock = folder.path().join("flavor.lock");
    let ours = fs::read_to_string(&lock).unwrap();
    fs::remove_file(&lock).unwrap();
    let ask = [
        "--build-arg=KCOMPOSE_RESOLVE=1",
        "--target=lock",
        "--output=type=local,dest=.",
    ];
    docker.build(folder.path(), &ask).ok();
    assert_eq!(fs::read_to_string(&lock).unwrap(), ours);
    // A lock that lacks something keeps the rest.
    replace(
        &folder.path().join("flavor.kdl"),
        "kernel \"",
        "packages { tree; }\nkernel \"",
    );
    docker.build(folder.path(), &ask).ok();
    kcompose_with(
        folder.path(),
        &[("KCOMPOSE_MIRROR", &kcompose_testing::mirror())],
        "lock --check",
    )
    .ok();
    replace(&folder.path().join("flavor.kdl"), "tree;", "treee;");
    docker
        .build(folder.path(), &ask)
        .ends(1)
        .says("flavor.kdl:…treee");
}
