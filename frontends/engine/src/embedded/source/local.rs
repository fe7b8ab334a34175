//! Directories of this machine, filtered and normalised as the session sends them to a daemon.

use std::io::{self, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use fs_err as fs;
use kcompose_core::llb::proto::pb;
use rustix::fs::{CWD, FileType, Mode};

use crate::digest::HashWriter;
use crate::embedded::problem::Problem;
use crate::session::{Entry, Filter, walk};
use crate::times::{moment, set_time};

/// What of a directory a source takes.
pub(super) fn filter(op: &pb::SourceOp) -> Result<Filter, Problem> {
    let list = |name: &str| match op.attrs.get(name) {
        None => Ok(Vec::new()),
        Some(text) => serde_json::from_str::<Vec<String>>(text)
            .map_err(|error| Problem::Failed(format!("its `{name}` is no list: {error}"))),
    };
    Ok(Filter {
        include: list("local.includepattern")?,
        exclude: list("local.excludepatterns")?,
        follow: list("local.followpaths")?,
    })
}

/// The digest of what a source brings; like a daemon's, it does not depend on times.
pub(super) fn contents(folder: &Path, filter: &Filter) -> Result<String, Problem> {
    let mut hash = HashWriter::new(io::sink());
    each(folder, filter, &mut |entry| {
        let stat = &entry.stat;
        let numbers = [
            stat.mode.into(),
            stat.devmajor.cast_unsigned(),
            stat.devminor.cast_unsigned(),
        ];
        for text in [&stat.path, &stat.linkname] {
            hash.write_all(&(text.len() as u64).to_le_bytes())?;
            hash.write_all(text.as_bytes())?;
        }
        numbers
            .iter()
            .try_for_each(|number: &u64| hash.write_all(&number.to_le_bytes()))?;
        if is_file(&entry) {
            let mut content = HashWriter::new(io::sink());
            io::copy(&mut fs::File::open(&entry.path)?, &mut content)?;
            hash.write_all(content.finish().1.as_bytes())?;
        }
        Ok(())
    })?;
    Ok(hash.finish().1)
}

/// Copies what a source brings into an empty folder.
pub(super) fn copy(folder: &Path, filter: &Filter, into: &Path) -> Result<(), Problem> {
    // Directories get their times last: what comes into them changes those.
    let mut directories = Vec::new();
    each(folder, filter, &mut |entry| {
        let path = into.join(&entry.stat.path);
        place(&entry, &path, into)?;
        if entry.path.is_dir() && !entry.path.is_symlink() {
            directories.push((path, entry.stat.mod_time));
        } else if entry.stat.linkname.is_empty() || entry.path.is_symlink() {
            set_time(&path, moment(entry.stat.mod_time))?;
        }
        Ok(())
    })?;
    directories
        .iter()
        .rev()
        .try_for_each(|(path, time)| set_time(path, moment(*time)).map_err(Problem::io("write", path)))
}

fn each(
    folder: &Path,
    filter: &Filter,
    take: &mut dyn FnMut(Entry) -> io::Result<()>,
) -> Result<(), Problem> {
    let mut result = Ok(());
    let walked = walk(folder, filter, &mut |entry| {
        let path = entry.path.clone();
        result = take(entry).map_err(Problem::io("copy", &path));
        result.is_ok()
    });
    walked.map_err(Problem::io("read", folder))?;
    result
}

fn is_file(entry: &Entry) -> bool {
    // A link to an earlier name has its name and no content.
    entry.stat.linkname.is_empty()
        && entry
            .path
            .symlink_metadata()
            .is_ok_and(|metadata| metadata.is_file())
}

fn place(entry: &Entry, path: &Path, into: &Path) -> io::Result<()> {
    let metadata = fs::symlink_metadata(&entry.path)?;
    let mode = entry.stat.mode & 0o777;
    if metadata.is_dir() {
        fs::create_dir(path)?;
    } else if metadata.is_symlink() {
        return std::os::unix::fs::symlink(&entry.stat.linkname, path);
    } else if !entry.stat.linkname.is_empty() {
        return fs::hard_link(into.join(&entry.stat.linkname), path);
    } else if metadata.is_file() {
        fs::copy(&entry.path, path)?;
    } else {
        special(&metadata, path)?;
    }
    fs::set_permissions(path, std::fs::Permissions::from_mode(mode))
}

fn special(metadata: &std::fs::Metadata, path: &Path) -> io::Result<()> {
    use std::os::unix::fs::MetadataExt;

    let kind = FileType::from_raw_mode(metadata.mode());
    rustix::fs::mknodat(CWD, path, kind, Mode::empty(), metadata.rdev())?;
    Ok(())
}
