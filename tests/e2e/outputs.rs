//! What comes out is what other tools read.

use std::fs::{self, File};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::Path;

use kcompose_testing::needs;
use serde_json::Value;

use crate::archive::{self, field};
use crate::daemon::Registry;
use crate::image::shared;
use crate::run::{kcompose, scratch};

#[test]
fn the_archive_is_an_image() {
    needs!(Root, BuildKit, Mirror);
    let built = shared();
    let image = archive::read(&built.archive());
    assert_eq!(image.config["architecture"], "amd64");
    assert_eq!(image.config["os"], "linux");
    assert_eq!(
        image.manifest["mediaType"],
        "application/vnd.oci.image.manifest.v1+json"
    );
    assert_eq!(
        image.config["rootfs"]["diff_ids"].as_array().unwrap().len(),
        image.layers.len()
    );
    let history = image.config["history"].as_array().unwrap();
    assert_eq!(
        history
            .iter()
            .filter(|entry| entry["empty_layer"] != true)
            .count(),
        image.layers.len()
    );
    assert_eq!(field(&built.metadata(), "containerimage.digest"), image.digest);
    let config = image.manifest["config"]["digest"].as_str().unwrap();
    assert_eq!(field(&built.metadata(), "containerimage.config.digest"), config);
    assert_eq!(fs::read_to_string(built.iidfile()).unwrap().trim(), config);
}

#[test]
fn one_build_gives_every_kind_of_output() {
    needs!(Root, BuildKit, Mirror);
    let folder = scratch();
    shared().copy_flavor(folder.path(), "flavor");
    let line = "build flavor --locked -t example.test/os:1 -o type=oci,dest=i.oci.tar -o type=docker,dest=i.docker.tar -o type=tar,dest=i.tar -o type=local,dest=tree";
    kcompose(folder.path(), line).ok();

    let tree = folder.path().join("tree");
    assert!(
        fs::metadata(tree.join("usr/lib/systemd/systemd"))
            .unwrap()
            .permissions()
            .mode()
            & 0o111
            != 0
    );
    assert!(tree.join("etc/kairos-release").is_file());
    assert!(fs::metadata(tree.join("boot/initrd")).unwrap().len() > 1_000_000);
    assert_eq!(
        fs::read_dir(tree.join("usr/lib/modules")).unwrap().count(),
        1,
        "exactly one kernel"
    );
    // Owners are the image's, not the builder's.
    assert_eq!(fs::metadata(tree.join("etc/shadow")).unwrap().gid(), 42);
    assert_eq!(
        fs::metadata(tree.join("etc/app/untouched")).unwrap().mode() & 0o7777,
        0o640
    );
    assert_eq!(
        fs::read_link(tree.join("usr/share/app/folder/link")).unwrap(),
        Path::new("../plain")
    );
    // Each machine makes its own identity.
    assert!(!fs::read_dir(tree.join("etc/ssh")).unwrap().any(|entry| {
        entry
            .unwrap()
            .file_name()
            .to_string_lossy()
            .starts_with("ssh_host_")
    }));
    assert!(fs::metadata(tree.join("etc/machine-id")).map_or(0, |file| file.len()) == 0);

    let docker = json_in(&folder.path().join("i.docker.tar"), "manifest.json");
    assert_eq!(docker[0]["RepoTags"][0], "example.test/os:1");
    for image in ["i.oci.tar", "i.docker.tar", "i.tar", "tree"] {
        kcompose(folder.path(), &format!("verify {image}")).ok();
    }
    fs::remove_file(tree.join("etc/kairos-release")).unwrap();
    kcompose(folder.path(), "verify tree")
        .ends(1)
        .says("kairos-release");
    let report = kcompose(folder.path(), "verify tree --format json").ends(1);
    serde_json::from_str::<Value>(&report.data).unwrap();
}

#[test]
fn a_pushed_image_has_the_digest_of_the_archive() {
    needs!(Root, BuildKit, Mirror, Program("docker-registry"));
    let folder = scratch();
    shared().copy_flavor(folder.path(), "flavor");
    let registry = Registry::start(folder.path());
    let name = format!("{}/os/probe:1", registry.address());
    kcompose(
        folder.path(),
        &format!("build flavor --locked --push -t {name} --metadata-file pushed.json"),
    )
    .ok();
    let pushed = field(&folder.path().join("pushed.json"), "containerimage.digest");
    assert_eq!(registry.digest("os/probe", "1"), pushed);
    kcompose(folder.path(), &format!("verify {name}")).ok();
}

#[test]
fn a_plan_is_shown_in_every_form() {
    needs!(Root, BuildKit, Mirror);
    let folder = scratch();
    shared().copy_flavor(folder.path(), "flavor");
    let json = kcompose(folder.path(), "plan flavor --locked --format json").ok();
    serde_json::from_str::<Value>(&json.data).unwrap();
    assert!(
        kcompose(folder.path(), "plan flavor --locked --format dot")
            .ok()
            .data
            .starts_with("digraph")
    );
    kcompose(folder.path(), "plan flavor --locked --format text")
        .ok()
        .says("initrd");
    assert_eq!(
        json.data,
        kcompose(folder.path(), "plan flavor --locked --format json")
            .ok()
            .data
    );
}

#[test]
fn buildctl_reads_the_plan() {
    needs!(Root, BuildKit, Mirror, Program("buildctl"));
    let folder = scratch();
    shared().copy_flavor(folder.path(), "flavor");
    let llb = crate::run::command(folder.path(), "plan flavor --locked --format llb")
        .output()
        .unwrap();
    fs::write(folder.path().join("llb"), &llb.stdout).unwrap();
    let dump = std::process::Command::new(kcompose_testing::program("buildctl").unwrap())
        .args(["debug", "dump-llb"])
        .stdin(File::open(folder.path().join("llb")).unwrap())
        .output()
        .unwrap();
    assert!(dump.status.success(), "{}", String::from_utf8_lossy(&dump.stderr));
    assert!(String::from_utf8_lossy(&dump.stdout).contains("\"exec\""));
}

/// A JSON file of an archive.
#[track_caller]
fn json_in(archive: &Path, name: &str) -> Value {
    let mut tar = tar::Archive::new(File::open(archive).unwrap());
    let mut entries = tar.entries().unwrap().map(Result::unwrap);
    let entry = entries.find(|entry| entry.path().unwrap() == Path::new(name));
    serde_json::from_reader(entry.unwrap_or_else(|| panic!("no {name} in {}", archive.display()))).unwrap()
}
