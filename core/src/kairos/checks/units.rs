//! Units that a machine needs to be reached.

use crate::tree::Kind;

use super::Severity::Warning;
use super::{Check, Fault, Subject, fault};

pub(super) const UNITS: Check = Check {
    name: "units",
    doc: "The units of a running system are there and not masked; a network and a way in are enabled.",
    severity: Warning,
    run: units,
};

/// Where units are looked for, the first hit decides.
const FOLDERS: &[&str] = &["/etc/systemd/system", "/usr/lib/systemd/system"];

/// Units that every machine needs, with Debian's package.
const NEEDED: &[(&str, &str)] = &[
    ("getty.target", "systemd"),
    ("systemd-udevd.service", "udev"),
    ("systemd-logind.service", "systemd"),
];

/// What one of them has to do, in words, and what to do when none is enabled.
const ENABLED: &[(&[&str], &str, &str)] = &[
    (
        &[
            "systemd-networkd.service",
            "NetworkManager.service",
            "networking.service",
            "connman.service",
        ],
        "no network service is enabled",
        "enable one, such as `systemd-networkd`",
    ),
    (
        &["ssh.service", "sshd.service", "ssh.socket", "sshd.socket"],
        "no ssh server is enabled: a machine can be reached on its console only",
        "add the package `openssh-server` and enable `ssh`, if that is not what you want",
    ),
];

fn units(subject: &Subject<'_>) -> Vec<Fault> {
    // Images without systemd have other units.
    if !subject.exists("/usr/lib/systemd/systemd") {
        return Vec::new();
    }
    let mut faults = Vec::new();
    for (unit, package) in NEEDED {
        match find(subject, unit) {
            None => faults.push(fault(
                format!("/usr/lib/systemd/system/{unit}"),
                "the unit is missing",
                format!("install the package `{package}`"),
            )),
            Some((path, true)) => faults.push(fault(path, "the unit is masked", "take the mask away")),
            Some((_, false)) => {}
        }
    }
    for (units, fact, help) in ENABLED {
        if !units.iter().any(|unit| is_enabled(subject, unit)) {
            faults.push(fault("/usr/lib/systemd/system", *fact, *help));
        }
    }
    faults
}

/// Where a unit is, and whether it is masked.
fn find(subject: &Subject<'_>, unit: &str) -> Option<(String, bool)> {
    FOLDERS.iter().find_map(|folder| {
        let path = format!("{folder}/{unit}");
        let entry = subject.tree.entry(path.as_bytes())?;
        let masked = matches!(&entry.kind, Kind::Link(target) if target == b"/dev/null")
            || entry.kind == Kind::File(0);
        Some((path, masked))
    })
}

/// Whether a target or another unit pulls it in, and it is not masked.
fn is_enabled(subject: &Subject<'_>, unit: &str) -> bool {
    if find(subject, unit).is_none_or(|(_, masked)| masked) {
        return false;
    }
    let pulls = |folder: &&str| {
        let names = subject.names(folder);
        let directories = names
            .iter()
            .filter(|name| name.ends_with(".wants") || name.ends_with(".requires"));
        directories.into_iter().any(|name| {
            subject
                .tree
                .entry(format!("{folder}/{name}/{unit}").as_bytes())
                .is_some()
        })
    };
    FOLDERS.iter().any(pulls)
}
