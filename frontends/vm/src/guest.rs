//! The way of a script into a machine, without a change to its image and without network.
//!
//! An archive behind the image's own initrd brings one unit into it, which writes a service and the scripts below `/run`.
//! That survives the switch to the real root, whose systemd starts the service. Nothing but a shell and systemd is used,
//! so it works with any initrd in which systemd runs.

use std::fmt::Write as _;

use crate::cpio::Archive;

const DRIVER: &str = include_str!("guest/driver.sh");
const PROBE_UNIT: &str = include_str!("guest/probe.service");
const HAND_OVER_UNIT: &str = include_str!("guest/hand-over.service");
const WANTS: &str = include_str!("guest/sysinit.conf");
/// The checks of the running system, for both runtimes.
pub(crate) const CHECK: &str = concat!(
    include_str!("guest/items.sh"),
    include_str!("guest/check.sh"),
    include_str!("guest/check-ssh.sh"),
    include_str!("guest/check-system.sh")
);

/// A script to run in the machine.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Part<'a> {
    /// A word for it, which is its file name there.
    pub(crate) name: &'a str,
    pub(crate) script: &'a [u8],
}

/// The archive to append to an initrd. The guest waits so many seconds for the system to be up.
pub(crate) fn archive(parts: &[Part<'_>], patience: u64) -> Vec<u8> {
    let mut archive = Archive::default();
    let wants = "usr/lib/systemd/system/sysinit.target.wants";
    for directory in [
        "usr",
        "usr/lib",
        "usr/lib/systemd",
        "usr/lib/systemd/system",
        wants,
        "usr/lib/kcompose-probe",
    ] {
        archive.directory(directory);
    }
    let unit = "kcompose-hand-over.service";
    archive.file(
        &format!("usr/lib/systemd/system/{unit}"),
        0o644,
        HAND_OVER_UNIT.as_bytes(),
    );
    archive.link(&format!("{wants}/{unit}"), &format!("../{unit}"));
    archive.file(
        "usr/lib/kcompose-probe/hand-over",
        0o755,
        hand_over(parts, patience).as_bytes(),
    );
    archive.finish()
}

/// The script that writes everything below `/run`, with nothing but `printf`.
fn hand_over(parts: &[Part<'_>], patience: u64) -> String {
    let mut text = String::from("set -e\n");
    for part in parts {
        write_file(
            &mut text,
            &format!("/run/kcompose-probe/{}", part.name),
            part.script,
        );
    }
    write_file(&mut text, "/run/kcompose-probe/driver", DRIVER.as_bytes());
    write_file(
        &mut text,
        "/run/kcompose-probe/settings",
        settings(parts, patience).as_bytes(),
    );
    write_file(
        &mut text,
        "/run/systemd/system/kcompose-probe.service",
        PROBE_UNIT.as_bytes(),
    );
    write_file(
        &mut text,
        "/run/systemd/system/sysinit.target.d/50-kcompose-probe.conf",
        WANTS.as_bytes(),
    );
    text
}

fn settings(parts: &[Part<'_>], patience: u64) -> String {
    let names: Vec<&str> = parts.iter().map(|part| part.name).collect();
    let mut text = format!("patience={patience}\nparts='{}'\n", names.join(" "));
    for part in parts {
        let _ = writeln!(text, "{}_command='{}'", part.name, interpreter(part.script));
    }
    text
}

/// The command that runs a script: its first line says, or it is the shell.
fn interpreter(script: &[u8]) -> String {
    let line = script.split(|byte| *byte == b'\n').next().unwrap_or_default();
    let command = line
        .strip_prefix(b"#!")
        .map(|rest| String::from_utf8_lossy(rest).trim().replace('\'', ""));
    command
        .filter(|command| !command.is_empty())
        .unwrap_or_else(|| "/bin/sh".to_owned())
}

/// Shell text that writes a file; octal escapes carry every byte through every shell.
fn write_file(text: &mut String, path: &str, content: &[u8]) {
    let _ = writeln!(text, ": > '{path}'");
    for chunk in content.chunks(4096) {
        text.push_str("printf '");
        for byte in chunk {
            match byte {
                b'\'' | b'\\' | b'%' => _ = write!(text, "\\{byte:03o}"),
                b' '..=b'~' | b'\n' => text.push(char::from(*byte)),
                _ => _ = write!(text, "\\{byte:03o}"),
            }
        }
        let _ = writeln!(text, "' >> '{path}'");
    }
}

/// What the driver says on its port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Said {
    /// The driver runs.
    Begin,
    /// The answer of `systemctl is-system-running`.
    State(String),
    /// A unit that failed.
    FailedUnit(String),
    /// A job that the boot still waits for.
    Job(String),
    /// A part is started.
    Running(String),
    /// All is done; the exit code.
    Exit(u8),
}

/// Reads a line of the driver; anything else on the port is not ours.
pub(crate) fn parse(line: &str) -> Option<Said> {
    let (word, rest) = line.trim_end().split_once(' ').unwrap_or((line.trim_end(), ""));
    let rest = rest.to_owned();
    match word {
        "begin" => Some(Said::Begin),
        "state" => Some(Said::State(rest)),
        "failed" => Some(Said::FailedUnit(rest)),
        "job" => Some(Said::Job(rest)),
        "running" => Some(Said::Running(rest)),
        "exit" => rest.parse().ok().map(Said::Exit),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    #[test]
    fn every_byte_survives_the_shell() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x").display().to_string();
        let content: Vec<u8> = (0..=255).cycle().take(10_000).collect();
        let mut text = String::new();
        write_file(&mut text, &path, &content);
        assert!(
            Command::new("/bin/sh")
                .args(["-c", &text])
                .status()
                .unwrap()
                .success()
        );
        assert!(std::fs::read(&path).unwrap() == content);
    }

    #[test]
    fn the_first_line_names_the_interpreter() {
        assert_eq!(interpreter(b"#!/usr/bin/env bash\n"), "/usr/bin/env bash");
        assert_eq!(interpreter(b"exit 7\n"), "/bin/sh");
    }

    /// A root tree with files and links, each `PATH` or `PATH -> TARGET`.
    fn root(entries: &[&str]) -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        for entry in entries {
            let (path, target) = match entry.split_once(" -> ") {
                Some((path, target)) => (path, Some(target)),
                None => (*entry, None),
            };
            let path = root.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            match target {
                Some(target) => std::os::unix::fs::symlink(target, path).unwrap(),
                None => std::fs::write(path, "content").unwrap(),
            }
        }
        root
    }

    /// The report of the ssh checks on a root where `active` units run; `systemctl` is a function of the shell.
    fn ssh_checks(entries: &[&str], active: &str) -> (String, Option<i32>) {
        let root = root(entries);
        let script = [
            include_str!("guest/items.sh"),
            "systemctl() { [ \"$1 $2\" = '-q is-active' ] || exit 9; case \" $active \" in *\" $3 \"*) ;; *) return 3 ;; esac; }\n",
            include_str!("guest/check-ssh.sh"),
            "conclude\n",
        ]
        .concat();
        let ended = Command::new("/bin/sh")
            .args(["-c", &script])
            .env("root", root.path())
            .env("active", active)
            .output()
            .unwrap();
        assert_eq!(String::from_utf8_lossy(&ended.stderr), "");
        (String::from_utf8(ended.stdout).unwrap(), ended.status.code())
    }

    const KEY: &str = "etc/ssh/ssh_host_ed25519_key";
    const UNIT: &str = "usr/lib/systemd/system/ssh.service";
    const ENABLED: &str = "usr/lib/systemd/system/multi-user.target.wants/ssh.service -> ../ssh.service";
    const SKIPPED: &str = "\
skipped ssh is up: no unit of the image wants ssh.service, sshd.service, ssh.socket or sshd.socket
skipped ssh has a key of its own: no unit of the image wants ssh.service, sshd.service, ssh.socket or sshd.socket
0 ok, 0 not ok, 2 skipped
";

    #[test]
    fn links_enable_ssh_wherever_they_are() {
        let expected = "ok ssh.service is up\nok ssh has a key of its own\n2 ok, 0 not ok, 0 skipped\n";
        for folder in [
            "usr/lib/systemd/system/multi-user.target.wants",
            "etc/systemd/system/sshd.target.requires",
            "run/systemd/generator/multi-user.target.wants",
        ] {
            let link = format!("{folder}/ssh.service -> /usr/lib/systemd/system/ssh.service");
            let found = ssh_checks(&[UNIT, KEY, &link], "ssh.service");
            assert_eq!(found, (expected.to_owned(), Some(0)), "{folder}");
        }
        let socket =
            "etc/systemd/system/sockets.target.wants/ssh.socket -> /usr/lib/systemd/system/ssh.socket";
        let (report, _) = ssh_checks(&[UNIT, KEY, socket], "ssh.socket");
        assert_eq!(report, expected.replace("ssh.service", "ssh.socket"));
    }

    #[test]
    fn an_enabled_ssh_that_is_down_is_not_ok() {
        assert_eq!(
            ssh_checks(&[UNIT, ENABLED], ""),
            (
                "not ok ssh.service is up\nnot ok ssh has a key of its own\n0 ok, 2 not ok, 0 skipped\n"
                    .to_owned(),
                Some(1)
            )
        );
    }

    #[test]
    fn ssh_checks_are_skipped_and_counted_where_nothing_enables_ssh() {
        let skipped = (SKIPPED.to_owned(), Some(0));
        assert_eq!(ssh_checks(&[UNIT, KEY], ""), skipped);
        let masked = "etc/systemd/system/ssh.service -> /dev/null";
        assert_eq!(ssh_checks(&[UNIT, KEY, ENABLED, masked], ""), skipped);
        let hidden = "etc/systemd/system/multi-user.target.wants/ssh.service -> /dev/null";
        assert_eq!(ssh_checks(&[UNIT, KEY, ENABLED, hidden], ""), skipped);
    }

    #[test]
    fn the_whole_check_is_a_script_of_a_shell() {
        let parsed = Command::new("/bin/sh")
            .args(["-n", "-c", CHECK])
            .output()
            .unwrap();
        assert_eq!(String::from_utf8_lossy(&parsed.stderr), "");
        assert!(CHECK.ends_with("conclude\n"));
    }

    #[test]
    fn the_driver_is_understood() {
        assert_eq!(parse("exit 7\n"), Some(Said::Exit(7)));
        assert_eq!(parse("state running"), Some(Said::State("running".into())));
        assert_eq!(parse("exit x"), None);
    }
}
