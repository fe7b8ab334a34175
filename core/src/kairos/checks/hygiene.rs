//! What must not be in an image: an identity, the builder's traces, and what nobody needs.

use crate::tree::Kind;

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

/// Files that make one machine out of many if they are in the image.
const SECRETS: &[&str] = &[
    "/var/lib/dbus/machine-id",
    "/var/lib/systemd/random-seed",
    "/var/lib/systemd/credential.secret",
    "/etc/ssl/private/ssl-cert-snakeoil.key",
    "/var/lib/dkms/mok.key",
];

/// What the file with the name of an iSCSI initiator says in an image: each machine makes a name at its first start.
pub const GENERATED_INITIATOR: &str = "GenerateName=yes\n";
const INITIATOR: &str = "/etc/iscsi/initiatorname.iscsi";

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
    if has_content(subject, INITIATOR) && subject.text(INITIATOR).as_deref() != Some(GENERATED_INITIATOR) {
        faults.push(fault(
            INITIATOR,
            "it belongs to one machine",
            "write `GenerateName=yes` into it: each machine makes a name at its first start",
        ));
    }
    for path in SECRETS.iter().filter(|path| has_content(subject, path)) {
        faults.push(fault(
            *path,
            "it belongs to one machine",
            "delete it: it is made again where it is needed",
        ));
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
