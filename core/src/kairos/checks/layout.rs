//! The immutable layout, as an image itself says it.

use std::collections::{BTreeMap, BTreeSet};

use crate::tree::{Kind, Tree, content_following, entry_following};

use super::Severity::{Error, Warning};
use super::walk::{is_real_directory, walk};
use super::{Check, Fault, Subject, fault, shown};

pub(super) const DATA: Check = Check {
    name: "layout",
    doc: "The image says its layout: as data of the runtime `systemd`, or in the files of immucore.",
    severity: Error,
    run: data,
};

pub(super) const ROOT_DIRECTORIES: Check = Check {
    name: "layout-root-directories",
    doc: "`/etc`, `/var`, `/srv` and `/boot` are directories, and `/var/lock` is there.",
    severity: Error,
    run: root_directories,
};

pub(super) const MOUNT_POINTS: Check = Check {
    name: "layout-mount-points",
    doc: "Every directory is there that a boot mounts over.",
    severity: Warning,
    run: mount_points,
};

pub(super) const DIRECTORIES: Check = Check {
    name: "layout-directories",
    doc: "Every path of the layout that lies on the read-only root is a directory of the image.",
    severity: Error,
    run: directories,
};

pub(super) const DISJOINT: Check = Check {
    name: "layout-disjoint",
    doc: "No path of the layout has two classes, and none lies where it cannot be.",
    severity: Error,
    run: disjoint,
};

pub(super) const HIDDEN_FILES: Check = Check {
    name: "layout-hidden-files",
    doc: "The image has no file that a partition hides when it is mounted, but what a package ships.",
    severity: Error,
    run: |subject| hidden_files(subject, false),
};

pub(super) const HIDDEN_PACKAGE_FILES: Check = Check {
    name: "layout-hidden-package-files",
    doc: "No package ships a file that a partition hides when it is mounted.",
    severity: Warning,
    run: |subject| hidden_files(subject, true),
};

pub(super) const FSTAB: Check = Check {
    name: "layout-fstab",
    doc: "`/etc/fstab` has no entries: the layout takes its place.",
    severity: Warning,
    run: fstab,
};

pub(super) const STAMPS: Check = Check {
    name: "layout-stamps",
    doc: "`/etc/.updated` and `/var/.updated` are as new as `/usr`, so that no boot takes the image for a new one.",
    severity: Error,
    run: stamps,
};

/// Where the runtime `systemd` keeps its layout.
const OWN: &str = "/usr/lib/kcompose/layout";
/// Where immucore's layout comes from.
const IMMUCORE: &str = "/system/oem/00_rootfs.yaml";

/// Where a flavor's changes to it are.
pub const IMMUCORE_OWN: &str = "/system/oem/00_rootfs_kcompose.yaml";

/// The lists that a flavor's changes say: kept, ephemeral, forgotten.
pub fn own_lists(text: &str) -> [Vec<String>; 3] {
    ["kept", "ephemeral", "forgotten"].map(|name| {
        let start = format!("{name}=\"");
        let line = text
            .lines()
            .find_map(|line| line.trim().strip_prefix(&start)?.strip_suffix('"'));
        line.unwrap_or_default()
            .split_whitespace()
            .map(str::to_owned)
            .collect()
    })
}

/// Who applies the layout at boot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Runtime {
    /// systemd and a generic initrd.
    Systemd,
    /// Kairos' immucore.
    Immucore,
}

/// The layout of an image, read from it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LayoutData {
    /// Who applies it.
    pub runtime: Runtime,
    /// Paths under an overlay in memory.
    pub ephemeral: Vec<String>,
    /// Paths bound from COS_PERSISTENT.
    pub kept: Vec<String>,
    /// Partitions: label and path.
    pub partitions: Vec<(String, String)>,
    /// Paths under an overlay in recovery.
    pub recovery: Vec<String>,
}

impl LayoutData {
    /// The layout that a tree says; `None` if it says none.
    pub fn read(tree: &dyn Tree) -> Option<Self> {
        let text = |path: &str| {
            content_following(tree, path.as_bytes())
                .map(|content| String::from_utf8_lossy(&content).into_owned())
        };
        if let Some(overlays) = text(&format!("{OWN}/active.overlays")) {
            let list = |name: &str| text(&format!("{OWN}/{name}")).unwrap_or_default();
            let partitions = list("partitions");
            return Some(LayoutData {
                runtime: Runtime::Systemd,
                ephemeral: paths(&overlays),
                kept: paths(&list("kept")),
                partitions: partitions.lines().filter_map(partition).collect(),
                recovery: paths(&list("recovery.overlays")),
            });
        }
        let stock = text(IMMUCORE)?;
        let [kept, ephemeral, forgotten] = text(IMMUCORE_OWN)
            .map(|text| own_lists(&text))
            .unwrap_or_default();
        let changed = |key: &str, added: Vec<String>| {
            let mut paths = yaml_paths(&stock, key);
            paths.retain(|path| !forgotten.contains(path));
            let new: Vec<String> = added.into_iter().filter(|path| !paths.contains(path)).collect();
            paths.extend(new);
            paths
        };
        Some(LayoutData {
            runtime: Runtime::Immucore,
            ephemeral: changed("RW_PATHS", ephemeral),
            kept: changed("PERSISTENT_STATE_PATHS", kept),
            partitions: [("COS_OEM", "/oem"), ("COS_PERSISTENT", "/usr/local")]
                .map(|(a, b)| (a.into(), b.into()))
                .into(),
            recovery: Vec::new(),
        })
    }

