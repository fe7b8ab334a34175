//! The first hour with kcompose, and the examples.

use std::fs;
use std::path::Path;

use kcompose_testing::needs;
use serde_json::Value;

use crate::run::{copy_folder, kcompose, kcompose_with, probe, scratch};

#[test]
fn a_new_flavor_goes_all_the_way() {
    needs!(
        Root,
        BuildKit,
        Mirror,
        Program("qemu-system-x86_64"),
        Program("mke2fs")
    );
    let folder = scratch();
    kcompose(folder.path(), "new gateway").ok();
    let home = folder.path().join("gateway");
    kcompose(&home, "lock").ok();
    kcompose(&home, "lock --check").ok();
    kcompose(&home, "check").ok();
    kcompose(&home, "build --locked").ok();
    let image = only_archive(&home);
    kcompose(&home, &format!("verify {image}")).ok();
    fs::write(
        home.join("probe.sh"),
        "echo \"up as $(findmnt -no LABEL /)\"\ntest \"$(id -u)\" = 0\n",
    )
    .unwrap();
    let boot = kcompose(
        &home,
        &format!("boot {image} --script probe.sh --check --timeout 10m"),
    )
    .ok();
    assert!(boot.data.contains("up as COS_ACTIVE"), "{}", boot.report());
}

#[test]
fn new_refuses_a_folder_that_has_a_flavor() {
    let folder = scratch();
    kcompose(folder.path(), "new gateway").ok();
    let before = fs::read(folder.path().join("gateway/flavor.kdl")).unwrap();
    let again = kcompose(folder.path(), "new gateway");
    assert!(again.lacks("panicked"), "{}", again.report());
    again.ends(2).says("gateway");
    assert_eq!(
        fs::read(folder.path().join("gateway/flavor.kdl")).unwrap(),
        before
    );
}

#[test]
fn the_edge_gateway_builds_and_boots_with_cloud_init() {
    needs!(
        Root,
        BuildKit,
        Mirror,
        Program("qemu-system-x86_64"),
        Program("mke2fs")
    );
    let folder = scratch();
    copy_folder(
        &kcompose_testing::workspace().join("examples/edge-gateway"),
        &folder.path().join("edge-gateway"),
    );
    kcompose(folder.path(), "build edge-gateway -o type=oci,dest=image.tar").ok();
    kcompose(folder.path(), "verify image.tar").ok();
    fs::write(folder.path().join("gateway.sh"), probe("gateway")).unwrap();
    kcompose(folder.path(), "boot image.tar --script gateway.sh --timeout 15m").ok();
}

#[test]
fn a_bookworm_flavor_builds_and_boots() {
    needs!(
        Root,
        BuildKit,
        Mirror,
        Program("qemu-system-x86_64"),
        Program("mke2fs")
    );
    let folder = scratch();
    let flavor = concat!(
        "flavor \"older\" version=\"1.0.0\"\nbase \"debian\" release=\"bookworm\"\n",
        "kernel \"linux-image-cloud-amd64\"\nkairos { runtime \"systemd\"; }\npackages { openssh-server; }\n"
    );
    fs::write(folder.path().join("flavor.kdl"), flavor).unwrap();
    kcompose(folder.path(), "build -o type=oci,dest=image.tar").ok();
    kcompose(folder.path(), "verify image.tar").ok();
    let probe = "grep -q VERSION_CODENAME=bookworm /etc/os-release && systemctl is-active ssh\n";
    fs::write(folder.path().join("probe.sh"), probe).unwrap();
    kcompose(folder.path(), "boot image.tar --script probe.sh --timeout 10m").ok();
}

#[test]
fn the_flavor_of_the_readme_composes() {
    let readme = fs::read_to_string(kcompose_testing::workspace().join("README.md")).unwrap();
    let block = readme
        .split("```kdl\n")
        .nth(1)
        .and_then(|rest| rest.split("```").next())
        .unwrap();
    let folder = scratch();
    fs::write(folder.path().join("flavor.kdl"), block).unwrap();
    let config = kcompose(folder.path(), "config --format json").ok();
    serde_json::from_str::<Value>(&config.data).unwrap();
}

#[test]
fn every_command_has_help_and_a_wrong_word_is_exit_2() {
    let folder = scratch();
    for name in "new check lock update config build plan verify boot cache doctor".split(' ') {
        let help = kcompose(folder.path(), &format!("{name} --help")).ok();
        assert!(help.data.contains("Usage:"), "{}", help.report());
    }
    kcompose(folder.path(), "biuld").ends(2).says("build");
}

#[test]
fn a_disk_that_boots_as_it_is_must_be_there() {
    let folder = scratch();
    kcompose(folder.path(), "boot --disk d.img")
        .ends(2)
        .says("there is no disk `d.img`")
        .says("name the image");
    kcompose(folder.path(), "boot").ends(2).says("<IMAGE>");
}

#[test]
fn doctor_names_what_is_there() {
    needs!(Root, BuildKit);
    let folder = scratch();
    let doctor = kcompose(folder.path(), "doctor --format json").ok();
    serde_json::from_str::<Value>(&doctor.data).unwrap();
    let said = kcompose(folder.path(), "doctor").ok();
    let mut said = said.says("BuildKit … with MergeOp");
    for tried in [
        "rights of building",
        "ids for owners",
        "sandbox of steps … a step ran",
        "qemu-system-x86_64 … a guest ran",
        "KVM",
        "mke2fs … mke2fs",
        "sfdisk … sfdisk",
        "Docker",
    ] {
        said = said.says(tried);
    }
    // Without a daemon the engine inside builds.
    let alone = [("BUILDKIT_HOST", "unix:///nowhere.sock")];
    let alone = kcompose_with(folder.path(), &alone, "doctor").ok();
    alone.says("missing  BuildKit").says("ok       sandbox of steps");
}

/// The one archive that a build without `-o` left.
#[track_caller]
fn only_archive(folder: &Path) -> String {
    let names = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let archives: Vec<String> = names.filter(|name| name.ends_with(".oci.tar")).collect();
    assert_eq!(archives.len(), 1, "{archives:?}");
    archives.into_iter().next().unwrap()
}
