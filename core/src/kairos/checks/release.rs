//! `/etc/os-release` and `/etc/kairos-release`: what an image says it is.

use std::collections::BTreeMap;

use super::Severity::{Error, Warning};
use super::{Check, Fault, Subject, fault};
use crate::kairos::MODELS;

const OS_RELEASE_PATH: &str = "/etc/os-release";
pub(super) const RELEASE_PATH: &str = "/etc/kairos-release";

pub(super) const OS_RELEASE: Check = Check {
    name: "os-release",
    doc: "`/etc/os-release` names a distro that Kairos' tools know, in the words by which they find it.",
    severity: Error,
    run: os_release,
};

pub(super) const KEYS: Check = Check {
    name: "release-keys",
    doc: "`/etc/kairos-release` has every key that Kairos' tools read.",
    severity: Error,
    run: keys,
};

pub(super) const VALUES: Check = Check {
    name: "release-values",
    doc: "`/etc/kairos-release` agrees with `/etc/os-release` and with the image's config.",
    severity: Error,
    run: values,
};

pub(super) const QUOTING: Check = Check {
    name: "release-quoting",
    doc: "GRUB can read `/etc/kairos-release`, and its flags are `true` or `false`.",
    severity: Warning,
    run: quoting,
};

/// Distros by `ID` or a word of `ID_LIKE`, and the word by which steps are gated on `PRETTY_NAME` (kairos-init,
/// `pkg/system/system.go` and its `only_os` patterns).
pub(crate) const DISTROS: &[(&str, &str)] = &[
    ("debian", "Debian"),
    ("ubuntu", "Ubuntu"),
    ("fedora", "Fedora"),
    ("rocky", "Rocky"),
    ("almalinux", "AlmaLinux"),
    ("ol", "Oracle"),
    ("rhel", "Red Hat"),
    ("arch", ""),
    ("alpine", "Alpine"),
    ("opensuse-leap", "openSUSE"),
    ("opensuse-tumbleweed", "openSUSE"),
    ("sles", "SUSE"),
    ("sle-micro-rancher", "SUSE"),
    ("hadron", ""),
    ("redhat", ""),
    ("suse", ""),
];

/// What `kairos-init validate` asks for (`pkg/validation/validate.go`), without the prefix `KAIROS_`.
const REQUIRED: &[&str] = &[
    "ID",
    "ID_LIKE",
    "NAME",
    "VERSION",
    "ARCH",
    "TARGETARCH",
    "FLAVOR",
    "FLAVOR_RELEASE",
    "FAMILY",
    "MODEL",
    "VARIANT",
    "BUG_REPORT_URL",
    "HOME_URL",
    "RELEASE",
];

fn os_release(subject: &Subject<'_>) -> Vec<Fault> {
    let Some(text) = subject.text(OS_RELEASE_PATH) else {
        return vec![fault(
            OS_RELEASE_PATH,
            "the file is missing",
            "install the distro's package with it (`base-files` on Debian)",
        )];
    };
    let values = parse(&text);
    let mut faults: Vec<Fault> = ["ID", "VERSION_ID", "PRETTY_NAME"]
        .into_iter()
        .filter(|key| value(&values, key).is_empty())
        .map(|key| {
            fault(
                OS_RELEASE_PATH,
                format!("`{key}` is missing"),
                format!("set `{key}=` in the file"),
            )
        })
        .collect();
    let known = distro(&values);
    match known {
        None => faults.push(fault(
            OS_RELEASE_PATH,
            format!(
                "neither `ID={}` nor a word of `ID_LIKE` is a distro that Kairos knows",
                value(&values, "ID")
            ),
            "keep the distro's own `ID`, or name it in `ID_LIKE`",
        )),
        Some((_, word)) if !value(&values, "PRETTY_NAME").contains(word) => faults.push(fault(
            OS_RELEASE_PATH,
            format!("`PRETTY_NAME` lacks the word `{word}`, by which Kairos' steps find their distro"),
            format!("keep the word in it, such as `PRETTY_NAME=\"Acme OS 1 (based on {word})\"`"),
        )),
        Some(_) => {}
    }
    faults
}

