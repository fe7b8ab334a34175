//! What must not be in an image: an identity, the builder's traces, and what nobody needs.

use crate::packages::{hex, sha256};
use crate::tree::{Kind, Tree, content_following};

use super::Severity::{Error, Warning};
use super::walk::walk;
use super::{Check, Fault, Subject, fault, shown};

pub(super) const IDENTITY: Check = Check {
    name: "identity",
    doc: "No machine has an identity from the image: no host keys, no machine-id, no host name but a declared one, no secrets.",
    severity: Error,
    run: identity,
};

pub(super) const TRACES: Check = Check {
    name: "identity-traces",
    doc: "Nothing in `/etc` names the builder.",
    severity: Error,
    run: traces,
};

pub(super) const SIZE: Check = Check {
    name: "size",
    doc: "The image is not larger than it has to be.",
    severity: Warning,
    run: size,
};

/// Where the image says what belongs to one machine: `remove PATTERN`, and `text PATH SHA256` of what the image has instead.
pub const SECRETS: &str = "/usr/lib/kcompose/secrets.list";

/// What systemd and D-Bus make on each machine, whatever the distro.
const OF_MACHINES: &[&str] = &[
    "/var/lib/dbus/machine-id",
    "/var/lib/systemd/random-seed",
    "/var/lib/systemd/credential.secret",
    "/var/lib/dkms/mok.key",
];

/// Where a host name may be made at boot: in what stays.
const HOST_NAME_LINK: &[u8] = b"../usr/local/etc/hostname";

/// Shell variables of the layout.
const SETTINGS: &str = "/usr/lib/kcompose/layout/settings";

fn identity(subject: &Subject<'_>) -> Vec<Fault> {
    let mut faults = Vec::new();
    for name in subject
        .names("/etc/ssh")
        .iter()
        .filter(|name| name.starts_with("ssh_host_") && name.contains("_key"))
    {
        let help = "delete it: every machine would have the same key; keys are made at the first boot";
        faults.push(fault(format!("/etc/ssh/{name}"), "it is an ssh host key", help));
    }
    if !is_empty_or_missing(subject, "/etc/machine-id") {
        let help = "leave the file empty: it is made at the first boot";
        faults.push(fault("/etc/machine-id", "the image has a machine id", help));
    }
    let name = subject.tree.entry(b"/etc/hostname").map(|entry| entry.kind);
    if name != Some(Kind::Link(HOST_NAME_LINK.to_vec()))
        && !is_empty_or_missing(subject, "/etc/hostname")
        && !has_declared_host_name(subject)
    {
        let fact = "the image has a host name that its flavor does not declare";
        let help = "declare it in the flavor: hostname \"NAME\"; or delete the file";
        faults.push(fault("/etc/hostname", fact, help));
    }
    let listed = subject.text(SECRETS).unwrap_or_default();
    let removed = listed.lines().filter_map(|line| line.strip_prefix("remove "));
    let removed = removed.flat_map(|pattern| matching(subject.tree, pattern));
    let of_machines = OF_MACHINES.iter().map(|path| (*path).to_owned());
    for path in of_machines
        .chain(removed)
        .filter(|path| has_content(subject, path))
    {
        // ssh's host keys are looked for in every image.
        if !faults.iter().any(|fault| fault.path == path) {
            let help = "delete it: it is made again on each machine";
            faults.push(fault(path, "it belongs to one machine", help));
        }
    }
    for line in listed.lines().filter_map(|line| line.strip_prefix("text ")) {
        let Some((path, sum)) = line.rsplit_once(' ') else {
            continue;
        };
        let content = content_following(subject.tree, path.as_bytes());
        if content.is_some_and(|content| hex::encode(&sha256(&content)) != sum) {
            let help = "leave it as its package made it: each machine makes a name at its first start";
            faults.push(fault(path, "it belongs to one machine", help));
        }
    }
    faults
}