    /// Whether a path lies in an overlay, where directories can be made at boot.
    fn is_in_overlay(&self, path: &str) -> bool {
        self.ephemeral.iter().any(|above| is_below(path, above))
    }
}

fn paths(text: &str) -> Vec<String> {
    text.lines()
        .map(str::trim)
        .filter(|line| line.starts_with('/'))
        .map(str::to_owned)
        .collect()
}

fn partition(line: &str) -> Option<(String, String)> {
    let mut words = line.split_whitespace();
    Some((words.next()?.to_owned(), words.next()?.to_owned()))
}

/// The first list of paths that a key of a YAML file has: on its line, or folded over the next ones.
fn yaml_paths(text: &str, key: &str) -> Vec<String> {
    let mut lines = text
        .lines()
        .skip_while(|line| !line.trim_start().starts_with(&format!("{key}:")));
    let Some(first) = lines.next() else {
        return Vec::new();
    };
    let first = first.split_once(':').map_or("", |(_, rest)| rest);
    let folded = lines.take_while(|line| line.trim().is_empty() || line.trim_start().starts_with('/'));
    std::iter::once(first)
        .chain(folded)
        .flat_map(str::split_whitespace)
        .map(|word| word.trim_matches(['"', '\'']))
        .filter(|word| word.starts_with('/'))
        .map(str::to_owned)
        .collect()
}

fn is_below(path: &str, above: &str) -> bool {
    path.strip_prefix(above).is_some_and(|rest| rest.starts_with('/'))
}

fn data(subject: &Subject<'_>) -> Vec<Fault> {
    let Some(layout) = &subject.layout else {
        let help = "build it with `kcompose build`, or with immucore's own files in `/system/oem`";
        return vec![fault(
            OWN,
            "the image says no layout: nothing would be kept, and nothing could be written",
            help,
        )];
    };
    if layout.runtime == Runtime::Immucore {
        return Vec::new();
    }
    [
        "settings",
        "partitions",
        "kept",
        "active.fstab",
        "recovery.overlays",
        "recovery.fstab",
    ]
    .into_iter()
    .filter(|name| !subject.exists(&format!("{OWN}/{name}")))
    .map(|name| {
        fault(
            format!("{OWN}/{name}"),
            "it is missing",
            "the boot reads it: build the image again",
        )
    })
    .collect()
}

fn root_directories(subject: &Subject<'_>) -> Vec<Fault> {
    let mut needed = vec!["/etc", "/var", "/srv", "/boot"];
    // Live media of Kairos wait for it; the runtime `systemd` has none.
    if subject
        .layout
        .as_ref()
        .is_some_and(|layout| layout.runtime == Runtime::Immucore)
    {
        needed.push("/system");
    }
    let mut faults: Vec<Fault> = needed
        .into_iter()
        .filter(|path| !is_real_directory(subject.tree, path))
        .map(|path| {
            fault(
                path,
                "it is not a directory of the image",
                "make the directory: it is mounted over at boot",
            )
        })
        .collect();
    if subject.tree.entry(b"/var/lock").is_none() {
        faults.push(fault(
            "/var/lock",
            "it is missing",
            "link it to `/run/lock`, as Debian's `base-files` does",
        ));
    }
    faults
}

fn mount_points(subject: &Subject<'_>) -> Vec<Fault> {
    ["/oem", "/usr/local", "/proc", "/sys", "/dev", "/run", "/tmp"]
        .into_iter()
        .filter(|path| !is_real_directory(subject.tree, path))
        .map(|path| {
            let help = "make the directory: installers make it, and a disk made by hand lacks it";
            fault(path, "it is not a directory of the image", help)
        })
        .collect()
}

