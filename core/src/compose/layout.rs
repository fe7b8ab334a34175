//! The layout: the stock one, what the flavor adds, and what can be proved without knowing the packages.

use std::collections::{BTreeMap, BTreeSet};

use miette::Diagnostic;
use thiserror::Error;

use super::Parts;
use super::certificates;
use super::conflict::{Said, choose, choose_each, said};
use crate::diagnostic::{Sink, did_you_mean};
use crate::layout::NEEDED;
use crate::model::{
    AbsPath, Distro, FileBody, FileNode, Layout, LayoutRule, OnMissing, OnMissingRule, PathClass,
};
use crate::source::{Span, Spanned};

#[derive(Debug, Error, Diagnostic)]
#[error("`{path}` cannot be both {first} and {second}")]
#[diagnostic(code("kcompose::layout::overlap"), help("{help}"))]
struct Overlap {
    path: AbsPath,
    first: &'static str,
    second: &'static str,
    help: String,
    #[label("{first} here")]
    first_span: Span,
    #[label(primary, "{second} here")]
    second_span: Span,
}

#[derive(Debug, Error, Diagnostic)]
#[error("`{inner}` cannot be {inner_class}: it lies in `{outer}`, which is {outer_class}")]
#[diagnostic(code("kcompose::layout::overlap"), help("{help}"))]
struct NestedOverlap {
    inner: AbsPath,
    inner_class: &'static str,
    outer: AbsPath,
    outer_class: &'static str,
    help: String,
    #[label("`{outer}` is {outer_class} here")]
    outer_span: Span,
    #[label(primary, "{inner_class} here")]
    inner_span: Span,
}

#[derive(Debug, Error, Diagnostic)]
#[error("`{path}` cannot be {class}: {reason}")]
#[diagnostic(code("kcompose::layout::impossible"), help("{help}"))]
struct Impossible {
    path: AbsPath,
    class: &'static str,
    reason: String,
    help: String,
    #[label("{class} here")]
    span: Span,
}

#[derive(Debug, Error, Diagnostic)]
#[error("`{path}` cannot be {class}: it is a file")]
#[diagnostic(code("kcompose::layout::not-a-directory"), help("{help}"))]
struct NotADirectory {
    path: AbsPath,
    class: &'static str,
    help: String,
    #[label(primary, "{class} here")]
    span: Span,
    #[label("a file here")]
    file: Option<Span>,
}

#[derive(Debug, Error, Diagnostic)]
#[error("`{path}` cannot be {class}: no image boots unless it is {needed}")]
#[diagnostic(code("kcompose::layout::needed"), help("{help}"))]
struct Needed {
    path: AbsPath,
    class: &'static str,
    needed: &'static str,
    help: String,
    #[label("{class} here")]
    span: Span,
}

#[derive(Debug, Error, Diagnostic)]
#[error("`{file}` would be hidden: `{path}` is {why}")]
#[diagnostic(code("kcompose::layout::hidden-file"), help("{help}"))]
struct Hidden {
    file: AbsPath,
    path: AbsPath,
    why: &'static str,
    help: String,
    #[label("hidden at run time")]
    span: Span,
}

#[derive(Debug, Error, Diagnostic)]
#[error("`{path}` is no path of the stock layout")]
#[diagnostic(code("kcompose::layout::forget"), help("{help}"))]
struct NothingToForget {
    path: AbsPath,
    help: String,
    #[label("nothing to take out")]
    span: Span,
}

#[derive(Debug, Error, Diagnostic)]
#[error("no persistent path has the label `{label}`")]
#[diagnostic(code("kcompose::layout::on-missing"), help("{help}"))]
struct UnknownLabel {
    label: String,
    help: String,
    #[label("unknown")]
    span: Span,
}

/// A rule, and where it comes from.
struct Rule<'a> {
    path: &'a AbsPath,
    class: PathClass,
    span: Span,
    stock: bool,
}

