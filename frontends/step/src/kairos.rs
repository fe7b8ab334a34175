//! kairos-init in the configured root, and what the flavor adds to what it wrote.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use kcompose_core::kairos::quoted;
use kcompose_core::packages::{hex, sha256};
use kcompose_core::step::{Brand, FileContent, FileEntry, Files, KairosInit};

use crate::command;
use crate::files;
use crate::fs::{self, Meta};
use crate::problem::{Doing, Outcome, Problem};

/// Where the program is copied to be run: what a client offers comes without the right to run it.
const PROGRAM: &str = "/run/kcompose/kairos-init";

/// Programs that stand in for missing ones; on a tmpfs, so that no layer has them.
const STUBS: &str = "/run/kcompose/stubs";

/// What an initrd needs of what kairos-init writes; before v4 the agent is a program of its own there.
const FOR_INITRD: [&str; 5] = [
    "/usr/bin/kairos",
    "/usr/bin/immucore",
    "/usr/bin/kairos-agent",
    "/usr/lib/dracut/modules.d/28immucore",
    "/etc/dracut.conf.d",
];

/// Runs kairos-init.
pub(crate) fn run(kairos: &KairosInit, epoch: i64) -> Outcome<()> {
    place_program(kairos)?;
    let mut program = command::command(PROGRAM, epoch);
    stub_apt()?;
    program
        .env("PATH", format!("{}:{STUBS}", command::PATH))
        .args([
            "--stage",
            "all",
            "--version",
            &kairos.version,
            "--model",
            &kairos.model,
        ])
        .arg("--skip-step")
        .arg(kairos.skip.join(","));
    let run = command::run(&mut program)?;
    if !run.status.success() {
        let message = format!("kairos-init failed ({}):{}", run.status, run.shown_tail());
        return Err(Problem::new("kcompose::step::kairos-init", message).into());
    }
    fs::remove(Path::new(PROGRAM))?;
    hand_out(Path::new(&kairos.initrd), epoch)
}

/// Its last step cleans up behind apt, which an image need not have: the end of `PATH` has one that does nothing.
fn stub_apt() -> Outcome<()> {
    let stub = Path::new(STUBS).join("apt-get");
    fs::make_parent(&stub, 0)?;
    fs::write_file(&stub, b"#!/bin/sh\nexit 0\n", Meta::root(0o755, 0))
}

/// The program that the lock names, and no other.
fn place_program(kairos: &KairosInit) -> Outcome<()> {
    let from = Path::new(&kairos.program);
    let bytes = std::fs::read(from).doing("read", from)?;
    let found = hex::encode(&sha256(&bytes));
    if found != kairos.sha256 {
        let message = format!(
            "this kairos-init is not the locked one: its sha256 is {found}, and {} is locked",
            kairos.sha256
        );
        return Err(Problem::new("kcompose::step::kairos-init", message)
            .help("`kcompose update kairos-init` takes another one")
            .into());
    }
    let at = Path::new(PROGRAM);
    fs::make_parent(at, 0)?;
    fs::write_file(at, &bytes, Meta::root(0o755, 0))
}

/// Copies what an initrd needs into a folder of its own.
fn hand_out(out: &Path, epoch: i64) -> Outcome<()> {
    let there = FOR_INITRD
        .iter()
        .filter(|path| Path::new(path).symlink_metadata().is_ok());
    let entries = there.map(|path| FileEntry {
        path: (*path).to_owned(),
        mode: None,
        user: None,
        group: None,
        content: FileContent::Copy((*path).to_owned()),
        origin: String::new(),
    });
    files::run(
        &Files {
            entries: entries.collect(),
        },
        out,
        epoch,
    )
}

const RELEASE: &str = "etc/kairos-release";
const ARGUMENTS: &str = "etc/cos/bootargs.cfg";

/// Adds keys and kernel arguments.
pub(crate) fn brand(brand: &Brand, root: &Path, epoch: i64) -> Outcome<()> {
    change(&root.join(RELEASE), epoch, |text| with_keys(text, brand))?;
    if brand.arguments.is_empty() {
        return Ok(());
    }
    change(&root.join(ARGUMENTS), epoch, |text| {
        format!(
            "{}\n# Of the flavor.\nset kernelcmd=\"$kernelcmd {}\"\n",
            text.trim_end(),
            brand.arguments
        )
    })
}

fn change(path: &Path, epoch: i64, how: impl FnOnce(&str) -> String) -> Outcome<()> {
    let text = std::fs::read_to_string(path).doing("read", path)?;
    let mode = path.metadata().doing("look at", path)?.permissions().mode() & 0o7777;
    fs::write_file(path, how(&text).as_bytes(), Meta::root(mode, epoch))
}

/// The release file with keys set, sorted as kairos-init sorts them.
fn with_keys(text: &str, brand: &Brand) -> String {
    let key = |line: &str| line.split('=').next().unwrap_or_default().to_owned();
    let mut lines: Vec<String> = text
        .lines()
        .filter(|line| !line.is_empty() && !brand.release.contains_key(&key(line)))
        .map(str::to_owned)
        .collect();
    lines.extend(
        brand
            .release
            .iter()
            .map(|(key, value)| format!("{key}=\"{}\"", quoted(value))),
    );
    lines.sort_by_key(|line| key(line));
    lines.join("\n") + "\n"
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[test]
    fn the_flavor_is_added_to_what_is_there() {
        let root = tempfile::tempdir().unwrap();
        let put = |path: &str, text: &str| {
            let path = root.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        };
        put(
            RELEASE,
            "KAIROS_ARCH=\"amd64\"\nGRUB_ENTRY_NAME=\"Kairos\"\nKAIROS_X=13\n",
        );
        put(ARGUMENTS, "set kernelcmd=\"a\"\n");
        let add = Brand {
            release: BTreeMap::from([("GRUB_ENTRY_NAME".to_owned(), "Acme \"1\"".to_owned())]),
            arguments: "quiet x=\\$y".to_owned(),
        };
        brand(&add, root.path(), 7).unwrap();
        let read = |path: &str| std::fs::read_to_string(root.path().join(path)).unwrap();
        assert_eq!(
            read(RELEASE),
            "GRUB_ENTRY_NAME=\"Acme \\\"1\\\"\"\nKAIROS_ARCH=\"amd64\"\nKAIROS_X=13\n"
        );
        assert_eq!(
            read(ARGUMENTS),
            "set kernelcmd=\"a\"\n# Of the flavor.\nset kernelcmd=\"$kernelcmd quiet x=\\$y\"\n"
        );
    }
}
