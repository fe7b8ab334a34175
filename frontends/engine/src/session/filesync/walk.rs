//! A directory as the daemon sees it: filtered, sorted, and the same from every checkout.

use std::collections::HashMap;
use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use fs_err as fs;
use kcompose_core::llb::proto::fsutil::types::Stat;

use super::follow::follow;
use super::patterns::Patterns;

// Bits of Go's `fs.FileMode`, which the protocol carries.
const GO_DIRECTORY: u32 = 1 << 31;
const GO_SYMLINK: u32 = 1 << 27;
const GO_DEVICE: u32 = 1 << 26;
const GO_PIPE: u32 = 1 << 25;
const GO_CHARACTER: u32 = 1 << 21;

/// What the daemon asks for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Filter {
    pub(crate) include: Vec<String>,
    pub(crate) exclude: Vec<String>,
    pub(crate) follow: Vec<String>,
}

/// One entry of a directory, with the file that it is read from.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Entry {
    pub(crate) stat: Stat,
    pub(crate) path: PathBuf,
}

/// Hands on every entry that passes the filter: parents first, names sorted by bytes.
pub(crate) fn walk(root: &Path, filter: &Filter, take: &mut dyn FnMut(Entry) -> bool) -> io::Result<()> {
    let followed = follow(root, &filter.follow);
    let wanted: Vec<String> = filter.include.iter().cloned().chain(followed).collect();
    let mut walk = Walk {
        include: (!wanted.is_empty() || !filter.follow.is_empty()).then(|| Patterns::new(&wanted)),
        exclude: Patterns::new(&filter.exclude),
        links: HashMap::new(),
        pending: Vec::new(),
        take,
    };
    walk.directory(root, "").map(drop)
}

struct Walk<'a> {
    include: Option<Patterns>,
    exclude: Patterns,
    /// First paths of files with several names, by device and inode.
    links: HashMap<(u64, u64), String>,
    /// Directories above the current one that are sent only if something in them is.
    pending: Vec<Entry>,
    take: &'a mut dyn FnMut(Entry) -> bool,
}

