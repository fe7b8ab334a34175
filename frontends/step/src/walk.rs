//! All paths of a root, without what is mounted in it.

use std::fs::Metadata;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

use crate::problem::{Doing, Outcome};

/// Visits every path below the root and the root itself, a directory after what is in it.
///
/// Mounts are left out: the files that the builder binds (`/etc/hosts`, `/etc/resolv.conf`) are not the image's. They
/// are told by `/proc/self/mountinfo` and not by the device number, which overlayfs may choose for each file.
pub(crate) fn walk(root: &Path, visit: &mut dyn FnMut(&Path, &Metadata) -> Outcome<()>) -> Outcome<()> {
    let mounts = mounts_below(root)?;
    let found = root.symlink_metadata().doing("look at", root)?;
    descend(root, &found, &mounts, visit)
}

fn descend(
    path: &Path,
    found: &Metadata,
    mounts: &[PathBuf],
    visit: &mut dyn FnMut(&Path, &Metadata) -> Outcome<()>,
) -> Outcome<()> {
    if found.is_dir() {
        for entry in std::fs::read_dir(path).doing("list", path)? {
            let entry = entry.doing("list", path)?;
            let below = entry.path();
            if mounts.contains(&below) {
                continue;
            }
            descend(&below, &entry.metadata().doing("look at", &below)?, mounts, visit)?;
        }
    }
    visit(path, found)
}

/// Whether something is mounted exactly here.
pub(crate) fn is_mount(path: &Path) -> Outcome<bool> {
    Ok(mounts()?.iter().any(|mount| mount == path))
}

/// Where something is mounted below a root.
pub(crate) fn mounts_below(root: &Path) -> Outcome<Vec<PathBuf>> {
    let mut mounts = mounts()?;
    mounts.retain(|mount| mount != root && mount.starts_with(root));
    Ok(mounts)
}

fn mounts() -> Outcome<Vec<PathBuf>> {
    let path = Path::new("/proc/self/mountinfo");
    let text = std::fs::read(path).doing("read", path)?;
    Ok(text
        .split(|byte| *byte == b'\n')
        .filter_map(mount_point)
        .collect())
}

/// The fifth field of a line of mountinfo, where white space and backslashes are octal (proc_pid_mountinfo(5)).
fn mount_point(line: &[u8]) -> Option<PathBuf> {
    let field = line.split(|byte| *byte == b' ').nth(4)?;
    let mut path = Vec::with_capacity(field.len());
    let mut rest = field;
    while let Some((first, after)) = rest.split_first() {
        let octal = after.get(..3).filter(|_| *first == b'\\');
        match octal.and_then(|digits| u8::from_str_radix(std::str::from_utf8(digits).ok()?, 8).ok()) {
            Some(byte) => {
                path.push(byte);
                rest = &after[3..];
            }
            None => {
                path.push(*first);
                rest = after;
            }
        }
    }
    Some(PathBuf::from(std::ffi::OsString::from_vec(path)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mount_points_are_unescaped() {
        let line = br"36 35 98:0 /mnt1 /mnt\040two\134 rw,noatime master:1 - ext3 /dev/root rw";
        assert_eq!(mount_point(line).unwrap(), Path::new("/mnt two\\"));
    }

    #[test]
    fn directories_come_after_what_is_in_them() {
        let root = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(root.path().join("a/b")).unwrap();
        let mut seen = Vec::new();
        walk(root.path(), &mut |path, _| {
            seen.push(path.strip_prefix(root.path()).unwrap().to_owned());
            Ok(())
        })
        .unwrap();
        assert_eq!(seen, [Path::new("a/b"), Path::new("a"), Path::new("")]);
        assert!(is_mount(Path::new("/proc")).unwrap() && !is_mount(root.path()).unwrap());
    }
}
