//! Sets the time stamps that a build made.

use std::collections::BTreeSet;
use std::fs::Metadata;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use kcompose_core::step::Times;

use crate::configure;
use crate::fs;
use crate::problem::{Doing, Outcome};
use crate::root_tree::RootTree;
use crate::walk;

/// What dpkg, `ldconfig` and the step itself touch where no script runs: folders, and whether all in them.
const TOUCHED: [(&str, bool); 11] = [
    ("", false),
    ("etc", false),
    ("etc/ld.so.cache", false),
    ("usr", false),
    ("usr/sbin", false),
    ("var", false),
    ("var/cache", false),
    ("var/cache/ldconfig", true),
    ("var/lib", false),
    ("var/lib/dpkg", true),
    ("var/log", false),
];

/// Sets them.
pub(crate) fn run(times: &Times, root: &Path, epoch: i64) -> Outcome<()> {
    match &times.added {
        Some(parts) if !configure::ran_scripts()? => of_packages(Path::new(parts), root, epoch),
        _ => everywhere(root, epoch),
    }
}

fn everywhere(root: &Path, epoch: i64) -> Outcome<()> {
    walk::everywhere(root, &|path, found| {
        set_time(path, found, epoch).map(|_| None::<()>)
    })
    .map(drop)
}

/// Sets them everywhere, and returns the tree as it is then: looking at each path is what both cost.
pub(crate) fn of_tree(root: &Path, epoch: i64) -> Outcome<RootTree> {
    RootTree::while_visiting(root, &|path, found| set_time(path, found, epoch))
}

/// Sets those of packages that ran no script, and of what installing them touches.
fn of_packages(parts: &Path, root: &Path, epoch: i64) -> Outcome<()> {
    let set = |path: &Path, found: &Metadata| set_time(path, found, epoch).map(drop);
    let mut paths: BTreeSet<PathBuf> = configure::listed(root, parts)?.into_iter().collect();
    for (touched, is_whole) in TOUCHED {
        let path = root.join(touched);
        match fs::look(&path)? {
            Some(found) if is_whole && found.is_dir() => {
                walk::walk(&path, &mut |path, found| set(path, found))?;
            }
            Some(_) => drop(paths.insert(path)),
            None => {}
        }
    }
    let mounts = walk::mounts_below(root)?;
    for path in paths {
        if mounts.iter().any(|mount| path.starts_with(mount)) {
            continue;
        }
        // A diversion moved it, or it is left out of the image.
        if let Some(found) = fs::look(&path)? {
            set(&path, &found)?;
        }
    }
    Ok(())
}

/// Every directory gets the epoch, as what was made or deleted in it moved its time; files keep older times. Returns the
/// time that it has then.
fn set_time(path: &Path, found: &Metadata, epoch: i64) -> Outcome<i64> {
    let now = (found.mtime(), found.mtime_nsec());
    let wrong = if found.is_dir() {
        now != (epoch, 0)
    } else {
        now > (epoch, 0)
    };
    // An untouched path stays untouched, or it would be copied into the layer of this step.
    if wrong {
        fs::set_mtime(path, epoch).doing("set the time of", path)?;
        Ok(epoch)
    } else {
        Ok(found.mtime())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fs::put;

    fn time(root: &Path, path: &str) -> (i64, i64) {
        let found = root.join(path).symlink_metadata().unwrap();
        (found.mtime(), found.mtime_nsec())
    }

    #[test]
    fn what_is_late_and_every_folder_gets_the_epoch() {
        let root = tempfile::tempdir().unwrap();
        put(root.path(), "etc/new", "");
        put(root.path(), "etc/old", "");
        fs::set_mtime(&root.path().join("etc/old"), 5).unwrap();
        run(&Times::default(), root.path(), 1000).unwrap();
        let times = ["etc", "etc/new", "etc/old"].map(|path| time(root.path(), path));
        assert_eq!(times, [(1000, 0), (1000, 0), (5, 0)]);
    }

    #[test]
    fn where_no_script_ran_only_what_packages_list_is_looked_at() {
        let root = tempfile::tempdir().unwrap();
        let parts = tempfile::tempdir().unwrap();
        put(parts.path(), "status", "Package: a\nArchitecture: amd64\n");
        put(
            root.path(),
            "var/lib/dpkg/info/a.list",
            "/.\n/usr\n/usr/share\n/usr/share/a\n/bin/gone\n",
        );
        put(root.path(), "usr/share/a", "");
        put(root.path(), "srv/other/file", "");
        let before = time(root.path(), "srv/other");
        of_packages(parts.path(), root.path(), 1000).unwrap();
        for path in [
            "",
            "usr/share",
            "usr/share/a",
            "var/lib/dpkg/info/a.list",
            "var/lib",
        ] {
            assert_eq!(time(root.path(), path), (1000, 0), "{path}");
        }
        assert_eq!(time(root.path(), "srv/other"), before);
    }
}
