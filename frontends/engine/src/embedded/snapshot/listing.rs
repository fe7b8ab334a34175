//! What is in a tree, as one digest: of the listing alone, which is quick, or of all contents.

use std::io::{self, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use fs_err as fs;
use tokio_util::sync::CancellationToken;

use crate::background::Stoppable;
use crate::digest::HashWriter;

/// What is in a tree.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::embedded) struct Listing {
    /// The digest of all paths with kinds, modes, owners, sizes and times.
    pub(in crate::embedded) digest: String,
    /// Bytes on the disk; a file with several names counts once.
    pub(in crate::embedded) size: u64,
}

/// Lists a tree.
pub(in crate::embedded) fn listing(tree: &Path) -> io::Result<Listing> {
    let mut hash = HashWriter::new(io::sink());
    let mut size = 0;
    walk(tree, tree, &mut |path, metadata| {
        size += metadata.blocks() * 512 / metadata.nlink().max(1);
        let relative = path.strip_prefix(tree).unwrap_or(path);
        hash.write_all(relative.as_os_str().as_bytes())?;
        // The size of a directory is its file system's own business.
        let length = if metadata.is_dir() { 0 } else { metadata.len() };
        let numbers = [
            u64::from(metadata.mode()),
            u64::from(metadata.uid()),
            u64::from(metadata.gid()),
            metadata.rdev(),
            length,
            metadata.mtime().cast_unsigned(),
            metadata.mtime_nsec().cast_unsigned(),
        ];
        hash.write_all(&[0])?;
        numbers
            .iter()
            .try_for_each(|number| hash.write_all(&number.to_le_bytes()))?;
        if metadata.is_symlink() {
            hash.write_all(fs::read_link(path)?.as_os_str().as_bytes())?;
        }
        Ok(())
    })?;
    Ok(Listing {
        digest: hash.finish().1,
        size,
    })
}

/// The digest of the contents of all files of a tree; fails once the token is cancelled.
pub(in crate::embedded) fn contents(tree: &Path, stop: &CancellationToken) -> io::Result<String> {
    let mut hash = Stoppable::new(HashWriter::new(io::sink()), stop);
    walk(tree, tree, &mut |path, metadata| {
        if metadata.is_file() {
            hash.write_all(path.strip_prefix(tree).unwrap_or(path).as_os_str().as_bytes())?;
            hash.write_all(&metadata.len().to_le_bytes())?;
            io::copy(&mut fs::File::open(path)?, &mut hash)?;
        }
        Ok(())
    })?;
    Ok(hash.into_inner().finish().1)
}

/// Visits everything in a tree, names sorted by bytes, a directory before what is in it.
pub(super) fn walk(
    root: &Path,
    path: &Path,
    visit: &mut dyn FnMut(&Path, &std::fs::Metadata) -> io::Result<()>,
) -> io::Result<()> {
    let metadata = fs::symlink_metadata(path)?;
    if path != root {
        visit(path, &metadata)?;
    }
    if !metadata.is_dir() {
        return Ok(());
    }
    let names = fs::read_dir(path)?.map(|entry| Ok(entry?.file_name()));
    let mut names = names.collect::<io::Result<Vec<_>>>()?;
    names.sort();
    names
        .iter()
        .try_for_each(|name| walk(root, &path.join(name), visit))
}
