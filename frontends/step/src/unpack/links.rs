//! Links that stand where other packages have a directory.
//!
//! dpkg takes such a link for the directory. Packages that are unpacked apart from each other do not see the link, so it
//! is put in place afterwards, and what lies in the directory moves to where the link leads.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};

use crate::fs::{self, Meta};
use crate::problem::{Doing, Outcome, Problem};

/// The name of the list of links in a parts directory: `PATH`, tab, `TARGET` on each line.
pub(crate) const LINKS: &str = "links";

/// Memory at each boot: what packages have there is no part of an image.
const VOLATILE: [&str; 2] = ["run", "tmp"];

/// The lines of a list of links. No package has a tab or a newline in a name.
pub(crate) fn list(links: &[(PathBuf, Vec<u8>)]) -> Vec<u8> {
    let mut text = Vec::new();
    for (path, target) in links {
        let path = path.as_os_str().as_bytes();
        if ![path, target]
            .iter()
            .any(|name| name.contains(&b'\t') || name.contains(&b'\n'))
        {
            text.extend([path, b"\t", target, b"\n"].concat());
        }
    }
    text
}

/// Puts the links of a list in place of directories that hide them.
pub(crate) fn restore_listed(root: &Path, list: &[u8], epoch: i64) -> Outcome<()> {
    for line in list.split(|byte| *byte == b'\n') {
        let mut fields = line.splitn(2, |byte| *byte == b'\t');
        let (Some(path), Some(target)) = (fields.next(), fields.next()) else {
            continue;
        };
        let path = Path::new(OsStr::from_bytes(path));
        if fs::look(&root.join(path))?.is_some_and(|found| found.is_dir()) {
            restore(root, path, target, epoch)?;
        }
    }
    Ok(())
}

/// Puts a link in place of a directory; its content moves to where the link leads.
pub(crate) fn restore(root: &Path, path: &Path, target: &[u8], epoch: i64) -> Outcome<()> {
    let from = root.join(path);
    let to = self::target(root, &from, Path::new(OsStr::from_bytes(target)))?;
    let is_volatile = VOLATILE.iter().any(|top| to.starts_with(root.join(top)));
    if !is_volatile {
        fs::make_directories(&to).doing("make directory", &to)?;
        move_content(&from, &to, path)?;
    }
    fs::remove(&from)?;
    fs::write_link(&from, target, Meta::root(0o777, epoch)).doing("make link", &from)
}

/// Moves what is in one directory to another one, whose own files must have other names.
fn move_content(from: &Path, to: &Path, shown: &Path) -> Outcome<()> {
    for name in fs::names(from) {
        let (from, to, shown) = (from.join(&name), to.join(&name), shown.join(&name));
        let Some(found) = fs::look(&from)? else { continue };
        match (found.is_dir(), fs::look(&to)?) {
            (false, None) => std::fs::rename(&from, &to).doing("move", &from)?,
            (true, None) => {
                std::fs::create_dir(&to).doing("make directory", &to)?;
                move_content(&from, &to, &shown)?;
                fs::set_meta(&to, fs::meta_of(&found)).doing("set owner and mode of", &to)?;
            }
            (true, Some(there)) if there.is_dir() => move_content(&from, &to, &shown)?,
            (_, Some(_)) => {
                let message = format!(
                    "`/{}` is in two packages: a link above it leads to the other one",
                    shown.display()
                );
                return Err(Problem::new("kcompose::step::file_conflict", message)
                    .help("only one of the two packages can be in the image")
                    .into());
            }
        }
    }
    Ok(())
}

/// The path on this machine that a link leads to, inside the root.
pub(crate) fn target(root: &Path, link: &Path, target: &Path) -> Outcome<PathBuf> {
    let above = link.parent().and_then(|above| above.strip_prefix(root).ok());
    let mut inside = PathBuf::from("/");
    for part in above.unwrap_or(Path::new("")).join(target).components() {
        match part {
            Component::RootDir | Component::Prefix(_) => inside = PathBuf::from("/"),
            Component::ParentDir => drop(inside.pop()),
            Component::Normal(name) => inside.push(name),
            Component::CurDir => {}
        }
    }
    fs::inside(root, &inside.to_string_lossy())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_content_of_a_directory_moves_to_where_its_link_leads() {
        let root = tempfile::tempdir().unwrap();
        let put = |path: &str| fs::put(root.path(), path, path);
        put("usr/share/real/a/x");
        put("usr/share/name/a/y");
        put("usr/share/name/z");
        put("var/lock/subsys/w");
        let list = list(&[
            ("usr/share/name".into(), b"real".to_vec()),
            ("usr/share/absent".into(), b"real".to_vec()),
            ("var/lock".into(), b"/run/lock".to_vec()),
        ]);
        restore_listed(root.path(), &list, 1000).unwrap();
        let there = |path: &str| root.path().join(path).symlink_metadata().is_ok();
        for path in ["usr/share/real/a/x", "usr/share/real/a/y", "usr/share/real/z"] {
            assert!(there(path), "{path}");
        }
        for (link, target) in [("usr/share/name", "real"), ("var/lock", "/run/lock")] {
            assert_eq!(
                std::fs::read_link(root.path().join(link)).unwrap(),
                Path::new(target)
            );
        }
        assert!(!there("run/lock") && !there("usr/share/absent"));
    }

    #[test]
    fn a_file_behind_a_link_and_in_the_directory_is_a_conflict() {
        let root = tempfile::tempdir().unwrap();
        fs::put(root.path(), "real/x", "1");
        fs::put(root.path(), "name/x", "2");
        let refused = restore(root.path(), Path::new("name"), b"real", 0).unwrap_err();
        assert!(
            refused.to_string().contains("`/name/x` is in two packages"),
            "{refused}"
        );
    }
}
