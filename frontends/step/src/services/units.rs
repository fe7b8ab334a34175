//! The unit files of a root, and the links between them.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use crate::fs::{self, Meta};
use crate::problem::{Doing, Outcome};

use super::unit::{Install, expand, template};

/// Where links are written.
const VENDOR: &str = "usr/lib/systemd/system";
/// Where unit files are looked for, the first wins.
const SEARCHED: [&str; 2] = ["etc/systemd/system", VENDOR];
/// The endings of directories with links, in the order of the fields of `[Install]`.
pub(crate) const LINK_KINDS: [&str; 3] = ["wants", "requires", "upholds"];

/// What a name leads to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Found {
    /// The unit's own name, aliases resolved, and its file, relative to the root.
    File(String, PathBuf),
    /// A link to `/dev/null`, or an empty file.
    Masked,
}

/// The unit files of a root.
#[derive(Debug)]
pub(crate) struct Units<'a> {
    root: &'a Path,
}

impl<'a> Units<'a> {
    /// Those of this root.
    pub(crate) fn new(root: &'a Path) -> Self {
        Units { root }
    }

    /// Finds a unit by its full name, an alias or an instance.
    pub(crate) fn find(&self, name: &str) -> Option<Found> {
        self.find_within(name, 8)
    }

    fn find_within(&self, name: &str, aliases: usize) -> Option<Found> {
        for directory in SEARCHED {
            let path = Path::new(directory).join(name);
            let Ok(found) = self.root.join(&path).symlink_metadata() else {
                continue;
            };
            if !found.is_symlink() {
                return Some(if found.len() == 0 {
                    Found::Masked
                } else {
                    Found::File(name.to_owned(), path)
                });
            }
            let target = std::fs::read_link(self.root.join(&path)).ok()?;
            if target == Path::new("/dev/null") {
                return Some(Found::Masked);
            }
            let real = target.file_name()?.to_str()?;
            return self
                .find_within(real, aliases.checked_sub(1)?)
                .filter(|_| real != name);
        }
        match self.find_within(&template(name)?, aliases)? {
            Found::File(_, file) => Some(Found::File(name.to_owned(), file)),
            Found::Masked => Some(Found::Masked),
        }
    }

    /// The texts of a unit: its file and its drop-ins.
    pub(crate) fn texts(&self, name: &str, file: &Path) -> Outcome<Vec<String>> {
        let mut texts = vec![fs::read_text(&self.root.join(file))?];
        let mut names: BTreeSet<String> = [name.to_owned()].into();
        names.extend(template(name));
        // A drop-in in /etc hides one of the same name below /usr.
        let mut seen = BTreeSet::new();
        for directory in SEARCHED
            .iter()
            .flat_map(|directory| names.iter().map(move |name| format!("{directory}/{name}.d")))
        {
            for file in fs::names(&self.root.join(&directory)) {
                if file.as_bytes().ends_with(b".conf") && seen.insert(file.clone()) {
                    texts.push(fs::read_text(&self.root.join(&directory).join(file))?);
                }
            }
        }
        Ok(texts)
    }

    /// Makes `TARGET.wants/NAME`, or one of the other kinds.
    pub(crate) fn want(&self, target: &str, kind: &str, name: &str, file: &Path) -> Outcome<()> {
        let link = self.root.join(VENDOR).join(format!("{target}.{kind}")).join(name);
        self.link(&link, &pointer(file, "../"))
    }

    /// Makes another name for a unit.
    pub(crate) fn alias(&self, alias: &str, file: &Path) -> Outcome<()> {
        fs::remove(&self.root.join(SEARCHED[0]).join(alias))?;
        self.link(&self.root.join(VENDOR).join(alias), &pointer(file, ""))
    }

    /// Takes another name away, if it is a link.
    pub(crate) fn remove_alias(&self, alias: &str) -> Outcome<()> {
        for directory in SEARCHED {
            let path = self.root.join(directory).join(alias);
            if fs::look(&path)?.is_some_and(|found| found.is_symlink()) {
                fs::remove(&path)?;
            }
        }
        Ok(())
    }

    /// Puts a link to `/dev/null` in place of the unit's file.
    pub(crate) fn mask(&self, name: &str) -> Outcome<()> {
        fs::remove(&self.root.join(SEARCHED[0]).join(name))?;
        self.link(&self.root.join(VENDOR).join(name), b"/dev/null")
    }

    fn link(&self, path: &Path, target: &[u8]) -> Outcome<()> {
        fs::make_parent(path, 0)?;
        fs::write_link(path, target, Meta::root(0o777, 0)).doing("make link", path)
    }

