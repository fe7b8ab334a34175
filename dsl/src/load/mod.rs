//! A flavor with everything that it uses, into one [`Flavor`].

mod parameters;

use std::collections::{BTreeMap, BTreeSet};

use kcompose_core::compose::{Part, Parts, compose, converted};
use kcompose_core::diagnostic::{Diagnostics, Sink, Warned, did_you_mean};
use kcompose_core::limits;
use kcompose_core::model::{Architecture, Flavor, Fragment, Use};
use kcompose_core::packages::deb::signature::{BEGIN_KEY, Keyring, SignatureError};
use kcompose_core::source::{SourceMap, Span, Spanned};
use miette::Diagnostic;
use thiserror::Error;

use crate::distro;
use crate::nodes;
use crate::syntax;

/// What a load is told beside the text.
#[derive(Clone, Debug)]
pub struct Options {
    /// The architecture to build for.
    pub architecture: Architecture,
    /// Values for the parameters that the flavor declares.
    pub parameters: BTreeMap<String, String>,
    /// Names of folders that take the place of blocks and distros of the library.
    pub replaced: BTreeSet<String>,
}

impl Default for Options {
    fn default() -> Self {
        Options {
            architecture: Architecture::Amd64,
            parameters: BTreeMap::new(),
            replaced: BTreeSet::new(),
        }
    }
}

/// The reason why a loader has no text for a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LoadError {
    /// Nothing is at the path.
    Missing,
    /// A symbolic link leads out of the folder that the path is in.
    Outside,
    /// It is no regular file: its kind, such as "a FIFO".
    Special(&'static str),
    /// It is over [`limits::TEXT`].
    TooLarge,
    /// It cannot be read: the system's reason.
    Unreadable(String),
    /// The file is there, and holds these bytes, which are no text in UTF-8.
    NotText(Vec<u8>),
}

/// Why bytes are no document.
pub const NOT_TEXT: &str = "it is not UTF-8";

impl LoadError {
    /// The text in the bytes of a file.
    pub fn text(bytes: Vec<u8>) -> Result<String, LoadError> {
        String::from_utf8(bytes).map_err(|error| LoadError::NotText(error.into_bytes()))
    }
}

impl From<std::io::Error> for LoadError {
    fn from(error: std::io::Error) -> Self {
        if error.kind() == std::io::ErrorKind::NotFound {
            LoadError::Missing
        } else {
            LoadError::Unreadable(error.to_string())
        }
    }
}

/// Gives the text of a file by its path.
///
/// Paths are of the same kind as the name of the flavor: for a flavor `a/flavor.kdl` that uses `./b.kdl` it is asked for
/// `a/b.kdl`. It is asked for documents, for keys of repositories, certificates and cloud-configs. A path that begins with
/// [`REPLACED`] is below a folder that takes the place of a part of the library: `context:cloud-init/block.kdl`.
pub type Loader<'a> = dyn FnMut(&str) -> Result<String, LoadError> + 'a;

/// What a path begins with that is below one of [`Options::replaced`].
pub const REPLACED: &str = "context:";

#[derive(Debug, Error, Diagnostic)]
#[error("`{first}` uses itself: {circle}")]
#[diagnostic(code("kcompose::use::cycle"), help("take one `use` of the cycle out"))]
struct Cycle {
    first: String,
    circle: String,
    #[label("this closes the cycle")]
    span: Span,
}

#[derive(Debug, Error, Diagnostic)]
#[error("there is no {what} `{name}`")]
#[diagnostic(code("kcompose::use::not-found"), help("{help}"))]
struct NotFound {
    what: &'static str,
    name: String,
    help: String,
    #[label("not found")]
    span: Span,
}

#[derive(Debug, Error, Diagnostic)]
#[error("`{path}` cannot be read: {reason}")]
#[diagnostic(code("kcompose::use::unreadable"), help("{help}"))]
struct Unreadable {
    path: String,
    reason: String,
    help: String,
    #[label("asked for here")]
    span: Span,
}

