//! The text of a lock: a small part of KDL, written and read here.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;

use miette::Diagnostic;
use thiserror::Error;

use crate::model::{Architecture, PackageName, RuntimeSource, Url, redacted};
use crate::packages::time;
use crate::step::Ids;

use super::super::{LockedDownload, LockedIndex, LockedPackage, LockedUpstream, Resolved, UpstreamPart};
use super::{FORMAT, Lock};

/// Why a text is no lock.
#[derive(Debug, Error, Diagnostic)]
pub enum LockError {
    /// It was written by a newer kcompose.
    #[error("`{file}` is a lock of format {found}, and this kcompose knows format {FORMAT}")]
    #[diagnostic(
        code("kcompose::lock::newer"),
        help(
            "use the kcompose that wrote it, or a newer one; `kcompose update` writes a lock of this version anew"
        )
    )]
    Newer {
        /// The file's name.
        file: String,
        /// Its format.
        found: u32,
    },
    /// A line cannot be read.
    #[error("`{file}` line {line} cannot be read: {reason}")]
    #[diagnostic(
        code("kcompose::lock::unreadable"),
        help("take the file back from version control; or delete it, and `kcompose lock` writes it anew")
    )]
    Unreadable {
        /// The file's name.
        file: String,
        /// The line, from one.
        line: usize,
        /// What is wrong.
        reason: String,
    },
}

/// The text of a lock.
pub fn render(lock: &Lock) -> String {
    let mut out =
        String::from("// Written by `kcompose lock`. Keep it in version control; do not edit it.\n");
    let resolved = &lock.resolved;
    line(
        &mut out,
        Line::new("lock")
            .number("format", i64::from(FORMAT))
            .number("language", i64::from(lock.language)),
    );
    line(
        &mut out,
        Line::new("architecture").value(resolved.architecture.as_str()),
    );
    line(&mut out, Line::new("epoch").plain(resolved.epoch));
    let request = Line::new("request").text("sha256", &lock.request);
    let request = match &lock.urls {
        Some(urls) => request.number("urls", i64::try_from(urls.len()).unwrap_or(i64::MAX)),
        None => request,
    };
    line(&mut out, request);
    for asked in &lock.asked {
        line(&mut out, Line::new("asked").value(asked));
    }
    for index in &resolved.indexes {
        let start = Line::new("index")
            .text("source", &index.source)
            .text("suite", &index.suite);
        let middle = start
            .text("date", &time::format(index.date))
            .text("sha256", &index.inrelease_sha256);
        line(&mut out, middle.text("signed-by", &index.signed_by.join(" ")));
    }
    for (source, url) in lock.urls.iter().flatten() {
        line(&mut out, Line::new("url").value(source).value(&url.to_string()));
    }
    for (archive, url) in &lock.mirrors {
        line(
            &mut out,
            Line::new("mirror").value(archive).value(&url.to_string()),
        );
    }
    for (kind, ids) in [
        ("group", &resolved.ids.groups),
        ("user", &resolved.ids.users),
        ("account", &resolved.accounts),
    ] {
        for (name, id) in ids {
            line(&mut out, Line::new(kind).value(name).plain(i64::from(*id)));
        }
    }
    for upstream in resolved.upstreams() {
        line(&mut out, upstream_line(upstream));
    }
    for (name, cause) in &resolved.left_out {
        let start = Line::new("left-out").value(name.as_str());
        line(&mut out, start.text("for", cause.as_str()));
    }
    for download in &resolved.downloads {
        let size = i64::try_from(download.size).unwrap_or(i64::MAX);
        let start = Line::new("download").value(&download.url.to_string());
        line(
            &mut out,
            start
                .number("size", size)
                .text("sha256", download.sha256.as_str()),
        );
    }
    for package in resolved.packages.values() {
        line(&mut out, package_line(package));
    }
    out
}

fn upstream_line(upstream: &LockedUpstream) -> Line {
    let line = match upstream.part {
        UpstreamPart::KairosInit => Line::new("upstream"),
        UpstreamPart::Kubernetes(which) => Line::new("kubernetes").value(which.name()),
    };
    let line = line.text("from", &upstream.from.to_string());
    let line = match &upstream.digest {
        Some(digest) => line.text("digest", digest),
        None => line,
    };
    line.text("sha256", &upstream.sha256)
}