/// Paths in memory that the runtime makes itself.
const MADE_AT_BOOT: [&str; 5] = ["/dev", "/proc", "/run", "/sys", "/tmp"];

/// The composed layout: stock rules that are not forgotten first, then the flavor's, in order.
pub(super) fn compose(
    parts: &Parts,
    distro: Option<&Distro>,
    files: &[Spanned<FileNode>],
    sink: &mut Sink,
) -> Layout {
    let empty = Layout::default();
    let stock = distro.map_or(&empty, |distro| &distro.layout);
    let forget: Vec<Spanned<AbsPath>> = said(parts, |fragment| &fragment.layout.forget)
        .iter()
        .map(Said::spanned)
        .collect();
    if distro.is_some() {
        check_forget(&forget, stock, sink);
    }
    let allow_hidden: Vec<Spanned<AbsPath>> = said(parts, |fragment| &fragment.layout.allow_hidden)
        .iter()
        .map(Said::spanned)
        .collect();
    let shown = |file: &&Spanned<FileNode>| {
        let path = &file.value.path.value;
        !allow_hidden.iter().any(|allowed| path.is_within(&allowed.value))
    };
    let shown: Vec<Spanned<FileNode>> = files.iter().filter(shown).cloned().collect();
    let own = own_rules(parts, sink);
    let remaining = stock.rules.iter().filter(|rule| {
        let forgotten = forget.iter().any(|path| path.value == rule.value.path);
        !forgotten && !own.overridden.contains(&rule.value.path)
    });
    let remaining: Vec<Spanned<LayoutRule>> = remaining.cloned().collect();
    check(&remaining, &own.rules, files, sink);
    check_hidden(&remaining, &own.rules, &shown, sink);
    let known: BTreeSet<AbsPath> = remaining.iter().map(|rule| rule.value.path.clone()).collect();
    let mut rules = remaining;
    for rule in own.rules {
        if !known.contains(&rule.value.path) || !rules.contains(&rule) {
            rules.push(rule);
        }
    }
    let sizes = said(parts, |fragment| &fragment.sizes);
    let size = choose(
        "the size of the ephemeral memory",
        &sizes,
        |size| Some(size.to_string()),
        sink,
    );
    let on_missing = on_missing(parts, stock, &rules, sink);
    Layout {
        rules,
        forget,
        allow_hidden,
        size: size.map(|size| size.spanned()).or_else(|| stock.size.clone()),
        on_missing,
    }
}

struct OwnRules {
    rules: Vec<Spanned<LayoutRule>>,
    /// Paths whose rule stands in an `override` node.
    overridden: Vec<AbsPath>,
}

/// What the documents say, one rule a path.
fn own_rules(parts: &Parts, sink: &mut Sink) -> OwnRules {
    let all = said(parts, |fragment| &fragment.layout.rules);
    let mut by_path: BTreeMap<&AbsPath, Vec<Said<'_, LayoutRule>>> = BTreeMap::new();
    for rule in &all {
        by_path.entry(&rule.value.path).or_default().push(*rule);
    }
    let mut rules = Vec::new();
    let mut overridden = Vec::new();
    for rule in &all {
        let Some(same) = by_path.remove(&rule.value.path) else {
            continue;
        };
        let wins = same.iter().any(|said| said.overriding);
        let mut candidates = same.iter().filter(|said| said.overriding == wins);
        let Some(first) = candidates.next() else { continue };
        if wins {
            overridden.push(rule.value.path.clone());
        }
        for other in candidates.filter(|other| other.value != first.value) {
            push_overlap(
                first.value,
                first.span,
                other.value,
                other.span,
                "keep one of the two".to_owned(),
                sink,
            );
        }
        rules.push(first.spanned());
    }
    OwnRules { rules, overridden }
}

fn push_overlap(
    first: &LayoutRule,
    first_span: Span,
    second: &LayoutRule,
    second_span: Span,
    help: String,
    sink: &mut Sink,
) {
    sink.push(Overlap {
        path: second.path.clone(),
        first: class_name(first.class),
        second: class_name(second.class),
        help,
        first_span,
        second_span,
    });
}

