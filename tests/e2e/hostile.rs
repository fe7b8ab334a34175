//! What other users could misuse, and outputs that take nothing.

use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, symlink};
use std::process::{Command, Stdio};

use kcompose_testing::needs;

use crate::run::{Outcome, command, kcompose, kcompose_with, outcome, scratch};

/// Lines that print data; `gateway` is a flavor, `root` a root tree.
const DATA: [&str; 7] = [
    "config gateway",
    "config gateway --format json",
    "check gateway --format json",
    "verify root",
    "verify root --format json",
    "cache ls",
    "new --list",
];

fn folder_with_inputs() -> tempfile::TempDir {
    let folder = scratch();
    kcompose(folder.path(), "new gateway").ok();
    for name in ["root/usr", "root/etc"] {
        fs::create_dir_all(folder.path().join(name)).unwrap();
    }
    folder
}

fn into(folder: &std::path::Path, line: &str, stdout: Stdio) -> Outcome {
    outcome(line, &command(folder, line).stdout(stdout).output().unwrap())
}

#[test]
fn data_that_a_full_disk_loses_is_reported() {
    let folder = folder_with_inputs();
    for line in DATA.into_iter().chain(["--help", "--version"]) {
        let full = File::options().write(true).open("/dev/full").unwrap();
        into(folder.path(), line, full.into())
            .ends(3)
            .says("kcompose::world::file")
            .says("cannot write to the standard output: No space left on device")
            .says("help: there is no space left");
    }
}

#[test]
fn a_reader_that_goes_away_ends_a_command_silently() {
    let folder = folder_with_inputs();
    for line in DATA {
        let mut call = command(folder.path(), line);
        call.stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut call = call.spawn().unwrap();
        drop(call.stdout.take());
        let ended = outcome(line, &call.wait_with_output().unwrap());
        assert!(ended.lacks("kcompose::"), "{}", ended.report());
        ended.ends(141);
    }
}

#[test]
fn only_its_owner_enters_the_store() {
    let folder = folder_with_inputs();
    let mode = |name: &str| fs::metadata(folder.path().join(name)).unwrap().mode() & 0o7777;
    // A relative path is one from here.
    kcompose(folder.path(), "--cache-dir new/store cache ls").ok();
    assert_eq!(mode("new/store"), 0o700);
    fs::create_dir(folder.path().join("old")).unwrap();
    fs::set_permissions(folder.path().join("old"), fs::Permissions::from_mode(0o755)).unwrap();
    kcompose(folder.path(), "--cache-dir old cache ls").ok();
    assert_eq!(mode("old"), 0o700);
}

#[test]
fn a_store_of_another_user_is_refused() {
    needs!(Root);
    let folder = folder_with_inputs();
    let store = folder.path().join("theirs");
    fs::create_dir_all(store.join("tmp")).unwrap();
    chown(&store, Some(65534), None).unwrap();
    let environment = [("KCOMPOSE_CACHE_DIR", store.to_str().unwrap())];
    for line in [
        "cache ls",
        "cache prune",
        "check gateway",
        "plan gateway",
        "build gateway --engine embedded",
    ] {
        kcompose_with(folder.path(), &environment, line)
            .ends(3)
            .says("kcompose::store::another-owner")
            .says("theirs` belongs to another user")
            .says("help: …--cache-dir");
    }
}

#[test]
fn prune_follows_no_link() {
    let folder = folder_with_inputs();
    let victim = folder.path().join("victim");
    fs::create_dir_all(&victim).unwrap();
    fs::write(victim.join("precious"), "").unwrap();
    for name in ["tmp", "blobs", "layers", "facts-2", "engine/locks"] {
        let store = folder.path().join("store");
        let link = store.join(name);
        fs::create_dir_all(link.parent().unwrap()).unwrap();
        fs::create_dir_all(store.join("engine/trees")).unwrap();
        symlink(&victim, &link).unwrap();
        let ended = kcompose(folder.path(), "--cache-dir store cache prune --all");
        assert!(victim.join("precious").exists(), "{}", ended.report());
        assert!(
            ended.code == Some(0) || ended.code == Some(3),
            "{}",
            ended.report()
        );
        fs::remove_dir_all(&store).unwrap();
    }
}

#[test]
fn names_in_an_image_never_steer_the_terminal() {
    let folder = folder_with_inputs();
    let program = folder.path().join("root/usr/\u{1b}]0;owned\u{7}");
    fs::write(&program, "#!/bin/sh\n").unwrap();
    fs::set_permissions(&program, fs::Permissions::from_mode(0o777)).unwrap();
    let report = kcompose(folder.path(), "verify root")
        .says("privileges-writable")
        .says("/usr/␛]0;owned␇");
    assert!(
        report.lacks("\u{1b}") && report.lacks("\u{7}"),
        "{}",
        report.report()
    );
}

#[test]
fn an_image_that_unpacks_to_gigabytes_is_refused() {
    let folder = scratch();
    let mut header = tar::Header::new_gnu();
    header.set_path("etc/zeros").unwrap();
    header.set_size(300 << 20);
    header.set_mode(0o644);
    header.set_cksum();
    let mut archive = File::create(folder.path().join("bomb.tar")).unwrap();
    archive.write_all(header.as_bytes()).unwrap();
    archive.set_len(512 + (300 << 20) + 1024).unwrap();
    let gzip = Command::new("gzip")
        .arg("-1")
        .arg(folder.path().join("bomb.tar"))
        .status();
    assert!(gzip.unwrap().success());
    kcompose(folder.path(), "verify bomb.tar.gz")
        .ends(1)
        .says("kcompose::image::too-large")
        .says("exceeds the limit `image-ratio` of 200 times")
        .says("help: …--max-image-size");
    kcompose(folder.path(), "verify bomb.tar.gz --max-image-size 1G").says("does not keep the contract");
}
