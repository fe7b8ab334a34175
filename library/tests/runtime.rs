//! The runtime's scripts and lists.
#![allow(clippy::disallowed_methods, clippy::unwrap_used)]

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
        count, 8,
        "the initrd has three scripts, the image four, dracut one"
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

/// The function of layout.sh that names the machine, on a root of its own.
fn named(kept: &str, declared: &str, id: &str) -> (String, String, String) {
    let script = std::fs::read_to_string(on_disk("runtime/systemd/initrd/layout.sh")).unwrap();
    let function = |name: &str| {
        let (_, rest) = script.split_once(&format!("\n{name}() {{\n")).unwrap();
        format!("{name}() {{\n{}\n}}\n", rest.split_once("\n}\n").unwrap().0)
    };
    let folder = tempfile::tempdir().unwrap();
    let at = |path: &str| folder.path().join(path);
    for below in ["local/etc", "root/etc"] {
        std::fs::create_dir_all(at(below)).unwrap();
    }
    std::fs::write(at("local/etc/hostname"), kept).unwrap();
    std::fs::write(at("root/etc/hostname"), format!("{declared}\n")).unwrap();
    let text = format!(
        "set -uf\nlocal={0}/local root={0}/root id={id} host_name_prefix=probe host_name={declared}\n{1}{2}restore_host_name\n",
        folder.path().display(),
        function("keep_text"),
        function("restore_host_name"),
    );
    assert!(Command::new("sh").args(["-c", &text]).status().unwrap().success());
    let read = |path: &str| std::fs::read_to_string(at(path)).unwrap().trim().to_owned();
    (
        read("local/etc/hostname"),
        read("root/etc/hostname"),
        read("root/etc/hosts"),
    )
}

#[test]
fn a_machine_is_named_by_its_operator_then_the_flavor_then_its_id() {
    const ID: &str = "0123456789abcdef0123456789abcdef";
    let of = |kept: &str, declared: &str| {
        let (kept, named, hosts) = named(kept, declared, ID);
        format!("kept {kept}, named {named}, {hosts}")
    };
    assert_eq!(of("", "gateway-7"), "kept , named gateway-7, 127.0.1.1 gateway-7");
    assert_eq!(of("mine\n", "gateway-7"), "kept mine, named mine, 127.0.1.1 mine");
    // An image before this one declared no name, so that boot made one.
    assert_eq!(
        of("other-0123\n", "gateway-7.example.org"),
        "kept other-0123, named gateway-7.example.org, 127.0.1.1 gateway-7.example.org gateway-7"
    );
    assert_eq!(of("", ""), "kept probe-0123, named , 127.0.1.1 probe-0123");
    assert_eq!(of("mine\n", ""), "kept mine, named , 127.0.1.1 mine");
}

#[test]
fn authorities_of_image_and_operator_are_put_together_once_for_each_image() {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir().unwrap();
    let at = |path: &str| folder.path().join(path);
    for below in ["usr/sbin", "usr/lib/kcompose", "usr/local"] {
        std::fs::create_dir_all(at(below)).unwrap();
    }
    let update = at("usr/sbin/update-ca-certificates");
    let log = at("log");
    std::fs::write(&update, format!("#!/bin/sh\necho updated >> {}\n", log.display())).unwrap();
    std::fs::set_permissions(&update, std::fs::Permissions::from_mode(0o755)).unwrap();
    let boot = |id: &str| {
        std::fs::write(at("usr/lib/kcompose/image-id"), format!("{id}\n")).unwrap();
        let script = on_disk("runtime/systemd/image/certificates.sh");
        let status = Command::new("sh").arg(script).arg(folder.path()).status();
        assert!(status.unwrap().success());
        std::fs::read_to_string(&log).unwrap_or_default().lines().count()
    };
    assert_eq!([boot("one"), boot("one"), boot("two"), boot("one")], [1, 1, 2, 3]);
}

#[test]
fn a_secret_is_made_once_and_put_back_at_each_boot() {
    let root = tempfile::tempdir().unwrap();
    let put = |path: &str, text: &str, mode: u32| {
        let path = root.path().join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, text).unwrap();
        std::fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(mode)).unwrap();
    };
    let at = |path: &str| root.path().join(path);
    let make = format!(
        "#!/bin/sh\nset -eu\ncd {}\ndate +%N%s > etc/key; mkdir -p etc/d; cp etc/key etc/d\n",
        root.path().display()
    );
    put("usr/lib/kcompose/secrets/x/make", &make, 0o755);
    put("usr/lib/kcompose/secrets/x/keep", "/etc/key\n/etc/d\n", 0o644);
    put("etc/other", "", 0o644);
    let boot = || {
        let script = on_disk("runtime/systemd/image/secret.sh");
        let status = Command::new("sh").arg(script).arg("x").arg(root.path()).status();
        assert!(status.unwrap().success());
        std::fs::read_to_string(at("etc/key")).unwrap()
    };
    let first = boot();
    std::fs::remove_file(at("etc/key")).unwrap();
    std::fs::remove_dir_all(at("etc/d")).unwrap();
    assert_eq!(boot(), first);
    assert_eq!(std::fs::read_to_string(at("etc/d/key")).unwrap(), first);
    std::fs::remove_dir_all(at("usr/local/.state/.kcompose/secrets")).unwrap();
    assert_ne!(boot(), first);
}