/// What messages call a class.
fn class_name(class: PathClass) -> &'static str {
    match class {
        PathClass::ReadOnly => "read-only",
        PathClass::Ephemeral => "ephemeral",
        PathClass::Persistent => "persistent",
        PathClass::Keep => "kept",
    }
}

fn check_forget(forget: &[Spanned<AbsPath>], stock: &Layout, sink: &mut Sink) {
    let names: Vec<&str> = stock.rules.iter().map(|rule| rule.value.path.as_str()).collect();
    for path in forget {
        if !names.contains(&path.value.as_str()) {
            let help = did_you_mean(path.value.as_str(), &names, || {
                "`kcompose config` lists the stock layout".to_owned()
            });
            sink.push(NothingToForget {
                path: path.value.clone(),
                help,
                span: path.span,
            });
        }
    }
}

fn check(
    stock: &[Spanned<LayoutRule>],
    own: &[Spanned<LayoutRule>],
    files: &[Spanned<FileNode>],
    sink: &mut Sink,
) {
    let rule = |rule: &'_ Spanned<LayoutRule>, stock| -> (AbsPath, PathClass, Span, bool) {
        (rule.value.path.clone(), rule.value.class, rule.span, stock)
    };
    let owned: Vec<_> = stock
        .iter()
        .map(|stock| rule(stock, true))
        .chain(own.iter().map(|own| rule(own, false)))
        .collect();
    let all: Vec<Rule<'_>> = owned
        .iter()
        .map(|(path, class, span, stock)| Rule {
            path,
            class: *class,
            span: *span,
            stock: *stock,
        })
        .collect();
    let by_path: BTreeMap<&str, &Rule<'_>> = all.iter().map(|rule| (rule.path.as_str(), rule)).collect();
    let files_by_path: BTreeMap<&str, &Spanned<FileNode>> = files
        .iter()
        .map(|file| (file.value.path.value.as_str(), file))
        .collect();
    for own in own {
        check_against_stock(own, stock, sink);
    }
    for inner in all.iter().filter(|rule| !rule.stock) {
        if check_place(inner, &by_path, sink) {
            check_is_directory(inner, &files_by_path, sink);
        }
    }
}

/// The same path in the stock layout, with another class.
fn check_against_stock(own: &Spanned<LayoutRule>, stock: &[Spanned<LayoutRule>], sink: &mut Sink) {
    let same = stock
        .iter()
        .find(|stock| stock.value.path == own.value.path && stock.value != own.value);
    if let Some(stock) = same {
        let path = &own.value.path;
        let needed = NEEDED
            .iter()
            .find(|(needed, class)| *needed == path.as_str() && *class != own.value.class);
        if let Some((_, class)) = needed {
            return sink.push(Needed {
                path: path.clone(),
                class: class_name(own.value.class),
                needed: class_name(*class),
                help: needed_help(path, own.value.class),
                span: own.span,
            });
        }
        let help = format!(
            "the stock layout has it {}; if that shall change, take it out first: layout {{ forget \"{path}\"; }}",
            class_name(stock.value.class)
        );
        push_overlap(&stock.value, stock.span, &own.value, own.span, help, sink);
    }
}

fn needed_help(path: &AbsPath, class: PathClass) -> String {
    match class {
        PathClass::Keep | PathClass::Persistent => {
            let example = match path.as_str() {
                "/etc" => "/etc/gateway",
                _ => "/var/lib/gateway",
            };
            format!("name the directories below it that shall stay: keep \"{example}\"")
        }
        PathClass::ReadOnly | PathClass::Ephemeral => {
            format!("take this line out; name directories below `{path}` instead")
        }
    }
}

/// The nearest rule for a path above this one.
fn outer<'a>(inner: &Rule<'_>, all: &BTreeMap<&str, &'a Rule<'a>>) -> Option<&'a Rule<'a>> {
    let mut at = inner.path.as_str();
    while let Some((above, _)) = at.rsplit_once('/') {
        let above = if above.is_empty() && at != "/" { "/" } else { above };
        if let Some(found) = all.get(above) {
            return Some(found);
        }
        at = above;
        if at == "/" {
            break;
        }
    }
    None
}