fn package_line(package: &LockedPackage) -> Line {
    let depends: Vec<&str> = package.depends.iter().map(PackageName::as_str).collect();
    let installed = i64::try_from(package.installed_size).unwrap_or(i64::MAX);
    let line = Line::new("package")
        .value(package.name.as_str())
        .text("version", &package.version)
        .text("architecture", &package.architecture)
        .text("source", &package.source)
        .text("suite", &package.suite)
        .text("path", &package.path)
        .number("size", i64::try_from(package.size).unwrap_or(i64::MAX))
        .text("sha256", &package.sha256)
        .number("installed", installed);
    let line = if package.essential {
        line.raw("essential", "#true")
    } else {
        line
    };
    let line = if package.plain {
        line.raw("plain", "#true")
    } else {
        line
    };
    let line = names(line, "users", &package.users);
    let line = names(line, "groups", &package.groups);
    line.text("depends", &depends.join(" "))
}

/// A property with names; none where there are none.
fn names(line: Line, key: &str, names: &BTreeSet<String>) -> Line {
    if names.is_empty() {
        return line;
    }
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    line.text(key, &names.join(" "))
}

fn line(out: &mut String, Line(text): Line) {
    out.push_str(&text);
    out.push('\n');
}

/// One node of a lock.
struct Line(String);

impl Line {
    fn new(name: &str) -> Self {
        Line(name.to_owned())
    }

    fn value(mut self, value: &str) -> Self {
        write!(self.0, " {}", quoted(value)).expect("a string takes any text");
        self
    }

    fn plain(self, value: i64) -> Self {
        Line(format!("{} {value}", self.0))
    }

    fn text(self, key: &str, value: &str) -> Self {
        self.raw(key, &quoted(value))
    }

    fn number(self, key: &str, value: i64) -> Self {
        self.raw(key, &value.to_string())
    }

    fn raw(self, key: &str, value: &str) -> Self {
        Line(format!("{} {key}={value}", self.0))
    }
}

fn quoted(text: &str) -> String {
    let mut out = String::from("\"");
    for c in text.chars() {
        match c {
            '"' | '\\' => out.extend(['\\', c]),
            '\n' => out.push_str("\\n"),
            '\t' => out.push_str("\\t"),
            _ => out.push(c),
        }
    }
    out.push('"');
    out
}

/// Reads a lock; the file's name is for messages.
pub fn parse(file: &str, text: &str) -> Result<Lock, LockError> {
    let unreadable = |line: usize, reason: String| LockError::Unreadable {
        file: file.to_owned(),
        line,
        reason,
    };
    let mut draft = Draft::default();
    for (number, line) in (1..).zip(text.lines()) {
        let line = line.trim();
        if line.is_empty() || line.starts_with("//") {
            continue;
        }
        let node = Node::read(line).map_err(|reason| unreadable(number, reason))?;
        if let Some(found) = node.newer_format() {
            return Err(LockError::Newer {
                file: file.to_owned(),
                found,
            });
        }
        draft.take(&node).map_err(|reason| unreadable(number, reason))?;
    }
    draft
        .finish()
        .map_err(|reason| unreadable(text.lines().count().max(1), reason))
}

/// One line, taken apart.
struct Node {
    name: String,
    values: Vec<String>,
    properties: BTreeMap<String, String>,
}

impl Node {
    fn read(line: &str) -> Result<Self, String> {
        let (name, mut rest) = line.split_once(' ').unwrap_or((line, ""));
        let mut node = Node {
            name: name.to_owned(),
            values: Vec::new(),
            properties: BTreeMap::new(),
        };
        loop {
            rest = rest.trim_start();
            if rest.is_empty() {
                return Ok(node);
            }
            if rest.starts_with('"') {
                let (value, behind) = value(rest)?;
                node.values.push(value);
                rest = behind;
                continue;
            }
            let end = rest.find([' ', '=']).unwrap_or(rest.len());
            if rest[end..].starts_with('=') {
                let (value, behind) = value(&rest[end + 1..])?;
                node.properties.insert(rest[..end].to_owned(), value);
                rest = behind;
            } else {
                node.values.push(rest[..end].to_owned());
                rest = &rest[end..];
            }
        }
    }

    /// The format, if this line says one that is not known yet.
    fn newer_format(&self) -> Option<u32> {
        let format = self.properties.get("format").filter(|_| self.name == "lock")?;
        format.parse().ok().filter(|found| *found > FORMAT)
    }

    fn value(&self, at: usize) -> Result<&str, String> {
        self.values
            .get(at)
            .map(String::as_str)
            .ok_or_else(|| format!("`{}` lacks a value", self.name))
    }

    /// Whether a property is there and says `#true`.
    fn flag(&self, key: &str) -> bool {
        self.properties.get(key).is_some_and(|value| value == "#true")
    }

