//! The rules of a flavor into one layout.
//!
//! `compose` gives the rules: stock ones that are not forgotten and those of the flavor, one class a path, and none where it
//! could not be. What is checked here are the limits of the boot: names, labels, and what a boot cannot do without.

use std::collections::BTreeMap;

use crate::diagnostic::{Diagnostics, Sink, Warned};
use crate::model::{AbsPath, Flavor, HostName, LayoutRule, OnMissing, PathClass, Runtime, Size};
use crate::source::Spanned;

use super::problems::{ForeignCharacter, LabelTaken, Needed, NoLabel, NoState, SameState};
use super::{NEEDED, OEM_LABEL, PERSISTENT_LABEL, immucore};

/// A partition that the boot mounts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Partition {
    /// The label of its file system.
    pub label: String,
    /// Where it is mounted.
    pub path: AbsPath,
    /// What the boot does without it.
    pub on_missing: OnMissing,
}

/// A layout without contradictions. Every list is sorted by depth, then name: parents first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CompiledLayout {
    /// Partitions; `/usr/local` and `/oem` are among them.
    pub partitions: Vec<Partition>,
    /// Paths under an overlay in memory.
    pub ephemeral: Vec<AbsPath>,
    /// Paths bound from the state directory of COS_PERSISTENT.
    pub kept: Vec<AbsPath>,
    /// Paths that are said to be read-only: nothing to do, unless they are below an ephemeral one.
    pub read_only: Vec<AbsPath>,
    /// Paths under an overlay in recovery, where nothing is persistent but `/oem`.
    pub recovery: Vec<AbsPath>,
    /// The size of the memory behind all ephemeral paths together.
    pub overlay_size: Size,
    /// The declared host name of every machine; without it each machine has one of its own.
    pub host_name: Option<HostName>,
    /// What the first boot names a machine after, before four characters of its id.
    pub host_name_prefix: String,
    /// Where each path is said, and its class.
    pub rules: BTreeMap<AbsPath, Spanned<PathClass>>,
}

impl CompiledLayout {
    /// The nearest rule for a path: its own, or that of the nearest path above; `None` where the image's root decides.
    pub fn rule_of(&self, path: &AbsPath) -> Option<(&AbsPath, &Spanned<PathClass>)> {
        let mut at = Some(path.clone());
        while let Some(path) = at {
            if let Some(found) = self.rules.get_key_value(&path) {
                return Some(found);
            }
            at = path.parent();
        }
        None
    }

    /// The kept paths as text: for [`crate::step::Seed::paths`].
    pub fn seed_paths(&self) -> Vec<String> {
        self.kept.iter().map(ToString::to_string).collect()
    }
}

/// The memory behind ephemeral paths when nobody says its size: Kairos' own figure.
const DEFAULT_SIZE: Size = Size::Percent(25);

/// What Kairos makes writable in recovery, in memory.
const RECOVERY: [&str; 7] = ["/etc", "/home", "/opt", "/root", "/srv", "/usr/local", "/var"];

/// Makes one layout of the flavor's rules, and reports what a boot could not do.
pub fn compile(flavor: &Flavor) -> Result<Warned<CompiledLayout>, Diagnostics> {
    let mut sink = Sink::new();
    let rules: Rules = flavor
        .layout
        .rules
        .iter()
        .map(|rule| (rule.value.path.clone(), rule.clone()))
        .collect();
    for rule in rules.values() {
        check_characters(rule, &mut sink);
    }
    check_states(&rules, &mut sink);
    let partitions = partitions(flavor, &rules, &mut sink);
    check_kept_have_a_place(&rules, &partitions, &mut sink);
    check_needed(flavor, &rules, &mut sink);
    if flavor.kairos.value.runtime() == Runtime::Immucore {
        immucore::check(flavor, &rules, &mut sink);
    }

    let of = |class| {
        by_depth(
            rules
                .values()
                .filter(|rule| rule.value.class == class)
                .map(|rule| rule.value.path.clone()),
        )
    };
    let kept = of(PathClass::Keep);
    let ephemeral = of(PathClass::Ephemeral);
    sink.finish(CompiledLayout {
        recovery: recovery_paths(&ephemeral, &kept, &partitions),
        partitions,
        ephemeral,
        kept,
        read_only: of(PathClass::ReadOnly),
        overlay_size: overlay_size(flavor),
        host_name: flavor.system.host_name.as_ref().map(|name| name.value.clone()),
        host_name_prefix: host_name_prefix(&flavor.identity.name.value),
        rules: rules
            .into_iter()
            .map(|(path, rule)| (path, rule.map(|rule| rule.class)))
            .collect(),
    })
}

pub(super) type Rules = BTreeMap<AbsPath, Spanned<LayoutRule>>;

/// Paths go into fstab lines, mount options and Kairos' lists, which know no quoting that all their readers share.
fn check_characters(rule: &Spanned<LayoutRule>, sink: &mut Sink) {
    let path = rule.value.path.as_str();
    if let Some(character) = path
        .chars()
        .find(|c| !c.is_ascii_alphanumeric() && !"/._+@%~-".contains(*c))
    {
        sink.push(ForeignCharacter {
            path: path.to_owned(),
            character,
            span: rule.span,
        });
    }
}

fn check_states(rules: &Rules, sink: &mut Sink) {
    let mut names: BTreeMap<String, &AbsPath> = BTreeMap::new();
    for (path, rule) in rules
        .iter()
        .filter(|(_, rule)| rule.value.class == PathClass::Keep)
    {
        let name = state_name(path);
        if let Some(other) = names.get(&name) {
            sink.push(SameState {
                path: path.to_string(),
                other: other.to_string(),
                name: format!("/usr/local/.state/{name}"),
                span: rule.span,
            });
        }
        names.entry(name).or_insert(path);
    }
}

