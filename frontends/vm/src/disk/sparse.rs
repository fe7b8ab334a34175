//! Copies that keep holes.

use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use fs_err as fs;
use rustix::fs::SeekFrom as Look;

use crate::problem::Failure;

/// Copies a file; where the source has a hole, the copy has one.
pub(crate) fn copy(from: &Path, to: &Path) -> Result<(), Failure> {
    let mut source = fs::File::open(from).map_err(Failure::io("read", from))?;
    let mut copy = super::create(to)?;
    copy_data(&mut source, &mut copy).map_err(Failure::io("write", to))
}

/// How many bytes of a file are not holes.
pub(crate) fn allocated(path: &Path) -> Result<u64, Failure> {
    Ok(fs::metadata(path).map_err(Failure::io("read", path))?.blocks() * 512)
}

fn copy_data(source: &mut fs::File, copy: &mut fs::File) -> io::Result<()> {
    let length = source.metadata()?.len();
    copy.set_len(length)?;
    let mut at = 0;
    while at < length {
        let Some(start) = next_data(source, at)? else {
            break;
        };
        let end = rustix::fs::seek(&*source, Look::Hole(start))?;
        source.seek(SeekFrom::Start(start))?;
        copy.seek(SeekFrom::Start(start))?;
        // `io::copy` of two files is `copy_file_range`: nothing passes through this process.
        io::copy(&mut source.file_mut().by_ref().take(end - start), copy.file_mut())?;
        at = end;
    }
    Ok(())
}

/// Where the next data begins, if there is any.
fn next_data(file: &fs::File, at: u64) -> io::Result<Option<u64>> {
    match rustix::fs::seek(file, Look::Data(at)) {
        Ok(start) => Ok(Some(start)),
        Err(rustix::io::Errno::NXIO) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    #[test]
    fn a_copy_has_the_same_bytes_and_no_more_blocks() {
        let folder = tempfile::tempdir().unwrap();
        let (from, to) = (folder.path().join("a"), folder.path().join("b"));
        let mut file = fs::File::create(&from).unwrap();
        file.write_all(b"begin").unwrap();
        file.seek(SeekFrom::Start(64 << 20)).unwrap();
        file.write_all(b"middle").unwrap();
        file.set_len(128 << 20).unwrap();
        drop(file);
        copy(&from, &to).unwrap();
        assert!(fs::read(&from).unwrap() == fs::read(&to).unwrap());
        assert!(allocated(&to).unwrap() < 1 << 20);
        assert_eq!(fs::metadata(&to).unwrap().mode() & 0o7777, 0o600);
    }
}