/// Whether the host name is the one that the flavor declares, which the image has among the settings of its layout.
fn has_declared_host_name(subject: &Subject<'_>) -> bool {
    let settings = subject.text(SETTINGS).unwrap_or_default();
    let declared = settings.lines().find_map(|line| line.strip_prefix("host_name="));
    let found = subject.text("/etc/hostname").unwrap_or_default();
    declared.is_some_and(|declared| declared == found.trim_end())
}

/// The files that a pattern means: each part of it may have one `*`.
fn matching(tree: &dyn Tree, pattern: &str) -> Vec<String> {
    let mut found = vec![String::new()];
    for part in pattern.split('/').skip(1) {
        let Some((start, end)) = part.split_once('*') else {
            found.iter_mut().for_each(|path| path.extend(["/", part]));
            continue;
        };
        let fits = |name: &str| {
            name.len() >= start.len() + end.len() && name.starts_with(start) && name.ends_with(end)
        };
        let below = |directory: &String| {
            let names = tree.names(if directory.is_empty() {
                b"/"
            } else {
                directory.as_bytes()
            });
            let names: Vec<String> = names.iter().map(|name| shown(name)).collect();
            let names = names.into_iter().filter(|name| fits(name));
            names
                .map(|name| format!("{directory}/{name}"))
                .collect::<Vec<_>>()
        };
        found = found.iter().flat_map(below).collect();
    }
    found
}

pub(super) const KEYS: Check = Check {
    name: "identity-keys",
    doc: "Every private key is one that a package ships or the flavor writes: none was made while the image was built.",
    severity: Error,
    run: |subject| keys(subject, Whose::Nobody),
};

pub(super) const OWN_KEYS: Check = Check {
    name: "identity-own-keys",
    doc: "The flavor writes no private key: every machine would have the same.",
    severity: Warning,
    run: |subject| keys(subject, Whose::Flavor),
};

#[derive(Clone, Copy, PartialEq, Eq)]
enum Whose {
    /// No package ships it, and the flavor does not write it.
    Nobody,
    Flavor,
}

/// Private keys are no larger.
const KEY_SIZE: u64 = 64 * 1024;

fn keys(subject: &Subject<'_>, whose: Whose) -> Vec<Fault> {
    let mut faults = Vec::new();
    let owned = subject.owned();
    walk(subject.tree, b"/", &mut |path, entry| {
        let is_candidate = matches!(entry.kind, Kind::File(40..=KEY_SIZE));
        let of = if owned.is_of_flavor(path) {
            Whose::Flavor
        } else {
            Whose::Nobody
        };
        if !is_candidate || of != whose || owned.is_of_package(path) {
            return;
        }
        if !is_private_key(&subject.tree.content(path).unwrap_or_default()) {
            return;
        }
        faults.push(match whose {
            Whose::Nobody => fault(
                shown(path),
                "it is a private key that was made while the image was built",
                "delete it with a `run` step and make it at the first boot; if every machine shall have it, write it with `files`",
            ),
            Whose::Flavor => fault(
                shown(path),
                "it is a private key, and every machine has it",
                "make it at the first boot, or bring it to each machine, unless it is meant for all of them",
            ),
        });
    });
    faults
}

/// Whether a file is a private key in PEM (RFC 7468) or of OpenSSH: the first line, and base64 or a header behind it.
fn is_private_key(content: &[u8]) -> bool {
    const BEGIN: &[u8] = b"-----BEGIN ";
    let mut lines = content
        .split(|byte| *byte == b'\n')
        .map(|line| line.trim_ascii_end());
    while let Some(line) = lines.next() {
        let Some(label) = line
            .strip_prefix(BEGIN)
            .and_then(|line| line.strip_suffix(b"-----"))
        else {
            continue;
        };
        let is_key = label.ends_with(b"PRIVATE KEY") || label.ends_with(b"PRIVATE KEY BLOCK");
        if is_key
            && lines
                .find(|line| !line.is_empty())
                .is_some_and(is_base64_or_header)
        {
            return true;
        }
    }
    false
}

