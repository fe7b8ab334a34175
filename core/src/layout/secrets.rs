//! What each machine makes for itself, as the library's table says: units that make it at the first boot.
//!
//! A secret of a package that is in the image has a unit before all services. What lies in no kept directory is copied to
//! the state of the machine, and put back at each boot (`runtime/systemd/image/secret.sh` of the library).

use std::collections::BTreeMap;
use std::fmt::Write as _;

use crate::kairos::checks::SECRETS;
use crate::model::{Flavor, MachineSecret, PackageName};
use crate::packages::{hex, sha256};
use crate::step::{FileContent, FileEntry, Secrets};

use super::render::{entry, text};

/// Where the image keeps what its secrets are made by.
const OWN: &str = "/usr/lib/kcompose/secrets";

/// What no image has, for [`crate::step::Clean`].
pub fn secrets(table: &[MachineSecret]) -> Secrets {
    let texts = table.iter().flat_map(|secret| &secret.texts);
    let texts: BTreeMap<String, String> = texts
        .map(|(path, text)| (path.to_string(), text.clone()))
        .collect();
    Secrets {
        remove: table.iter().flat_map(|secret| secret.remove.clone()).collect(),
        texts,
    }
}

/// The files of an image: the table for checks, and of each secret of a package in it how it is made.
pub fn secret_files(flavor: &Flavor, has: &dyn Fn(&PackageName) -> bool) -> Vec<FileEntry> {
    let table = &flavor.distro.value.secrets;
    let mut files = vec![text(SECRETS, rules(table))];
    let runtime = flavor.kairos.value.runtime();
    let made = table
        .iter()
        .filter(|secret| has(&secret.package) && secret.runtime.is_none_or(|only| only == runtime));
    for secret in made {
        files.extend(secret.make.iter().flat_map(|make| made_by(secret, make)));
    }
    files
}

/// One line for each rule: what must not be there, and what must have another text.
fn rules(table: &[MachineSecret]) -> String {
    let mut lines = String::new();
    for secret in table {
        for path in &secret.remove {
            let _ = writeln!(lines, "remove {path}");
        }
        for (path, text) in &secret.texts {
            let _ = writeln!(lines, "text {path} {}", hex::encode(&sha256(text.as_bytes())));
        }
    }
    lines
}

fn made_by(secret: &MachineSecret, make: &str) -> [FileEntry; 4] {
    let name = &secret.name;
    let unit = format!("kcompose-secret-{name}.service");
    let keep: String = secret.keep.iter().map(|path| format!("{path}\n")).collect();
    let script = FileEntry {
        mode: Some(0o755),
        ..text(
            &format!("{OWN}/{name}/make"),
            format!("#!/bin/sh\nset -eu\n{}\n", make.trim_end()),
        )
    };
    [
        script,
        text(&format!("{OWN}/{name}/keep"), keep),
        text(&format!("/usr/lib/systemd/system/{unit}"), unit_text(secret)),
        entry(
            &format!("/usr/lib/systemd/system/basic.target.wants/{unit}"),
            FileContent::Link(format!("../{unit}")),
        ),
    ]
}

fn unit_text(secret: &MachineSecret) -> String {
    let mut before = vec!["basic.target", "shutdown.target"];
    before.extend(secret.before.iter().map(String::as_str));
    let mut unit = format!(
        "[Unit]\nDescription=Make what belongs to this machine alone: {}\nDefaultDependencies=no\nConflicts=shutdown.target\n\
         RequiresMountsFor=/usr/local /tmp\nBefore={}\n",
        secret.name,
        before.join(" ")
    );
    if !secret.early {
        unit.push_str("After=sysinit.target\n");
    }
    // A condition with `|` is one of several: the unit runs if one path is missing.
    let kept = secret.keep.iter().map(|path| path.as_str());
    let unless = secret.unless.iter().map(String::as_str);
    let missing: Vec<&str> = if secret.unless.is_empty() {
        kept.collect()
    } else {
        unless.collect()
    };
    for path in missing {
        let _ = writeln!(unit, "ConditionPathExistsGlob=|!{path}");
    }
    let _ = write!(
        unit,
        "\n[Service]\nType=oneshot\nRemainAfterExit=yes\nExecStart=/usr/lib/kcompose/secret {}\n",
        secret.name
    );
    unit
}