/// The known distro that an os-release names, directly or as what it is like.
fn distro(values: &BTreeMap<String, String>) -> Option<(&'static str, &'static str)> {
    let id = value(values, "ID");
    let like = value(values, "ID_LIKE");
    let mut names = std::iter::once(id).chain(like.split_whitespace());
    names.find_map(|name| DISTROS.iter().copied().find(|(known, _)| *known == name))
}

fn keys(subject: &Subject<'_>) -> Vec<Fault> {
    let Some(text) = subject.text(RELEASE_PATH) else {
        let help = "Kairos' tools take an image without it for none of theirs; `kcompose build` writes it";
        return vec![fault(RELEASE_PATH, "the file `kairos-release` is missing", help)];
    };
    let mut faults = Vec::new();
    for (number, line) in text.lines().enumerate() {
        if !is_assignment(line) {
            let fact = format!("line {} is not `KEY=\"value\"`: `{line}`", number + 1);
            faults.push(fault(
                RELEASE_PATH,
                fact,
                "write one assignment a line and nothing else",
            ));
        }
    }
    let values = parse(&text);
    for key in REQUIRED.iter().map(|key| format!("KAIROS_{key}")) {
        if value(&values, &key).is_empty() {
            faults.push(fault(
                RELEASE_PATH,
                format!("`{key}` is missing or empty"),
                format!("set `{key}=\"…\"`"),
            ));
        }
    }
    if !text.lines().any(|line| {
        line.strip_prefix("KAIROS_RELEASE=\"")
            .is_some_and(is_quoted_version)
    }) {
        let fact = "`KAIROS_RELEASE` is not a version in double quotes, such as `KAIROS_RELEASE=\"v1.2.3\"`";
        let help =
            "it must begin with `v`, be a semantic version, and have its quotes: AuroraBoot looks for them";
        faults.push(fault(RELEASE_PATH, fact, help));
    }
    faults
}

fn is_assignment(line: &str) -> bool {
    let key = line.split_once('=').map_or("", |(key, _)| key);
    let is_key = !key.is_empty()
        && key
            .bytes()
            .all(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit() || byte == b'_');
    line.trim().is_empty() || line.starts_with('#') || is_key
}

fn is_quoted_version(rest: &str) -> bool {
    let version = rest
        .strip_suffix('"')
        .and_then(|version| version.strip_prefix('v'));
    version.is_some_and(|version| semver::Version::parse(version).is_ok())
}

fn values(subject: &Subject<'_>) -> Vec<Fault> {
    let Some(text) = subject.text(RELEASE_PATH) else {
        return Vec::new();
    };
    let release = parse(&text);
    let mut faults = Vec::new();
    let mut differ = |key: &str, wanted: &str, source: &str| {
        let found = value(&release, key);
        if !found.is_empty() && !wanted.is_empty() && found != wanted {
            let fact = format!("`{key}` is `{found}`, and {source} says `{wanted}`");
            faults.push(fault(RELEASE_PATH, fact, format!("write `{key}=\"{wanted}\"`")));
        }
    };
    let architecture = subject.expectations.architecture.as_deref().unwrap_or_default();
    differ("KAIROS_ARCH", architecture, "the image's config");
    differ(
        "KAIROS_TARGETARCH",
        value(&release, "KAIROS_ARCH"),
        "`KAIROS_ARCH`",
    );
    if let Some(os) = subject.text(OS_RELEASE_PATH).map(|text| parse(&text)) {
        let (flavor, version, family) = mapping(&os);
        differ("KAIROS_FLAVOR", flavor, OS_RELEASE_PATH);
        differ("KAIROS_FLAVOR_RELEASE", &version, OS_RELEASE_PATH);
        differ("KAIROS_FAMILY", family, OS_RELEASE_PATH);
    }
    for (key, known) in [
        ("KAIROS_MODEL", MODELS),
        ("KAIROS_VARIANT", &["core", "standard"]),
    ] {
        let found = value(&release, key);
        if !found.is_empty() && !known.contains(&found) {
            let fact = format!("`{key}` is `{found}`, which no tool knows");
            faults.push(fault(
                RELEASE_PATH,
                fact,
                format!("it is one of: {}", known.join(", ")),
            ));
        }
    }
    faults
}