    /// The words of a property; none without it.
    fn names(&self, key: &str) -> BTreeSet<String> {
        let words = self
            .properties
            .get(key)
            .map_or("", String::as_str)
            .split_whitespace();
        words.map(str::to_owned).collect()
    }

    fn text(&self, key: &str) -> Result<&str, String> {
        self.properties
            .get(key)
            .map(String::as_str)
            .ok_or_else(|| format!("`{}` lacks `{key}`", self.name))
    }

    fn number<N: std::str::FromStr>(&self, key: &str) -> Result<N, String> {
        number(self.text(key)?)
    }
}

/// A value and what follows it.
fn value(text: &str) -> Result<(String, &str), String> {
    let Some(inside) = text.strip_prefix('"') else {
        let end = text.find(' ').unwrap_or(text.len());
        return Ok((text[..end].to_owned(), &text[end..]));
    };
    let mut out = String::new();
    let mut chars = inside.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return Ok((out, &inside[at + 1..])),
            '\\' => match chars.next() {
                Some((_, 'n')) => out.push('\n'),
                Some((_, 't')) => out.push('\t'),
                Some((_, other)) => out.push(other),
                None => break,
            },
            other => out.push(other),
        }
    }
    Err("a quote is not closed".to_owned())
}

fn number<N: std::str::FromStr>(text: &str) -> Result<N, String> {
    text.parse()
        .map_err(|_| format!("`{text}` is not a number that fits here"))
}

#[derive(Default)]
struct Draft {
    language: Option<u32>,
    architecture: Option<Architecture>,
    epoch: Option<i64>,
    request: Option<String>,
    asked: Vec<String>,
    indexes: Vec<LockedIndex>,
    mirrors: BTreeMap<String, Url>,
    urls: Option<BTreeMap<String, Url>>,
    ids: Ids,
    accounts: BTreeMap<String, u32>,
    left_out: BTreeMap<PackageName, PackageName>,
    upstream: Option<Box<LockedUpstream>>,
    kubernetes: Option<Box<LockedUpstream>>,
    downloads: Vec<LockedDownload>,
    packages: BTreeMap<PackageName, LockedPackage>,
}

impl Draft {
    fn take(&mut self, node: &Node) -> Result<(), String> {
        match node.name.as_str() {
            "lock" => self.language = Some(node.number("language")?),
            "architecture" => {
                self.architecture = Some(
                    node.value(0)?
                        .parse()
                        .map_err(|_| "the architecture is not known".to_owned())?,
                );
            }
            "epoch" => self.epoch = Some(number(node.value(0)?)?),
            "request" => {
                self.request = Some(digest(node.text("sha256")?)?);
                if node.properties.contains_key("urls") {
                    self.urls.get_or_insert_default();
                }
            }
            "url" => {
                let (source, url) = (node.value(0)?.to_owned(), url(node.value(1)?)?);
                self.urls.get_or_insert_default().insert(source, url);
            }
            "asked" => self.asked.push(node.value(0)?.to_owned()),
            "index" => self.indexes.push(index(node)?),
            "mirror" => {
                self.mirrors
                    .insert(node.value(0)?.to_owned(), url(node.value(1)?)?);
            }
            "group" => insert(&mut self.ids.groups, node)?,
            "user" => insert(&mut self.ids.users, node)?,
            "account" => insert(&mut self.accounts, node)?,
            "upstream" => self.upstream = Some(Box::new(upstream(node, UpstreamPart::KairosInit)?)),
            "kubernetes" => {
                let name = node.value(0)?;
                let part = UpstreamPart::named(name).filter(|part| *part != UpstreamPart::KairosInit);
                let part = part.ok_or_else(|| format!("`{name}` is no Kubernetes"))?;
                self.kubernetes = Some(Box::new(upstream(node, part)?));
            }
            "left-out" => {
                let cause = name(node.text("for")?)?;
                self.left_out.insert(name(node.value(0)?)?, cause);
            }
            "download" => self.downloads.push(download(node)?),
            "package" => {
                let package = package(node)?;
                let name = package.name.clone();
                if self.packages.insert(name.clone(), package).is_some() {
                    return Err(format!("package `{name}` is locked twice"));
                }
            }
            other => return Err(format!("`{other}` is not a line of a lock")),
        }
        Ok(())
    }

