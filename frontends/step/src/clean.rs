//! Deletes what differs from build to build: logs, caches, backups, identities and the builder's traces.

use std::ffi::OsString;
use std::fs::Metadata;
use std::path::{Path, PathBuf};

use kcompose_core::step::{Clean, Secrets};

use crate::fs;
use crate::problem::{Doing, Outcome};
use crate::walk;

/// What is deleted: exact paths, or with one `*` for any part of the last name.
const DELETED: &[&str] = &[
    // Logs and caches that say when and in which order something was done.
    "var/log/dpkg.log",
    "var/log/alternatives.log",
    "var/log/bootstrap.log",
    "var/log/apt/*",
    "var/cache/apt/*.bin",
    "var/cache/ldconfig/aux-cache",
    "var/cache/debconf/*-old",
    "var/lib/dpkg/*-old",
    "var/lib/dpkg/available",
    "var/lib/ucf/*.0",
    "var/lib/ucf/*.1",
    "var/lib/apt/lists/lock",
    // Backups and locks of the account tables.
    "etc/passwd-",
    "etc/group-",
    "etc/shadow-",
    "etc/gshadow-",
    "etc/subuid-",
    "etc/subgid-",
    "etc/.pwd.lock",
    // What makes a machine itself; what packages make of the kind is a table of the library (`Secrets`).
    "var/lib/systemd/random-seed",
    "var/lib/systemd/credential.secret",
    // Stamps of an earlier step; the last step writes them anew.
    "etc/.updated",
    "var/.updated",
];

/// How the builder names its machine in every build step.
const BUILDER: &str = "buildkitsandbox";
/// Files of `/etc` above this size are not searched for it.
const SEARCHED: u64 = 256 * 1024;

/// Deletes what must not be in an image.
pub(crate) fn run(clean: &Clean, root: &Path) -> Outcome<()> {
    for pattern in DELETED {
        for path in matching(root, pattern) {
            fs::remove(&path)?;
        }
    }
    forget_secrets(root, &clean.secrets)?;
    for path in &clean.delete {
        fs::remove(&fs::inside(root, path)?)?;
    }
    forget_machine_id(root)?;
    forget_date(root)?;
    forget_logs_of_modules(root)?;
    let etc = root.join("etc");
    if etc.is_dir() {
        walk::walk(&etc, &mut |path, found| forget_builder(path, found))?;
    }
    Ok(())
}

/// The paths below the root that a pattern means: each part of it may have one `*`.
fn matching(root: &Path, pattern: &str) -> Vec<PathBuf> {
    let mut found = vec![root.to_owned()];
    for part in pattern.split('/').filter(|part| !part.is_empty()) {
        let Some((start, end)) = part.split_once('*') else {
            found.iter_mut().for_each(|path| path.push(part));
            continue;
        };
        let fits = |name: &OsString| {
            let name = name.to_string_lossy();
            name.len() >= start.len() + end.len() && name.starts_with(start) && name.ends_with(end)
        };
        let below = |directory: &PathBuf| {
            let names = fs::names(directory).into_iter().filter(fits);
            names.map(|name| directory.join(name)).collect::<Vec<_>>()
        };
        found = found.iter().flat_map(below).collect();
    }
    found
}

/// Deletes what packages make for one machine, or writes the text that makes each machine make its own.
fn forget_secrets(root: &Path, secrets: &Secrets) -> Outcome<()> {
    for pattern in &secrets.remove {
        for path in matching(root, pattern) {
            if fs::look(&path)?.is_some() {
                fs::remove(&path)?;
                remove_links_to(root, &path)?;
            }
        }
    }
    for (path, text) in &secrets.texts {
        let path = fs::inside(root, path)?;
        match fs::look(&path)?.filter(Metadata::is_file) {
            Some(found) if fs::read_text(&path)? != *text => {
                fs::write_file(&path, text.as_bytes(), fs::meta_of(&found))?;
            }
            _ => {}
        }
    }
    Ok(())
}

/// Links beside a deleted file that led to it: a certificate has one by its hash (openssl-rehash(1)).
fn remove_links_to(root: &Path, gone: &Path) -> Outcome<()> {
    let Some(directory) = gone.parent() else {
        return Ok(());
    };
    for name in fs::names(directory) {
        let link = directory.join(name);
        let Ok(target) = std::fs::read_link(&link) else {
            continue;
        };
        let target = match target.strip_prefix("/") {
            Ok(inside) => root.join(inside),
            Err(_) => directory.join(&target),
        };
        if target == gone {
            fs::remove(&link)?;
        }
    }
    Ok(())
}

/// `/etc/machine-id` stays as an empty file, which the boot fills (machine-id(5)); copies of it go.
fn forget_machine_id(root: &Path) -> Outcome<()> {
    let path = root.join("etc/machine-id");
    if let Some(found) = fs::look(&path)?.filter(|found| found.is_file() && found.len() > 0) {
        fs::write_file(&path, b"", fs::meta_of(&found))?;
    }
    let copy = root.join("var/lib/dbus/machine-id");
    if fs::look(&copy)?.is_some_and(|found| found.is_file()) {
        fs::remove(&copy)?;
    }
    Ok(())
}

