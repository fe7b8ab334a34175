//! Paths of packages against the layout.

use std::collections::{BTreeMap, BTreeSet};

use crate::diagnostic::Sink;
use crate::layout::CompiledLayout;
use crate::model::{AbsPath, FileBody, Flavor, PathClass};
use crate::source::{Span, Spanned};

use super::problems::{HiddenPackageFile, KeptPackageFiles, LooksLikeAFile, MissingDirectory, NotADirectory};
use super::{PackageFiles, Shipped, ShippedKind, is_complete};

pub(super) fn prove(flavor: &Flavor, layout: &CompiledLayout, packages: &dyn PackageFiles, sink: &mut Sink) {
    let rules = Rules::new(flavor, layout);
    let mut said = BTreeSet::new();
    let mut folder = Folder::default();
    packages.paths(&mut |shipped| {
        if shipped.kind != ShippedKind::Directory {
            folder.enter(&rules, shipped.path);
            look(&rules, &folder, shipped, flavor, &mut said, sink);
        }
    });
    for (path, kind) in packages.copied().iter().flat_map(|copied| &copied.paths) {
        if *kind != ShippedKind::Directory
            && let Some((path, rule)) = rules.by_path.get(path.as_str())
        {
            not_a_directory(path, rule, *kind, "the build context".to_owned(), sink);
        }
    }
    for path in &rules.own {
        if let Some((path, rule)) = rules.by_path.get(path) {
            check_directory(path, rule, layout, flavor, packages, sink);
        }
    }
}

/// A path on the read-only root must be there to be mounted over; in what is writable the boot makes it.
fn check_directory(
    path: &AbsPath,
    rule: &Spanned<PathClass>,
    layout: &CompiledLayout,
    flavor: &Flavor,
    packages: &dyn PackageFiles,
    sink: &mut Sink,
) {
    let class = match rule.value {
        PathClass::ReadOnly => return,
        class => class_name(class),
    };
    let outer = path.parent().and_then(|parent| layout.rule_of(&parent));
    let is_made_at_boot = outer.is_some_and(|(_, outer)| outer.value != PathClass::ReadOnly);
    if is_made_at_boot {
        if rule.value == PathClass::Keep && looks_like_a_file(path) && !is_there(path, flavor, packages) {
            sink.push(LooksLikeAFile {
                path: path.to_string(),
                span: rule.span,
            });
        }
        return;
    }
    if is_complete(flavor, packages) && !is_there(path, flavor, packages) {
        sink.push(MissingDirectory {
            path: path.to_string(),
            class,
            span: rule.span,
        });
    }
}

/// Endings of files that nobody gives to a directory.
const FILE_ENDINGS: [&str; 14] = [
    ".cfg", ".conf", ".crt", ".db", ".env", ".ini", ".json", ".key", ".pem", ".sqlite", ".toml", ".txt",
    ".yaml", ".yml",
];

fn looks_like_a_file(path: &AbsPath) -> bool {
    FILE_ENDINGS.iter().any(|ending| path.as_str().ends_with(ending))
}

/// Whether anything that is known of the image is at a path or below it.
fn is_there(path: &AbsPath, flavor: &Flavor, packages: &dyn PackageFiles) -> bool {
    let distro = &flavor.distro.value;
    let files = flavor.files.iter().chain(&distro.files).any(|file| {
        let file = &file.value;
        match &file.body {
            FileBody::Directory | FileBody::Copy(_) => file.path.value.is_within(path),
            FileBody::Download(download) if download.is_unpacked() => file.path.value.is_within(path),
            FileBody::Text(_) | FileBody::Link(_) | FileBody::Download(_) => {
                file.path.value != *path && file.path.value.is_within(path)
            }
        }
    });
    let made = || {
        distro
            .directories
            .iter()
            .any(|directory| directory.is_within(path))
    };
    let stock = || {
        let mut rules = distro.layout.rules.iter();
        rules.any(|rule| rule.value.path.is_within(path))
    };
    let is_at = |found: &str| {
        found
            .strip_prefix(path.as_str())
            .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    };
    let copied = || {
        let mut paths = packages
            .copied()
            .into_iter()
            .flat_map(|copied| copied.paths.keys());
        paths.any(|path| is_at(path))
    };
    let shipped = || {
        let mut found = false;
        packages.below(path.as_str(), &mut |shipped| found |= is_at(shipped.path));
        found
    };
    files || made() || stock() || copied() || shipped()
}

/// A path of the layout and what it is.
type Rule<'a> = (&'a AbsPath, &'a Spanned<PathClass>);

/// The rules, ready to be looked at a hundred thousand times.
struct Rules<'a> {
    by_path: BTreeMap<&'a str, Rule<'a>>,
    /// The folders that these paths are in.
    folders: BTreeSet<&'a str>,
    /// Kept paths that the flavor itself adds: the stock ones are the distro's business.
    own: BTreeSet<&'a str>,
    /// Paths that may be hidden.
    allow_hidden: Vec<&'a str>,
}

