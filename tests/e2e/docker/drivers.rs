//! Builders beside the engine's own: a BuildKit in a container, and one at an address.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use kcompose_testing::needs;

use super::Docker;
use crate::daemon::Registry;
use crate::frontend::program;
use crate::image::shared;
use crate::run::{kcompose, kcompose_with, scratch};

/// A BuildKit as an image: no registry is asked for one.
const BUILDKIT: &str = "example.test/buildkit:1";

#[test]
fn a_container_of_buildkit_builds() {
    needs!(
        Root,
        BuildKit,
        Mirror,
        Program("runc"),
        Program("apt-get"),
        Program("busybox"),
        Program("docker-registry")
    );
    let docker = Docker::graph();
    let folder = scratch();
    let (registry, syntax) = frontend_in_registry(folder.path());
    import_buildkit(docker, folder.path());
    let config = format!(
        "[worker.oci]\n  networkMode = \"host\"\n[registry.\"{}\"]\n  http = true\n",
        registry.address()
    );
    fs::write(folder.path().join("buildkitd.toml"), config).unwrap();
    let option = format!("image={BUILDKIT},network=host");
    let create = [
        "buildx",
        "create",
        "--name",
        "boxed",
        "--driver",
        "docker-container",
        "--driver-opt",
        &option,
    ];
    docker
        .run(
            folder.path(),
            &[
                &create[..],
                &["--buildkitd-config", "buildkitd.toml", "--bootstrap"],
            ]
            .concat(),
        )
        .ok();
    let flavor = docker.flavor("examples/minimal");
    let on_it =
        |options: &[&str]| docker.build(flavor.path(), &[&["--builder=boxed", &syntax], options].concat());
    on_it(&["--check"]).ok();
    on_it(&["--call=kcompose.plan"]).ok().says("seal and verify");
    // The CLI finds it by the name of the builder, and by that of the container.
    let variables: Vec<(&str, &str)> = docker
        .variables
        .iter()
        .map(|(name, value)| (name.as_str(), value.as_str()))
        .collect();
    for builder in ["boxed", "docker-container://buildx_buildkit_boxed0"] {
        kcompose_with(folder.path(), &variables, &format!("doctor --builder {builder}"))
            .ok()
            .says("docker-container://buildx_buildkit_boxed0");
    }
    docker.run(folder.path(), &["buildx", "rm", "boxed"]).ok();
}

#[test]
fn a_builder_may_be_an_address() {
    needs!(
        Root,
        BuildKit,
        Mirror,
        Program("runc"),
        Program("apt-get"),
        Program("docker-registry")
    );
    let docker = Docker::modern();
    let folder = scratch();
    let (_registry, syntax) = frontend_in_registry(folder.path());
    let address = std::env::var("BUILDKIT_HOST").unwrap();
    let create = [
        "buildx", "create", "--name", "far", "--driver", "remote", &address,
    ];
    docker.run(folder.path(), &create).ok();
    shared().copy_flavor(folder.path(), "flavor");
    let flavor = folder.path().join("flavor");
    docker.name_frontend(&flavor);
    let output = "--output=type=oci,dest=../far.tar,compression=uncompressed";
    docker
        .build(
            &flavor,
            &["--builder=far", &syntax, "--provenance=mode=max", output],
        )
        .ok();
    let far = crate::archive::read(&folder.path().join("far.tar"));
    let ours = crate::archive::read(&shared().archive());
    assert_eq!(
        far.manifest["config"]["digest"],
        ours.manifest["config"]["digest"]
    );
    kcompose(folder.path(), "verify far.tar").ok();
    docker.run(folder.path(), &["buildx", "rm", "far"]).ok();
}

/// The frontend where every builder can pull it, and the option that names it.
fn frontend_in_registry(folder: &Path) -> (Registry, String) {
    let registry = Registry::start(folder);
    let name = format!("{}/kcompose:1", registry.address());
    let line = format!(
        "frontend image --program {} -t {name} --push",
        program().display()
    );
    kcompose(folder, &line).ok();
    (registry, format!("--build-arg=BUILDKIT_SYNTAX={name}"))
}

/// The tests' own BuildKit as an image of the engine: its programs, runc with its libraries, a shell.
#[track_caller]
fn import_buildkit(docker: &Docker, folder: &Path) {
    let script = r#"
        mkdir -p root/bin root/tmp root/etc root/usr/bin
        cp "$(command -v buildkitd)" "$(command -v buildctl)" root/usr/bin/
        cp "$(command -v busybox)" root/bin/busybox
        ln -s busybox root/bin/sh
        runc=$(command -v runc || echo /usr/sbin/runc)
        cp "$runc" root/usr/bin/runc
        ldd "$runc" | grep -o '/[^ ]*' | while read -r library; do cp -L --parents "$library" root/; done
        tar -C root -cf buildkit.tar .
    "#;
    let status = Command::new("sh")
        .args(["-euc", script])
        .current_dir(folder)
        .stdin(Stdio::null())
        .status()
        .unwrap();
    assert!(status.success());
    let path = "ENV PATH=/usr/bin:/bin";
    let words = [
        "import",
        "--change",
        "ENTRYPOINT [\"buildkitd\"]",
        "--change",
        path,
        "buildkit.tar",
        BUILDKIT,
    ];
    docker.run(folder, &words).ok();
}
