//! Digests of what trees hold, for the keys of the cache.
//!
//! An operation that reads some paths of an input gives the same result for every input that has the same there. What is
//! hashed is what BuildKit hashes (`cache/contenthash`): kinds, modes, owners, attributes, devices, links and contents; no
//! times, and not which names are one file. The digests are ours: they mean nothing to a BuildKit.

mod inputs;

use std::collections::VecDeque;
use std::ffi::{OsStr, OsString};
use std::fs::{File, Metadata};
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Component, Path};

use miette::Diagnostic;
use sha2::{Digest, Sha256};
use thiserror::Error;

use super::attributes::{attribute, attribute_names};
use super::fileop::has_wildcard;
use crate::layer::{Found, LayerError, Stack};
use crate::session::patterns::{Matched, Patterns, matches_part};

pub(crate) use inputs::{inputs_of_exec_op, inputs_of_file_op, keyed_exec_op, keyed_file_op};

/// What of a tree counts.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Selector {
    /// A path in the tree; `/` for all of it.
    pub path: String,
    /// Whether `*`, `?` and `[…]` in the path are patterns.
    pub wildcard: bool,
    /// Whether a symbolic link at the end of the path stands for what it leads to.
    pub follow_links: bool,
    /// Only what matches one of these patterns; all if there is none.
    pub include: Vec<String>,
    /// Nothing that matches one of these patterns.
    pub exclude: Vec<String>,
}

impl Selector {
    /// A path and all that is below it.
    pub fn path(path: impl Into<String>) -> Self {
        Selector {
            path: path.into(),
            ..Selector::default()
        }
    }

    /// The whole tree.
    pub fn whole() -> Self {
        Selector::path("/")
    }
}

/// A tree that cannot be hashed.
#[derive(Debug, Error, Diagnostic)]
pub enum HashError {
    /// There is nothing by this name. What reads it will fail, so its key need not count contents.
    #[error("there is no `{path}`")]
    #[diagnostic(code(kcompose::files::missing))]
    Missing {
        /// The path in the tree.
        path: String,
    },

    /// Links that lead to each other.
    #[error("`{path}` leads through too many symbolic links")]
    #[diagnostic(code(kcompose::files::links))]
    Links {
        /// The path in the tree.
        path: String,
    },