fn is_base64_or_header(line: &[u8]) -> bool {
    let is_base64 = |byte: &u8| byte.is_ascii_alphanumeric() || b"+/=".contains(byte);
    let is_header = [&b"Proc-Type:"[..], b"Version:", b"Comment:"]
        .iter()
        .any(|name| line.starts_with(name));
    is_header || (line.len() >= 16 && line.iter().all(is_base64))
}

fn is_empty_or_missing(subject: &Subject<'_>, path: &str) -> bool {
    matches!(
        subject.tree.entry(path.as_bytes()).map(|entry| entry.kind),
        None | Some(Kind::File(0))
    )
}

/// Whether a file is there and says something. A link to the machine's own id is none of an image's.
fn has_content(subject: &Subject<'_>, path: &str) -> bool {
    matches!(
        subject.tree.entry(path.as_bytes()).map(|entry| entry.kind),
        Some(Kind::File(1..))
    )
}

/// Host names of builders.
const BUILDERS: &[&str] = &["buildkitsandbox"];

/// Files whose presence says that a container was here.
const CONTAINER_FILES: &[&str] = &["/.dockerenv", "/run/.containerenv"];

fn traces(subject: &Subject<'_>) -> Vec<Fault> {
    let mut faults = Vec::new();
    walk(subject.tree, b"/etc", &mut |path, entry| {
        if !matches!(entry.kind, Kind::File(1..=0x0010_0000)) {
            return;
        }
        let content = subject.tree.content(path).unwrap_or_default();
        for builder in BUILDERS
            .iter()
            .filter(|builder| contains(&content, builder.as_bytes()))
        {
            let fact = format!("it names the builder: `{builder}`");
            faults.push(fault(
                shown(path),
                fact,
                "delete it, or write what it shall say with a `file` node",
            ));
        }
    });
    for path in CONTAINER_FILES
        .iter()
        .filter(|path| subject.tree.entry(path.as_bytes()).is_some())
    {
        faults.push(fault(*path, "it is left over from a container", "delete it"));
    }
    faults
}

fn contains(content: &[u8], needle: &[u8]) -> bool {
    content.windows(needle.len()).any(|window| window == needle)
}

/// What Kairos' installer gives an image when nobody says a size, in bytes.
const INSTALLER_SIZE: u64 = 3072 << 20;

fn size(subject: &Subject<'_>) -> Vec<Fault> {
    let mut total = 0;
    walk(subject.tree, b"/", &mut |_, entry| {
        if let Kind::File(size) = entry.kind {
            total += size;
        }
    });
    let mut faults = Vec::new();
    if total > INSTALLER_SIZE {
        let fact = format!(
            "its files have {} MiB; an installer's image has {} unless told otherwise",
            total >> 20,
            INSTALLER_SIZE >> 20
        );
        faults.push(fault(
            "/",
            fact,
            "leave packages out, or set `install.system.size` when installing",
        ));
    }
    faults.extend(package_caches(subject));
    faults
}

fn package_caches(subject: &Subject<'_>) -> Vec<Fault> {
    const KEPT: &[&str] = &["lock", "partial", "auxfiles"];
    let mut faults = Vec::new();
    let lists = subject.names("/var/lib/apt/lists");
    if lists.iter().any(|name| !KEPT.contains(&name.as_str())) {
        faults.push(fault(
            "/var/lib/apt/lists",
            "the indexes of packages are still there",
            "delete what is in it",
        ));
    }
    let archives = subject.names("/var/cache/apt/archives");
    if archives.iter().any(|name| name.ends_with(".deb")) {
        faults.push(fault(
            "/var/cache/apt/archives",
            "packages are still there",
            "delete what is in it",
        ));
    }
    faults
}