#[derive(Debug, Error, Diagnostic)]
#[error("`{path}` holds no OpenPGP public key: {reason}")]
#[diagnostic(
    code("kcompose::repository::key"),
    help("write the key there that signs the package source, as `gpg --export --armor` prints it")
)]
struct NoKey {
    path: String,
    reason: String,
    #[label("named here")]
    span: Span,
}

#[derive(Debug, Error, Diagnostic)]
#[error("`{document}` is used twice, with different parameters")]
#[diagnostic(
    code("kcompose::use::conflict"),
    help("a document counts once: use it with the same parameters, or only once")
)]
struct UsedDifferently {
    document: String,
    #[label("used here")]
    first: Span,
    #[label(primary, "and differently here")]
    second: Span,
}

#[derive(Debug, Error, Diagnostic)]
#[error("`{path}` is behind a symbolic link that leaves the folder of the flavor")]
#[diagnostic(
    code("kcompose::use::outside"),
    help("put the file itself there; kcompose follows relative links to files of the same folder only")
)]
struct Outside {
    path: String,
    #[label("asked for here")]
    span: Span,
}

#[derive(Debug, Error, Diagnostic)]
#[error("`{path}` is outside of the folder of the flavor, and its name does not end in `.kdl`")]
#[diagnostic(
    code("kcompose::use::outside"),
    help("move it below the folder of the flavor, or rename it to `{path}.kdl` if it is a document")
)]
struct NotADocument {
    path: String,
    #[label("asked for here")]
    span: Span,
}

#[derive(Debug, Error, Diagnostic)]
#[error("`{path}` is {kind}, not a file")]
#[diagnostic(code("kcompose::use::special-file"), help("name a regular file"))]
struct SpecialFile {
    path: String,
    kind: &'static str,
    #[label("asked for here")]
    span: Span,
}

#[derive(Debug, Error, Diagnostic)]
#[error("`{path}` is larger than {limit}")]
#[diagnostic(
    code("kcompose::use::too-large"),
    help("a document, key or cloud-config has at most {limit}")
)]
struct TooLarge {
    path: String,
    limit: limits::Limit,
    #[label("asked for here")]
    span: Option<Span>,
}

#[derive(Debug, Error, Diagnostic)]
#[error("the documents, keys and cloud-configs of this flavor are larger than {limit} together")]
#[diagnostic(
    code("kcompose::use::too-large"),
    help("copy large files with `files` in place of naming them here")
)]
struct TooLargeTogether {
    limit: limits::Limit,
    #[label("the text that exceeds the limit")]
    span: Option<Span>,
}

#[derive(Debug, Error, Diagnostic)]
#[error("this is a chain of more than {limit} that use each other")]
#[diagnostic(
    code("kcompose::use::too-deep"),
    help("use the documents side by side, from one document")
)]
struct TooDeep {
    limit: limits::Limit,
    #[label("the chain goes on here")]
    span: Span,
}

#[derive(Debug, Error, Diagnostic)]
#[error("this flavor uses more than {limit}")]
#[diagnostic(
    code("kcompose::use::too-many"),
    help("write what belongs together into one document")
)]
struct TooMany {
    limit: limits::Limit,
    #[label("one too many")]
    span: Span,
}

/// Parses, lowers and composes a flavor with everything that it uses.
///
/// `name` is what reports call the flavor, and the path that what it uses is relative to. Every text lands in `sources`.
pub fn load(
    sources: &mut SourceMap,
    name: &str,
    text: &str,
    loader: &mut Loader<'_>,
    options: &Options,
) -> Result<Warned<Flavor>, Diagnostics> {
    let chosen = options
        .parameters
        .iter()
        .map(|(name, value)| (name.clone(), Spanned::unplaced(value.clone())))
        .collect();
    let request = Request {
        name: name.to_owned(),
        text: text.to_owned(),
        block: None,
        chosen,
        used: None,
    };
    let context = joined(&folder_of(name), "");
    let mut loading = Loading::new(sources, loader, context, &options.replaced);
    loading.document(&request);
    let Loading {
        sources,
        loader,
        mut sink,
        parts,
        meant,
        complete,
        ..
    } = loading;
    let parts = Parts {
        parts,
        architecture: options.architecture,
        meant,
        complete,
    };
    let composed = compose(&parts, &mut |base| {
        let mut shelf = distro::Shelf {
            replaced: options.replaced.contains(&base.value.distro.value),
            loader,
        };
        distro::distro(sources, base, &mut shelf)
    });
    match composed {
        Ok(composed) => {
            sink.extend(composed.warnings);
            sink.finish(composed.value)
        }
        Err(problems) => {
            sink.extend(problems);
            Err(sink.into_diagnostics())
        }
    }
}