/// Flavor, flavor release and family of an os-release, in Kairos' words; empty where it has none.
fn mapping(os: &BTreeMap<String, String>) -> (&str, String, &'static str) {
    let id = value(os, "ID");
    let version = value(os, "VERSION_ID");
    let family = match distro(os).map_or("", |(known, _)| known) {
        "debian" | "ubuntu" => "debian",
        "fedora" | "rocky" | "almalinux" | "ol" | "rhel" | "redhat" => "redhat",
        "opensuse-leap" | "opensuse-tumbleweed" | "sles" | "sle-micro-rancher" | "suse" => "suse",
        "arch" => "arch",
        "alpine" => "alpine",
        "hadron" => "hadron",
        _ => "",
    };
    match id {
        "opensuse-leap" => ("opensuse", format!("leap-{version}"), family),
        "opensuse-tumbleweed" => ("opensuse", format!("tumbleweed-{version}"), family),
        // Alpine's version is cut in ways of its own.
        "alpine" => (id, String::new(), family),
        _ => (id, version.to_owned(), family),
    }
}

fn quoting(subject: &Subject<'_>) -> Vec<Fault> {
    let Some(text) = subject.text(RELEASE_PATH) else {
        return Vec::new();
    };
    let mut faults = Vec::new();
    for line in text.lines().filter(|line| !is_plain_for_grub(line)) {
        let fact = format!("GRUB's `source` cannot read the line `{line}`");
        faults.push(fault(
            RELEASE_PATH,
            fact,
            "leave out `$` and backticks, and close every quote",
        ));
    }
    let values = parse(&text);
    for key in ["KAIROS_TRUSTED_BOOT", "KAIROS_FIPS"] {
        let found = value(&values, key);
        if !matches!(found, "" | "true" | "false") {
            faults.push(fault(
                RELEASE_PATH,
                format!("`{key}` is `{found}`"),
                "it is `true` or `false`",
            ));
        }
    }
    faults
}

/// Whether a line has no unescaped `$`, no backtick and no open quote.
fn is_plain_for_grub(line: &str) -> bool {
    let mut rest = line.chars();
    let mut open = None;
    while let Some(char) = rest.next() {
        match char {
            '\\' if open != Some('\'') => _ = rest.next(),
            '"' | '\'' if open.is_none() => open = Some(char),
            char if open == Some(char) => open = None,
            '$' | '`' if open != Some('\'') => return false,
            _ => {}
        }
    }
    open.is_none()
}

/// Assignments of an environment file, quotes taken off.
fn parse(text: &str) -> BTreeMap<String, String> {
    let lines = text.lines().filter(|line| !line.trim_start().starts_with('#'));
    lines
        .filter_map(|line| line.split_once('='))
        .map(|(key, value)| (key.trim().to_owned(), unquoted(value.trim())))
        .collect()
}

fn unquoted(value: &str) -> String {
    for quote in ['"', '\''] {
        if let Some(inner) = value
            .strip_prefix(quote)
            .and_then(|rest| rest.strip_suffix(quote))
        {
            return inner
                .replace("\\\"", "\"")
                .replace("\\$", "$")
                .replace("\\\\", "\\");
        }
    }
    value.to_owned()
}

fn value<'a>(values: &'a BTreeMap<String, String>, key: &str) -> &'a str {
    values.get(key).map_or("", String::as_str)
}
