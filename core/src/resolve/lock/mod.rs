//! The lock: everything that entered a resolution and all that came out, as text.
//!
//! One fact a line, sorted, so that two branches merge and a review sees what moved. [`parse`] and [`render`] are each
//! other's inverse; [`Lock::fits`] says whether a flavor still asks for what the lock answers.

mod fits;
mod proof;
mod text;

use std::collections::BTreeMap;

use crate::model::{FixedId, Flavor, Group, PackageName, Replaces, Url};
use crate::packages::{hex, sha256};
use crate::source::Span;

use super::facts::SuiteKey;
use super::wishes::{Origin, Wishes, sources};
use super::{Resolved, UpstreamPart};

pub use proof::Evidence;
pub use text::{LockError, parse, render};

/// The version of the lock's own form.
pub const FORMAT: u32 = 1;

/// The version of the language that flavors are written in.
pub const LANGUAGE: u32 = 1;

/// The name of the file beside `flavor.kdl`.
pub const FILE: &str = "flavor.lock";

/// A lock.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lock {
    /// The language version of the flavor that it was made from.
    pub language: u32,
    /// What was asked for, each as one line, sorted.
    pub asked: Vec<String>,
    /// The sha256 over everything that was asked for, in hex, with what the distro's data add.
    pub request: String,
    /// Where the archives of the distro were read from, by their names, if not from the distro's own mirrors: for builds
    /// that know no mirror of their own. No part of what a flavor asks for.
    pub mirrors: BTreeMap<String, Url>,
    /// The URLs of package sources that the flavor said, by their names; `None` in a lock that was written before they were
    /// kept.
    pub urls: Option<BTreeMap<String, Url>>,
    /// What it came to.
    pub resolved: Resolved,
}

impl Lock {
    /// The lock of a flavor that was resolved.
    pub fn new(flavor: &Flavor, resolved: Resolved) -> Self {
        let request = Request::of(flavor);
        Lock {
            language: LANGUAGE,
            request: request.digest(),
            asked: request.visible(),
            mirrors: BTreeMap::new(),
            urls: Some(
                said_urls(flavor)
                    .into_iter()
                    .map(|(name, (url, _))| (name, url))
                    .collect(),
            ),
            resolved,
        }
    }

    /// The date of an index that it was made from.
    pub(crate) fn date(&self, key: &SuiteKey) -> Option<i64> {
        let same = |source: &str, suite: &str| source == key.source && suite == key.suite;
        self.resolved
            .indexes
            .iter()
            .find(|index| same(&index.source, &index.suite))
            .map(|index| index.date)
    }
}

/// Everything about a flavor that resolving looks at: lines of text with the places that say them.
struct Request {
    /// What the flavor and its blocks ask for.
    asked: BTreeMap<String, Span>,
    /// What the library's data of the distro ask for.
    distro: Vec<String>,
}