    /// Something in the tree cannot be read.
    #[error(transparent)]
    #[diagnostic(transparent)]
    Read(#[from] LayerError),
}

/// The digest of what selectors choose in a tree, each in its turn: `sha256:` and hex.
///
/// The tree is a stack of layers, or a mounted tree as a stack of one.
pub fn content_hash(tree: &Stack, selectors: &[Selector]) -> Result<String, HashError> {
    digest_of(tree, selectors, true)
}

/// The same without what is in the files, of which only the sizes count: where these differ, nothing has to be read.
pub(super) fn outline_hash(tree: &Stack, selectors: &[Selector]) -> Result<String, HashError> {
    digest_of(tree, selectors, false)
}

fn digest_of(tree: &Stack, selectors: &[Selector], with_contents: bool) -> Result<String, HashError> {
    let mut hasher = Hasher {
        hash: Sha256::new(),
        with_contents,
    };
    for selector in selectors {
        hasher.field(b"selector");
        selected(tree, selector, &mut hasher)?;
    }
    Ok(hasher.digest())
}

fn selected(tree: &Stack, selector: &Selector, hasher: &mut Hasher) -> Result<(), HashError> {
    let parts: Vec<OsString> = parts(Path::new(&selector.path)).collect();
    let wild = parts
        .iter()
        .position(|part| selector.wildcard && has_wildcard(&part.to_string_lossy()));
    let Some(first) = wild else {
        let found = lookup(tree, parts, selector)?;
        return walk(&found, selector, hasher);
    };
    let start = lookup(tree, parts[..first].to_vec(), selector)?;
    let pattern: Vec<String> = parts[first..]
        .iter()
        .map(|part| part.to_string_lossy().into_owned())
        .collect();
    matching(tree, &parts[..first], &start, &pattern, selector, hasher)
}

/// Hashes what matches a pattern: the names that it has, and what they stand for.
fn matching(
    tree: &Stack,
    path: &[OsString],
    directory: &Found,
    pattern: &[String],
    selector: &Selector,
    hasher: &mut Hasher,
) -> Result<(), HashError> {
    let Some((part, rest)) = pattern.split_first() else {
        return Ok(());
    };
    for name in directory.inside.names()? {
        if !matches_part(part, &name.to_string_lossy()) {
            continue;
        }
        let Some(found) = directory.inside.entry(&name)? else {
            continue;
        };
        let mut path = path.to_vec();
        path.push(name);
        if !rest.is_empty() {
            matching(tree, &path, &found, rest, selector, hasher)?;
            continue;
        }
        hasher.field(path.join(OsStr::new("/")).as_bytes());
        if found.metadata.is_symlink() && selector.follow_links {
            walk(&lookup(tree, path, selector)?, selector, hasher)?;
        } else {
            walk(&found, selector, hasher)?;
        }
    }
    Ok(())
}

/// As many links as BuildKit follows.
const LINKS: usize = 255;

/// What a path leads to; links are followed as if the tree were `/`.
fn lookup(tree: &Stack, path: Vec<OsString>, selector: &Selector) -> Result<Found, HashError> {
    let missing = || HashError::Missing {
        path: selector.path.clone(),
    };
    let root = tree.itself()?.ok_or_else(missing)?;
    let mut above: Vec<Found> = vec![root];
    let mut todo: VecDeque<OsString> = path.into();
    let mut links = 0;
    while let Some(part) = todo.pop_front() {
        if part == ".." {
            if above.len() > 1 {
                above.pop();
            }
            continue;
        }
        let directory = above.last().ok_or_else(missing)?;
        let found = directory.inside.entry(&part)?.ok_or_else(missing)?;
        if !found.metadata.is_symlink() || (todo.is_empty() && !selector.follow_links) {
            above.push(found);
            continue;
        }
        links += 1;
        if links > LINKS {
            return Err(HashError::Links {
                path: selector.path.clone(),
            });
        }
        let target = link_target(&found)?;
        if target.is_absolute() {
            above.truncate(1);
        }
        for part in parts(&target).collect::<Vec<_>>().into_iter().rev() {
            todo.push_front(part);
        }
    }
    above.pop().ok_or_else(missing)
}

fn parts(path: &Path) -> impl Iterator<Item = OsString> + '_ {
    path.components().filter_map(|component| match component {
        Component::Normal(part) => Some(part.to_owned()),
        Component::ParentDir => Some(OsStr::new("..").to_owned()),
        Component::CurDir | Component::RootDir | Component::Prefix(_) => None,
    })
}

fn link_target(found: &Found) -> Result<std::path::PathBuf, LayerError> {
    found.path.read_link().map_err(|reason| LayerError::Read {
        path: found.path.clone(),
        reason,
    })
}

fn walk(found: &Found, selector: &Selector, hasher: &mut Hasher) -> Result<(), HashError> {
    let patterns = |list: &[String]| (!list.is_empty()).then(|| Patterns::new(list));
    let mut walk = Walk {
        include: patterns(&selector.include),
        exclude: patterns(&selector.exclude),
        parents: Vec::new(),
        hasher,
    };
    walk.entry(found, "", true, &Matched::default(), &Matched::default())
}

struct Walk<'a> {
    include: Option<Patterns>,
    exclude: Option<Patterns>,
    /// Directories on the way that are hashed as soon as something in them is.
    parents: Vec<(String, Found, bool)>,
    hasher: &'a mut Hasher,
}