impl<'a> Rules<'a> {
    fn new(flavor: &'a Flavor, layout: &'a CompiledLayout) -> Self {
        let stock: BTreeSet<&str> = flavor
            .distro
            .value
            .layout
            .rules
            .iter()
            .map(|rule| rule.value.path.as_str())
            .collect();
        Rules {
            by_path: layout
                .rules
                .iter()
                .map(|(path, rule)| (path.as_str(), (path, rule)))
                .collect(),
            folders: layout.rules.keys().map(|path| parent(path.as_str())).collect(),
            own: layout
                .rules
                .keys()
                .map(AbsPath::as_str)
                .filter(|path| !stock.contains(path))
                .collect(),
            allow_hidden: flavor
                .layout
                .allow_hidden
                .iter()
                .map(|path| path.value.as_str())
                .collect(),
        }
    }

    /// Whether the flavor accepts that a path is hidden.
    fn allows_hidden(&self, path: &str) -> bool {
        self.allow_hidden.iter().any(|allowed| {
            let rest = path.strip_prefix(allowed);
            rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        })
    }

    /// The rule that decides about a path, without the path's own if it is to be above it.
    fn above(&self, path: &str) -> Option<Rule<'a>> {
        let mut at = path;
        while let Some((head, _)) = at.rsplit_once('/') {
            if let Some(found) = self.by_path.get(head) {
                return Some(*found);
            }
            at = head;
        }
        None
    }
}

/// The folder looked at last and its rules: paths come sorted, so most are in the same folder as the one before.
#[derive(Default)]
struct Folder<'a> {
    path: Option<String>,
    /// The rule for what is in it.
    rule: Option<Rule<'a>>,
    /// Whether something in it has a rule of its own.
    has_rules: bool,
}

impl<'a> Folder<'a> {
    /// Goes to the folder that a path is in.
    fn enter(&mut self, rules: &Rules<'a>, path: &str) {
        let parent = parent(path);
        if self.path.as_deref() != Some(parent) {
            self.path = Some(parent.to_owned());
            self.rule = rules.above(path);
            self.has_rules = rules.folders.contains(parent);
        }
    }
}

fn parent(path: &str) -> &str {
    memchr::memrchr(b'/', path.as_bytes()).map_or("", |at| &path[..at])
}

fn look(
    rules: &Rules<'_>,
    folder: &Folder<'_>,
    shipped: Shipped<'_>,
    flavor: &Flavor,
    said: &mut BTreeSet<(String, String)>,
    sink: &mut Sink,
) {
    if folder.has_rules
        && let Some((path, rule)) = rules.by_path.get(shipped.path)
    {
        not_a_directory(
            path,
            rule,
            shipped.kind,
            format!("package `{}`", shipped.package),
            sink,
        );
    }
    let Some((top, rule)) = folder.rule else {
        return;
    };
    match rule.value {
        PathClass::Persistent if rules.allows_hidden(shipped.path) => {}
        PathClass::Persistent => {
            // One report for each package and path, at the first of its files.
            if said.insert((shipped.package.to_owned(), top.to_string())) {
                sink.push(HiddenPackageFile {
                    package: shipped.package.to_owned(),
                    path: shipped.path.to_owned(),
                    top: top.to_string(),
                    span: request_span(flavor, shipped.package),
                });
            }
        }
        PathClass::Keep if rules.own.contains(top.as_str()) => {
            if said.insert((String::new(), top.to_string())) {
                sink.push(KeptPackageFiles {
                    path: top.to_string(),
                    package: shipped.package.to_owned(),
                    span: rule.span,
                });
            }
        }
        PathClass::Keep | PathClass::Ephemeral | PathClass::ReadOnly => {}
    }
}

fn class_name(class: PathClass) -> &'static str {
    match class {
        PathClass::ReadOnly => "read-only",
        PathClass::Ephemeral => "ephemeral",
        PathClass::Persistent => "persistent",
        PathClass::Keep => "kept",
    }
}

fn not_a_directory(
    path: &AbsPath,
    rule: &Spanned<PathClass>,
    kind: ShippedKind,
    owner: String,
    sink: &mut Sink,
) {
    if rule.value == PathClass::ReadOnly {
        return;
    }
    sink.push(NotADirectory {
        path: path.to_string(),
        class: class_name(rule.value),
        kind: if kind == ShippedKind::Link { "link" } else { "file" },
        owner,
        span: rule.span,
    });
}

/// The place where the flavor asks for a package by name.
pub(super) fn request_span(flavor: &Flavor, package: &str) -> Option<Span> {
    let requests = flavor
        .packages
        .requests
        .iter()
        .chain(&flavor.block_packages.requests);
    let mut named = requests.filter(|request| request.value.name.as_str() == package);
    named
        .next()
        .map(|request| request.span)
        .filter(|span| span.is_some())
}
