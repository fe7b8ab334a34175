//! Paths of packages against the layout.

use std::collections::{BTreeMap, BTreeSet};

use crate::diagnostic::Sink;
use crate::layout::CompiledLayout;
use crate::model::{AbsPath, Flavor, PathClass};
use crate::source::{Span, Spanned};

use super::problems::{HiddenPackageFile, KeptPackageFiles, NotADirectory};
use super::{PackageFiles, Shipped, ShippedKind};

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
        not_a_directory(path, rule, shipped, sink);
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

fn not_a_directory(path: &AbsPath, rule: &Spanned<PathClass>, shipped: Shipped<'_>, sink: &mut Sink) {
    let class = match rule.value {
        PathClass::ReadOnly => return,
        PathClass::Ephemeral => "ephemeral",
        PathClass::Persistent => "persistent",
        PathClass::Keep => "kept",
    };
    sink.push(NotADirectory {
        path: path.to_string(),
        class,
        kind: if shipped.kind == ShippedKind::Link {
            "link"
        } else {
            "file"
        },
        package: shipped.package.to_owned(),
        span: rule.span,
    });
}

/// Where the flavor asks for a package by name.
fn request_span(flavor: &Flavor, package: &str) -> Option<Span> {
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
