//! What is in the initrd of the runtime `immucore`.

use std::collections::BTreeSet;

use crate::initrd::Contents;

use super::Severity::{Error, Warning};
use super::immucore::is_immucore;
use super::{Check, Fault, Subject, fault};

pub(super) const CONTENT: Check = Check {
    name: "initrd-content",
    doc: "The initrd has immucore, its service and the tools that it runs, for the one kernel of the image.",
    severity: Error,
    run: content,
};

pub(super) const MODULES: Check = Check {
    name: "initrd-modules",
    doc: "The initrd is made of the modules of dracut that boot a disk, a live medium and from the network.",
    severity: Error,
    run: modules,
};

pub(super) const MODULES_MISSED: Check = Check {
    name: "initrd-modules-missed",
    doc: "The initrd has the modules of dracut that stock images have.",
    severity: Warning,
    run: modules_missed,
};

pub(super) const DRIVERS: Check = Check {
    name: "initrd-drivers",
    doc: "The initrd has the drivers of disks, file systems and networks, or the kernel itself has them.",
    severity: Error,
    run: drivers,
};

pub(super) const SOURCES: Check = Check {
    name: "initrd-sources",
    doc: "What the initrd was made from is in the image and says the same, so that it can be made again.",
    severity: Error,
    run: sources,
};

const PATH: &str = "/boot/initrd";
const AGAIN: &str = "write the initrd again, with the packages that it is made from";

fn read<'a>(subject: &'a Subject<'_>) -> Option<&'a Contents> {
    if !is_immucore(subject) {
        return None;
    }
    // One that cannot be read is a fault of its own.
    let unpacked = || Contents::read(&subject.tree.content(PATH.as_bytes())?);
    subject.initrd.get_or_init(unpacked).as_ref()
}

/// Programs by their last name, in any folder of programs.
const PROGRAMS: &[&str] = &["immucore", "rsync", "losetup", "cryptsetup", "mkfs.ext4", "lvm"];
const FILES: &[&str] = &[
    "usr/lib/systemd/system/immucore.service",
    "usr/lib/systemd/system/initrd.target.requires/immucore.service",
    "usr/lib/systemd/system-generators/immucore-generator",
];

fn content(subject: &Subject<'_>) -> Vec<Fault> {
    if !is_immucore(subject) {
        return Vec::new();
    }
    let Some(initrd) = read(subject) else {
        return vec![fault(PATH, "it cannot be unpacked", AGAIN)];
    };
    let has = |name: &str| {
        let folders = ["usr/bin", "usr/sbin", "bin", "sbin"];
        folders
            .iter()
            .any(|folder| initrd.has_program(&format!("{folder}/{name}")))
    };
    let mut faults: Vec<Fault> = PROGRAMS
        .iter()
        .filter(|name| !has(name))
        .map(|name| fault(PATH, format!("it lacks the program `{name}`"), AGAIN))
        .collect();
    let files = FILES.iter().filter(|path| !initrd.has(path));
    faults.extend(files.map(|path| fault(PATH, format!("it lacks `/{path}`"), AGAIN)));
    let versions: BTreeSet<&str> = initrd
        .paths()
        .filter_map(|path| path.strip_prefix("usr/lib/modules/"))
        // Beside them dracut's `modsign` makes a folder for keys.
        .filter_map(|path| path.split_once("/kernel/").map(|(version, _)| version))
        .collect();
    let wanted = subject.names("/lib/modules");
    if !versions.iter().copied().eq(wanted.iter().map(String::as_str)) {
        let found: Vec<&str> = versions.into_iter().collect();
        let fact = format!(
            "it has the modules of `{}`, and the image those of `{}`",
            found.join(", "),
            wanted.join(", ")
        );
        faults.push(fault(PATH, fact, AGAIN));
    }
    faults
}

/// kairos-init asks dracut for these, and immucore's module for what it depends on.
const NEEDED: &[&str] = &[
    "immucore",
    "dmsquash-live",
    "livenet",
    "rootfs-block",
    "dm",
    "fs-lib",
    "lvm",
];

fn modules(subject: &Subject<'_>) -> Vec<Fault> {
    let Some(initrd) = read(subject) else {
        return Vec::new();
    };
    let there = initrd.dracut_modules();
    let lacks = |name: &str| !there.iter().any(|module| module == name);
    let mut faults: Vec<Fault> = NEEDED
        .iter()
        .filter(|name| lacks(name))
        .map(|name| {
            fault(
                PATH,
                format!("it is made without dracut's module `{name}`"),
                AGAIN,
            )
        })
        .collect();
    let is_network = |module: &String| module.starts_with("network-") || module == "systemd-networkd";
    if !there.iter().any(is_network) {
        faults.push(fault(PATH, "it is made without a network", AGAIN));
    }
    faults
}

fn modules_missed(subject: &Subject<'_>) -> Vec<Fault> {
    let Some(initrd) = read(subject) else {
        return Vec::new();
    };
    let there = initrd.dracut_modules();
    ["multipath", "systemd-sysext"]
        .into_iter()
        .filter(|name| !there.iter().any(|module| module == name))
        .map(|name| {
            fault(
                PATH,
                format!("it is made without dracut's module `{name}`"),
                AGAIN,
            )
        })
        .collect()
}

const DRIVERS_NEEDED: &[&str] = &[
    "overlay",
    "loop",
    "squashfs",
    "ext4",
    "vfat",
    "isofs",
    "virtio_blk",
    "virtio_pci",
    "virtio_net",
    "sd_mod",
    "nvme",
];

fn drivers(subject: &Subject<'_>) -> Vec<Fault> {
    let Some(initrd) = read(subject) else {
        return Vec::new();
    };
    let built_in = subject
        .names("/lib/modules")
        .first()
        .and_then(|version| subject.text(&format!("/lib/modules/{version}/modules.builtin")))
        .unwrap_or_default();
    let name = |path: &str| {
        let file = path.rsplit('/').next().unwrap_or(path);
        file.split(".ko").next().unwrap_or(file).replace('-', "_")
    };
    let there: BTreeSet<String> = initrd
        .paths()
        .filter(|path| path.contains(".ko"))
        .chain(built_in.lines())
        .map(name)
        .collect();
    DRIVERS_NEEDED
        .iter()
        .filter(|driver| !there.contains(**driver))
        .map(|driver| {
            let help = "take a kernel package that has it, such as `linux-image-amd64`";
            fault(PATH, format!("it lacks the driver `{driver}`"), help)
        })
        .collect()
}

const OWN_MODULE: &str = "/usr/lib/dracut/modules.d/28immucore";
const SETTINGS: &str = "/etc/dracut.conf.d/99-immucore.conf";

fn sources(subject: &Subject<'_>) -> Vec<Fault> {
    let Some(initrd) = read(subject) else {
        return Vec::new();
    };
    let mut faults: Vec<Fault> = [
        SETTINGS.to_owned(),
        format!("{OWN_MODULE}/module-setup.sh"),
        format!("{OWN_MODULE}/generator.sh"),
    ]
    .into_iter()
    .filter(|path| !subject.exists(path))
    .map(|path| {
        fault(
            path,
            "it is missing: an initrd that is made again would lack immucore",
            AGAIN,
        )
    })
    .collect();
    let service = format!("{OWN_MODULE}/immucore.service");
    let inside = initrd.text("usr/lib/systemd/system/immucore.service");
    if inside.is_some() && subject.text(&service) != inside {
        faults.push(fault(service, "the initrd has another one", AGAIN));
    }
    faults
}
