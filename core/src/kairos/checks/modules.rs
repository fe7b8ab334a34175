//! The kernel's modules: their index, and what is loaded at boot.

use std::collections::{BTreeMap, BTreeSet};

use crate::modules::{self, DIRECTORY, known_names, name};
use crate::tree::{Kind, resolve};

use super::Severity::{Error, Warning};
use super::{Check, Fault, Subject, fault};

pub(super) const INDEXED: Check = Check {
    name: "kernel-modules",
    doc: "`modules.dep` lists every module that is there, and none that is not.",
    severity: Error,
    run: indexed,
};

pub(super) const DKMS: Check = Check {
    name: "kernel-dkms",
    doc: "The modules that DKMS knows are built for the kernel.",
    severity: Error,
    run: dkms,
};

pub(super) const LOADED: Check = Check {
    name: "kernel-load",
    doc: "What the flavor loads at boot are modules, by a name that `modprobe` finds.",
    severity: Error,
    run: loaded,
};

pub(super) const LOADED_BY_OTHERS: Check = Check {
    name: "kernel-load-missed",
    doc: "What packages and other files load at boot are modules, by a name that `modprobe` finds.",
    severity: Warning,
    run: loaded_by_others,
};

/// The file of a flavor's `load`.
pub(crate) const LOAD: &str = "kcompose.conf";
/// Where systemd-modules-load looks; a file of an earlier folder hides one of the same name (modules-load.d(5)).
const LOAD_FOLDERS: [&str; 2] = ["/etc/modules-load.d", "/usr/lib/modules-load.d"];
/// How many names a message has.
const SHOWN: usize = 5;

/// The version of the one kernel; that there is one is another check.
fn version(subject: &Subject<'_>) -> Option<String> {
    match subject.names(DIRECTORY).as_slice() {
        [one] => Some(one.clone()),
        _ => None,
    }
}

fn indexed(subject: &Subject<'_>) -> Vec<Fault> {
    let Some(version) = version(subject) else {
        return Vec::new();
    };
    let folder = format!("{DIRECTORY}/{version}");
    let index = format!("{folder}/modules.dep");
    let Some(text) = subject.text(&index) else {
        return Vec::new();
    };
    let files = modules::files(subject.tree, &folder);
    let listed: BTreeSet<&str> = modules::listed(&text).map(|(path, _)| path).collect();
    // Of two modules with one name `depmod` lists the one that `modprobe` takes.
    let names: BTreeSet<String> = listed.iter().map(|path| name(path)).collect();
    let unlisted = files.keys().filter(|path| !names.contains(&name(path)));
    let gone = listed.iter().filter(|path| !files.contains_key(**path));
    let help = "run `depmod` after the last module is installed or deleted";
    let mut faults = Vec::new();
    if let Some(paths) = some(unlisted.map(String::as_str)) {
        faults.push(fault(&*index, format!("it does not list {paths}"), help));
    }
    if let Some(paths) = some(gone.copied()) {
        faults.push(fault(
            &*index,
            format!("it lists what is not there: {paths}"),
            help,
        ));
    }
    faults
}

/// The first names of some; `None` if there are none.
fn some<'a>(names: impl Iterator<Item = &'a str>) -> Option<String> {
    let names: Vec<&str> = names.collect();
    let shown: Vec<String> = names.iter().take(SHOWN).map(|name| format!("`{name}`")).collect();
    let shown = shown.join(", ");
    match names.len() {
        0 => None,
        1..=SHOWN => Some(shown),
        more => Some(format!("{shown} and {} more", more - SHOWN)),
    }
}

/// DKMS skips what it cannot build without the kernel's headers, and says so only in a log.
fn dkms(subject: &Subject<'_>) -> Vec<Fault> {
    const TREE: &str = "/var/lib/dkms";
    let Some(version) = version(subject) else {
        return Vec::new();
    };
    // With headers it builds, fails, or the module says that it is not for this kernel (BUILD_EXCLUSIVE in dkms.conf).
    if subject.exists(&format!("{DIRECTORY}/{version}/build")) {
        return Vec::new();
    }
    let mut faults = Vec::new();
    for module in subject.names(TREE) {
        let folder = format!("{TREE}/{module}");
        for release in subject.names(&folder) {
            let here = format!("{folder}/{release}");
            let is_source = subject.tree.entry(format!("{here}/source").as_bytes()).is_some();
            if is_source && !subject.exists(&format!("{here}/{version}")) {
                let fact =
                    format!("the module was not built: the image has no headers of the kernel {version}");
                let help = "add the package with the headers of this kernel, such as `linux-headers-amd64`";
                faults.push(fault(here, fact, help));
            }
        }
    }
    faults
}

fn loaded(subject: &Subject<'_>) -> Vec<Fault> {
    unknown(subject, |file| file == LOAD)
}

fn loaded_by_others(subject: &Subject<'_>) -> Vec<Fault> {
    unknown(subject, |file| file != LOAD)
}

/// What the chosen files load that `modprobe` would not find.
fn unknown(subject: &Subject<'_>, is_chosen: impl Fn(&str) -> bool) -> Vec<Fault> {
    let loads = loads(subject, is_chosen);
    let Some(version) = version(subject).filter(|_| !loads.is_empty()) else {
        return Vec::new();
    };
    let known = known_names(subject.tree, &version);
    loads
        .into_iter()
        .filter(|(module, _)| !known.contains(&name(module)))
        .map(|(module, path)| {
            let fact = format!("it loads `{module}`, and the kernel {version} has no such module");
            fault(
                path,
                fact,
                "correct the name, or install the package with the module",
            )
        })
        .collect()
}

/// The names in the chosen files, each with the file.
fn loads(subject: &Subject<'_>, is_chosen: impl Fn(&str) -> bool) -> Vec<(String, String)> {
    let mut files: BTreeMap<String, String> = BTreeMap::new();
    for folder in LOAD_FOLDERS {
        for file in subject.names(folder) {
            if file.ends_with(".conf") && is_chosen(&file) {
                files.entry(file.clone()).or_insert(format!("{folder}/{file}"));
            }
        }
    }
    let mut loads = Vec::new();
    for path in files.into_values() {
        let is_file = resolve(subject.tree, path.as_bytes())
            .and_then(|real| subject.tree.entry(&real))
            .is_some_and(|entry| matches!(entry.kind, Kind::File(_)));
        let text = subject.text(&path).filter(|_| is_file).unwrap_or_default();
        let lines = text.lines().map(str::trim);
        let names = lines.filter(|line| !line.is_empty() && !line.starts_with(['#', ';']));
        loads.extend(names.map(|name| (name.to_owned(), path.clone())));
    }
    loads
}
