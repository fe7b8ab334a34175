//! What an image of the runtime `immucore` brings of Kairos: programs, cloud-configs, tools.

use crate::tree::{Kind, entry_following, resolve};

use super::Severity::{Error, Warning};
use super::layout::Runtime;
use super::release::RELEASE_PATH;
use super::{Check, Fault, Subject, boot, fault};

pub(super) const PROGRAMS: Check = Check {
    name: "kairos-programs",
    doc: "immucore, Kairos' agent and its discovery plugin are programs of the image's architecture; with Kubernetes that and its provider too.",
    severity: Error,
    run: programs,
};

pub(super) const CLOUD_CONFIGS: Check = Check {
    name: "kairos-cloud-configs",
    doc: "`/system/oem` has Kairos' stock cloud-configs, and no two files set the same list of paths.",
    severity: Error,
    run: cloud_configs,
};

pub(super) const FILES: Check = Check {
    name: "kairos-files",
    doc: "The files are there that Kairos' tools call and show.",
    severity: Error,
    run: files,
};

pub(super) const FILES_MISSED: Check = Check {
    name: "kairos-files-missed",
    doc: "The files are there that an operator of Kairos knows.",
    severity: Warning,
    run: files_missed,
};

pub(super) const TOOLS: Check = Check {
    name: "kairos-tools",
    doc: "The tools are there that immucore, the agent and the installer run.",
    severity: Error,
    run: tools,
};

pub(super) const INSTALLED_LOADER: Check = Check {
    name: "kairos-installed-loader",
    doc: "The agent finds the boot loader that it installs.",
    severity: Error,
    run: installed_loader,
};

const AGAIN: &str = "run kairos-init again: its step that writes it was left out, or something deleted it";

/// Whether the image is one of immucore.
pub(super) fn is_immucore(subject: &Subject<'_>) -> bool {
    subject
        .layout
        .as_ref()
        .is_some_and(|layout| layout.runtime == Runtime::Immucore)
}

fn programs(subject: &Subject<'_>) -> Vec<Fault> {
    if !is_immucore(subject) {
        return Vec::new();
    }
    [
        "/usr/bin/immucore",
        "/usr/bin/kairos-agent",
        "/system/discovery/kcrypt-discovery-challenger",
    ]
    .into_iter()
    .chain(of_variant(subject))
    .filter_map(|path| program_fault(subject, path))
    .collect()
}