/// Whether a path of the flavor can have its class where it lies.
fn check_place(inner: &Rule<'_>, all: &BTreeMap<&str, &Rule<'_>>, sink: &mut Sink) -> bool {
    if let Some(reason) = made_at_boot(inner.path) {
        push_impossible(
            inner,
            reason,
            "choose a path that is on the disk".to_owned(),
            sink,
        );
        return false;
    }
    if inner.path.as_str() == "/" && inner.class != PathClass::ReadOnly {
        let help = "name the directories that shall change, such as \"/srv\"".to_owned();
        push_impossible(
            inner,
            "the root of the image is always read-only".to_owned(),
            help,
            sink,
        );
        return false;
    }
    let Some(outer) = outer(inner, all) else {
        return true;
    };
    let help = match (outer.class, inner.class) {
        // One class in the same class says nothing new; the compiled layout warns of it.
        (PathClass::ReadOnly, _) | (PathClass::Ephemeral, _) | (PathClass::Keep, PathClass::Keep) => {
            return true;
        }
        (PathClass::Persistent, PathClass::Keep) => "take this line out: it stays already",
        (PathClass::Persistent, PathClass::Persistent) => "mount the partition elsewhere",
        (PathClass::Keep | PathClass::Persistent, PathClass::Ephemeral) => {
            "choose a path outside of it, such as one below \"/run\""
        }
        (PathClass::Keep | PathClass::Persistent, PathClass::ReadOnly) => {
            "what lies in a writable path is writable; choose a path outside of it"
        }
        (PathClass::Keep, PathClass::Persistent) => "mount the partition outside of the kept path",
    };
    sink.push(NestedOverlap {
        inner: inner.path.clone(),
        inner_class: class_name(inner.class),
        outer: outer.path.clone(),
        outer_class: class_name(outer.class),
        help: help.to_owned(),
        outer_span: outer.span,
        inner_span: inner.span,
    });
    false
}

fn push_impossible(rule: &Rule<'_>, reason: String, help: String, sink: &mut Sink) {
    sink.push(Impossible {
        path: rule.path.clone(),
        class: class_name(rule.class),
        reason,
        help,
        span: rule.span,
    });
}

fn made_at_boot(path: &AbsPath) -> Option<String> {
    let made = MADE_AT_BOOT.iter().find(|made| is_below(path, made))?;
    Some(format!("`{made}` is made anew at each boot"))
}

fn is_below(path: &AbsPath, top: &str) -> bool {
    path.as_str() == top
        || path
            .as_str()
            .strip_prefix(top)
            .is_some_and(|rest| rest.starts_with('/'))
}

/// Files that no package ships: the image or its first boot makes them.
const FILES: [&str; 16] = [
    "/etc/adjtime",
    "/etc/fstab",
    "/etc/group",
    "/etc/gshadow",
    "/etc/hostname",
    "/etc/hosts",
    "/etc/ld.so.cache",
    "/etc/localtime",
    "/etc/machine-id",
    "/etc/mtab",
    "/etc/passwd",
    "/etc/resolv.conf",
    "/etc/shadow",
    "/etc/subgid",
    "/etc/subuid",
    "/etc/timezone",
];