/// The directory of a kept path below `/usr/local/.state`, as Kairos names it: `etc-ssh.bind`.
pub(super) fn state_name(path: &AbsPath) -> String {
    format!("{}.bind", dashed(path))
}

/// A path with dashes for slashes: `var-lib-dbus`.
pub(super) fn dashed(path: &AbsPath) -> String {
    path.as_str().trim_start_matches('/').replace('/', "-")
}

fn partitions(flavor: &Flavor, rules: &Rules, sink: &mut Sink) -> Vec<Partition> {
    let mut found: Vec<Partition> = Vec::new();
    for rule in rules
        .values()
        .filter(|rule| rule.value.class == PathClass::Persistent)
    {
        let Some(label) = rule.value.label.clone() else {
            sink.push(NoLabel {
                path: rule.value.path.to_string(),
                span: rule.span,
            });
            continue;
        };
        if is_free(&label, rule, &found, sink) {
            found.push(Partition {
                label,
                path: rule.value.path.clone(),
                on_missing: OnMissing::Degrade,
            });
        }
    }
    for partition in &mut found {
        let said = flavor
            .layout
            .on_missing
            .iter()
            .find(|rule| rule.value.label == partition.label);
        partition.on_missing = said.map_or(OnMissing::Degrade, |rule| rule.value.then);
    }
    found.sort_by_key(|partition| (partition.path.depth(), partition.path.clone()));
    found
}

/// Two labels have a fixed place, where Kairos' tools look for it; and one partition is mounted once.
fn is_free(label: &str, rule: &Spanned<LayoutRule>, known: &[Partition], sink: &mut Sink) -> bool {
    let fixed = [(PERSISTENT_LABEL, "/usr/local"), (OEM_LABEL, "/oem")];
    let path = rule.value.path.as_str();
    let (wanted, help) = if let Some((_, wanted)) =
        fixed.iter().find(|(name, at)| *name == label && *at != path)
    {
        (
            *wanted,
            format!("Kairos' tools look for {label} at {wanted}; give `{path}` a partition of its own"),
        )
    } else if let Some(other) = known.iter().find(|partition| partition.label == label) {
        (
            other.path.as_str(),
            format!("a partition is mounted once; keep `{path}` instead, or give it a partition of its own"),
        )
    } else {
        return true;
    };
    sink.push(LabelTaken {
        label: label.to_owned(),
        wanted: wanted.to_owned(),
        help,
        span: rule.span,
    });
    false
}

fn check_kept_have_a_place(rules: &Rules, partitions: &[Partition], sink: &mut Sink) {
    if partitions
        .iter()
        .any(|partition| partition.label == PERSISTENT_LABEL)
    {
        return;
    }
    if let Some(rule) = rules.values().find(|rule| rule.value.class == PathClass::Keep) {
        sink.push(NoState {
            path: rule.value.path.to_string(),
            span: rule.span,
        });
    }
}

/// Reports paths that were taken out and that no boot can do without.
fn check_needed(flavor: &Flavor, rules: &Rules, sink: &mut Sink) {
    for (path, class) in NEEDED {
        let forgotten = flavor
            .layout
            .forget
            .iter()
            .find(|forgotten| forgotten.value.as_str() == path);
        let there = rules
            .values()
            .any(|rule| rule.value.path.as_str() == path && rule.value.class == class);
        if let Some(forgotten) = forgotten.filter(|_| !there) {
            sink.push(Needed {
                path,
                class: if class == PathClass::Ephemeral {
                    "ephemeral"
                } else {
                    "persistent"
                },
                span: forgotten.span,
            });
        }
    }
}

/// In recovery all that is declared writable is so, in memory; `/oem` alone is the real one.
fn recovery_paths(ephemeral: &[AbsPath], kept: &[AbsPath], partitions: &[Partition]) -> Vec<AbsPath> {
    let stock = RECOVERY
        .iter()
        .map(|path| path.parse().expect("the paths of recovery are absolute"));
    let mounted = partitions
        .iter()
        .filter(|partition| partition.label != OEM_LABEL)
        .map(|partition| partition.path.clone());
    let all = by_depth(
        stock
            .chain(ephemeral.iter().cloned())
            .chain(kept.iter().cloned())
            .chain(mounted),
    );
    let mut outermost: Vec<AbsPath> = Vec::new();
    for path in all {
        if !outermost.iter().any(|above| path.is_within(above)) {
            outermost.push(path);
        }
    }
    outermost
}

fn by_depth(paths: impl Iterator<Item = AbsPath>) -> Vec<AbsPath> {
    let mut paths: Vec<AbsPath> = paths.collect();
    paths.sort_by_key(|path| (path.depth(), path.clone()));
    paths.dedup();
    paths
}

fn overlay_size(flavor: &Flavor) -> Size {
    flavor
        .layout
        .size
        .as_ref()
        .map_or(DEFAULT_SIZE, |size| size.value)
}

/// The flavor's name as far as a host name may be like it: hostname(7).
fn host_name_prefix(name: &str) -> String {
    let clean: String = name
        .to_lowercase()
        .chars()
        .map(|c| if c.is_ascii_alphanumeric() { c } else { '-' })
        .take(40)
        .collect();
    let clean = clean.trim_matches('-');
    if clean.is_empty() {
        "kairos".to_owned()
    } else {
        clean.to_owned()
    }
}
