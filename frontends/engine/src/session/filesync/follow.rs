//! Symbolic links on the way to paths that are asked for.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use fs_err as fs;

/// The given paths, the links on the way to them, and where those lead, all inside the root.
pub(super) fn follow(root: &Path, paths: &[String]) -> Vec<String> {
    let mut found = Found {
        root,
        paths: BTreeSet::new(),
    };
    for path in paths {
        found.visit(String::new(), path, 0);
    }
    found.paths.into_iter().collect()
}

struct Found<'a> {
    root: &'a Path,
    paths: BTreeSet<String>,
}

/// As many links as the kernel follows.
const LIMIT: usize = 40;

impl Found<'_> {
    /// Walks the rest of a path from a directory that is reached.
    fn visit(&mut self, at: String, rest: &str, followed: usize) {
        let rest = rest.trim_start_matches('/');
        let (name, rest) = rest.split_once('/').unwrap_or((rest, ""));
        match name {
            "" => {
                if !at.is_empty() {
                    self.paths.insert(at);
                }
            }
            "." => self.visit(at, rest, followed),
            ".." => {
                let parent = at.rsplit_once('/').map_or("", |(parent, _)| parent).to_owned();
                self.visit(parent, rest, followed);
            }
            name if name.contains(['*', '?', '[']) => self.visit_matching(&at, name, rest, followed),
            name => self.enter(join(&at, name), rest, followed),
        }
    }

    fn visit_matching(&mut self, at: &str, pattern: &str, rest: &str, followed: usize) {
        let patterns = super::patterns::Patterns::new(&[pattern.to_owned()]);
        let Ok(entries) = fs::read_dir(self.root.join(at)) else {
            return;
        };
        let names = entries
            .flatten()
            .filter_map(|entry| entry.file_name().into_string().ok());
        for name in names.filter(|name| patterns.matches(name)) {
            self.enter(join(at, &name), rest, followed);
        }
    }

    fn enter(&mut self, path: String, rest: &str, followed: usize) {
        let Ok(target) = std::fs::read_link(self.root.join(&path)) else {
            return self.visit(path, rest, followed);
        };
        let link = PathBuf::from(&path);
        self.paths.insert(path);
        if followed == LIMIT {
            return;
        }
        let Some(target) = target.to_str() else { return };
        let from = if target.starts_with('/') {
            None
        } else {
            link.parent().and_then(Path::to_str)
        };
        let rest = format!("{target}/{rest}");
        self.visit(from.unwrap_or_default().to_owned(), &rest, followed + 1);
    }
}

fn join(at: &str, name: &str) -> String {
    if at.is_empty() {
        name.to_owned()
    } else {
        format!("{at}/{name}")
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn links_and_their_targets_are_both_needed() {
        let root = tempfile::tempdir().unwrap();
        fs::create_dir_all(root.path().join("real/deep")).unwrap();
        symlink("real/deep", root.path().join("short")).unwrap();
        symlink("/short", root.path().join("abs")).unwrap();
        symlink("loop", root.path().join("loop")).unwrap();
        let follow = |paths: &[&str]| {
            follow(
                root.path(),
                &paths.iter().map(|path| (*path).to_owned()).collect::<Vec<_>>(),
            )
        };
        assert_eq!(follow(&["abs/file"]), ["abs", "real/deep/file", "short"]);
        assert_eq!(follow(&["./missing/x"]), ["missing/x"]);
        assert_eq!(follow(&["loop"]), ["loop"]);
        assert_eq!(follow(&["a*/y"]), ["abs", "real/deep/y", "short"]);
        assert_eq!(follow(&["../../real"]), ["real"]);
    }
}
