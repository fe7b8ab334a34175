//! What the flavor declares in `files`, into the root.

use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use kcompose_core::step::{FileContent, FileEntry, Files};

use crate::archive;
use crate::fs::{self, Meta};
use crate::problem::{Doing, Outcome, Problem, Problems};
use crate::walk;

/// Writes the entries in order; all that fail are named.
pub(crate) fn run(files: &Files, root: &Path, epoch: i64) -> Outcome<()> {
    let mut problems = Problems::default();
    for entry in &files.entries {
        problems.extend(write(entry, root, epoch));
    }
    problems.or(())
}

fn write(entry: &FileEntry, root: &Path, epoch: i64) -> Outcome<()> {
    let at = fs::inside(root, &entry.path)?;
    let uid = id(root, "etc/passwd", entry.user.as_deref(), entry, "user")?;
    let gid = id(root, "etc/group", entry.group.as_deref(), entry, "group")?;
    let meta = |mode| Meta {
        mode,
        uid,
        gid,
        mtime: epoch,
    };
    let written = match &entry.content {
        FileContent::Text(text) => put_file(&at, text.as_bytes(), meta(entry.mode.unwrap_or(0o644)), epoch),
        FileContent::Directory => put_directory(&at, meta(entry.mode.unwrap_or(0o755)), epoch),
        FileContent::Link(target) => put_link(&at, target.as_bytes(), meta(0o777), epoch),
        FileContent::Copy(from) => copy(Path::new(from), &at, entry.mode, meta(0), epoch),
        FileContent::Unpack(from) => archive::unpack(
            Path::new(&from.path),
            archive::Target {
                root,
                directory: &entry.path,
                strip: from.strip as usize,
                owner: meta(0),
                is_owned: entry.user.is_some() || entry.group.is_some(),
            },
        ),
        FileContent::Absent => fs::remove(&at),
    };
    let written = written.and_then(|()| settle_time(at.parent(), epoch));
    written.map_err(|Problems(problems)| {
        Problems(problems.into_iter().map(|one| one.at(&entry.origin)).collect())
    })
}

/// What is made in a directory moves its time.
fn settle_time(directory: Option<&Path>, epoch: i64) -> Outcome<()> {
    match directory.filter(|directory| directory.is_dir()) {
        Some(directory) => fs::set_mtime(directory, epoch).doing("set the time of", directory),
        None => Ok(()),
    }
}

/// The number of an owner that is given by name or number.
fn id(root: &Path, table: &str, owner: Option<&str>, entry: &FileEntry, word: &str) -> Outcome<u32> {
    let Some(owner) = owner else { return Ok(0) };
    if let Ok(number) = owner.parse() {
        return Ok(number);
    }
    let text = fs::read_text(&root.join(table))?;
    let line = text.lines().find(|line| line.split(':').next() == Some(owner));
    line.and_then(|line| line.split(':').nth(2)?.parse().ok())
        .ok_or_else(|| {
            let message = format!(
                "the image has no {word} `{owner}`, which is to own `{}`",
                entry.path
            );
            Problem::new("kcompose::step::unknown_owner", message)
                .at(&entry.origin)
                .into()
        })
}

/// A path that a file or link can take.
fn check_free(at: &Path) -> Outcome<()> {
    if walk::is_mount(at)? {
        let message = format!(
            "`{}` is bound by the builder in every step, so it cannot be copied there",
            at.display()
        );
        let problem = Problem::new("kcompose::step::bound_file", message);
        return Err(problem
            .help("declare it as a file with its text, or as a link")
            .into());
    }
    if fs::look(at)?.is_some_and(|found| found.is_dir()) {
        let message = format!(
            "`{}` is a directory, and a file or link is to take its place",
            at.display()
        );
        return Err(Problem::new("kcompose::step::type_conflict", message).into());
    }
    Ok(())
}

fn put_file(at: &Path, content: &[u8], meta: Meta, epoch: i64) -> Outcome<()> {
    check_free(at)?;
    fs::make_parent(at, epoch)?;
    fs::write_file(at, content, meta)
}

fn put_link(at: &Path, target: &[u8], meta: Meta, epoch: i64) -> Outcome<()> {
    check_free(at)?;
    fs::make_parent(at, epoch)?;
    fs::write_link(at, target, meta).doing("make link", at)
}

fn put_directory(at: &Path, meta: Meta, epoch: i64) -> Outcome<()> {
    fs::make_parent(at, epoch)?;
    fs::make_directories(at).doing("make directory", at)?;
    // Through a link to a directory: the directory is meant.
    let real = std::fs::canonicalize(at).doing("look at", at)?;
    fs::set_meta(&real, meta).doing("set owner and mode of", &real)
}