/// A document that is to be read.
struct Request {
    name: String,
    text: String,
    block: Option<String>,
    chosen: BTreeMap<String, Spanned<String>>,
    used: Option<Span>,
}

struct Loading<'a, 'l> {
    sources: &'a mut SourceMap,
    loader: &'a mut Loader<'l>,
    /// The folder of the flavor: the build context.
    context: String,
    /// Blocks that a folder takes the place of.
    replaced: &'a BTreeSet<String>,
    sink: Sink,
    parts: Vec<Part>,
    meant: BTreeSet<&'static str>,
    complete: bool,
    /// The documents that are being read, outermost first.
    path: Vec<String>,
    /// Every document that was used: the place, and the parameters.
    done: BTreeMap<String, (Span, BTreeMap<String, Spanned<String>>)>,
    /// The size of all texts that were read.
    size: usize,
    /// Whether a limit on all documents was reached; no further document is read.
    full: bool,
}

impl<'a, 'l> Loading<'a, 'l> {
    fn new(
        sources: &'a mut SourceMap,
        loader: &'a mut Loader<'l>,
        context: String,
        replaced: &'a BTreeSet<String>,
    ) -> Self {
        Loading {
            sources,
            loader,
            context,
            replaced,
            sink: Sink::new(),
            parts: Vec::new(),
            meant: BTreeSet::new(),
            complete: true,
            path: Vec::new(),
            done: BTreeMap::new(),
            size: 0,
            full: false,
        }
    }

    /// Reads a document, and then what it uses.
    fn document(&mut self, request: &Request) {
        if !self.fits(&request.name, request.text.len(), request.used) {
            self.complete = false;
            return;
        }
        let shown = request
            .block
            .as_ref()
            .map_or_else(|| request.name.clone(), |_| format!("library:{}", request.name));
        let file = self.sources.add(shown, request.text.as_str()).clone();
        let mut document = match syntax::parse(&file) {
            Ok(document) => document,
            Err(problems) => {
                self.sink.extend(problems);
                self.complete = false;
                return;
            }
        };
        parameters::take(&mut document.nodes, request, &file, &mut self.sink);
        let lowered = nodes::lower(&document, &mut self.sink);
        self.meant.extend(lowered.meant);
        let mut fragment = lowered.fragment;
        self.take_texts(&mut fragment, request);
        let uses = all_uses(&fragment);
        self.parts.push(Part {
            fragment,
            block: request.block.clone(),
        });
        self.path.push(request.name.clone());
        for used in uses {
            self.used(request, &used);
        }
        self.path.pop();
    }

    fn used(&mut self, by: &Request, used: &Spanned<Use>) {
        let target = &used.value.target;
        let is_document = target.value.starts_with("./") || target.value.starts_with("../");
        let name = if is_document {
            joined(&folder_of(&by.name), &target.value)
        } else {
            format!("blocks/{}/block.kdl", target.value)
        };
        if let Some(begin) = self.path.iter().position(|earlier| *earlier == name) {
            let circle: Vec<&str> = self.path[begin..]
                .iter()
                .map(String::as_str)
                .chain([name.as_str()])
                .collect();
            self.sink.push(Cycle {
                first: name.clone(),
                circle: circle.join(" → "),
                span: target.span,
            });
            return;
        }
        if let Some((first, parameters)) = self.done.get(&name) {
            if *parameters != used.value.parameters {
                self.sink.push(UsedDifferently {
                    document: name,
                    first: *first,
                    second: used.span,
                });
            }
            return;
        }
        if !self.may_use(target.span) {
            self.complete = false;
            return;
        }
        self.done
            .insert(name.clone(), (used.span, used.value.parameters.clone()));
        let text = if is_document {
            self.document_text(&name, by, target.span)
        } else {
            self.block_text(&name, target)
        };
        let Some(text) = text else {
            self.complete = false;
            return;
        };
        let block = (!is_document).then(|| target.value.clone());
        // What a block uses, and what a document of a block uses, is the library's too.
        let block = block.or_else(|| by.block.clone());
        let chosen = used.value.parameters.clone();
        self.document(&Request {
            name,
            text,
            block,
            chosen,
            used: Some(target.span),
        });
    }