/// The programs that variant `standard` has beside the others.
fn of_variant(subject: &Subject<'_>) -> Vec<&'static str> {
    let text = subject.text(RELEASE_PATH).unwrap_or_default();
    let has = |key: &str, value: &str| {
        let line = text
            .lines()
            .find_map(|line| line.strip_prefix(key)?.strip_prefix('='));
        line.is_some_and(|found| found.trim_matches('"') == value)
    };
    if !has("KAIROS_VARIANT", "standard") {
        return Vec::new();
    }
    let mut paths = vec!["/system/providers/agent-provider-kairos", "/usr/bin/edgevpn"];
    let known = [("k3s", "/usr/bin/k3s"), ("k0s", "/usr/bin/k0s")];
    let own = known
        .into_iter()
        .filter(|(name, _)| has("KAIROS_SOFTWARE_VERSION_PREFIX", name));
    paths.extend(own.map(|(_, path)| path));
    paths
}

fn program_fault(subject: &Subject<'_>, path: &str) -> Option<Fault> {
    let Some(entry) = entry_following(subject.tree, path.as_bytes()) else {
        return Some(fault(path, "it is missing, or leads nowhere", AGAIN));
    };
    if !matches!(entry.kind, Kind::File(1..)) || entry.mode & 0o111 == 0 {
        return Some(fault(path, "it cannot be run", AGAIN));
    }
    let real = resolve(subject.tree, path.as_bytes())?;
    let start = subject.tree.piece(&real, 0, 20).unwrap_or_default();
    let machine = start
        .get(18..20)
        .map(|bytes| u16::from_le_bytes([bytes[0], bytes[1]]));
    let found = match machine {
        Some(62) => "amd64",
        Some(183) => "arm64",
        Some(243) => "riscv64",
        _ => "another architecture",
    };
    if !start.starts_with(b"\x7fELF") {
        return Some(fault(path, "it is no program", AGAIN));
    }
    let wanted = subject.expectations.architecture.as_deref().unwrap_or(found);
    (found != wanted).then(|| {
        let fact = format!("it is for {found}, and the image is for {wanted}");
        fault(path, fact, "use the kairos-init of the image's architecture")
    })
}

/// Those without which a machine is not what Kairos' tools expect (kairos-init, `pkg/bundled/cloudconfigs`).
const STOCK: &[&str] = &[
    "00_rootfs.yaml",
    "02_agent.yaml",
    "05_network.yaml",
    "08_grub.yaml",
    "08_ssh.yaml",
    "09_systemd_services.yaml",
    "10_accounting.yaml",
    "31_hosts.yaml",
    "50_recovery.yaml",
    "51_reset.yaml",
];

/// Where a file says its own lists, which replace those of another file.
const LISTS: &[&str] = &[
    "environment_file: /run/cos/cos-layout.env",
    "environment_file: /run/cos/custom-layout.env",
];

fn cloud_configs(subject: &Subject<'_>) -> Vec<Fault> {
    if !is_immucore(subject) {
        return Vec::new();
    }
    const FOLDER: &str = "/system/oem";
    let names = subject.names(FOLDER);
    let missing = STOCK
        .iter()
        .filter(|stock| !names.iter().any(|name| name == *stock));
    let mut faults: Vec<Fault> = missing
        .map(|name| fault(format!("{FOLDER}/{name}"), "it is missing", AGAIN))
        .collect();
    for name in names.iter().filter(|name| *name != "00_rootfs.yaml") {
        let path = format!("{FOLDER}/{name}");
        let text = subject.text(&path).unwrap_or_default().replace(['"', '\''], "");
        if let Some(found) = text.lines().map(item).find(|line| LISTS.contains(line)) {
            let file = found.trim_start_matches("environment_file: ");
            let fact =
                format!("it sets lists of `{file}`, which replaces what the stock file or an operator says");
            faults.push(fault(
                path,
                fact,
                "say the paths in `layout` of the flavor instead",
            ));
        }
    }
    faults
}

/// A line without the sign of a list's item.
fn item(line: &str) -> &str {
    line.trim().trim_start_matches("- ")
}

fn files(subject: &Subject<'_>) -> Vec<Fault> {
    if !is_immucore(subject) {
        return Vec::new();
    }
    let mut faults = Vec::new();
    let suc = entry_following(subject.tree, b"/usr/sbin/suc-upgrade");
    if suc.is_none_or(|entry| entry.mode & 0o111 == 0) {
        let fact = "it is missing, or cannot be run: Kubernetes upgrades call it";
        faults.push(fault("/usr/sbin/suc-upgrade", fact, AGAIN));
    }
    if !subject.exists("/etc/kairos/branding/grubmenu.cfg") {
        faults.push(fault("/etc/kairos/branding/grubmenu.cfg", "it is missing", AGAIN));
    }
    faults
}

fn files_missed(subject: &Subject<'_>) -> Vec<Fault> {
    if !is_immucore(subject) {
        return Vec::new();
    }
    let mut faults: Vec<Fault> = ["/etc/logrotate.d/kairos", "/etc/issue.d/01-KAIROS"]
        .into_iter()
        .filter(|path| !subject.exists(path))
        .map(|path| fault(path, "it is missing", AGAIN))
        .collect();
    let installers = [
        "/system/installer/installer",
        "/system/installer/kairos-installer",
    ];
    if !installers.iter().any(|path| subject.exists(path)) {
        faults.push(fault("/system/installer", "there is no installer in it", AGAIN));
    }
    faults
}

/// Programs, each with Debian's package.
const NEEDED: &[(&str, &str)] = &[
    ("sudo", "sudo"),
    ("less", "less"),
    ("mount.nfs", "nfs-common"),
    ("rsync", "rsync"),
    ("cryptsetup", "cryptsetup"),
    ("lvm", "lvm2"),
    ("mkfs.ext2", "e2fsprogs"),
    ("mkfs.ext3", "e2fsprogs"),
    ("mkfs.ext4", "e2fsprogs"),
    ("mkfs.vfat", "dosfstools"),
    ("e2fsck", "e2fsprogs"),
    ("tune2fs", "e2fsprogs"),
    ("losetup", "mount"),
    ("findmnt", "util-linux"),
    ("lsblk", "util-linux"),
    ("blkid", "util-linux"),
    ("udevadm", "udev"),
    ("gawk", "gawk"),
    ("jq", "jq"),
    ("curl", "curl"),
    ("ssh-keygen", "openssh-client"),
    ("sshd", "openssh-server"),
    ("systemctl", "systemd"),
    ("blkdeactivate", "lvm2"),
    ("grub2-editenv", "grub2-common"),
];

const FOLDERS: &[&str] = &["/usr/sbin", "/usr/bin", "/sbin", "/bin"];

fn tools(subject: &Subject<'_>) -> Vec<Fault> {
    if !is_immucore(subject) {
        return Vec::new();
    }
    let find = |name: &str| {
        FOLDERS
            .iter()
            .map(|folder| format!("{folder}/{name}"))
            .find(|path| {
                entry_following(subject.tree, path.as_bytes()).is_some_and(|entry| entry.mode & 0o111 != 0)
            })
    };
    let mut faults: Vec<Fault> = NEEDED
        .iter()
        .filter(|(name, _)| find(name).is_none())
        .map(|(name, package)| {
            let help = format!("install the package `{package}`");
            fault(format!("/usr/bin/{name}"), "no such program is in PATH", help)
        })
        .collect();
    if let Some(path) = find("sudo")
        && let Some(entry) = entry_following(subject.tree, path.as_bytes())
        && (entry.uid, entry.gid, entry.mode) != (0, 0, 0o4755)
    {
        let fact = format!(
            "its owner is {}:{} and its mode {:o}",
            entry.uid, entry.gid, entry.mode
        );
        faults.push(fault(path, fact, "make it 0:0 and 4755: it is of no use without"));
    }
    faults
}

fn installed_loader(subject: &Subject<'_>) -> Vec<Fault> {
    if !is_immucore(subject) {
        return Vec::new();
    }
    boot::boot_loader(subject)
}