impl Request {
    fn of(flavor: &Flavor) -> Self {
        let wishes = Wishes::of(flavor);
        let mut asked: BTreeMap<String, Span> = BTreeMap::new();
        let mut distro = Vec::new();
        for wish in &wishes.wants {
            let repository = wish
                .repository
                .as_ref()
                .map(|name| format!(" from {}", name.value))
                .unwrap_or_default();
            let version = wish
                .version
                .as_ref()
                .map(|version| format!(" {}", version.value))
                .unwrap_or_default();
            let component = wish
                .component
                .as_ref()
                .map(|name| format!(" of {}", name.value))
                .unwrap_or_default();
            let line = match wish.origin {
                Origin::Kernel => format!("kernel {}{version}", wish.name),
                Origin::Build => format!("build {}{version}", wish.name),
                Origin::Block | Origin::User => {
                    format!("package {}{version}{component}{repository}", wish.name)
                }
                Origin::Essential | Origin::Default | Origin::Distro => {
                    distro.push(format!("package {}", wish.name));
                    continue;
                }
            };
            asked.insert(line, wish.span);
        }
        let of_distro = &flavor.distro.value.without;
        for (name, span) in &wishes.without {
            if of_distro.contains(name) {
                distro.push(format!("without {name}"));
            } else {
                asked.insert(format!("without {name}"), *span);
            }
        }
        for (wanted, provider) in &wishes.prefer {
            asked.insert(format!("prefer {wanted} {}", provider.value), provider.span);
        }
        for (name, hold) in &wishes.holds {
            asked.insert(format!("hold {name} {}", hold.version.value), hold.version.span);
        }
        asked.extend(
            flavor
                .users
                .iter()
                .map(|user| (account_line(flavor, &user.value.name.value), user.span)),
        );
        for group in &flavor.groups {
            asked.insert(group_line(&group.value), group.span);
        }
        for fixed in &flavor.ids {
            let FixedId { kind, name, id } = &fixed.value;
            asked.insert(
                format!("id {} {} {}", kind.word(), name.value, id.value),
                fixed.span,
            );
        }
        asked.extend(super::downloads::lines(flavor));
        for (part, from) in super::upstream::wanted(flavor) {
            let line = match part {
                UpstreamPart::KairosInit => format!("runtime immucore {}", from.value),
                UpstreamPart::Kubernetes(which) => {
                    let version = flavor.kairos.value.kubernetes_version.as_ref();
                    let version = version.map_or("", |version| version.value.as_str());
                    format!("kubernetes {} {version} {}", which.name(), from.value)
                }
            };
            asked.insert(line, from.span);
        }
        for source in sources(flavor) {
            let lines = source_lines(source.repository);
            if source.of_library {
                distro.extend(lines);
            } else {
                asked.extend(lines.map(|line| (line, source.repository.name.span)));
            }
        }
        let base = &flavor.distro.value;
        if let Some(components) = &base.components {
            let line = format!("components of {} {}", base.id, components.value.join(","));
            asked.insert(line, components.span);
        }
        let snapshot = base.sources.iter().find_map(|source| source.snapshot.as_ref());
        if let Some(snapshot) = snapshot {
            asked.insert(
                format!("snapshot of {} {}", base.id, snapshot.value),
                snapshot.span,
            );
        }
        let ids = &flavor.distro.value.ids;
        distro.extend(ids.users.iter().map(|(name, id)| format!("user {name} {id}")));
        distro.extend(ids.groups.iter().map(|(name, id)| format!("group {name} {id}")));
        let base = &flavor.distro.value;
        asked.insert(
            format!("base {} {} {}", base.id, base.release, flavor.architecture),
            flavor.distro.span,
        );
        distro.sort();
        Request { asked, distro }
    }

    /// The lines that a person asked for.
    fn visible(&self) -> Vec<String> {
        self.asked.keys().cloned().collect()
    }

    fn digest(&self) -> String {
        let lines: Vec<&str> = self
            .asked
            .keys()
            .chain(&self.distro)
            .map(String::as_str)
            .collect();
        hex::encode(&sha256(lines.join("\n").as_bytes()))
    }
}

fn account_line(flavor: &Flavor, name: &str) -> String {
    let user = flavor.users.iter().find(|user| user.value.name.value == name);
    match user.and_then(|user| user.value.uid.as_ref()) {
        Some(uid) => format!("user {name} {}", uid.value),
        None => format!("user {name}"),
    }
}

fn group_line(group: &Group) -> String {
    match &group.gid {
        Some(gid) => format!("group {} {}", group.name.value, gid.value),
        None => format!("group {}", group.name.value),
    }
}

/// What a source is, apart from where its mirror lies: that may change from machine to machine.
fn source_lines(source: &crate::model::Repository) -> impl Iterator<Item = String> {
    let keys: Vec<&str> = source.keys.iter().map(|key| key.value.trim()).collect();
    let keys = hex::encode(&sha256(keys.join("\n").as_bytes()));
    let more = more_of(source);
    source.suites.iter().map(move |suite| {
        let mut components = suite.components.clone();
        components.sort();
        format!(
            "repository {} {} {} {keys}{more}",
            source.name.value,
            suite.name,
            components.join(",")
        )
    })
}

/// What a source says beside its suites; nothing for one that says no more, so that locks of old stay as they are.
fn more_of(source: &crate::model::Repository) -> String {
    let mut more = String::new();
    if let Some(priority) = &source.priority {
        more.push_str(&format!(" priority={}", priority.value));
    }
    match &source.replaces {
        Replaces::None => {}
        Replaces::All => more.push_str(" override"),
        Replaces::Named(names) => {
            let mut names: Vec<&str> = names.iter().map(PackageName::as_str).collect();
            names.sort_unstable();
            more.push_str(&format!(" override={}", names.join(",")));
        }
    }
    if let Some(snapshot) = &source.snapshot {
        more.push_str(&format!(" snapshot={}", snapshot.value));
    }
    more
}

/// The URLs that a flavor says, by the names of package sources, with the places that say them.
fn said_urls(flavor: &Flavor) -> BTreeMap<String, (Url, Span)> {
    let named = sources(flavor).filter_map(|source| {
        let url = source.repository.url.as_ref()?;
        Some((
            source.repository.name.value.clone(),
            (url.value.clone(), url.span),
        ))
    });
    named.collect()
}