    /// The links that start a unit.
    fn wants(&self, name: &str) -> Vec<PathBuf> {
        let mut links = Vec::new();
        for directory in SEARCHED.map(|directory| self.root.join(directory)) {
            for entry in fs::names(&directory)
                .into_iter()
                .filter(|entry| is_link_directory(entry))
            {
                let link = directory.join(entry).join(name);
                links.extend(link.symlink_metadata().is_ok().then_some(link));
            }
        }
        links
    }

    /// Whether something starts a unit already.
    pub(crate) fn is_wanted(&self, name: &str) -> bool {
        !self.wants(name).is_empty()
    }

    /// Takes out all links that start a unit.
    pub(crate) fn remove_wants(&self, name: &str) -> Outcome<()> {
        self.wants(name).iter().try_for_each(|link| fs::remove(link))
    }

    /// The names of all unit files.
    fn names(&self) -> BTreeSet<String> {
        let all = SEARCHED
            .iter()
            .flat_map(|directory| fs::names(&self.root.join(directory)));
        all.filter_map(|name| name.into_string().ok())
            .filter(|name| !name.ends_with(".d") && !is_link_directory(OsStr::new(name)))
            .collect()
    }

    /// The unit whose name is nearest.
    pub(crate) fn near(&self, name: &str) -> Option<String> {
        crate::near::nearest(name, self.names().iter().map(String::as_str)).map(str::to_owned)
    }

    /// The unit that takes a name as its alias when it is enabled.
    pub(crate) fn named_by_alias(&self, alias: &str) -> Option<String> {
        self.names().into_iter().find(|name| {
            let Some(Found::File(_, file)) = self.find(name) else {
                return false;
            };
            let texts = self.texts(name, &file).unwrap_or_default();
            Install::parse(texts.iter().map(String::as_str))
                .alias
                .iter()
                .any(|known| expand(known, name) == alias)
        })
    }

    /// Whether there is an init script of that name.
    pub(crate) fn has_init_script(&self, name: &str) -> bool {
        name.strip_suffix(".service")
            .is_some_and(|name| self.root.join("etc/init.d").join(name).is_file())
    }

    /// Moves the links below `/etc/systemd/SCOPE` to `/usr/lib/systemd/SCOPE`; files stay.
    pub(crate) fn move_from_etc(&self, scope: &str) -> Outcome<()> {
        let from = self.root.join("etc/systemd").join(scope);
        let to = self.root.join("usr/lib/systemd").join(scope);
        for name in fs::names(&from) {
            let path = from.join(&name);
            if is_link_directory(&name) && path.is_dir() {
                for unit in fs::names(&path) {
                    self.move_link(&path.join(&unit), &to.join(&name).join(&unit), scope, "../")?;
                }
                if fs::names(&path).is_empty() {
                    fs::remove(&path)?;
                }
            } else {
                self.move_link(&path, &to.join(&name), scope, "")?;
            }
        }
        Ok(())
    }

    fn move_link(&self, from: &Path, to: &Path, scope: &str, up: &str) -> Outcome<()> {
        if !fs::look(from)?.is_some_and(|found| found.is_symlink()) {
            return Ok(());
        }
        let target = std::fs::read_link(from).doing("read", from)?;
        let vendor = [
            format!("/usr/lib/systemd/{scope}"),
            format!("/lib/systemd/{scope}"),
        ];
        let shortened = match target.parent() {
            // Relative to a directory of /etc: the unit's file is there.
            _ if target.is_relative() => Path::new("/etc/systemd")
                .join(scope)
                .join(target.file_name().unwrap_or_default()),
            Some(parent) if vendor.iter().any(|one| parent == Path::new(one)) => {
                Path::new(up).join(target.file_name().unwrap_or_default())
            }
            _ => target,
        };
        self.link(to, shortened.as_os_str().as_bytes())?;
        fs::remove(from)
    }
}

fn is_link_directory(name: &OsStr) -> bool {
    let ending = name.to_str().and_then(|name| name.rsplit_once('.'));
    ending.is_some_and(|(_, ending)| LINK_KINDS.contains(&ending))
}

/// What a link to a unit file says: a name beside it, or an absolute path.
fn pointer(file: &Path, up: &str) -> Vec<u8> {
    match file.strip_prefix(VENDOR) {
        Ok(name) => [up.as_bytes(), name.as_os_str().as_bytes()].concat(),
        Err(_) => [b"/", file.as_os_str().as_bytes()].concat(),
    }
}
