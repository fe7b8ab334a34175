//! Images: those of Docker's engines beside those of the CLI.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read as _;
use std::path::Path;

use kcompose_testing::needs;
use sha2::{Digest as _, Sha256};

use super::Docker;
use crate::archive;
use crate::image::shared;
use crate::run::{kcompose, scratch};

#[test]
fn docker_builds_the_image_of_the_cli() {
    needs!(Root, BuildKit, Mirror, Program("runc"), Program("apt-get"));
    let docker = Docker::modern();
    let folder = scratch();
    shared().copy_flavor(folder.path(), "flavor");
    let flavor = folder.path().join("flavor");
    docker.name_frontend(&flavor);
    docker
        .build(&flavor, &["--provenance=false", "--load", "-t", "kc:1"])
        .ok();
    docker
        .run(folder.path(), &["save", "kc:1", "-o", "saved.tar"])
        .ok();
    kcompose(folder.path(), "verify saved.tar").ok();
    let saved = archive::read(&folder.path().join("saved.tar"));
    let ours = archive::read(&shared().archive());
    assert_eq!(saved.config["rootfs"], ours.config["rootfs"]);
    assert_eq!(
        saved.manifest["config"]["digest"],
        ours.manifest["config"]["digest"]
    );
}

#[test]
fn docker_without_merge_builds_the_same_tree() {
    needs!(Root, BuildKit, Mirror, Program("runc"), Program("apt-get"));
    let folder = scratch();
    shared().copy_flavor(folder.path(), "flavor");
    kcompose(folder.path(), "build flavor --locked -o type=tar,dest=cli.tar").ok();
    let cli = folder.path().join("cli.tar");
    let flavor = folder.path().join("flavor");
    // Docker 28 gives every file of an exported tree the epoch of the image; those of the image keep their own times.
    for (docker, times) in [(Docker::old(), Times::Kept), (Docker::graph(), Times::LeftOut)] {
        docker.name_frontend(&flavor);
        docker
            .build(&flavor, &["--output", "type=tar,dest=../docker.tar"])
            .ok();
        let theirs = tree(&folder.path().join("docker.tar"), times);
        let differences = differences(&tree(&cli, times), &theirs);
        assert!(differences.is_empty(), "{}: {differences:#?}", docker.version);
    }
}

/// Whether times of files are compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Times {
    Kept,
    LeftOut,
}

/// Everything that an archive says of each of its paths.
fn tree(file: &Path, times: Times) -> BTreeMap<String, String> {
    let mut archive = tar::Archive::new(File::open(file).unwrap());
    let mut tree = BTreeMap::new();
    for mut entry in archive.entries().unwrap().map(Result::unwrap) {
        let header = entry.header().clone();
        let attributes: Vec<String> = entry
            .pax_extensions()
            .unwrap()
            .into_iter()
            .flatten()
            .map(Result::unwrap)
            // Exporters since BuildKit 0.13 and all layers leave access control lists out, and Docker 20.10's does not.
            .filter(|extension| {
                extension
                    .key()
                    .is_ok_and(|key| key.starts_with("SCHILY.xattr.security"))
            })
            .map(|extension| format!("{:?}={:?}", extension.key(), extension.value_bytes()))
            .collect();
        let link = entry.link_name().unwrap().map(|link| link.display().to_string());
        let path = entry.path().unwrap().display().to_string();
        let mut content = Vec::new();
        entry.read_to_end(&mut content).unwrap();
        let said = format!(
            "{:?} {:o} {}:{} {} {link:?} {attributes:?} {} {:x?}",
            header.entry_type(),
            header.mode().unwrap(),
            header.uid().unwrap(),
            header.gid().unwrap(),
            Some(header.mtime().unwrap())
                .filter(|_| times == Times::Kept)
                .unwrap_or_default(),
            content.len(),
            &Sha256::digest(&content)[..8],
        );
        tree.insert(path.trim_start_matches("./").to_owned(), said);
    }
    assert!(tree.len() > 1000, "{} holds a system", file.display());
    tree
}

/// The first paths in which two trees differ.
fn differences(ours: &BTreeMap<String, String>, theirs: &BTreeMap<String, String>) -> Vec<String> {
    let paths: std::collections::BTreeSet<&String> = ours.keys().chain(theirs.keys()).collect();
    let differing = paths
        .into_iter()
        .filter(|path| ours.get(*path) != theirs.get(*path));
    differing
        .map(|path| format!("{path}: {:?} and {:?}", ours.get(path), theirs.get(path)))
        .take(10)
        .collect()
}