    fn finish(mut self) -> Result<Lock, String> {
        let lacks = |what: &str| format!("it lacks the line `{what}`");
        let missing = self
            .packages
            .values()
            .flat_map(|package| &package.depends)
            .find(|name| !self.packages.contains_key(*name));
        if let Some(missing) = missing {
            return Err(format!("package `{missing}` is needed and not locked"));
        }
        self.asked.sort();
        self.indexes.sort();
        self.downloads.sort();
        Ok(Lock {
            mirrors: self.mirrors,
            urls: self.urls,
            language: self.language.ok_or_else(|| lacks("lock"))?,
            asked: self.asked,
            request: self.request.ok_or_else(|| lacks("request"))?,
            resolved: Resolved {
                architecture: self.architecture.ok_or_else(|| lacks("architecture"))?,
                packages: self.packages,
                indexes: self.indexes,
                epoch: self.epoch.ok_or_else(|| lacks("epoch"))?,
                ids: self.ids,
                accounts: self.accounts,
                left_out: self.left_out,
                upstream: self.upstream,
                kubernetes: self.kubernetes,
                downloads: self.downloads,
            },
        })
    }
}

fn insert(ids: &mut BTreeMap<String, u32>, node: &Node) -> Result<(), String> {
    let (name, id) = (node.value(0)?, number(node.value(1)?)?);
    match ids.insert(name.to_owned(), id) {
        Some(other) if other != id => Err(format!("`{name}` has two ids, {other} and {id}")),
        _ => Ok(()),
    }
}

fn upstream(node: &Node, part: UpstreamPart) -> Result<LockedUpstream, String> {
    let from = node.text("from")?;
    let digest = match node.properties.get("digest") {
        None => None,
        Some(text) => {
            let hex = text.strip_prefix("sha256:").unwrap_or_default();
            Some(format!("sha256:{}", digest(hex)?))
        }
    };
    Ok(LockedUpstream {
        part,
        from: source(from)?,
        digest,
        sha256: self::digest(node.text("sha256")?)?,
    })
}

/// A URL. A login that an older kcompose wrote must not stay in the file unnoticed.
fn url(text: &str) -> Result<Url, String> {
    match Url::split_login(text) {
        Ok((url, None)) => Ok(url),
        Ok((url, Some(_))) => Err(format!(
            "the URL of `{}` holds a login: delete it from this line, and change the password",
            url.host()
        )),
        Err(error) => Err(error.fact),
    }
}

fn source(text: &str) -> Result<RuntimeSource, String> {
    if text.contains("://") {
        return url(text).map(RuntimeSource::Url);
    }
    text.parse()
        .map_err(|_| format!("`{}` is no source", redacted(text)))
}

fn download(node: &Node) -> Result<LockedDownload, String> {
    Ok(LockedDownload {
        url: url(node.value(0)?)?,
        sha256: digest(node.text("sha256")?)?
            .parse()
            .expect("a digest that was checked is one"),
        size: node.number("size")?,
    })
}

fn index(node: &Node) -> Result<LockedIndex, String> {
    let date = node.text("date")?;
    Ok(LockedIndex {
        source: node.text("source")?.to_owned(),
        suite: node.text("suite")?.to_owned(),
        inrelease_sha256: digest(node.text("sha256")?)?,
        date: time::parse(date).ok_or_else(|| format!("`{date}` is not a date"))?,
        signed_by: node
            .text("signed-by")?
            .split_whitespace()
            .map(str::to_owned)
            .collect(),
    })
}

fn package(node: &Node) -> Result<LockedPackage, String> {
    let depends: Result<BTreeSet<PackageName>, String> =
        node.text("depends")?.split_whitespace().map(name).collect();
    let path = node.text("path")?;
    if path.starts_with('/') || path.split('/').any(|part| part == "..") {
        return Err(format!("`{path}` leaves the package source"));
    }
    Ok(LockedPackage {
        name: name(node.value(0)?)?,
        version: node.text("version")?.to_owned(),
        architecture: node.text("architecture")?.to_owned(),
        source: node.text("source")?.to_owned(),
        suite: node.text("suite")?.to_owned(),
        path: path.to_owned(),
        size: node.number("size")?,
        sha256: digest(node.text("sha256")?)?,
        essential: node.flag("essential"),
        installed_size: node.number("installed")?,
        depends: depends?,
        plain: node.flag("plain"),
        users: node.names("users"),
        groups: node.names("groups"),
    })
}

fn name(text: &str) -> Result<PackageName, String> {
    text.parse()
        .map_err(|_| format!("`{text}` is not a package name"))
}

fn digest(text: &str) -> Result<String, String> {
    let is_hex = text.len() == 64 && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    if is_hex {
        Ok(text.to_owned())
    } else {
        Err(format!("`{text}` is not a sha256"))
    }
}
