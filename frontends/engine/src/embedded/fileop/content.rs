//! The content of a file, copied with its holes.

use std::fs::File;
use std::io::{self, Read, Seek, Write};
use std::os::fd::AsFd;
use std::path::Path;

use rustix::fs::SeekFrom;
use rustix::io::Errno;

/// Copies a regular file to a path where nothing is.
pub(super) fn copy_content(source: &Path, target: &Path) -> io::Result<()> {
    let mut source = File::open(source)?;
    let mut target = File::create_new(target)?;
    // A file system that shares blocks copies nothing at all.
    if rustix::fs::ioctl_ficlone(target.as_fd(), source.as_fd()).is_ok() {
        return Ok(());
    }
    let size = source.metadata()?.len();
    let mut at = 0;
    while let Some((start, end)) = next_data(&source, at, size)? {
        copy_range(&mut source, &mut target, start, end)?;
        at = end;
    }
    if target.metadata()?.len() < size {
        target.set_len(size)?;
    }
    Ok(())
}

/// The next stretch of a file that is no hole.
fn next_data(file: &File, at: u64, size: u64) -> io::Result<Option<(u64, u64)>> {
    if at >= size {
        return Ok(None);
    }
    let start = match rustix::fs::seek(file, SeekFrom::Data(at)) {
        Ok(start) => start,
        // Nothing but a hole is left.
        Err(Errno::NXIO) => return Ok(None),
        // A file system that tells no holes.
        Err(Errno::INVAL | Errno::OPNOTSUPP) => return Ok(Some((at, size))),
        Err(error) => return Err(error.into()),
    };
    let end = rustix::fs::seek(file, SeekFrom::Hole(start)).unwrap_or(size);
    Ok((start < size).then_some((start, end.min(size))))
}

fn copy_range(source: &mut File, target: &mut File, start: u64, end: u64) -> io::Result<()> {
    let (mut from, mut to) = (start, start);
    while from < end {
        let wanted = usize::try_from((end - from).min(1 << 30)).unwrap_or(1 << 30);
        match rustix::fs::copy_file_range(&*source, Some(&mut from), &*target, Some(&mut to), wanted) {
            Ok(0) => return Err(io::Error::other("it became shorter while it was read")),
            Ok(_) | Err(Errno::INTR) => {}
            Err(Errno::NOSYS | Errno::XDEV | Errno::PERM | Errno::IO | Errno::OPNOTSUPP | Errno::INVAL) => {
                return copy_bytes(source, target, from, end);
            }
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

fn copy_bytes(source: &mut File, target: &mut File, start: u64, end: u64) -> io::Result<()> {
    source.seek(io::SeekFrom::Start(start))?;
    target.seek(io::SeekFrom::Start(start))?;
    let mut buffer = vec![0; 1 << 18];
    let mut left = end - start;
    while left > 0 {
        let wanted = buffer.len().min(usize::try_from(left).unwrap_or(usize::MAX));
        source.read_exact(&mut buffer[..wanted])?;
        target.write_all(&buffer[..wanted])?;
        left -= wanted as u64;
    }
    Ok(())
}
