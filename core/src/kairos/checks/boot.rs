//! Kernel, initrd and what GRUB reads.

use crate::tree::{Kind, resolve};

use super::Severity::{Error, Warning};
use super::{Check, Fault, Subject, fault};

pub(super) const ONE_KERNEL: Check = Check {
    name: "kernel-one",
    doc: "There is exactly one kernel, with its modules and their index.",
    severity: Error,
    run: one_kernel,
};

pub(super) const KERNEL_LINK: Check = Check {
    name: "kernel-link",
    doc: "`/boot/vmlinuz` is the kernel, or a relative link to it.",
    severity: Error,
    run: kernel_link,
};

pub(super) const INITRD: Check = Check {
    name: "kernel-initrd",
    doc: "`/boot/initrd` is the one initrd.",
    severity: Error,
    run: initrd,
};

pub(super) const GRUB: Check = Check {
    name: "kairos-grub",
    doc: "`/etc/cos/grub.cfg` has Kairos' entries, and `/etc/cos/bootargs.cfg` the kernel's arguments.",
    severity: Error,
    run: grub,
};

pub(super) const BOOT_LOADER: Check = Check {
    name: "kairos-boot-loader",
    doc: "The image brings the boot loader that an installer puts on a disk.",
    severity: Warning,
    run: missing_boot_loader,
};

/// How Kairos' tools know a kernel in `/boot` by its name.
const KERNEL_PREFIXES: &[&str] = &["vmlinuz-", "vmlinux-", "Image-"];

fn one_kernel(subject: &Subject<'_>) -> Vec<Fault> {
    const MODULES: &str = "/lib/modules";
    let versions = subject.names(MODULES);
    let kernels: Vec<String> = subject
        .names("/boot")
        .into_iter()
        .filter(|name| KERNEL_PREFIXES.iter().any(|prefix| name.starts_with(prefix)))
        .collect();
    let mut faults = Vec::new();
    let [version] = versions.as_slice() else {
        let fact = format!(
            "there is not exactly one directory in it, but {}",
            listed(&versions)
        );
        return vec![fault(
            MODULES,
            fact,
            "install one kernel: an update takes the first in the alphabet, which is the oldest",
        )];
    };
    if !subject.exists(&format!("{MODULES}/{version}/modules.dep")) {
        let help = "run `depmod` after the last module is installed";
        faults.push(fault(
            format!("{MODULES}/{version}"),
            "there is no `modules.dep`",
            help,
        ));
    }
    match kernels.as_slice() {
        [kernel] => {
            let of = KERNEL_PREFIXES
                .iter()
                .find_map(|prefix| kernel.strip_prefix(prefix))
                .unwrap_or(kernel);
            if of != version {
                let fact = format!("the kernel is of `{of}`, and the modules are of `{version}`");
                faults.push(fault(
                    format!("/boot/{kernel}"),
                    fact,
                    "install the modules of this kernel",
                ));
            }
        }
        kernels => {
            let fact = format!("there is not exactly one kernel in it, but {}", listed(kernels));
            faults.push(fault("/boot", fact, "install one kernel"));
        }
    }
    faults
}

fn listed(names: &[String]) -> String {
    if names.is_empty() {
        "none".to_owned()
    } else {
        format!("{}: {}", names.len(), names.join(", "))
    }
}

fn kernel_link(subject: &Subject<'_>) -> Vec<Fault> {
    const PATH: &str = "/boot/vmlinuz";
    let Some(entry) = subject.tree.entry(PATH.as_bytes()) else {
        return vec![fault(
            PATH,
            "it is missing",
            "make it a relative link to the kernel beside it",
        )];
    };
    let Kind::Link(target) = &entry.kind else {
        let is_file = matches!(entry.kind, Kind::File(1..));
        return if is_file {
            Vec::new()
        } else {
            vec![fault(PATH, "it is neither a file nor a link", "make it a link")]
        };
    };
    if target.starts_with(b"/") {
        let fact = format!("it is an absolute link, to `{}`", super::shown(target));
        let help =
            "make it relative: tools that look into the image follow an absolute one to their own kernel";
        return vec![fault(PATH, fact, help)];
    }
    let found = resolve(subject.tree, PATH.as_bytes()).and_then(|real| subject.tree.entry(&real));
    if found.is_some_and(|entry| matches!(entry.kind, Kind::File(1..))) {
        return Vec::new();
    }
    vec![fault(
        PATH,
        format!("it leads to `{}`, which is not there", super::shown(target)),
        "link it to the kernel",
    )]
}

fn initrd(subject: &Subject<'_>) -> Vec<Fault> {
    const PATH: &str = "/boot/initrd";
    let mut faults = Vec::new();
    match subject.tree.entry(PATH.as_bytes()).map(|entry| entry.kind) {
        Some(Kind::File(1..)) if is_archive(subject, PATH) => {}
        Some(Kind::File(1..)) => {
            let fact = "it is no archive that a kernel can unpack";
            faults.push(fault(
                PATH,
                fact,
                "write it as cpio, plain or compressed with gzip, xz or zstd",
            ));
        }
        Some(_) => faults.push(fault(
            PATH,
            "it is empty or not a regular file",
            "write the initrd itself there",
        )),
        None => faults.push(fault(
            PATH,
            "it is missing",
            "write the initrd there, without a version in its name",
        )),
    }
    for name in subject
        .names("/boot")
        .iter()
        .filter(|name| name.starts_with("initr") && *name != "initrd")
    {
        let help = "delete it: tools take the first file in the alphabet that begins so";
        faults.push(fault(format!("/boot/{name}"), "it is a second initrd", help));
    }
    faults
}

