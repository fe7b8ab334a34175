//! The manifest of what the image ships in kept paths.

use std::collections::BTreeMap;

use sha2::{Digest, Sha256};

use crate::tree::{Entry, Kind, Tree};

use super::Severity::Error;
use super::layout::Runtime;
use super::walk::walk;
use super::{Check, Fault, Subject, fault, shown};

pub(super) const SEED: Check = Check {
    name: "layout-seed",
    doc: "The manifest has everything that the image ships in kept paths, as it is: what it lacks would be hidden.",
    severity: Error,
    run: seed,
};

/// Where the manifest is.
const MANIFEST: &str = "/usr/lib/kcompose/layout/seed.manifest";

fn seed(subject: &Subject<'_>) -> Vec<Fault> {
    let Some(layout) = subject
        .layout
        .as_ref()
        .filter(|layout| layout.runtime == Runtime::Systemd)
    else {
        return Vec::new();
    };
    let Some(content) = subject.tree.content(MANIFEST.as_bytes()) else {
        return vec![fault(
            MANIFEST,
            "it is missing",
            "nothing of the image would be in kept paths: build it again",
        )];
    };
    let mut said: BTreeMap<Vec<u8>, String> = content.split(|byte| *byte == b'\n').filter_map(line).collect();
    let mut faults = Vec::new();
    let mut look = |path: &[u8], entry: &Entry| {
        let Some(found) = description(subject.tree, path, entry) else {
            return;
        };
        match said.remove(path) {
            Some(said) if said == found => {}
            Some(said) => faults.push(not_as_said(
                path,
                &format!("it is `{found}`, and the manifest says `{said}`"),
            )),
            None => faults.push(not_as_said(
                path,
                "the manifest does not have it, so that it would be hidden at boot",
            )),
        }
    };
    // A kept path in another one is visited with the outer one.
    let outer = |path: &&String| {
        !layout
            .kept
            .iter()
            .any(|other| other != *path && is_in(path.as_bytes(), other.as_bytes()))
    };
    for kept in layout.kept.iter().filter(outer) {
        let Some(entry) = subject.tree.entry(kept.as_bytes()) else {
            continue;
        };
        look(kept.as_bytes(), &entry);
        walk(subject.tree, kept.as_bytes(), &mut look);
    }
    faults.extend(
        said.keys()
            .map(|path| not_as_said(path, "the manifest has it, and the image does not")),
    );
    faults
}

fn is_in(path: &[u8], above: &[u8]) -> bool {
    path.strip_prefix(above)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with(b"/"))
}

fn not_as_said(path: &[u8], fact: &str) -> Fault {
    fault(
        shown(path),
        fact,
        "nothing may change kept paths after the manifest is written: build the image again",
    )
}

/// A line of the manifest: its path, and all that stands before it.
fn line(line: &[u8]) -> Option<(Vec<u8>, String)> {
    let cut = line.iter().rposition(|byte| *byte == b' ')?;
    Some((
        unescaped(&line[cut + 1..]),
        without_leading_zeros(&shown(&line[..cut])),
    ))
}

/// The same with a mode that has no leading zeros, however its writer pads it.
fn without_leading_zeros(said: &str) -> String {
    let mut words: Vec<&str> = said.split(' ').collect();
    if let Some(mode) = words.get_mut(1) {
        *mode = mode.trim_start_matches('0');
    }
    words.join(" ")
}

/// `type mode uid gid value`, as the manifest has it; `None` for what is never seeded.
fn description(tree: &dyn Tree, path: &[u8], entry: &Entry) -> Option<String> {
    let (kind, value) = match &entry.kind {
        Kind::File(_) => ('f', hex(&Sha256::digest(tree.content(path).unwrap_or_default()))),
        Kind::Directory => ('d', "-".to_owned()),
        Kind::Link(target) => ('l', escaped(target)),
        Kind::Device | Kind::Special => return None,
    };
    Some(without_leading_zeros(&format!(
        "{kind} {:o} {} {} {value}",
        entry.mode, entry.uid, entry.gid
    )))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn escaped(bytes: &[u8]) -> String {
    let mut text = Vec::new();
    for byte in bytes {
        match byte {
            b'\\' | 0..=b' ' | 0x7f => text.extend_from_slice(format!("\\{byte:03o}").as_bytes()),
            byte => text.push(*byte),
        }
    }
    shown(&text)
}

fn unescaped(text: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text;
    while let [first, tail @ ..] = rest {
        let digits = tail.get(..3).and_then(|digits| std::str::from_utf8(digits).ok());
        let code = digits.and_then(|digits| u8::from_str_radix(digits, 8).ok());
        match (first, code) {
            (b'\\', Some(code)) => {
                bytes.push(code);
                rest = &tail[3..];
            }
            (byte, _) => {
                bytes.push(*byte);
                rest = tail;
            }
        }
    }
    bytes
}