impl Walk<'_> {
    /// False when the receiver wants no more.
    fn directory(&mut self, directory: &Path, relative: &str) -> io::Result<bool> {
        let mut entries = fs::read_dir(directory)?.collect::<Result<Vec<_>, _>>()?;
        entries.sort_by_key(fs::DirEntry::file_name);
        for entry in entries {
            let name = entry.file_name();
            let Some(name) = name.to_str() else {
                return Err(io::Error::new(
                    io::ErrorKind::InvalidData,
                    format!("the name of `{}` is not UTF-8", entry.path().display()),
                ));
            };
            let relative = if relative.is_empty() {
                name.to_owned()
            } else {
                format!("{relative}/{name}")
            };
            if !self.entry(entry.path(), relative)? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn entry(&mut self, path: PathBuf, relative: String) -> io::Result<bool> {
        let metadata = fs::symlink_metadata(&path)?;
        let included = self
            .include
            .as_ref()
            .is_none_or(|include| include.matches(&relative));
        let passes = included && !self.exclude.matches(&relative);
        if !metadata.is_dir() {
            if !passes || metadata.file_type().is_socket() {
                return Ok(true);
            }
            let stat = self.stat(&path, relative, &metadata)?;
            return Ok(self.send(Entry { stat, path }));
        }
        if !passes && !self.may_hold(&relative, included) {
            return Ok(true);
        }
        let stat = self.stat(&path, relative.clone(), &metadata)?;
        let depth = self.pending.len();
        let entry = Entry {
            stat,
            path: path.clone(),
        };
        if passes && !self.send(entry.clone()) {
            return Ok(false);
        }
        if !passes {
            self.pending.push(entry);
        }
        let goes_on = self.directory(&path, &relative)?;
        self.pending.truncate(depth);
        Ok(goes_on)
    }

    /// Whether something below a directory that does not pass may pass.
    fn may_hold(&self, directory: &str, included: bool) -> bool {
        if self.exclude.matches(directory) {
            return self.exclude.may_except_below(directory);
        }
        included
            || self
                .include
                .as_ref()
                .is_none_or(|include| include.may_match_below(directory))
    }

    fn send(&mut self, entry: Entry) -> bool {
        let pending = std::mem::take(&mut self.pending);
        pending.into_iter().chain([entry]).all(|entry| (self.take)(entry))
    }

    fn stat(&mut self, path: &Path, relative: String, metadata: &std::fs::Metadata) -> io::Result<Stat> {
        let mut stat = Stat {
            mode: mode(metadata),
            // Nobody's checkout has meaningful owners; time stamps tell the daemon what has changed since last time,
            // and are set anew by whatever copies a file into the image.
            mod_time: metadata
                .mtime()
                .saturating_mul(1_000_000_000)
                .saturating_add(metadata.mtime_nsec()),
            ..Stat::default()
        };
        if metadata.is_symlink() {
            let target = fs::read_link(path)?;
            stat.linkname = target.to_string_lossy().into_owned();
            stat.size = signed(metadata.len());
        } else if metadata.is_file() {
            stat.size = signed(metadata.len());
            self.hard_link(&relative, metadata, &mut stat);
        } else if metadata.file_type().is_block_device() || metadata.file_type().is_char_device() {
            stat.devmajor = i64::from(rustix::fs::major(metadata.rdev()));
            stat.devminor = i64::from(rustix::fs::minor(metadata.rdev()));
        }
        stat.path = relative;
        Ok(stat)
    }

    fn hard_link(&mut self, relative: &str, metadata: &std::fs::Metadata, stat: &mut Stat) {
        if metadata.nlink() < 2 {
            return;
        }
        let inode = (metadata.dev(), metadata.ino());
        match self.links.get(&inode) {
            Some(first) => {
                stat.linkname.clone_from(first);
                stat.size = 0;
            }
            None => {
                self.links.insert(inode, relative.to_owned());
            }
        }
    }
}

/// Go's mode, with permissions that do not depend on the umask of a checkout.
fn mode(metadata: &std::fs::Metadata) -> u32 {
    let kind = metadata.file_type();
    if kind.is_dir() {
        GO_DIRECTORY | 0o755
    } else if kind.is_symlink() {
        GO_SYMLINK | 0o777
    } else if kind.is_fifo() {
        GO_PIPE | 0o644
    } else if kind.is_char_device() {
        GO_DEVICE | GO_CHARACTER | 0o644
    } else if kind.is_block_device() {
        GO_DEVICE | 0o644
    } else if metadata.mode() & 0o100 != 0 {
        0o755
    } else {
        0o644
    }
}

fn signed(size: u64) -> i64 {
    i64::try_from(size).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;

    fn tree() -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        let at = |path: &str| root.path().join(path);
        for directory in ["a/deep", "a-b", "docs", "empty"] {
            fs::create_dir_all(at(directory)).unwrap();
        }
        for file in [
            "a/deep/x",
            "a/y.log",
            "a-b/z",
            "docs/README.md",
            "docs/other",
            "run",
        ] {
            fs::write(at(file), file).unwrap();
        }
        fs::set_permissions(at("run"), std::fs::Permissions::from_mode(0o700)).unwrap();
        fs::set_permissions(at("a/y.log"), std::fs::Permissions::from_mode(0o600)).unwrap();
        fs::hard_link(at("run"), at("run2")).unwrap();
        symlink("docs/other", at("link")).unwrap();
        root
    }

    fn lines(filter: &Filter) -> Vec<String> {
        let root = tree();
        let mut lines = Vec::new();
        walk(root.path(), filter, &mut |entry| {
            let stat = entry.stat;
            let link = if stat.linkname.is_empty() {
                String::new()
            } else {
                format!(" -> {}", stat.linkname)
            };
            lines.push(format!("{} {:o}{link}", stat.path, stat.mode & 0o777));
            true
        })
        .unwrap();
        lines
    }

    #[test]
    fn everything_is_sorted_by_component_and_normalised() {
        let expected = [
            "a 755",
            "a/deep 755",
            "a/deep/x 644",
            "a/y.log 644",
            "a-b 755",
            "a-b/z 644",
            "docs 755",
            "docs/README.md 644",
            "docs/other 644",
            "empty 755",
            "link 777 -> docs/other",
            "run 755",
            "run2 755 -> run",
        ];
        assert_eq!(lines(&Filter::default()), expected);
    }

    #[test]
    fn exceptions_bring_their_directories_along() {
        let filter = Filter {
            exclude: vec!["*".into(), "!docs/README.md".into()],
            ..Filter::default()
        };
        assert_eq!(lines(&filter), ["docs 755", "docs/README.md 644"]);
        let filter = Filter {
            exclude: vec!["**/*.log".into(), "a-b".into()],
            ..Filter::default()
        };
        assert!(
            !lines(&filter)
                .iter()
                .any(|line| line.contains("log") || line.starts_with("a-b"))
        );
    }

    #[test]
    fn only_what_is_asked_for_is_sent() {
        let filter = Filter {
            include: vec!["a/deep".into()],
            ..Filter::default()
        };
        assert_eq!(lines(&filter), ["a 755", "a/deep 755", "a/deep/x 644"]);
        let filter = Filter {
            follow: vec!["link".into(), "missing".into()],
            ..Filter::default()
        };
        assert_eq!(
            lines(&filter),
            ["docs 755", "docs/other 644", "link 777 -> docs/other"]
        );
        let filter = Filter {
            follow: vec!["missing".into()],
            ..Filter::default()
        };
        assert!(lines(&filter).is_empty());
    }
}
