//! The stamps that say that `/etc` and `/var` belong to this `/usr` (systemd-update-done.service(8)).
//!
//! On an image with an ephemeral `/etc`, what looks at `ConditionNeedsUpdate=` would run at every boot without them.
//! `/usr` must not change after this.

use std::os::unix::fs::MetadataExt;
use std::path::Path;

use crate::fs::{self, Meta};
use crate::problem::{Doing, Outcome};

/// Where they are.
pub(crate) const PATHS: [&str; 2] = ["/etc/.updated", "/var/.updated"];

/// Writes the stamps with the time stamp of `/usr`.
pub(crate) fn run(root: &Path, epoch: i64) -> Outcome<()> {
    let usr = root.join("usr");
    let time = usr.metadata().doing("look at", &usr)?.mtime();
    for path in PATHS {
        let stamp = fs::inside(root, path)?;
        let directory = stamp.parent().unwrap_or(root);
        // systemd reads the number when the file system keeps no nanoseconds.
        let text = format!("TIMESTAMP_NSEC={}\n", i128::from(time) * 1_000_000_000);
        fs::make_directories(directory).doing("make directory", directory)?;
        fs::write_file(&stamp, text.as_bytes(), Meta::root(0o644, time))?;
        fs::set_mtime(directory, epoch).doing("set the time of", directory)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stamps_have_the_time_of_usr() {
        let root = tempfile::tempdir().unwrap();
        std::fs::create_dir(root.path().join("usr")).unwrap();
        fs::set_mtime(&root.path().join("usr"), 77).unwrap();
        run(root.path(), 99).unwrap();
        let stamp = root.path().join("var/.updated");
        assert_eq!(stamp.metadata().unwrap().mtime(), 77);
        assert_eq!(
            std::fs::read_to_string(stamp).unwrap(),
            "TIMESTAMP_NSEC=77000000000\n"
        );
        assert_eq!(root.path().join("etc").metadata().unwrap().mtime(), 99);
    }
}