/// Mounts go over directories. Whether the image has the directory is proved with the packages' file lists.
fn check_is_directory(rule: &Rule<'_>, files: &BTreeMap<&str, &Spanned<FileNode>>, sink: &mut Sink) {
    if rule.class == PathClass::ReadOnly {
        return;
    }
    let declared = files
        .get(rule.path.as_str())
        .filter(|file| match &file.value.body {
            FileBody::Text(_) | FileBody::Link(_) => true,
            FileBody::Download(download) => !download.is_unpacked(),
            FileBody::Directory | FileBody::Copy(_) => false,
        });
    if declared.is_none() && !FILES.contains(&rule.path.as_str()) {
        return;
    }
    let help = match rule.class {
        PathClass::Keep => {
            "only directories can be kept: keep the directory that it is in if it is not `/etc`, or let a unit make the file at boot from one that is kept"
        }
        PathClass::ReadOnly | PathClass::Ephemeral | PathClass::Persistent => {
            "name the directory that it is in"
        }
    };
    sink.push(NotADirectory {
        path: rule.path.clone(),
        class: class_name(rule.class),
        help: help.to_owned(),
        span: rule.span,
        file: declared.map(|file| file.value.path.span),
    });
}

/// Files of the flavor below something that is mounted over them.
fn check_hidden(
    stock: &[Spanned<LayoutRule>],
    own: &[Spanned<LayoutRule>],
    files: &[Spanned<FileNode>],
    sink: &mut Sink,
) {
    for file in files {
        let path = &file.value.path;
        let partition = stock
            .iter()
            .chain(own)
            .map(|rule| &rule.value)
            .find(|rule| rule.class == PathClass::Persistent && path.value.is_within(&rule.path));
        let (top, why) = if let Some(rule) = partition {
            if rule.path == path.value && matches!(file.value.body, FileBody::Directory) {
                continue;
            }
            (rule.path.clone(), "a partition of its own")
        } else if let Some(Ok(top)) = MADE_AT_BOOT
            .iter()
            .find(|top| is_below(&path.value, top))
            .map(|top| top.parse())
        {
            (top, "made anew at each boot")
        } else {
            continue;
        };
        let help = hidden_help(&file.value, &top);
        sink.push(Hidden {
            file: path.value.clone(),
            path: top,
            why,
            help,
            span: path.span,
        });
    }
}

fn hidden_help(file: &FileNode, top: &AbsPath) -> String {
    match (top.as_str(), file.path.value.as_str().strip_prefix("/usr/local/")) {
        ("/usr/local", Some(rest)) if rest.starts_with("share/ca-certificates") => {
            certificates::advice(&file.body)
        }
        ("/usr/local", Some(rest)) => format!("put it at /usr/{rest}, which is part of the image"),
        ("/run" | "/tmp", _) => "let the boot make it: a file below /usr/lib/tmpfiles.d".to_owned(),
        _ => "put it below /usr or /etc, which are part of the image".to_owned(),
    }
}

/// What missing partitions do: the flavor's word, else the distro's.
fn on_missing(
    parts: &Parts,
    stock: &Layout,
    rules: &[Spanned<LayoutRule>],
    sink: &mut Sink,
) -> Vec<Spanned<OnMissingRule>> {
    let all = said(parts, |fragment| &fragment.layout.on_missing);
    let setting = |rule: &OnMissingRule| format!("what a missing `{}` does", rule.label);
    let show = |rule: &OnMissingRule| match rule.then {
        OnMissing::Degrade => Some("degrade".to_owned()),
        OnMissing::Reboot => Some("reboot".to_owned()),
    };
    let chosen = choose_each(all, |rule| rule.label.clone(), setting, show, sink);
    let labels: Vec<&str> = rules
        .iter()
        .filter_map(|rule| rule.value.label.as_deref())
        .collect();
    for rule in chosen
        .iter()
        .filter(|rule| !labels.is_empty() && !labels.contains(&rule.value.label.as_str()))
    {
        let help = did_you_mean(&rule.value.label, &labels, || {
            format!("labels are {}", labels.join(", "))
        });
        sink.push(UnknownLabel {
            label: rule.value.label.clone(),
            help,
            span: rule.span,
        });
    }
    let mut rules: Vec<Spanned<OnMissingRule>> = chosen.iter().map(Said::spanned).collect();
    let others = stock
        .on_missing
        .iter()
        .filter(|stock| !chosen.iter().any(|own| own.value.label == stock.value.label));
    rules.extend(others.cloned());
    rules
}
