//! The runtime's scripts and lists.

use std::process::{Command, Stdio};

use kcompose_core::layout::systemd::{initrd_recipe, runtime_files};
use kcompose_core::step::{FileContent, FileEntry};

fn text(path: &str) -> Option<&'static str> {
    kcompose_library::file(&format!("runtime/systemd/{path}"))
}

fn scripts() -> impl Iterator<Item = &'static str> {
    kcompose_library::paths().filter(|path| path.starts_with("runtime/") && path.ends_with(".sh"))
}

/// The shell that a script is for: modules of dracut are bash's, all else is for any.
fn shell(script: &str) -> &'static str {
    let first = kcompose_library::file(script).and_then(|text| text.lines().next());
    match first {
        Some("#!/bin/sh") => "sh",
        Some("#!/bin/bash") if script.starts_with("runtime/immucore/") => "bash",
        _ => panic!("{script} begins with {first:?}"),
    }
}

/// The absolute path of a file of the library.
fn on_disk(path: &str) -> std::path::PathBuf {
    std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

#[test]
fn every_script_is_one_for_its_shell() {
    let mut count = 0;
    for script in scripts() {
        let status = Command::new(shell(script))
            .arg("-n")
            .arg(on_disk(script))
            .status()
            .unwrap();
        assert!(status.success(), "{script}");
        count += 1;
    }
    assert_eq!(
        count, 6,
        "the initrd has three scripts, the image two, dracut one"
    );
}

#[test]
fn shellcheck_finds_nothing() {
    if Command::new("shellcheck")
        .arg("--version")
        .stdout(Stdio::null())
        .status()
        .is_err()
    {
        eprintln!("SKIPPED: shellcheck is not installed");
        return;
    }
    for script in scripts() {
        let status = Command::new("shellcheck")
            .args(["-s", if shell(script) == "sh" { "dash" } else { "bash" }])
            .arg(on_disk(script))
            .status()
            .unwrap();
        assert!(status.success(), "{script}");
    }
}

#[test]
fn every_release_has_an_initrd_whose_scripts_have_their_programs() {
    for release in kcompose_library::distro("debian").unwrap().releases {
        let recipe = initrd_recipe(&text, release.name).unwrap();
        let has = |program: &str| {
            recipe
                .programs
                .iter()
                .any(|path| path.rsplit('/').next() == Some(program))
        };
        for program in [
            "mount", "umount", "mkdir", "stat", "chmod", "chown", "cp", "mv", "chroot", "sleep", "losetup",
        ] {
            assert!(has(program), "{}: {program}", release.name);
        }
        // A generator that calls what is not there leaves the initrd without a root.
        let own = |path: &str| {
            recipe
                .inline
                .iter()
                .find(|file| file.path == path)
                .map(|file| (file.mode, file.text.as_str()))
        };
        assert!(
            own("/usr/lib/systemd/system-generators/kcompose-generator")
                .is_some_and(|(mode, _)| mode == 0o755)
        );
        assert!(own("/usr/lib/kcompose/layout").is_some_and(|(mode, _)| mode == 0o755));
        for wanted in &recipe.links {
            let Some(unit) = wanted
                .1
                .strip_prefix("../")
                .filter(|_| wanted.0.contains(".wants/"))
            else {
                continue;
            };
            assert!(
                recipe.units.iter().any(|known| known == unit),
                "{}: {unit} is wanted and not there",
                release.name
            );
        }
    }
}

#[test]
fn the_image_gets_nothing_below_kept_or_persistent_paths() {
    for file in runtime_files(&text).unwrap() {
        let hidden = ["/usr/local/", "/oem/", "/etc/systemd/", "/etc/ssh/", "/var/"];
        assert!(
            !hidden.iter().any(|top| file.path.starts_with(top)),
            "{}",
            file.path
        );
        if let FileContent::Text(script) = &file.content {
            assert_eq!(
                script.starts_with("#!"),
                file.mode == Some(0o755),
                "{}",
                file.path
            );
        }
    }
}

#[test]
fn the_network_fallback_comes_after_every_file_of_the_user() {
    // systemd-networkd sorts the files of all folders together, by their names' bytes.
    let files = runtime_files(&text).unwrap();
    let name = |file: &FileEntry| file.path.rsplit('/').next().unwrap().to_owned();
    let fallback = files
        .iter()
        .map(name)
        .find(|name| name.ends_with(".network"))
        .unwrap();
    for other in [
        "config.network",
        "99-late.network",
        "zzz-last.network",
        "Wired.network",
        "_x.network",
    ] {
        assert!(other < fallback.as_str(), "{other} {fallback}");
    }
}