    /// Whether the limits allow one more document.
    fn may_use(&mut self, span: Span) -> bool {
        if self.full {
            return false;
        }
        if limits::USE_DEPTH.is_exceeded_by(self.path.len() + 1) {
            self.sink.push(TooDeep {
                limit: limits::USE_DEPTH,
                span,
            });
            return false;
        }
        // The flavor itself is not among those that are done.
        if limits::DOCUMENTS.is_exceeded_by(self.done.len() + 2) {
            self.full = true;
            self.sink.push(TooMany {
                limit: limits::DOCUMENTS,
                span,
            });
            return false;
        }
        true
    }

    /// Whether the limits allow a text of a size; counts it.
    fn fits(&mut self, path: &str, size: usize, span: Option<Span>) -> bool {
        if limits::TEXT.is_exceeded_by(size) {
            self.sink.push(TooLarge {
                path: path.to_owned(),
                limit: limits::TEXT,
                span,
            });
            return false;
        }
        self.size = self.size.saturating_add(size);
        if !limits::TEXTS.is_exceeded_by(self.size) {
            return true;
        }
        if !std::mem::replace(&mut self.full, true) {
            self.sink.push(TooLargeTogether {
                limit: limits::TEXTS,
                span,
            });
        }
        false
    }

    /// The text of a block of the library, or of the folder in its place.
    fn block_text(&mut self, name: &str, target: &Spanned<String>) -> Option<String> {
        if self.replaced.contains(&target.value) {
            let path = format!("{REPLACED}{}/block.kdl", target.value);
            return self.read(&path, "document", target.span);
        }
        let found = kcompose_library::file(name).map(str::to_owned);
        if found.is_none() {
            let blocks = kcompose_library::blocks();
            let help = did_you_mean(&target.value, &blocks, || {
                format!(
                    "blocks are {}; a document of your own begins with `./`",
                    crate::check::listed(&blocks)
                )
            });
            self.sink.push(NotFound {
                what: "block",
                name: target.value.clone(),
                help,
                span: target.span,
            });
        }
        found
    }

    /// The text of a document: of the folder of its block if a block uses it, else of the user.
    fn document_text(&mut self, name: &str, by: &Request, span: Span) -> Option<String> {
        if let Some(block) = &by.block {
            let inside = name.strip_prefix(&format!("blocks/{block}/"));
            return self.block_file(name, inside.unwrap_or(name), block, "document", span);
        }
        if leaves(&self.context, name) && !name.ends_with(".kdl") {
            self.sink.push(NotADocument {
                path: name.to_owned(),
                span,
            });
            return None;
        }
        self.read(name, "document", span)
    }

    /// Asks for a text, and notes when it cannot be had.
    fn read(&mut self, path: &str, what: &'static str, span: Span) -> Option<String> {
        let loaded = (self.loader)(path);
        self.loaded(loaded, path, what, span)
    }

    /// A text that was asked for; notes when it cannot be had.
    fn loaded(
        &mut self,
        loaded: Result<String, LoadError>,
        path: &str,
        what: &'static str,
        span: Span,
    ) -> Option<String> {
        match loaded {
            Ok(text) => Some(text),
            Err(LoadError::NotText(_)) => {
                let reason = NOT_TEXT.to_owned();
                self.loaded(Err(LoadError::Unreadable(reason)), path, what, span)
            }
            Err(LoadError::Outside) => {
                let path = path.to_owned();
                self.sink.push(Outside { path, span });
                None
            }
            Err(LoadError::Special(kind)) => {
                let path = path.to_owned();
                self.sink.push(SpecialFile { path, kind, span });
                None
            }
            Err(LoadError::TooLarge) => {
                self.sink.push(TooLarge {
                    path: path.to_owned(),
                    limit: limits::TEXT,
                    span: Some(span),
                });
                None
            }
            Err(LoadError::Missing) => {
                let help = format!("paths are relative to the folder of the document; looked for {path}");
                self.sink.push(NotFound {
                    what,
                    name: path.to_owned(),
                    help,
                    span,
                });
                None
            }
            Err(LoadError::Unreadable(reason)) => {
                let help = match what {
                    "certificate" => format!(
                        "it must be PEM, which is text; for one in DER: openssl x509 -inform der -in {path} -out {}",
                        converted(path)
                    ),
                    _ => "it must be a text file in UTF-8 that you may read".to_owned(),
                };
                self.sink.push(Unreadable {
                    path: path.to_owned(),
                    reason,
                    help,
                    span,
                });
                None
            }
        }
    }