fn directories(subject: &Subject<'_>) -> Vec<Fault> {
    let Some(layout) = &subject.layout else {
        return Vec::new();
    };
    let kept = layout.kept.iter().filter(|path| !layout.is_in_overlay(path));
    let partitions = layout.partitions.iter().map(|(_, path)| path);
    let partitions = partitions
        .filter(|path| !matches!(path.as_str(), "/oem" | "/usr/local") && !layout.is_in_overlay(path));
    let mut needed: BTreeSet<&String> = layout.ephemeral.iter().chain(kept).chain(partitions).collect();
    // immucore makes overlays of what there is and skips the rest with a warning.
    needed.extend(layout.recovery.iter().filter(|path| *path != "/usr/local"));
    needed
        .into_iter()
        .filter(|path| !is_real_directory(subject.tree, path))
        .map(|path| {
            let help = format!(
                "make it: `files {{ directory \"{path}\" mode=\"0755\"; }}`; the root is read-only at boot"
            );
            fault(
                path,
                "the layout has it, and it is not a directory of the image",
                help,
            )
        })
        .collect()
}

/// Where no path of a layout can be: partitions and what is memory at every boot.
const TAKEN: &[&str] = &["/usr/local", "/oem", "/run", "/tmp"];

fn disjoint(subject: &Subject<'_>) -> Vec<Fault> {
    let Some(layout) = &subject.layout else {
        return Vec::new();
    };
    let mut classes: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    let mut note = |path, class| classes.entry(path).or_default().push(class);
    layout
        .ephemeral
        .iter()
        .for_each(|path| note(path.as_str(), "ephemeral"));
    layout.kept.iter().for_each(|path| note(path.as_str(), "kept"));
    layout
        .partitions
        .iter()
        .for_each(|(_, path)| note(path.as_str(), "persistent"));
    let mut faults = Vec::new();
    for (path, classes) in &classes {
        if classes.len() > 1 {
            let fact = format!("it is {} at once", classes.join(" and "));
            faults.push(fault(*path, fact, "say one of them"));
        }
        let place = TAKEN
            .iter()
            .find(|taken| is_below(path, taken) || (*path == **taken && classes != &["persistent"]));
        if let Some(place) = place {
            let fact = format!("it lies in `{place}`, which is mounted over it");
            faults.push(fault(
                *path,
                fact,
                format!("take it out of the layout: `{place}` is writable anyway"),
            ));
        }
    }
    faults
}

/// Hidden files: those of packages, or all others. What the flavor accepts is none of them.
fn hidden_files(subject: &Subject<'_>, of_packages: bool) -> Vec<Fault> {
    let mut hiding: BTreeSet<&str> = BTreeSet::from(["/usr/local", "/oem"]);
    if let Some(layout) = &subject.layout {
        hiding.extend(layout.partitions.iter().map(|(_, path)| path.as_str()));
    }
    let mut faults = Vec::new();
    for above in hiding {
        walk(subject.tree, above.as_bytes(), &mut |path, entry| {
            // Directories are not counted, nor links to them: Debian's base-files ships `/usr/local/man -> share/man`.
            let content = match entry.kind {
                Kind::Link(_) => {
                    entry_following(subject.tree, path).is_some_and(|found| found.kind != Kind::Directory)
                }
                Kind::Directory => false,
                Kind::File(_) | Kind::Device | Kind::Special => true,
            };
            if !content {
                return;
            }
            let owned = subject.owned();
            if !owned.may_be_hidden(path) && owned.is_of_package(path) == of_packages {
                let fact = format!("the partition at `{above}` hides it at boot");
                let path = shown(path);
                let help = format!(
                    "ship it elsewhere, such as below `/usr/lib`; if that is meant: `layout {{ allow-hidden \"{path}\"; }}`"
                );
                faults.push(fault(path, fact, help));
            }
        });
    }
    faults
}

fn fstab(subject: &Subject<'_>) -> Vec<Fault> {
    let text = subject.text("/etc/fstab").unwrap_or_default();
    text.lines()
        .map(str::trim)
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
        .map(|line| {
            let help = "say it in `layout`; mounts of an image's own fstab are not part of the layout";
            fault("/etc/fstab", format!("it has the entry `{line}`"), help)
        })
        .collect()
}

fn stamps(subject: &Subject<'_>) -> Vec<Fault> {
    // Who mounts fresh overlays over /etc and /var; only the layout says so.
    let Some(layout) = &subject.layout else {
        return Vec::new();
    };
    if layout.runtime == Runtime::Immucore {
        return Vec::new();
    }
    let Some(usr) = subject.tree.entry(b"/usr") else {
        return Vec::new();
    };
    ["/etc/.updated", "/var/.updated"]
        .into_iter()
        .filter_map(|path| {
            let fact = match subject.tree.entry(path.as_bytes()) {
                None => "it is missing".to_owned(),
                Some(stamp) if stamp.mtime == usr.mtime => return None,
                Some(stamp) => format!("its time is {}, and that of `/usr` is {}", stamp.mtime, usr.mtime),
            };
            let help =
                "write it after the last change below `/usr`: else `ldconfig` and others run at every boot";
            Some(fault(path, fact, help))
        })
        .collect()
}