impl Walk<'_> {
    fn entry(
        &mut self,
        found: &Found,
        path: &str,
        is_top: bool,
        included_above: &Matched,
        excluded_above: &Matched,
    ) -> Result<(), HashError> {
        let say = |patterns: &Option<Patterns>, above: &Matched, without: bool| match patterns {
            Some(patterns) if !is_top => patterns.matches_below(path, above),
            _ => (without, Matched::default()),
        };
        let (is_included, included) = say(&self.include, included_above, true);
        let (is_excluded, excluded) = say(&self.exclude, excluded_above, false);
        let is_included = is_included && !is_excluded;
        let has_exceptions = self.exclude.as_ref().is_some_and(Patterns::has_exceptions);
        if is_included {
            self.hash_parents()?;
            self.hasher.entry(path, found)?;
        }
        if !found.metadata.is_dir() || (is_excluded && !has_exceptions) {
            return Ok(());
        }
        self.parents.push((path.to_owned(), found.clone(), is_included));
        for name in found.inside.names()? {
            let Some(child) = found.inside.entry(&name)? else {
                continue;
            };
            let path = join(path, &name);
            self.entry(&child, &path, false, &included, &excluded)?;
        }
        self.parents.pop();
        Ok(())
    }

    fn hash_parents(&mut self) -> Result<(), LayerError> {
        for (path, found, is_hashed) in &mut self.parents {
            if !*is_hashed {
                self.hasher.entry(path, found)?;
                *is_hashed = true;
            }
        }
        Ok(())
    }
}

/// A path for patterns, which are text. What is no text is hashed by its bytes beside it.
fn join(path: &str, name: &OsStr) -> String {
    let name = name.to_string_lossy();
    if path.is_empty() {
        name.into_owned()
    } else {
        format!("{path}/{name}")
    }
}

/// A hash over fields, each with its length before it.
struct Hasher {
    hash: Sha256,
    with_contents: bool,
}

impl Hasher {
    fn digest(self) -> String {
        let hex: String = self
            .hash
            .finalize()
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect();
        format!("sha256:{hex}")
    }

    fn field(&mut self, bytes: &[u8]) {
        self.number(bytes.len() as u64);
        self.hash.update(bytes);
    }

    fn number(&mut self, number: u64) {
        self.hash.update(number.to_le_bytes());
    }

    fn entry(&mut self, path: &str, found: &Found) -> Result<(), LayerError> {
        let metadata = &found.metadata;
        self.field(path.as_bytes());
        if !path.is_empty() {
            let name = found.path.file_name().unwrap_or_default();
            self.field(name.as_bytes());
        }
        self.facts(metadata);
        self.attributes(&found.path);
        if metadata.is_symlink() {
            self.field(link_target(found)?.as_os_str().as_bytes());
        } else if metadata.is_file() {
            let reading = |reason| LayerError::Read {
                path: found.path.clone(),
                reason,
            };
            self.content(&found.path, metadata.len()).map_err(reading)?;
        }
        Ok(())
    }

    fn facts(&mut self, metadata: &Metadata) {
        // The mode holds the kind.
        let owner = [metadata.uid(), metadata.gid()].map(u64::from);
        let facts = [metadata.mode().into(), owner[0], owner[1], metadata.rdev()];
        for fact in facts {
            self.number(fact);
        }
    }

    fn attributes(&mut self, path: &Path) {
        let counts = |name: &Vec<u8>| {
            name == b"security.capability"
                || !(name.starts_with(b"security.") || name.starts_with(b"system."))
        };
        let found: Vec<(Vec<u8>, Vec<u8>)> = attribute_names(path)
            .into_iter()
            .filter(counts)
            .filter_map(|name| Some((name.clone(), attribute(path, &name)?)))
            .collect();
        self.number(found.len() as u64);
        for (name, value) in found {
            self.field(&name);
            self.field(&value);
        }
    }

    fn content(&mut self, path: &Path, size: u64) -> io::Result<()> {
        self.number(size);
        if size == 0 || !self.with_contents {
            return Ok(());
        }
        let mut file = File::open(path)?;
        let mut buffer = vec![0; usize::try_from(size.min(1 << 18)).unwrap_or(1 << 18)];
        let mut left = size;
        while left > 0 {
            let wanted = buffer.len().min(usize::try_from(left).unwrap_or(usize::MAX));
            file.read_exact(&mut buffer[..wanted])?;
            self.hash.update(&buffer[..wanted]);
            left -= wanted as u64;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