/// Copies a file or a tree. Owners and times of the source never count: a checkout has its own.
fn copy(from: &Path, at: &Path, mode: Option<u32>, owner: Meta, epoch: i64) -> Outcome<()> {
    let Some(found) = fs::look(from)? else {
        let message = format!("`{}`, which is to be copied, is not there", from.display());
        return Err(Problem::new("kcompose::step::nothing_to_copy", message).into());
    };
    if found.is_symlink() {
        let target = std::fs::read_link(from).doing("read", from)?;
        return put_link(
            at,
            target.as_os_str().as_bytes(),
            Meta { mode: 0o777, ..owner },
            epoch,
        );
    }
    if found.is_file() {
        let content = std::fs::read(from).doing("read", from)?;
        let plain = if found.permissions().mode() & 0o111 == 0 {
            0o644
        } else {
            0o755
        };
        return put_file(
            at,
            &content,
            Meta {
                mode: mode.unwrap_or(plain),
                ..owner
            },
            epoch,
        );
    }
    if !found.is_dir() {
        let message = format!(
            "`{}` is no file, directory or link, so it cannot be copied",
            from.display()
        );
        return Err(Problem::new("kcompose::step::nothing_to_copy", message).into());
    }
    // A directory that the image has keeps its owner and mode: `copy "overlay" to="/"` must not change `/`.
    if !at.is_dir() {
        put_directory(
            at,
            Meta {
                mode: mode.map_or(0o755, searchable),
                ..owner
            },
            epoch,
        )?;
    }
    for name in fs::names(from) {
        copy(&from.join(&name), &at.join(&name), mode, owner, epoch)?;
    }
    settle_time(Some(at), epoch)
}

/// The mode of a directory whose files get this mode: who may read may also search.
fn searchable(mode: u32) -> u32 {
    mode | ((mode & 0o444) >> 2)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt;

    use super::*;

    fn entry(path: &str, content: FileContent) -> FileEntry {
        let origin = "flavor.kdl:1:1".to_owned();
        FileEntry {
            path: path.to_owned(),
            mode: None,
            user: None,
            group: None,
            content,
            origin,
        }
    }

    fn put(root: &Path, entries: Vec<FileEntry>) -> Outcome<()> {
        run(&Files { entries }, root, 42)
    }

    #[test]
    fn later_entries_win_and_parents_are_made() {
        let root = tempfile::tempdir().unwrap();
        let text = |text: &str| FileContent::Text(text.to_owned());
        let mut second = entry("/a/b/f", text("two"));
        second.mode = Some(0o4750);
        put(
            root.path(),
            vec![
                entry("/a/b/f", text("one")),
                second,
                entry("/a/l", FileContent::Link("b/f".to_owned())),
            ],
        )
        .unwrap();
        let found = root.path().join("a/b/f").metadata().unwrap();
        assert_eq!(
            (found.mode() & 0o7777, found.mtime(), found.len()),
            (0o4750, 42, 3)
        );
        assert_eq!(std::fs::read_to_string(root.path().join("a/l")).unwrap(), "two");
        assert_eq!(root.path().join("a").metadata().unwrap().mtime(), 42);
        put(
            root.path(),
            vec![entry("/a/l", text("plain")), entry("/a/b", FileContent::Absent)],
        )
        .unwrap();
        assert!(
            !root.path().join("a/b").exists()
                && root.path().join("a/l").symlink_metadata().unwrap().is_file()
        );
    }

    #[test]
    fn a_copied_tree_loses_modes_and_times_of_the_checkout() {
        let (root, source) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        std::fs::create_dir(source.path().join("d")).unwrap();
        std::fs::write(source.path().join("d/x"), "x").unwrap();
        fs::set_mode(&source.path().join("d/x"), 0o700).unwrap();
        fs::set_mode(&source.path().join("d"), 0o700).unwrap();
        let from = source.path().to_str().unwrap().to_owned();
        put(root.path(), vec![entry("/to", FileContent::Copy(from))]).unwrap();
        let mode = |path: &str| root.path().join(path).metadata().unwrap().mode() & 0o7777;
        assert_eq!((mode("to"), mode("to/d"), mode("to/d/x")), (0o755, 0o755, 0o755));
    }

    #[test]
    fn every_bad_entry_is_named_with_its_place() {
        let root = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(root.path().join("d/e")).unwrap();
        let mut owned = entry("/f", FileContent::Directory);
        owned.user = Some("nobody-here".to_owned());
        let problems = put(
            root.path(),
            vec![owned, entry("/d", FileContent::Text(String::new()))],
        )
        .unwrap_err();
        assert_eq!(problems.0.len(), 2);
        let shown = problems.to_string();
        assert!(
            shown.contains("no user `nobody-here`, which is to own `/f`\n  at flavor.kdl:1:1"),
            "{shown}"
        );
        assert!(shown.contains("is a directory"), "{shown}");
    }
}