/// Whether a file begins like a cpio archive, or like what a kernel can decompress.
fn is_archive(subject: &Subject<'_>, path: &str) -> bool {
    const MAGICS: &[&[u8]] = &[
        b"070701",
        b"070702",
        b"\x1f\x8b",
        b"\xfd7zXZ\0",
        b"\x28\xb5\x2f\xfd",
        b"BZh",
        b"\x5d\0\0",
        b"\x02\x21\x4c\x18",
        b"\x89LZO",
    ];
    let start = subject.tree.piece(path.as_bytes(), 0, 6).unwrap_or_default();
    MAGICS.iter().any(|magic| start.starts_with(magic))
}

fn grub(subject: &Subject<'_>) -> Vec<Fault> {
    const MENU: &str = "/etc/cos/grub.cfg";
    const ARGUMENTS: &str = "/etc/cos/bootargs.cfg";
    let mut faults = Vec::new();
    match subject.text(MENU) {
        None => faults.push(fault(
            MENU,
            "it is missing",
            "an installer copies it to the boot partition",
        )),
        Some(menu) => {
            for id in ["cos", "fallback", "recovery", "statereset"] {
                if !menu.lines().any(|line| has_id(line, id)) {
                    let help = "Kairos' tools choose the entry by its id";
                    faults.push(fault(MENU, format!("there is no entry `--id {id}`"), help));
                }
            }
        }
    }
    let Some(arguments) = subject.text(ARGUMENTS) else {
        faults.push(fault(
            ARGUMENTS,
            "it is missing",
            "GRUB reads the kernel's arguments from it: without it nothing boots",
        ));
        return faults;
    };
    for needed in ["kernelcmd", "cos-img/filename=$img", "root=LABEL=$label"] {
        if !arguments.replace("${", "$").replace('}', "").contains(needed) {
            let help = "it sets `kernelcmd` with `root=LABEL=$label cos-img/filename=$img`";
            faults.push(fault(ARGUMENTS, format!("it lacks `{needed}`"), help));
        }
    }
    faults
}

fn has_id(line: &str, id: &str) -> bool {
    let mut words = line.split_whitespace();
    words.any(|word| word == "--id")
        && words
            .next()
            .is_some_and(|word| word.trim_matches(['"', '\'']) == id)
}

/// The architecture's names: OCI's, GRUB's for EFI, and the packages of Debian with both loaders.
const LOADERS: &[(&str, &str, &str)] = &[
    (
        "amd64",
        "x86_64-efi",
        "grub-efi-amd64-signed, shim-signed, grub-efi-amd64-bin and grub-pc-bin",
    ),
    (
        "arm64",
        "arm64-efi",
        "grub-efi-arm64-signed, shim-signed and grub-efi-arm64-bin",
    ),
];

fn missing_boot_loader(subject: &Subject<'_>) -> Vec<Fault> {
    // An image of immucore is for installing: there it is an error of its own.
    if super::immucore::is_immucore(subject) {
        return Vec::new();
    }
    boot_loader(subject)
}

pub(super) fn boot_loader(subject: &Subject<'_>) -> Vec<Fault> {
    let architecture = subject.expectations.architecture.as_deref().unwrap_or("amd64");
    let Some((_, efi, packages)) = LOADERS.iter().find(|(known, ..)| *known == architecture) else {
        return Vec::new();
    };
    let mut missing = Vec::new();
    if !has_file(
        subject,
        &["/usr/lib/shim", "/usr/share/efi/x86_64", "/usr/share/efi/aarch64"],
        "shim",
    ) && !has_file(subject, EFI_FOLDERS, "shim")
    {
        missing.push("shim");
    }
    let signed = format!("/usr/lib/grub/{efi}-signed");
    let modules = format!("/usr/lib/grub/{efi}");
    if !has_file(
        subject,
        &[
            &signed,
            &modules,
            "/usr/share/efi/x86_64",
            "/usr/share/efi/aarch64",
        ],
        "grub",
    ) && !has_file(subject, EFI_FOLDERS, "grub")
    {
        missing.push("GRUB for EFI");
    }
    if !["/usr/lib/grub", "/usr/share/grub2", "/usr/share/grub"]
        .iter()
        .any(|root| subject.exists(&format!("{root}/{efi}/loopback.mod")))
    {
        missing.push("GRUB's modules for EFI");
    }
    if architecture == "amd64"
        && !["/usr/lib/grub", "/usr/share/grub2"]
            .iter()
            .any(|root| subject.exists(&format!("{root}/i386-pc/modinfo.sh")))
    {
        missing.push("GRUB for BIOS");
    }
    if missing.is_empty() {
        return Vec::new();
    }
    let fact = format!("a bootable disk will need {}", missing.join(", "));
    vec![fault(
        "/usr/lib/grub",
        fact,
        format!("add the packages {packages} when the image is to be installed to a disk"),
    )]
}

const EFI_FOLDERS: &[&str] = &[
    "/boot/efi/EFI/fedora",
    "/boot/efi/EFI/rocky",
    "/boot/efi/EFI/redhat",
    "/boot/efi/EFI/almalinux",
];

fn has_file(subject: &Subject<'_>, folders: &[&str], prefix: &str) -> bool {
    let is_loader = |name: &String| name.starts_with(prefix) && name.contains(".efi");
    folders
        .iter()
        .any(|folder| subject.names(folder).iter().any(is_loader))
}