    /// Reads the texts of keys, certificates and cloud-configs.
    fn take_texts(&mut self, fragment: &mut Fragment, by: &Request) {
        for repository in &mut fragment.repositories {
            for key in &mut repository.value.keys {
                if let Some(text) = self.key_text(&key.value, key.span, by) {
                    key.value = text;
                }
            }
        }
        for file in &mut fragment.certificates {
            file.value.text = self.context_text(file.value.path.value.as_str(), "certificate", file.span, by);
        }
        for config in &mut fragment.cloud_configs {
            if let Some(text) = &config.value.text {
                config.value.lines = self.written_lines(text);
            }
            let (Some(from), None) = (&config.value.from, &config.value.text) else {
                continue;
            };
            let (path, span) = (from.value.as_str().to_owned(), from.span);
            if let Some(text) = self.context_text(&path, "file", span, by) {
                let shown = match &by.block {
                    None => joined(&self.context, &path),
                    Some(_) => format!("library:{}", joined(&folder_of(&by.name), &path)),
                };
                let file = self.sources.add(shown, text.as_str());
                config.value.lines = lines_of(file.whole(), text.split('\n'));
                config.value.text = Some(Spanned::new(text, span));
            }
        }
        if let Some(overriding) = &mut fragment.overriding {
            self.take_texts(overriding, by);
        }
    }

    /// The keys in a file of the build context, armoured.
    fn key_text(&mut self, path: &str, span: Span, by: &Request) -> Option<String> {
        let loaded = match self.context_path(path, by) {
            Some(place) => match (self.loader)(&place) {
                Ok(text) => text.into_bytes(),
                Err(LoadError::NotText(bytes)) => bytes,
                other => return self.loaded(other, &place, "key", span),
            },
            None => self.context_text(path, "key", span, by)?.into_bytes(),
        };
        if !self.fits(path, loaded.len(), Some(span)) {
            return None;
        }
        let keys = Keyring::of_file(&loaded);
        let text = String::from_utf8(loaded).ok();
        match keys {
            Ok(keys) => Some(
                text.filter(|text| text.contains(BEGIN_KEY))
                    .unwrap_or_else(|| keys.armored()),
            ),
            Err(error) => {
                self.sink.push(NoKey {
                    path: path.to_owned(),
                    reason: match error {
                        SignatureError::UnreadableKey(reason) => reason,
                        other => other.to_string(),
                    },
                    span,
                });
                None
            }
        }
    }

    /// The place of each line of a text that is written over several lines; nothing for one that is not.
    fn written_lines(&self, text: &Spanned<String>) -> Vec<Span> {
        let raw = self.sources.text(text.span).unwrap_or_default();
        let Some(first) = raw
            .find('\n')
            .filter(|_| raw.trim_start_matches('#').starts_with("\"\"\""))
        else {
            return Vec::new();
        };
        let body = first + 1;
        let start = text.span.start + u32::try_from(body).expect("a source file is under 4 GiB");
        lines_of(Span::new(start, text.span.length), raw[body..].split('\n'))
    }

    /// A file of the build context; for a block of the library, of the block's folder.
    fn context_text(&mut self, path: &str, what: &'static str, span: Span, by: &Request) -> Option<String> {
        let text = match &by.block {
            Some(block) => {
                let name = joined(&folder_of(&by.name), path);
                self.block_file(&name, path, block, what, span)
            }
            None => self.read(&joined(&self.context.clone(), path), what, span),
        }?;
        self.fits(path, text.len(), Some(span)).then_some(text)
    }