/// mdadm's postinst writes when it wrote the file.
fn forget_date(root: &Path) -> Outcome<()> {
    const LINE: &str = "# This configuration was auto-generated on ";
    let path = root.join("etc/mdadm/mdadm.conf");
    let Some(found) = fs::look(&path)?.filter(Metadata::is_file) else {
        return Ok(());
    };
    let text = fs::read_text(&path)?;
    if !text.lines().any(|line| line.starts_with(LINE)) {
        return Ok(());
    }
    let kept: Vec<&str> = text.lines().filter(|line| !line.starts_with(LINE)).collect();
    fs::write_file(&path, (kept.join("\n") + "\n").as_bytes(), fs::meta_of(&found))
}

/// DKMS keeps when and how long it built a module, below `/var/lib/dkms/MODULE/VERSION/KERNEL/ARCHITECTURE`.
fn forget_logs_of_modules(root: &Path) -> Outcome<()> {
    let mut folders = vec![root.join("var/lib/dkms")];
    for _ in 0..4 {
        let below = |folder: &PathBuf| {
            let names = fs::names(folder).into_iter();
            names.map(|name| folder.join(name)).collect::<Vec<_>>()
        };
        folders = folders
            .iter()
            .flat_map(below)
            .filter(|path| !path.is_symlink())
            .collect();
    }
    folders
        .iter()
        .try_for_each(|folder| fs::remove(&folder.join("log")))
}

/// Scripts write the name of the machine into configuration (`/etc/mailname`); it becomes `localhost`.
fn forget_builder(path: &Path, found: &Metadata) -> Outcome<()> {
    if !found.is_file() || found.len() < BUILDER.len() as u64 || found.len() > SEARCHED {
        return Ok(());
    }
    let content = std::fs::read(path).doing("read", path)?;
    let Ok(text) = String::from_utf8(content) else {
        return Ok(());
    };
    if !text.contains(BUILDER) {
        return Ok(());
    }
    fs::write_file(
        path,
        text.replace(BUILDER, "localhost").as_bytes(),
        fs::meta_of(found),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn logs_and_identities_go() {
        let root = tempfile::tempdir().unwrap();
        let put = |path: &str, text: &str| fs::put(root.path(), path, text);
        put("etc/machine-id", "abc\n");
        put("etc/mailname", "buildkitsandbox\n");
        put(
            "etc/iscsi/initiatorname.iscsi",
            "InitiatorName=iqn.1993-08.org.debian:01:abc\n",
        );
        put(
            "etc/mdadm/mdadm.conf",
            "MAILADDR root\n# This configuration was auto-generated on Tue, 24 Nov 2026 11:57:00 +0000 by mkconf\n",
        );
        put("etc/ssh/ssh_host_rsa_key.pub", "k");
        put("etc/ssh/sshd_config", "c");
        put("var/lib/dpkg/status-old", "s");
        put("extra/x", "x");
        let module = "var/lib/dkms/v4l2loopback/0.15.0/6.12-amd64/x86_64";
        put(&format!("{module}/log/make.log"), "Tue Dec  1\n");
        put(&format!("{module}/module/v4l2loopback.ko"), "m");
        put("etc/ssl/private/own.key", "k");
        put("var/lib/db/17/main/id", "i");
        put("var/lib/db/17/other/id", "i");
        std::os::unix::fs::symlink("own.key", root.path().join("etc/ssl/private/0a1b.0")).unwrap();
        let remove = [
            "/etc/ssh/ssh_host_*",
            "/etc/ssl/private/own.key",
            "/var/lib/db/*/main",
            "/absent/*/x",
        ];
        let generated = "GenerateName=yes\n".to_owned();
        let clean = Clean {
            delete: vec!["/extra".to_owned()],
            secrets: Secrets {
                remove: remove.map(str::to_owned).to_vec(),
                texts: [("/etc/iscsi/initiatorname.iscsi".to_owned(), generated)].into(),
            },
        };
        run(&clean, root.path()).unwrap();
        let read = |path: &str| std::fs::read_to_string(root.path().join(path)).ok();
        assert_eq!(read("etc/machine-id").as_deref(), Some(""));
        assert_eq!(read("etc/mailname").as_deref(), Some("localhost\n"));
        assert_eq!(
            read("etc/iscsi/initiatorname.iscsi").as_deref(),
            Some("GenerateName=yes\n")
        );
        assert_eq!(read("etc/mdadm/mdadm.conf").as_deref(), Some("MAILADDR root\n"));
        assert_eq!(fs::names(&root.path().join(module)), ["module"]);
        assert_eq!(read("etc/ssh/sshd_config").as_deref(), Some("c"));
        assert_eq!(fs::names(&root.path().join("etc/ssh")), ["sshd_config"]);
        assert!(fs::names(&root.path().join("etc/ssl/private")).is_empty());
        assert_eq!(fs::names(&root.path().join("var/lib/db/17")), ["other"]);
        assert!(
            fs::names(&root.path().join("var/lib/dpkg")).is_empty() && !root.path().join("extra").exists()
        );
    }
}