    /// A file of a block: `name` in the library, `inside` in the folder that takes its place.
    fn block_file(
        &mut self,
        name: &str,
        inside: &str,
        block: &str,
        what: &'static str,
        span: Span,
    ) -> Option<String> {
        if self.replaced.contains(block) {
            return self.read(&format!("{REPLACED}{block}/{inside}"), what, span);
        }
        let found = kcompose_library::file(name).map(str::to_owned);
        if found.is_none() {
            self.sink.push(NotFound {
                what,
                name: name.to_owned(),
                help: "report this: the library lacks one of its files".to_owned(),
                span,
            });
        }
        found
    }
}

impl Loading<'_, '_> {
    /// The path that the loader knows a file of the build context by; none for a file of the library.
    fn context_path(&self, path: &str, by: &Request) -> Option<String> {
        match &by.block {
            None => Some(joined(&self.context, path)),
            Some(block) if self.replaced.contains(block) => Some(format!("{REPLACED}{block}/{path}")),
            Some(_) => None,
        }
    }
}

/// The place of each of the lines from the beginning of a span, without the spaces around it.
fn lines_of<'a>(span: Span, lines: impl Iterator<Item = &'a str>) -> Vec<Span> {
    let mut place = 0;
    let lines = lines.filter_map(|line| {
        let indent = line.len() - line.trim_start().len();
        let begin = u32::try_from(place + indent).ok()?;
        let length = u32::try_from(line.trim().len()).ok()?;
        place += line.len() + 1;
        Some(Span::new(span.start + begin, length))
    });
    lines.collect()
}

fn all_uses(fragment: &Fragment) -> Vec<Spanned<Use>> {
    let mut uses = fragment.uses.clone();
    uses.extend(fragment.overriding.iter().flat_map(|fragment| all_uses(fragment)));
    uses
}

/// The folder of a path; empty for a bare name.
fn folder_of(path: &str) -> String {
    path.rsplit_once('/').map_or_else(String::new, |(folder, _)| {
        if folder.is_empty() {
            "/".to_owned()
        } else {
            folder.to_owned()
        }
    })
}

/// Whether a path is outside of a folder; both are as [`joined`] returns them.
fn leaves(folder: &str, path: &str) -> bool {
    match folder {
        "" => path == ".." || path.starts_with("../"),
        "/" => false,
        _ => path
            .strip_prefix(folder)
            .is_none_or(|rest| !rest.starts_with('/')),
    }
}

/// A relative path behind a folder, without `.` and with `..` taken back where possible.
fn joined(folder: &str, path: &str) -> String {
    let root = if folder.starts_with('/') { "/" } else { "" };
    let mut parts: Vec<&str> = Vec::new();
    for part in folder.split('/').chain(path.split('/')) {
        match part {
            "" | "." => {}
            ".." if parts.last().is_some_and(|last| *last != "..") => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    format!("{root}{}", parts.join("/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_joined_without_dots() {
        assert_eq!(joined(&folder_of("a/flavor.kdl"), "./b.kdl"), "a/b.kdl");
        assert_eq!(joined(&folder_of("flavor.kdl"), "../b.kdl"), "../b.kdl");
        assert_eq!(joined(&folder_of("/a/b/flavor.kdl"), "../c.kdl"), "/a/c.kdl");
        assert_eq!(joined(&folder_of("/flavor.kdl"), "./c.kdl"), "/c.kdl");
    }

    #[test]
    fn paths_outside_of_a_folder_are_seen() {
        for (folder, path, outside) in [
            ("", "a/b.kdl", false),
            ("", "../b.kdl", true),
            ("a", "a/b.kdl", false),
            ("a", "ab.kdl", true),
            ("a", "b.kdl", true),
            ("/", "/b.kdl", false),
            ("/a", "/b.kdl", true),
            ("../a", "../a/b.kdl", false),
            ("../a", "../b.kdl", true),
        ] {
            assert_eq!(leaves(folder, path), outside, "{folder} {path}");
        }
    }
}
